"""What does a file tell? Readings that fill a table each, batch by batch; and the lines that are no rows at all."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import polars as pl

from ingest import columns as c
from ingest.as_read import AsRead
from ingest.mapping import Layout, Table

BROKEN_SCHEMA = {c.LINE: pl.Int64, c.REASON_CODE: pl.String, c.DETAIL: pl.String, c.RAW: pl.String}
BROKEN_OF_USERS = {**BROKEN_SCHEMA, c.USER_ID: pl.String}
"""With whose row it is, where that could be read."""

_INDEX = "__index_level_"


class ParsedRows(NamedTuple):
    """Some megabytes of a file, or some of its rows, under the file's own column names."""

    frame: pl.DataFrame
    lines: pl.Series
    """Line in which each row begins."""
    broken: pl.DataFrame
    """Lines that could not be read as rows, with the columns of `BROKEN_SCHEMA` at least."""


@dataclass(frozen=True)
class Batch:
    """A few hundred thousand rows of one file."""

    table: Table
    present: frozenset[str]
    """Our names of the columns that the file has here; `rest` among them when it has others besides."""
    rows: pl.DataFrame
    """Columns by our names in whatever type they came, `rest` (JSON of every other column) and `line`."""
    broken: pl.DataFrame
    """Lines that could not be read as rows: line, reason_code, detail, raw, and user_id where it could."""
    bytes_done: int
    """How much of the file has been read, to show progress."""
    as_read: AsRead | None = None
    """The rows as their file has them, until they have been checked."""
    passed_over: Mapping[str, int] = field(default_factory=dict)
    """Lines that were understood and tell nothing that any table holds: how many of what."""


@dataclass(frozen=True)
class Reading:
    """One way of reading a file; a log of mixed events gives several, each reading the file again."""

    table: Table | None
    """None when only the rows tell: the columns of a file without a preset are not known before it is read."""
    batches: Callable[[], Iterator[Batch]]
    """Opens the file anew at each call."""


def with_names(frame: pl.DataFrame, layout: Layout, lines: pl.Series) -> tuple[pl.DataFrame, frozenset[str]]:
    """Rename the file's columns to ours and fold all others into one JSON column."""
    taken = set(layout.columns.values())
    others = [name for name in frame.columns if name not in taken and not is_nameless(name)]
    rest = pl.struct(others).struct.json_encode() if others else pl.lit(None, pl.String)
    rows = frame.select(
        lines.cast(pl.Int64).alias(c.LINE),
        rest.alias(c.REST),
        *(pl.col(source).alias(name) for name, source in layout.columns.items()),
    )
    return rows, frozenset(layout.columns) | ({c.REST} if others else frozenset())


def nameless(at: int) -> str:
    """Name an unnamed column as data frames name their index, so that no other column is called so."""
    return f"{_INDEX}{at}__"


def is_nameless(name: str) -> bool:
    """Whether a column is such a one: an index that a data frame left behind says nothing."""
    return name.startswith(_INDEX)


def not_utf8(number: int, line: bytes, error: UnicodeDecodeError) -> tuple[int, str, str, str]:
    """Return the row of `BROKEN_SCHEMA` for a line that is not UTF-8."""
    detail = f"byte {line[error.start]:#04x} at {error.start} is not UTF-8; save the file as UTF-8"
    return number, "invalid_utf8", detail, line.decode("utf-8", "replace")


def none_broken() -> pl.DataFrame:
    """Return the empty table of broken lines."""
    return pl.DataFrame(schema=BROKEN_SCHEMA)
