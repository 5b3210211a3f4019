"""How do JSON lines come in batches? DuckDB parses line by line, so that one bad line costs only itself."""

import json
from collections.abc import Iterator

import polars as pl

from ingest import columns as c
from ingest.batches import BROKEN_SCHEMA, Batch
from ingest.checks import RAW_LENGTH
from ingest.errors import InputFileError
from ingest.lines import numbered_lines
from ingest.mapping import ColumnsConfig, Layout, columns_of, layout
from ingest.sources import Source


def read_jsonl(source: Source, config: ColumnsConfig) -> Iterator[Batch]:
    """Yield the rows of a file with one JSON object a line; all values come as strings, nested ones as JSON."""
    import duckdb

    connection = duckdb.connect(config={"memory_limit": "1GB"})
    table = None
    n_lines = 0
    with connection:
        for chunk in source.chunks():
            lines, broken, n_new = numbered_lines(chunk, first_line=n_lines + 1)
            n_lines += n_new
            written = lines.filter(pl.col(c.RAW).str.strip_chars() != "")
            connection.register("lines", written.to_arrow())
            objects = "CASE WHEN json_valid(raw) THEN json_type(raw) = 'OBJECT' ELSE FALSE END"
            connection.execute(f"CREATE OR REPLACE TEMP TABLE parsed AS SELECT *, {objects} AS is_object FROM lines")
            keys = [
                key
                for (key,) in connection.sql(
                    "SELECT DISTINCT unnest(json_keys(raw)) AS key FROM parsed WHERE is_object ORDER BY key"
                ).fetchall()
            ]
            bad = _bad_lines(pl.DataFrame(connection.sql("SELECT * FROM parsed WHERE NOT is_object").to_arrow_table()))
            if table is None:
                if not keys:
                    raise InputFileError(_no_objects(source, bad))
                table = layout(keys, config, path=source.path).table
            here = columns_of(table, keys, config)
            rows = pl.DataFrame(connection.sql(_extraction(here, keys)).to_arrow_table())
            has_rest = bool(set(keys) - set(here.columns.values()))
            present = frozenset(here.columns) | ({c.REST} if has_rest else frozenset())
            yield Batch(table, present, rows, pl.concat([broken, bad]), source.bytes_done)


def _extraction(here: Layout, keys: list[str]) -> str:
    """SQL that takes the known keys out of each object and keeps the others together as JSON."""
    # One call for all keys parses each line once.
    paths = ", ".join(_path(source) for source in here.columns.values())
    taken = f"json_extract_string(raw, [{paths}])" if paths else "NULL"
    named = [f"taken[{at}] AS {name}" for at, name in enumerate(here.columns, 1)]
    rest = "NULL"
    if set(keys) - set(here.columns.values()):
        # A merge patch removes the keys that it sets to null (RFC 7396) and touches no other.
        patch = json.dumps(dict.fromkeys(here.columns.values()))
        rest = f"nullif(CAST(json_merge_patch(raw, {_quoted(patch)}) AS VARCHAR), '{{}}')"
    return f"""
        SELECT line, {", ".join([*named, f"CAST(rest AS VARCHAR) AS {c.REST}"])}
        FROM (
            SELECT line, {taken} AS taken, {rest} AS rest
            FROM parsed
            WHERE is_object
        )
    """


def _path(key: str) -> str:
    escaped = key.replace("\\", "\\\\").replace('"', '\\"')
    return _quoted(f'$."{escaped}"')


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _bad_lines(lines: pl.DataFrame) -> pl.DataFrame:
    looks_whole = pl.col(c.RAW).str.contains(r'^\s*[\["\d]')
    return lines.select(
        pl.col(c.LINE).cast(pl.Int64),
        pl.lit("invalid_json").alias(c.REASON_CODE),
        pl.when(looks_whole)
        .then(pl.lit("wanted one JSON object a line, got another JSON value"))
        .otherwise(pl.lit("is not a JSON object"))
        .alias(c.DETAIL),
        pl.col(c.RAW).str.slice(0, RAW_LENGTH),
    ).cast(BROKEN_SCHEMA)  # type: ignore[arg-type]


def _no_objects(source: Source, bad: pl.DataFrame) -> str:
    shown = bad[c.RAW][0][:60] if bad.height else ""
    if shown.startswith("["):
        return f"{source.path}: wanted one JSON object a line, got a JSON array; turn it into lines (jq -c '.[]')"
    if shown.startswith("{"):
        return (
            f"{source.path}: wanted one JSON object a line, got objects over several lines; write each on one (jq -c .)"
        )
    return f"{source.path}: wanted one JSON object a line, got {shown!r}; name the right file"
