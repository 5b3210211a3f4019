"""How did a row stand in its file, before any mapping? Asked only for rows that are rejected."""

from collections.abc import Callable, Collection
from dataclasses import dataclass

import polars as pl

from ingest import columns as c
from ingest.mapping import Layout
from ingest.values import as_text


@dataclass(frozen=True)
class AsRead:
    """The rows of a batch under the file's own names. It holds on to what was read: drop it with the batch."""

    texts: Callable[[pl.Series], pl.Series]
    """Positions of rows in the batch -> each row as its line or as a JSON object of the file's columns."""
    user_columns: tuple[str, ...] = ()
    """The file's names of the columns that tell a user; whose a row is, the first one with a value does."""
    else_user: tuple[str, ...] = ()
    """Columns that tell the user of rows in which none of those has a value; of other rows they tell something else."""
    layout: Layout | None = None
    """Which names of its file, or of its part of a file, each row was read by; None under a preset."""


def frame_as_read(frame: pl.DataFrame, positions: pl.Series, mapped: Collection[str] = ()) -> pl.Series:
    """Write rows of a frame as JSON objects; numbers of the columns that are `mapped` to ours are read alike again.

    >>> frame_as_read(pl.DataFrame({"a": [1, 2], "b": ["x", None]}), pl.Series([1])).to_list()
    ['{"a":2,"b":null}']
    >>> frame_as_read(pl.DataFrame({"a": [float("nan"), float("inf")]}), pl.Series([0, 1]), ["a"]).to_list()
    ['{"a":null}', '{"a":"inf"}']
    """
    rows = frame[positions]
    rows = rows.with_columns(
        _exactly(rows[name]) for name in set(mapped) if rows[name].dtype.is_float() or rows[name].dtype.is_decimal()
    )
    return rows.select(pl.struct(pl.all()).struct.json_encode().alias(c.RAW)).to_series()


def _exactly(numbers: pl.Series) -> pl.Series:
    """Return numbers as JSON can hold them: in double precision, as which they are read, infinite ones as text.

    NaN is null, which is what the checks take it for. Decimals are the text that they are read as.
    """
    if numbers.dtype.is_decimal():
        return as_text(numbers)
    wide = numbers.cast(pl.Float64).fill_nan(None)
    return wide if wide.is_finite().all() else wide.cast(pl.String)
