"""How do rows kept in quarantine become batches once more? Read as their file would be, under today's names.

Each kept row is a record: a line or an object of the file's own columns. In the batches `line` is its number here.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ingest import columns as c
from ingest.as_read import AsRead
from ingest.batches import Batch, is_nameless, none_broken
from ingest.json_lines import ObjectLines, keys_by_line, object_keys, parsed_objects, valid_objects
from ingest.json_members import Member, as_object, members
from ingest.keyed_members import keyed_members, with_users
from ingest.lines import Records
from ingest.mapping import REQUIRED, ColumnsConfig, Layout, Table, columns_of
from ingest.read_jsonl import named_objects
from ingest.sources import Text
from ingest.values import as_id

ROWS_AT_ONCE = 100_000


@dataclass(frozen=True)
class Kept:
    """Rejected rows of one load that went to one table."""

    source: str
    """Their file, which need not be there any more."""
    table: Table
    read_as: str | None
    """How the file was read: a format or a preset; None for rows of an earlier version, which have our names."""
    raw: pl.Series
    user_ids: pl.Series
    """Whose they are, as far as could be read; a pseudonym where those are in use."""
    layouts: pl.Series
    """By which names of their file, or of their part of it, they were read; null where that was not kept."""


def read_again(
    kept: Kept, config: ColumnsConfig, users: Callable[[pl.Series], pl.Series] | None = None
) -> Iterator[Batch]:
    """Yield kept rows under our names; a record that its preset does not know any more is in no batch.

    A table that a file went to stays the same, whatever the mapping has become. `users` makes pseudonyms: a user found
    in a column where none had been found before gets one, all others have theirs.
    """
    for numbers, kept_layout in _read_alike(kept):
        raw = kept.raw.gather(numbers)
        if kept.read_as is None:
            yield _under_our_names(raw, numbers, kept.table)
            continue
        if kept.read_as == "jsonl":
            batches = _json_lines(raw, numbers, kept.table, config, kept_layout)
        elif kept.read_as in ("csv", "parquet"):
            batches = _columns(raw, numbers, kept.table, config, typed=kept.read_as == "parquet")
        else:
            batches = _of_preset(raw, numbers, kept, config)
        for batch in batches:
            yield _as_kept(batch, kept, kept_layout, users)


def _read_alike(kept: Kept) -> Iterator[tuple[NDArray[np.int64], Layout | None]]:
    """Put rows together that were read by the same names: all of a file, but for parts of a mixed one."""
    for start in range(0, len(kept.raw), ROWS_AT_ONCE):
        layouts = kept.layouts.slice(start, ROWS_AT_ONCE)
        for text in layouts.unique(maintain_order=True):
            alike = layouts.is_null() if text is None else layouts == text
            yield (
                alike.arg_true().to_numpy().astype(np.int64) + start,
                Layout.of_text(kept.table, text) if text else None,
            )


def _as_kept(
    batch: Batch, kept: Kept, kept_layout: Layout | None, users: Callable[[pl.Series], pl.Series] | None
) -> Batch:
    """Let rows that are rejected again be kept as they are, and give pseudonyms to users who have none.

    Ids under the names that `kept_layout` has for users are pseudonyms already; those under names mapped since are not.
    """
    rows, raw = batch.rows, kept.raw.gather(batch.rows[c.LINE])
    here = batch.as_read.layout if batch.as_read else None
    if users is None or here is None or not here.user_columns:
        return replace(batch, as_read=AsRead(raw.gather))
    known = kept_layout.user_columns if kept_layout else ()
    new = [name for name in here.user_columns if name not in known]
    if not new:
        return replace(batch, as_read=AsRead(raw.gather))
    user_ids = as_id(rows[c.USER_ID])
    if here.user_columns[0] in new:
        is_new = user_ids.ne_missing(kept.user_ids.gather(rows[c.LINE]))
        user_ids = users(user_ids.set(~is_new, None)).zip_with(is_new, user_ids)
    further = [name for name in new if name != here.user_columns[0]]
    rows = rows.with_columns(user_ids.alias(c.USER_ID), keyed_members(rows[c.REST], further, users))
    raw = keyed_members(raw, further, users)
    raw = with_users(raw, here.user_columns, user_ids).zip_with(user_ids.is_not_null(), raw)
    keyed = {**(kept_layout.names if kept_layout else {}), c.USER_ID: (*known, *new)}
    return replace(batch, rows=rows, as_read=AsRead(raw.gather, layout=Layout(here.table, keyed)))


def _under_our_names(raw: pl.Series, numbers: NDArray[np.int64], table: Table) -> Batch:
    keys, lines = object_keys(_lines(raw, numbers))
    values, lines = parsed_objects(lines, keys)
    present = frozenset(key for key in keys if key != c.REST or values[c.REST].null_count() < values.height)
    rows = values.with_columns(pl.Series(c.LINE, lines.numbers))
    return Batch(table, present, rows, lines.broken, 0, AsRead(lines.texts))


def _json_lines(
    raw: pl.Series, numbers: NDArray[np.int64], table: Table, config: ColumnsConfig, kept_layout: Layout | None
) -> Iterator[Batch]:
    """Read lines in the company that they had: a name that counted in their file counts for all of them."""
    lines = valid_objects(_lines(raw, numbers))
    by_keys: dict[frozenset[str], Layout] = {}
    alike: dict[tuple[tuple[str, tuple[str, ...]], ...], list[int]] = {}
    for at, names in enumerate(keys_by_line(lines)):
        if names not in by_keys:
            by_keys[names] = _in_company(table, names, config, kept_layout)
        alike.setdefault(tuple(by_keys[names].names.items()), []).append(at)
    texts = lines.text.split(b"\n")
    broken = lines.broken
    for known, chosen in alike.items():
        text = b"".join(texts[at] + b"\n" for at in chosen)
        yield named_objects(ObjectLines(text, lines.numbers[chosen], broken), Layout(table, dict(known)), 0)
        broken = none_broken()


def _in_company(table: Table, keys: frozenset[str], config: ColumnsConfig, kept_layout: Layout | None) -> Layout:
    """Map a line as in its file, but for columns without which it could be no row there: its own names stand in.

    Whatever its file made a row of is the same row here, so that it is known when the file is loaded again.
    """
    in_file = [name for names in kept_layout.names.values() for name in names] if kept_layout else []
    here, alone = columns_of(table, sorted({*keys, *in_file}), config), columns_of(table, sorted(keys), config)
    own = {
        ours: tuple(dict.fromkeys((*alone.names[ours], *here.names[ours])))
        for ours in REQUIRED[table]
        if ours in alone.names and here.columns[ours] not in keys
    }
    return Layout(table, {**here.names, **own})


def _columns(
    raw: pl.Series,
    numbers: NDArray[np.int64],
    table: Table,
    config: ColumnsConfig,
    *,
    typed: bool,
) -> Iterator[Batch]:
    for names, records, lines in _by_names(raw, numbers):
        here = columns_of(table, names, config)
        taken = set(here.columns.values())
        others = [at for at, name in enumerate(names) if name not in taken and not is_nameless(name)]
        place = {name: at for at, name in enumerate(names)}
        rest = [as_object([record[at] for at in others]) if others else None for record in records]
        rows = pl.DataFrame(
            [
                pl.Series(c.LINE, lines, dtype=pl.Int64),
                pl.Series(c.REST, rest, dtype=pl.String),
                *(
                    _values(ours, [record[place[name]].value for record in records], typed=typed)
                    for ours, name in here.columns.items()
                ),
            ]
        )
        present = frozenset(here.columns) | ({c.REST} if others else frozenset())
        as_read = AsRead(raw.gather, here.user_columns, layout=here)
        yield Batch(here.table, present, rows, none_broken(), 0, as_read)


def _values(name: str, texts: Sequence[str], *, typed: bool) -> pl.Series:
    """Read one column again: text from CSV, from Parquet what its JSON says."""
    values = [json.loads(text) for text in texts]
    try:
        return pl.Series(name, values, dtype=None if typed else pl.String)
    except (TypeError, OverflowError, pl.exceptions.PolarsError):
        written = [
            None if value is None else value if isinstance(value, str) else json.dumps(value) for value in values
        ]
        return pl.Series(name, written, dtype=pl.String)


def _of_preset(raw: pl.Series, numbers: NDArray[np.int64], kept: Kept, config: ColumnsConfig) -> Iterator[Batch]:
    from ingest.presets import known_file
    from ingest.presets.known_files import turned

    file = known_file(Path(kept.source), cast(str, kept.read_as), config)
    fill = next((fill for fill in file.fills if fill.table == kept.table), None) if file else None
    if file is None or file.read is None or fill is None:
        return
    if file.form == "jsonl":
        for records in cast("Callable[[Text], Iterator[Records]]", file.read)(_KeptText(raw)):
            in_file = pl.Series(c.LINE, numbers)
            broken = records.broken.with_columns(in_file.gather(records.broken[c.LINE] - 1).alias(c.LINE))
            yield from turned(replace(records, lines=in_file.gather(records.lines - 1), broken=broken), fill)
        return
    for names, objects, lines in _by_names(raw, numbers):
        columns = [_values(name, [each[at].value for each in objects], typed=False) for at, name in enumerate(names)]
        yield from turned(Records(pl.DataFrame(columns), pl.Series(c.LINE, lines), none_broken(), 0), fill)


@dataclass(frozen=True)
class _KeptText:
    """Kept objects as the text of a file, one a line."""

    raw: pl.Series
    bytes_done: int = 0

    def chunks(self) -> Iterator[bytes]:
        yield _text(self.raw)


def _by_names(
    raw: pl.Series, numbers: NDArray[np.int64]
) -> Iterator[tuple[tuple[str, ...], list[list[Member]], list[int]]]:
    """Put records of the same columns together: usually those of one file, so all."""
    alike: dict[tuple[str, ...], tuple[list[list[Member]], list[int]]] = {}
    for number, text in zip(numbers.tolist(), raw, strict=True):
        found = members(text)
        if found is not None:
            records, lines = alike.setdefault(tuple(member.name for member in found), ([], []))
            records.append(found)
            lines.append(number)
    for names, (records, lines) in alike.items():
        yield names, records, lines


def _lines(raw: pl.Series, numbers: NDArray[np.int64]) -> ObjectLines:
    return ObjectLines(_text(raw), numbers, none_broken())


def _text(raw: pl.Series) -> bytes:
    return "".join(f"{text}\n" for text in raw).encode()
