"""How does a preset describe a file? By its name, by how its text is read, and by the tables that its rows fill."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import polars as pl

from ingest import columns as c
from ingest.as_read import AsRead
from ingest.batches import Batch, Reading, none_broken
from ingest.lines import Records
from ingest.mapping import Table
from ingest.sources import Format, Source, bare_name


@dataclass(frozen=True)
class Fill:
    """What a file tells about one table."""

    table: Table
    rows: Callable[[pl.DataFrame], pl.DataFrame]
    """Turns rows under the file's own names, with `line`, into rows under ours, with `line`; values stay raw."""
    over_all: Callable[[Iterator[Records]], Iterator[Records]] | None = None
    """What must see the whole file first, such as events that go on from earlier ones."""
    at_once: int = 262_144
    """How many rows of the file are turned at once; few where each becomes many."""
    user_columns: tuple[str, ...] = ()
    """The file's names of the columns that tell a user; whose a row is, the first one with a value does."""
    else_user: tuple[str, ...] = ()
    """Columns that tell the user of rows in which none of those has a value."""


@dataclass(frozen=True)
class KnownFile:
    """A file of a data set. Without `fills` it is known and passed over."""

    name: str
    """As people write it; a star stands for any characters. Case and .gz or .zst at the end do not matter."""
    read: Callable[[Source], Iterator[Records]] | None = None
    fills: tuple[Fill, ...] = ()
    form: Format = "csv"

    def fits(self, path: Path) -> bool:
        """Tell whether a file of this name is meant."""
        pattern = re.escape(self.name).replace(r"\*", ".*")
        return re.fullmatch(pattern, bare_name(path), re.IGNORECASE) is not None

    def readings(self, path: Path) -> list[Reading]:
        """Return one reading for each table that the file fills."""
        return [
            Reading(fill.table, partial(self._batches, path, fill, tell_broken=at == 0))
            for at, fill in enumerate(self.fills)
        ]

    def _batches(self, path: Path, fill: Fill, *, tell_broken: bool) -> Iterator[Batch]:
        # A line that is no row at all belongs to no table; only the first reading of the file reports it.
        with Source(path, self.form) as source:
            if path.stat().st_size == 0 or self.read is None:
                return
            stream = self.read(source)
            for records in fill.over_all(stream) if fill.over_all else stream:
                yield from turned(records, fill, tell_broken=tell_broken)


def turned(records: Records, fill: Fill, *, tell_broken: bool = True) -> Iterator[Batch]:
    """Turn rows under the file's names into rows under ours."""
    broken = records.broken if tell_broken else none_broken()
    passed_over = records.passed_over if tell_broken else {}
    lines = records.lines.cast(pl.Int64)
    # One line may hold several records, and a record several rows: meanwhile each row has the number of its record.
    frame = records.frame.with_columns(pl.int_range(pl.len(), dtype=pl.Int64).alias(c.LINE))
    for part in frame.iter_slices(fill.at_once) if frame.height else [frame]:
        rows = fill.rows(part)
        numbers = rows[c.LINE]
        rows = rows.with_columns(lines.gather(numbers).alias(c.LINE))
        as_read = AsRead(partial(_records_as_read, records, numbers), fill.user_columns, fill.else_user)
        yield Batch(fill.table, _present(rows), rows, broken, records.bytes_done, as_read, passed_over)
        broken, passed_over = none_broken(), {}


def _records_as_read(records: Records, numbers: pl.Series, positions: pl.Series) -> pl.Series:
    """Write a record once, however many rows it held: a line of an answer holds one for each item shown."""
    asked = numbers.gather(positions)
    distinct = asked.unique().sort()
    return records.as_read(distinct).gather(distinct.search_sorted(asked))


def _present(rows: pl.DataFrame) -> frozenset[str]:
    # What no row of a catalogue says must not empty what another file of the set has said.
    return frozenset(name for name in rows.columns if rows[name].null_count() < rows.height) - {c.LINE}


def passed_over(*names: str) -> tuple[KnownFile, ...]:
    """Describe files that belong to the data set and tell nothing that is stored."""
    return tuple(KnownFile(name) for name in names)


def as_json(**values: pl.Expr) -> pl.Expr:
    """Make one JSON object of some columns, to become `attributes` or `context`."""
    members = [value.alias(name) for name, value in values.items()]
    return pl.struct(members).struct.json_encode().alias(c.REST)


def as_iso(text: pl.Expr, time_format: str) -> pl.Expr:
    """Rewrite times of a known format as ISO 8601; others stay as they are, for the checks to judge."""
    parsed = text.str.strip_chars().str.to_datetime(time_format, strict=False, time_unit="us")
    return pl.coalesce(parsed.dt.to_string("%Y-%m-%dT%H:%M:%S"), text)
