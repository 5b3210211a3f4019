"""How do JSON lines come in batches? The keys that we know are read fast; all others are kept together as JSON."""

import json
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace

import numpy as np
import polars as pl

from ingest import columns as c
from ingest.as_read import AsRead
from ingest.batches import BROKEN_OF_USERS, Batch, none_broken
from ingest.errors import InputFileError
from ingest.json_lines import (
    CACHED_BYTES,
    ObjectLines,
    keys_by_line,
    line_texts,
    object_keys,
    object_lines,
    parsed_objects,
)
from ingest.json_members import members, value_of
from ingest.mapping import ColumnsConfig, Layout, Table, columns_of, layout, other_table_of
from ingest.sources import Source
from ingest.values import as_id, nulls

_LINES_FOR_LAYOUT = 1_000


def read_jsonl(source: Source, config: ColumnsConfig) -> Iterator[Batch]:
    """Yield the rows of a file with one JSON object a line; all values come as strings, nested ones as JSON."""
    here: Layout | None = None
    n_lines = 0
    for chunk in source.chunks():
        lines, n_new = object_lines(chunk, first_line=n_lines + 1)
        n_lines += n_new
        if not len(lines.numbers) and lines.broken.is_empty():  # blank lines alone
            continue
        if here is None:
            here = _first_layout(lines, source, config)
        values, lines = parsed_objects(lines, list(here.columns.values()))
        if _nothing_else(lines.text, values):
            yield _batch(lines, values, nulls(c.REST, pl.String, values.height), here, source.bytes_done)
        else:
            keys, lines = object_keys(lines)
            if other_table_of(here.table, keys, config, of_many=True):
                lines, keys, broken = _without_other_tables(lines, here.table, config)
                no_rows = pl.DataFrame(schema={c.LINE: pl.Int64})
                yield Batch(here.table, frozenset(), no_rows, broken, source.bytes_done)
                if not len(lines.numbers):
                    continue
            if keys:  # empty objects alone lack what the columns so far would have told
                here = columns_of(here.table, keys, config)
            yield named_objects(lines, here, source.bytes_done)


def named_objects(lines: ObjectLines, here: Layout, bytes_done: int) -> Batch:
    """Read lines whose layout is known: its columns under our names, all other keys in `rest`."""
    values, lines = parsed_objects(lines, list(here.columns.values()))
    return _batch(lines, values, _rest(lines, here), here, bytes_done)


def _batch(lines: ObjectLines, values: pl.DataFrame, rest: pl.Series, here: Layout, bytes_done: int) -> Batch:
    rows = values.select(
        pl.Series(c.LINE, lines.numbers),
        rest,
        *(pl.col(key).alias(name) for name, key in here.columns.items()),
    )
    present = frozenset(here.columns) | ({c.REST} if rest.null_count() < len(rest) else frozenset())
    as_read = AsRead(lines.texts, here.user_columns, layout=here)
    return Batch(here.table, present, rows, lines.broken, bytes_done, as_read)


def _first_layout(lines: ObjectLines, source: Source, config: ColumnsConfig) -> Layout:
    """Tell from the first lines what the file holds; from all of the first chunk when these do not tell."""
    keys = _keys_at_a_glance(lines.first(_LINES_FOR_LAYOUT))
    try:
        if keys:
            return layout(keys, config, path=source.path)
    except InputFileError:
        pass
    keys, lines_read = object_keys(lines)
    if not keys:
        raise InputFileError(_no_objects(source, lines_read.broken))
    return layout(keys, config, path=source.path)


def _keys_at_a_glance(lines: ObjectLines) -> list[str]:
    """Return the keys of what Python reads as objects: for a few lines it is done before a database would be open."""
    keys: set[str] = set()
    for line in lines.text.split(b"\n"):
        with suppress(ValueError, RecursionError):
            keys.update(json.loads(line))
    return sorted(keys)


