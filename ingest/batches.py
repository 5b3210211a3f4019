"""What does a file tell? Readings that fill a table each, batch by batch; and the lines that are no rows at all."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

import polars as pl

from ingest import columns as c
from ingest.as_read import AsRead
from ingest.mapping import Layout, Table

BROKEN_SCHEMA = {c.LINE: pl.Int64, c.REASON_CODE: pl.String, c.DETAIL: pl.String, c.RAW: pl.String}


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
    # An unnamed index that a data frame left behind says nothing.
    others = [name for name in frame.columns if name not in taken and not name.startswith("__index_level_")]
    rest = pl.struct(others).struct.json_encode() if others else pl.lit(None, pl.String)
    rows = frame.select(
        lines.cast(pl.Int64).alias(c.LINE),
        rest.alias(c.REST),
        *(pl.col(source).alias(name) for name, source in layout.columns.items()),
    )
    return rows, frozenset(layout.columns) | ({c.REST} if others else frozenset())


def none_broken() -> pl.DataFrame:
    """Return the empty table of broken lines."""
    return pl.DataFrame(schema=BROKEN_SCHEMA)
