"""How do JSON lines come in batches? The keys that we know are read fast; all others are kept together as JSON."""

import json
from collections.abc import Iterator

import numpy as np
import polars as pl

from ingest import columns as c
from ingest.batches import Batch
from ingest.errors import InputFileError
from ingest.json_lines import ObjectLines, object_lines, parsed_objects, valid_objects
from ingest.mapping import ColumnsConfig, Layout, columns_of, layout
from ingest.sources import Source

_WHITE_SPACE = np.frombuffer(b" \t\r", dtype=np.uint8)


def read_jsonl(source: Source, config: ColumnsConfig) -> Iterator[Batch]:
    """Yield the rows of a file with one JSON object a line; all values come as strings, nested ones as JSON."""
    here: Layout | None = None
    n_lines = 0
    for chunk in source.chunks():
        lines, n_new = object_lines(chunk, first_line=n_lines + 1)
        n_lines += n_new
        keys: list[str] = []
        if here is None:
            keys, lines = _keys(lines)
            if not keys:
                raise InputFileError(_no_objects(source, lines.broken))
            here = layout(keys, config, path=source.path)
        values, lines = parsed_objects(lines, list(here.columns.values()))
        rest = pl.Series(c.REST, [None], dtype=pl.String).new_from_index(0, values.height)
        if not _nothing_else(lines.text, values):
            keys, lines = _keys(lines)
            here = columns_of(here.table, {*keys, *here.columns.values()}, config)
            values, lines = parsed_objects(lines, list(here.columns.values()))
            rest = _rest(lines, here)
        rows = values.select(
            pl.Series(c.LINE, lines.numbers),
            rest,
            *(pl.col(key).alias(name) for name, key in here.columns.items()),
        )
        present = frozenset(here.columns) | ({c.REST} if rest.null_count() < len(rest) else frozenset())
        yield Batch(here.table, present, rows, lines.broken, source.bytes_done)


def _nothing_else(text: bytes, values: pl.DataFrame) -> bool:
    """Prove that the objects have no other keys, nested ones included: every `":` belongs to a value read or to a null.

    A colon after white space may belong to a key, too; then there is no proof.
    """
    octets = np.frombuffer(text, dtype=np.uint8)
    colons = np.flatnonzero(octets == ord(":"))
    before = octets[colons - 1]
    if np.isin(before, _WHITE_SPACE).any():
        return False
    after_key = colons[before == ord('"')] + 1
    follower = octets[after_key]
    n_nulls = np.count_nonzero(follower == ord("n"))
    n_nulls += np.count_nonzero(octets[after_key[follower == ord(" ")] + 1] == ord("n"))
    n_values = values.height * values.width - sum(values.null_count().row(0))
    return bool(len(after_key) == n_values + n_nulls)


def _keys(lines: ObjectLines) -> tuple[list[str], ObjectLines]:
    """Return all keys at the top of the objects, and the lines less those that turned out to be none."""
    import duckdb

    lines = valid_objects(lines)
    with duckdb.connect() as connection:
        connection.register("lines", _texts(lines).to_arrow())
        found = connection.sql("SELECT DISTINCT unnest(json_keys(raw)) AS key FROM lines ORDER BY key").fetchall()
    return [key for (key,) in found], lines


def _rest(lines: ObjectLines, here: Layout) -> pl.Series:
    """Keep the keys that no column took, as one JSON object a line; null where there are none."""
    import duckdb

    # A merge patch removes the keys that it sets to null (RFC 7396) and touches no other.
    patch = json.dumps(dict.fromkeys(here.columns.values()))
    with duckdb.connect() as connection:
        connection.register("lines", _texts(lines).with_row_index("number").to_arrow())
        rest = connection.sql(
            "SELECT nullif(CAST(json_merge_patch(raw, $patch) AS VARCHAR), '{}') AS rest FROM lines ORDER BY number",
            params={"patch": patch},
        )
        return pl.DataFrame(rest.to_arrow_table()).to_series().cast(pl.String).alias(c.REST)


def _texts(lines: ObjectLines) -> pl.DataFrame:
    return pl.DataFrame({c.RAW: lines.text.decode("utf-8").removesuffix("\n").split("\n") if lines.text else []})


def _no_objects(source: Source, broken: pl.DataFrame) -> str:
    shown = broken[c.RAW][0][:60] if broken.height else ""
    if shown.startswith("["):
        return f"{source.path}: wanted one JSON object a line, got a JSON array; turn it into lines (jq -c '.[]')"
    if shown.startswith("{"):
        return (
            f"{source.path}: wanted one JSON object a line, got objects over several lines; write each on one (jq -c .)"
        )
    return f"{source.path}: wanted one JSON object a line, got {shown!r}; name the right file"
