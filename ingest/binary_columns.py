"""What does a binary column of Parquet say? The text that it is, as older Spark and Hive write it, or nothing."""

import json
from typing import Any

import polars as pl

from ingest import columns as c
from ingest.batches import BROKEN_OF_USERS, ParsedRows
from ingest.mapping import Layout
from ingest.values import as_id


def as_utf8(frame: pl.DataFrame) -> pl.DataFrame:
    """Turn binary columns into strings, those inside lists and structs too; null where the bytes are not UTF-8.

    >>> as_utf8(pl.DataFrame({"device": [b"ios", bytes([255]), None]}))["device"].to_list()
    ['ios', None, None]
    """
    return frame.with_columns(
        _decoded(column, dtype) for column in frame if (dtype := _as_text(column.dtype)) != column.dtype
    )


def utf8_rows(raw: pl.DataFrame, layout: Layout, lines: pl.Series) -> ParsedRows:
    """Return rows whose binary columns are text, their lines, and the rows that a column of ours makes unreadable.

    Of those, line, reason_code, detail, raw and user_id are told. Other columns only become `attributes` or `context`:
    a picture there is left out and stops nothing.
    """
    read = as_utf8(raw)
    binary = {name: source for name, source in layout.columns.items() if raw[source].dtype == pl.Binary}
    lost = {name: raw[source].is_not_null() & read[source].is_null() for name, source in binary.items()}
    bad = pl.DataFrame(lost).select(pl.any_horizontal(pl.all())).to_series() if lost else pl.Series([False])
    if not bad.any():
        return ParsedRows(read, lines, pl.DataFrame(schema=BROKEN_OF_USERS))
    ours, unread = raw.filter(bad).select(*dict.fromkeys(layout.columns.values())), read.filter(bad)
    users = as_id(unread[layout.columns[c.USER_ID]]) if c.USER_ID in layout.columns else [None] * unread.height
    rejected = [
        (line, "invalid_utf8", _detail(row), json.dumps(_text(row, "replace"), ensure_ascii=False, default=str), user)
        for line, row, user in zip(lines.filter(bad), ours.iter_rows(named=True), users, strict=True)
    ]
    broken = pl.DataFrame(rejected, schema=BROKEN_OF_USERS, orient="row")
    return ParsedRows(read.filter(~bad), lines.filter(~bad), broken)


def _as_text(dtype: Any) -> Any:
    if dtype == pl.Binary:
        return pl.String()
    if isinstance(dtype, pl.List):
        return pl.List(_as_text(dtype.inner))
    if isinstance(dtype, pl.Array):
        return pl.Array(_as_text(dtype.inner), dtype.size)
    if isinstance(dtype, pl.Struct):
        return pl.Struct({field.name: _as_text(field.dtype) for field in dtype.fields})
    return dtype


def _decoded(values: pl.Series, dtype: Any) -> pl.Series:
    try:
        return values.cast(dtype)
    except pl.exceptions.PolarsError:  # one value that is not UTF-8 fails them all
        return pl.Series(values.name, [_text(value) for value in values.to_list()], dtype)


def _text(value: Any, errors: str = "strict") -> Any:
    if isinstance(value, bytes):
        try:
            return value.decode("utf-8", errors)
        except UnicodeDecodeError:
            return None
    if isinstance(value, list):
        return [_text(member, errors) for member in value]
    if isinstance(value, dict):
        return {name: _text(member, errors) for name, member in value.items()}
    return value


def _detail(row: dict[str, Any]) -> str:
    unreadable = ", ".join(name for name, value in row.items() if isinstance(value, bytes) and _text(value) is None)
    return f"{unreadable} is binary and not UTF-8; write it as text"
