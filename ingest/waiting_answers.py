"""Which answers wait in the outbox for the next drain? Whole ones, oldest first, not more than memory likes."""

import json
import sqlite3
from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa

from ingest import columns as c
from ingest.outbox_tables import LOGGED_IMPRESSION, LOGGED_REQUEST

_TYPES: dict[str, Any] = {
    c.REQUEST_ID: pl.String,
    c.USER_ID: pl.String,
    c.ITEM_ID: pl.String,
    c.OCCURRED_AT: pl.Datetime("us"),
    c.ENDPOINT: pl.String,
    c.K: pl.Int32,
    c.BUNDLE_VERSION: pl.String,
    c.VARIANT: pl.String,
    c.DEGRADED: pl.Boolean,
    c.LATENCY_MS: pl.Float64,
    c.COMPARISON: pl.String,
    c.ASKED: pl.String,
    c.POSITION: pl.Int32,
    c.SCORE: pl.Float64,
    c.PROPENSITY: pl.Float64,
    c.SOURCES: pl.List(pl.String),
    c.FEATURES: pl.List(pl.Float32),
    c.REASONS: pl.String,
    c.PLACED_BY: pl.String,
}


def oldest_answers(connection: sqlite3.Connection, limit: int) -> tuple[pl.DataFrame, pl.DataFrame, int]:
    """Return the oldest logged requests, their impressions, and the number of the last request, 0 when none waits.

    Whole answers only: the last one returned is the one that reaches `limit` rows. Columns are those of
    `LOGGED_REQUEST` and `LOGGED_IMPRESSION`.
    """
    last = _last_within(connection, limit)
    requests = connection.execute(
        f"SELECT {', '.join(LOGGED_REQUEST)} FROM requests WHERE seq <= ? ORDER BY seq", (last,)
    ).fetchall()
    shown = connection.execute(
        f"""
        SELECT {", ".join(LOGGED_IMPRESSION)}
        FROM impressions
        WHERE request_id IN (SELECT request_id FROM requests WHERE seq <= ?)
        """,
        (last,),
    ).fetchall()
    return _frame(LOGGED_REQUEST, requests), _frame(LOGGED_IMPRESSION, shown), last


def _last_within(connection: sqlite3.Connection, limit: int) -> int:
    """Count rows answer by answer, so that a long queue is not read to its end for its beginning."""
    last = n_rows = 0
    cursor = connection.execute(
        """
        SELECT seq, (SELECT count(*) FROM impressions WHERE impressions.request_id = requests.request_id)
        FROM requests
        ORDER BY seq
        """
    )
    while n_rows < limit and (row := cursor.fetchone()):
        last, n_rows = row[0], n_rows + 1 + row[1]
    cursor.close()
    return last


def _frame(names: Sequence[str], rows: Sequence[tuple[Any, ...]]) -> pl.DataFrame:
    columns = dict(zip(names, zip(*rows, strict=True), strict=True)) if rows else dict.fromkeys(names, ())
    return pl.DataFrame([_column(name, values, _TYPES[name]) for name, values in columns.items()])


def _column(name: str, values: Sequence[Any], dtype: Any) -> pl.Series:
    if name == c.FEATURES:
        return _lists_of_floats(name, values)
    if name == c.SOURCES:
        return pl.Series(name, [None if value is None else json.loads(value) for value in values], dtype)
    if name == c.OCCURRED_AT:
        return pl.Series(name, values, pl.Int64).cast(dtype)
    if dtype == pl.Boolean:
        return pl.Series(name, values, pl.Int64).cast(dtype)
    return pl.Series(name, values, dtype)


def _lists_of_floats(name: str, blobs: Sequence[bytes | None]) -> pl.Series:
    """Take the stored bytes as they are: as Python's floats they would be eight times as large."""
    lengths = [len(blob or b"") // 4 for blob in blobs]
    numbers = np.frombuffer(b"".join(blob or b"" for blob in blobs), dtype=np.float32)
    lists = pa.LargeListArray.from_arrays(
        np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)]),
        numbers,
        mask=pa.array([blob is None for blob in blobs], pa.bool_()),
    )
    return pl.Series(name, lists)