def _without_other_tables(
    lines: ObjectLines, table: Table, config: ColumnsConfig
) -> tuple[ObjectLines, list[str], pl.DataFrame]:
    """Set aside lines that are rows of another table; return the others, their keys, and all that is broken."""
    by_line = keys_by_line(lines)
    others = {keys: other_table_of(table, keys, config) for keys in set(by_line)}
    strange = np.array([others[keys] is not None for keys in by_line], dtype=np.bool)
    raw = lines.texts(pl.Series(np.flatnonzero(strange)))
    strangers = []
    for number, text, keys in zip(
        lines.numbers[strange], raw, (keys for keys in by_line if others[keys] is not None), strict=True
    ):
        detail = f"is a row of {others[keys]} in a file of {table}; put it into a file of its own"
        who = columns_of("interactions", keys, config).columns[c.USER_ID]
        user_id = next((value_of(member) for member in members(text) or () if member.name == who), None)
        strangers.append((int(number), "other_table", detail, text, user_id))
    frame = pl.DataFrame(strangers, schema=BROKEN_OF_USERS, orient="row")
    broken = pl.concat([lines.broken, frame.with_columns(as_id(frame[c.USER_ID]))], how="diagonal").sort(c.LINE)
    left = frozenset[str]().union(*(keys for keys in by_line if others[keys] is None))
    return replace(lines.chosen(~strange), broken=none_broken()), sorted(left), broken


def _nothing_else(text: bytes, values: pl.DataFrame) -> bool:
    """Prove that the objects have no other keys, nested ones included: every `":` belongs to a value read or to a null.

    A colon after white space may belong to a key, too; then there is no proof.
    """
    octets = np.frombuffer(text, dtype=np.uint8)
    n_nulls = sum(values.null_count().row(0))
    n_left = values.height * values.width - n_nulls
    # Two octets after each colon are looked at: lines end with a bracket and a line break.
    for at in range(0, max(len(octets) - 3, 0), CACHED_BYTES):
        before, here, after, next_after = (octets[at + n : at + n + CACHED_BYTES] for n in range(4))
        n = len(next_after)
        colons, blanks = here[:n] == ord(":"), before[:n] <= ord(" ")
        if (colons & blanks).any():
            return False
        after_key = colons & (before[:n] == ord('"'))
        n_left -= np.count_nonzero(after_key)
        if n_nulls:
            nulls = (after[:n] == ord("n")) | ((after[:n] == ord(" ")) & (next_after == ord("n")))
            n_left += np.count_nonzero(after_key & nulls)
    return bool(n_left == 0)


def _rest(lines: ObjectLines, here: Layout) -> pl.Series:
    """Keep the keys that no column took, as one JSON object a line; null where there are none.

    Keys that hold null say nothing and are left out, so that a row reads alike in whichever company it comes.
    """
    import duckdb

    # A merge patch removes the keys that it sets to null (RFC 7396): the known ones, then all that hold null.
    patch = json.dumps(dict.fromkeys(here.columns.values()))
    with duckdb.connect() as connection:
        connection.register("lines", line_texts(lines).with_row_index("number").to_arrow())
        rest = connection.sql(
            """
            SELECT nullif(CAST(json_merge_patch('{}', json_merge_patch(raw, $patch)) AS VARCHAR), '{}') AS rest
            FROM lines
            ORDER BY number
            """,
            params={"patch": patch},
        )
        return pl.DataFrame(rest.to_arrow_table()).to_series().cast(pl.String).alias(c.REST)


def _no_objects(source: Source, broken: pl.DataFrame) -> str:
    shown = broken[c.RAW][0][:60] if broken.height else ""
    if shown.startswith("["):
        return f"{source.path}: wanted one JSON object a line, got a JSON array; turn it into lines (jq -c '.[]')"
    if shown.startswith("{"):
        return (
            f"{source.path}: wanted one JSON object a line, got objects over several lines; write each on one (jq -c .)"
        )
    return f"{source.path}: wanted one JSON object a line, got {shown!r}; name the right file"
