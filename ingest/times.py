"""When was that? Times as people write them, turned into naive UTC."""

from collections.abc import Callable, Sequence
from functools import partial

import polars as pl

from ingest.iso_times import plain_iso
from ingest.moments import FIRST_DAY, LAST_DAY, MICROSECONDS_FROM, MILLISECONDS_FROM, NANOSECONDS_FROM, NUMBER
from ingest.values import nulls

NAIVE_UTC = pl.Datetime("us")

_ZONED = ("%Y-%m-%dT%H:%M:%S%.f%#z", "%Y-%m-%d %H:%M:%S%.f%#z", "%Y-%m-%d %H:%M:%S%.f %#z")
_FORMATS = (
    "%Y-%m-%dT%H:%M:%S%.f",
    "%Y-%m-%d %H:%M:%S%.f",
    *_ZONED,
    "%Y-%m-%d",
    "%Y-%m-%dT%H:%M",
    "%Y-%m-%d %H:%M",
    "%Y-%m-%dT%H:%M%#z",
    "%Y-%m-%d %H:%M%#z",
    "%Y%m%dT%H%M%S",
    "%Y%m%dT%H%M%S%#z",
    "%Y-%m-%d %H:%M:%S%.f UTC",
)


def parse_times(values: pl.Series, time_format: str | None = None) -> pl.Series:
    """Turn a column of times of any type into Datetime us, naive UTC; null where unreadable.

    Understood: datetimes (a zone is turned to UTC, none is UTC), dates, ISO 8601 strings, and Unix seconds,
    milliseconds, microseconds or nanoseconds as numbers or digits; eight digits are a date. Formats may be mixed.
    `time_format` (strftime) is tried first on strings.

    >>> mixed = pl.Series(["2024-01-01T01:00:00+01:00", "2024-01-01", "1704067200", "1704067200000", "soon"])
    >>> [None if moment is None else moment.isoformat() for moment in parse_times(mixed)]
    ['2024-01-01T00:00:00', '2024-01-01T00:00:00', '2024-01-01T00:00:00', '2024-01-01T00:00:00', None]
    """
    dtype = values.dtype
    if isinstance(dtype, pl.Datetime):
        zoned = values.dt.convert_time_zone("UTC").dt.replace_time_zone(None) if dtype.time_zone else values
        # Strictly, a moment too far away to be written is a panic inside Polars; so it is no time.
        return zoned.cast(NAIVE_UTC, strict=False)
    if dtype == pl.Date:
        return values.cast(NAIVE_UTC)
    if dtype.is_numeric():
        return _from_unix(values)
    if dtype in (pl.String, pl.Categorical, pl.Enum):
        return _from_strings(values.cast(pl.String), time_format)
    return nulls(values.name, NAIVE_UTC, values.len())


def _from_unix(values: pl.Series) -> pl.Series:
    number = pl.col("number")
    size = number.abs()
    whole = number.cast(pl.Int64, strict=False)
    microseconds = (
        pl.when(size < MILLISECONDS_FROM)
        .then((number * 1_000_000).round().cast(pl.Int64, strict=False))
        .when(size < MICROSECONDS_FROM)
        .then((number * 1_000).round().cast(pl.Int64, strict=False))
        .when(size < NANOSECONDS_FROM)
        .then(whole)
        .otherwise(whole // 1_000)
    )
    least = values.min()
    if values.dtype.is_integer() and least == -(1 << 63):  # the one number whose size is no number
        values = values.set(values == -(1 << 63), None)
    frame = values.rename("number").to_frame()
    if values.dtype.is_integer():
        frame = frame.with_columns(number.cast(pl.Int64, strict=False))
    else:
        frame = frame.with_columns(number.cast(pl.Float64))
    moments = frame.select(microseconds.cast(NAIVE_UTC).alias(values.name)).to_series()
    if least is None or least > LAST_DAY:  # type: ignore[operator]
        return moments
    days = frame.select(pl.when(number.is_between(FIRST_DAY, LAST_DAY)).then(number.cast(pl.Int64))).to_series()
    return moments.zip_with(
        days.is_null(), days.cast(pl.String).str.to_datetime("%Y%m%d", strict=False, time_unit="us")
    )


def _from_strings(values: pl.Series, time_format: str | None) -> pl.Series:
    """Try formats one after another, each only on what the earlier ones left; blanks around a time say nothing."""
    attempts: list[Callable[[pl.Series], pl.Series]] = [_digits, *(partial(_formatted, text) for text in _FORMATS)]
    if time_format:
        return _first_that_reads([partial(_formatted, time_format), plain_iso, *attempts], values.str.strip_chars())
    # Most files need no stripping, and it costs as much as a fifth of the reading.
    return _first_that_reads([plain_iso, lambda left: _first_that_reads(attempts, left.str.strip_chars())], values)


def _first_that_reads(attempts: Sequence[Callable[[pl.Series], pl.Series]], values: pl.Series) -> pl.Series:
    parsed = attempts[0](values)
    if len(attempts) == 1 or parsed.null_count() == values.null_count():
        return parsed
    left = (parsed.is_null() & values.is_not_null() & (values != "")).arg_true()
    if left.is_empty():
        return parsed
    return parsed.scatter(left, _first_that_reads(attempts[1:], values.gather(left)))


def _formatted(time_format: str, values: pl.Series) -> pl.Series:
    return parse_times(values.str.to_datetime(time_format, strict=False, time_unit="us"))


def _digits(values: pl.Series) -> pl.Series:
    numeric = values.str.contains(f"^{NUMBER}$")
    if not numeric.any():
        return nulls(values.name, NAIVE_UTC, values.len())
    whole = values.set((~numeric).fill_null(True), None)
    has_point = whole.str.contains("[.eE]").any()
    return _from_unix(whole.cast(pl.Float64 if has_point else pl.Int64, strict=False))
