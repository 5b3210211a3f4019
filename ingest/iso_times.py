"""Which of these texts are plain ISO 8601 moments? Read as columns of digits, many times faster than one by one."""

from functools import cache

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ingest.values import nulls

_DATE_AND_TIME = 19
"""Bytes of `2024-01-31T12:34:56`."""
_MOST_DECIMALS = 6
_CACHED_ROWS = 1 << 15
"""How many texts are read at once: their columns stay in the processor's cache."""

Octets = NDArray[np.uint8]
Whole = NDArray[np.int64]


def plain_iso(values: pl.Series) -> pl.Series:
    """Read `YYYY-MM-DD?HH:MM:SS[.decimals][zone]`, `?` being T or a space and the zone Z, ±HH:MM or nothing (UTC).

    Only texts of the commonest length are tried, all at once; everything else, and everything that is no moment of the
    calendar, comes back as null, for a slower reader to judge. Returns Datetime us, naive UTC.

    >>> texts = pl.Series(["2024-02-29T00:00:00Z", "2023-02-29T00:00:00Z", "soon"])
    >>> [None if moment is None else moment.isoformat() for moment in plain_iso(texts)]
    ['2024-02-29T00:00:00', None, None]
    """
    lengths = values.str.len_bytes()
    width = lengths.drop_nulls().mode()
    if width.is_empty() or width[0] < _DATE_AND_TIME:
        return nulls(values.name, pl.Datetime("us"), values.len())
    fitting = lengths == width[0]
    everywhere = fitting.all(ignore_nulls=False) is True
    text = _as_table(values if everywhere else values.filter(fitting), width[0])
    blocks = [_moments(text[at : at + _CACHED_ROWS]) for at in range(0, len(text), _CACHED_ROWS)]
    microseconds, readable = (np.concatenate(parts) for parts in zip(*blocks, strict=True))
    moments = pl.Series(values.name, microseconds).cast(pl.Datetime("us"))
    if not readable.all():
        moments = moments.set(pl.Series(~readable), None)
    if everywhere:
        return moments
    return nulls(values.name, pl.Datetime("us"), values.len()).scatter(fitting.arg_true(), moments)


def _as_table(values: pl.Series, width: int) -> Octets:
    """Lay texts of one length over each other: uint8 [n, width]."""
    offsets, data = values.rechunk().to_arrow(compat_level=pl.CompatLevel.oldest()).buffers()[1:]
    first = int(np.frombuffer(offsets, dtype=np.int64, count=1)[0])
    octets = np.frombuffer(data, dtype=np.uint8, count=len(values) * width, offset=first)
    return octets.reshape(len(values), width)


def _moments(text: Octets) -> tuple[Whole, NDArray[np.bool]]:
    """Return microseconds since 1970 and whether each row is a moment at all; garbage where it is not."""
    columns = np.ascontiguousarray(text.T)
    digits = columns - np.uint8(ord("0"))  # anything below '0' wraps around to a large number
    readable = np.ones(len(text), dtype=np.bool)

    def stands(at: int, *characters: str) -> None:
        there = columns[at] == ord(characters[0])
        for character in characters[1:]:
            there |= columns[at] == ord(character)
        np.logical_and(readable, there, out=readable)

    def pair(at: int) -> Octets:
        np.logical_and(readable, (digits[at] <= 9) & (digits[at + 1] <= 9), out=readable)
        value: Octets = digits[at] * np.uint8(10) + digits[at + 1]
        return value

    for at, characters in ((4, "-"), (7, "-"), (10, "T "), (13, ":"), (16, ":")):
        stands(at, *characters)
    century, year, month, day = pair(0), pair(2), pair(5), pair(8)
    hour, minute, second = pair(11), pair(14), pair(17)
    readable &= (month >= 1) & (month <= 12) & (hour < 24) & (minute < 60) & (second < 60)
    end = _DATE_AND_TIME
    decimals = np.zeros(len(text), dtype=np.int32)
    if len(columns) > end and columns[end, 0] == ord("."):
        stands(end, ".")
        n_decimals = _decimals(text[0, end + 1 :])
        for row in digits[end + 1 : end + 1 + n_decimals]:
            np.logical_and(readable, row <= 9, out=readable)
            decimals = decimals * 10 + row
        decimals *= 10 ** (_MOST_DECIMALS - n_decimals)
        end += 1 + n_decimals
    minutes_ahead = np.zeros(len(text), dtype=np.int32)
    left = len(columns) - end
    if left == 1:
        stands(end, "Z")
    elif left == 6:
        stands(end, "+", "-")
        stands(end + 3, ":")
        hours, minutes = pair(end + 1), pair(end + 4)
        readable &= (hours < 24) & (minutes < 60)
        minutes_ahead = np.where(columns[end] == ord("-"), -1, 1) * (hours.astype(np.int32) * 60 + minutes)
    elif left:
        readable[:] = False
    months = np.where(readable, (century.astype(np.int32) * 100 + year) * 12 + month - 1, 0)
    starts = _month_starts()
    readable &= (century + year > 0) & (day >= 1) & (day <= starts[months + 1] - starts[months])
    minutes_of_day = hour.astype(np.int32) * 60 + minute - minutes_ahead
    seconds = (starts[months].astype(np.int64) + day - 1) * 86_400 + minutes_of_day * 60 + second
    return seconds * 1_000_000 + decimals, readable


@cache
def _month_starts() -> NDArray[np.int32]:
    """Days from 1970 to the first of each month of the years 0 to 9999, and of the month after."""
    months = np.arange(-1970 * 12, (10_000 - 1970) * 12 + 1).astype("datetime64[M]")
    return months.astype("datetime64[D]").astype(np.int32)


def _decimals(rest: Octets) -> int:
    """Count the digits at the start, as many as microseconds have at most."""
    digits = (rest >= ord("0")) & (rest <= ord("9"))
    n_digits = int(np.argmin(digits)) if not digits.all() else len(digits)
    return min(n_digits, _MOST_DECIMALS)
