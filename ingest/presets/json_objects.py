"""How are JSON objects read whose parts must be taken apart? By a shape: each key and the JSON type it is read as."""

import ast
import json
from collections.abc import Callable, Collection, Iterator, Mapping
from functools import partial
from typing import Any

import polars as pl

from ingest import columns as c
from ingest.batches import BROKEN_SCHEMA
from ingest.json_lines import IS_OBJECT
from ingest.json_members import only
from ingest.lines import Records, numbered_lines
from ingest.sources import Text
from ingest.sql_text import literal

TEXT = "VARCHAR"
"""A string, number or flag as text; anything nested as JSON."""
JSON = "JSON"
"""The value as it stands, quotation marks included."""

Shape = Mapping[str, Any]
"""Key -> TEXT, JSON, a list of one shape, or a shape: DuckDB's json_transform reads it."""


def json_objects(
    shape: Shape,
    *,
    kept: tuple[str, ...] = (),
    literals: bool = False,
    one_of: tuple[str, tuple[str, ...]] | None = None,
    unkept: Mapping[str, str] | None = None,
) -> Callable[[Text], Iterator[Records]]:
    """Make a reader of one JSON object a line; an array, on one line or one object a line, is taken apart.

    The rows have a column for each key of the shape, null where the object lacks it or has another type, and `rest`:
    those of the `kept` keys that the object has, as JSON. With `literals` a line may also be a Python literal.
    `one_of` names a key and the values that it can have; other objects are set aside. `unkept` tells of further values
    of that key what such objects are; they are counted and passed over.
    """

    def read(source: Text) -> Iterator[Records]:
        import duckdb

        names = (*shape, *kept)
        n_lines = 0
        with duckdb.connect(config={"memory_limit": "1GB"}) as connection:
            for chunk in source.chunks():
                lines, broken, n_new = numbered_lines(chunk, first_line=n_lines + 1)
                n_lines += n_new
                objects, refused = _objects(connection, lines, literals)
                connection.register("objects", objects.with_row_index("number").to_arrow())
                rows = pl.DataFrame(connection.sql(_taken_apart(shape, kept)).to_arrow_table())
                broken = pl.concat([broken, refused])
                passed_over: dict[str, int] = {}
                if one_of is not None:
                    key, values = one_of
                    fits = rows[key].is_in(values).fill_null(False)
                    known = fits | rows[key].is_in(list(unkept or {})).fill_null(False)
                    broken = pl.concat([broken, _strange(objects, ~known, key, values)])
                    passed_over = _counted(rows[key].filter(known & ~fits), unkept or {})
                    rows, objects = rows.filter(fits), objects.filter(fits)
                frame = rows.drop(c.LINE).cast({c.REST: pl.String})
                texts = partial(_texts, objects[c.RAW], names)
                yield Records(frame, rows[c.LINE], broken.sort(c.LINE), source.bytes_done, texts, passed_over)

    return read


def _texts(raw: pl.Series, names: Collection[str], positions: pl.Series) -> pl.Series:
    """Return objects as they stand, less the keys that are left out on purpose."""
    return pl.Series(c.RAW, [only(text, names) for text in raw.gather(positions)], dtype=pl.String)


def _counted(values: pl.Series, said: Mapping[str, str]) -> dict[str, int]:
    return {said[value]: n for value, n in values.value_counts().sort(values.name).iter_rows()}


def _objects(connection: Any, lines: pl.DataFrame, literals: bool) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Split lines into objects (line, raw), several to a line where it is an array, and lines that hold none."""
    # An array over several lines leaves brackets and commas around the objects; a whole one is taken apart below.
    trimmed = pl.col(c.RAW).str.strip_chars().str.strip_suffix(",")
    whole = trimmed.str.starts_with("[") & trimmed.str.ends_with("]")
    bare = pl.when(whole).then(trimmed).otherwise(trimmed.str.strip_prefix("[").str.strip_suffix("]"))
    written = lines.with_columns(bare).filter(pl.col(c.RAW) != "")
    connection.register("lines", written.to_arrow())
    judged = pl.DataFrame(
        connection.sql(
            f"""
            SELECT line, raw, {IS_OBJECT} AS is_object
            FROM lines
            ORDER BY line
            """
        ).to_arrow_table()
    )
    objects = judged.filter("is_object").select(c.LINE, c.RAW)
    others, refused = [], []
    for line, raw, _ in judged.filter(~pl.col("is_object")).iter_rows():
        found = _objects_within(raw, literals)
        if found is None:
            refused.append((line, "invalid_json", "is not a JSON object", raw))
        else:
            others += [(line, each) for each in found]
    if others:
        objects = pl.concat([objects, pl.DataFrame(others, schema=objects.schema, orient="row")]).sort(
            c.LINE, maintain_order=True
        )
    return objects, pl.DataFrame(refused, schema=BROKEN_SCHEMA, orient="row")


def _objects_within(raw: str, literals: bool) -> list[str] | None:
    """Return the objects of an array, or that of a Python literal, as JSON; None if it is neither."""
    try:
        value = ast.literal_eval(raw) if literals else json.loads(raw)
        members = value if isinstance(value, list) else [value]
        if literals or isinstance(value, list):
            objects = [
                json.dumps(each, ensure_ascii=False, allow_nan=False) for each in members if isinstance(each, dict)
            ]
            "".join(objects).encode("utf-8")  # half of a surrogate pair is text in Python only
            return objects or None
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        pass
    return None


def _strange(objects: pl.DataFrame, strange: pl.Series, key: str, values: tuple[str, ...]) -> pl.DataFrame:
    detail = f"wanted an object whose '{key}' is one of {', '.join(values)}"
    broken = objects.filter(strange).select(
        c.LINE, pl.lit("invalid_json").alias(c.REASON_CODE), pl.lit(detail).alias(c.DETAIL), c.RAW
    )
    return broken.cast(BROKEN_SCHEMA)  # type: ignore[arg-type]


def _taken_apart(shape: Shape, kept: tuple[str, ...]) -> str:
    rest = "NULL"
    if kept:
        members = ", ".join(f"{literal(key)}, json_extract(raw, {literal(_key_path(key))})" for key in kept)
        # Merging into an empty object leaves out the keys that are null (RFC 7396).
        rest = f"nullif(CAST(json_merge_patch('{{}}', json_object({members})) AS VARCHAR), '{{}}')"
    return f"""
        SELECT line, unnest(json_transform(raw, {literal(json.dumps(shape))})), {rest} AS {c.REST}
        FROM objects
        ORDER BY number
    """


def _key_path(key: str) -> str:
    """Write the JSON path of a key."""
    escaped = key.replace("\\", "\\\\").replace('"', '\\"')
    return f'$."{escaped}"'
