"""How did a row stand in its file, before any mapping? Asked only for rows that are rejected."""

import json
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace

import polars as pl

from ingest import columns as c
from ingest.json_members import as_object, members


@dataclass(frozen=True)
class AsRead:
    """The rows of a batch under the file's own names. It holds on to what was read: drop it with the batch."""

    texts: Callable[[pl.Series], pl.Series]
    """Positions of rows in the batch -> each row as its line or as a JSON object of the file's columns."""
    user_columns: tuple[str, ...] = ()
    """The file's names of the columns that tell the user; in each row the first one with a value does."""


def frame_as_read(frame: pl.DataFrame, positions: pl.Series, mapped: Collection[str] = ()) -> pl.Series:
    """Write rows of a frame as JSON objects; numbers of the columns that are `mapped` to ours lose nothing by it.

    >>> frame_as_read(pl.DataFrame({"a": [1, 2], "b": ["x", None]}), pl.Series([1])).to_list()
    ['{"a":2,"b":null}']
    >>> frame_as_read(pl.DataFrame({"a": [float("nan")]}), pl.Series([0]), ["a"]).to_list()
    ['{"a":"NaN"}']
    """
    rows = frame[positions]
    rows = rows.with_columns(_exactly(rows[name]) for name in mapped if rows[name].dtype.is_float())
    return rows.select(pl.struct(pl.all()).struct.json_encode().alias(c.RAW)).to_series()


def _exactly(numbers: pl.Series) -> pl.Series:
    """Return numbers as JSON can hold them: in double precision, as which they are read, and as text if not finite."""
    wide = numbers.cast(pl.Float64)
    return wide if wide.is_finite().all() else wide.cast(pl.String)


def under_pseudonyms(texts: pl.Series, user_ids: pl.Series, as_read: AsRead) -> pl.Series:
    """Write pseudonyms in place of the users of rows; null where no user is found, since the id may stand anywhere."""
    kept = [
        None if text is None or user is None else _renamed(text, as_read.user_columns, user)
        for text, user in zip(texts, user_ids, strict=True)
    ]
    return pl.Series(texts.name, kept, dtype=pl.String)


def _renamed(text: str, names: tuple[str, ...], user: str) -> str | None:
    found = members(text)
    if found is None:
        return None
    told = {member.name for member in found if member.value != "null"}
    column = next((name for name in names if name in told), None)
    if column is None:
        return None
    written = json.dumps(user)
    return as_object([replace(member, value=written) if member.name == column else member for member in found])
