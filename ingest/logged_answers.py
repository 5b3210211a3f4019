"""How does the outbox keep an answer until the next drain, and forget it afterwards?"""

import json
import sqlite3
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ingest import columns as c
from ingest.moments import to_microseconds
from ingest.outbox_tables import LOGGED_IMPRESSION, LOGGED_REQUEST


def write_answer(cursor: sqlite3.Cursor, request: Mapping[str, Any], impressions: Sequence[Mapping[str, Any]]) -> None:
    """Write a row of `requests` and its rows of `impressions`; what lacks a column has nothing there."""
    _insert(cursor, "requests", LOGGED_REQUEST, [request])
    _insert(cursor, "impressions", LOGGED_IMPRESSION, impressions)


def delete_answers(cursor: sqlite3.Cursor, up_to: int) -> None:
    """Delete the requests up to number `up_to`, that one too, and their impressions."""
    cursor.execute(
        "DELETE FROM impressions WHERE request_id IN (SELECT request_id FROM requests WHERE seq <= ?)", (up_to,)
    )
    cursor.execute("DELETE FROM requests WHERE seq <= ?", (up_to,))


def _insert(cursor: sqlite3.Cursor, table: str, columns: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> None:
    cursor.executemany(
        f"INSERT OR IGNORE INTO {table} ({', '.join(columns)}) VALUES ({', '.join('?' * len(columns))})",
        [[_stored(name, row.get(name)) for name in columns] for row in rows],
    )


def _stored(name: str, value: Any) -> Any:
    """Turn a value into what SQLite holds; features may be NaN, which JSON has not."""
    if value is None:
        return None
    if name == c.OCCURRED_AT:
        return to_microseconds(value)
    if name == c.FEATURES:
        return np.asarray(value, np.float32).tobytes()
    if name in {c.SOURCES, c.REASONS}:
        return json.dumps(list(value))
    if name in {c.COMPARISON, c.ASKED}:
        return json.dumps(value)
    return value
