"""Which tables has `online.sqlite`, and how does a file of an earlier version get what it lacks?"""

import sqlite3

from ingest import columns as c

# AUTOINCREMENT never gives a number twice, so that a reader who has seen `seq` has seen everything up to it.
SCHEMA = """
CREATE TABLE IF NOT EXISTS events (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    event_id TEXT NOT NULL UNIQUE,
    user_id TEXT NOT NULL,
    item_id TEXT NOT NULL,
    kind TEXT NOT NULL,
    weight REAL NOT NULL,
    occurred_at INTEGER NOT NULL,
    request_id TEXT,
    session_id TEXT
);
CREATE TABLE IF NOT EXISTS requests (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    request_id TEXT NOT NULL UNIQUE,
    user_id TEXT NOT NULL,
    occurred_at INTEGER NOT NULL,
    endpoint TEXT,
    k INTEGER,
    bundle_version TEXT,
    variant TEXT,
    degraded INTEGER,
    latency_ms REAL,
    comparison TEXT,
    asked TEXT
);
CREATE TABLE IF NOT EXISTS impressions (
    request_id TEXT NOT NULL,
    user_id TEXT NOT NULL,
    item_id TEXT NOT NULL,
    position INTEGER,
    score REAL,
    propensity REAL,
    sources TEXT,
    features BLOB,
    occurred_at INTEGER NOT NULL,
    reasons TEXT,
    placed_by TEXT,
    PRIMARY KEY (request_id, item_id)
);
CREATE TABLE IF NOT EXISTS watermarks (name TEXT PRIMARY KEY, seq INTEGER NOT NULL);
INSERT OR IGNORE INTO watermarks VALUES ('drained', 0), ('erasures', 0);
CREATE TABLE IF NOT EXISTS erasures_begun (
    receipt_id TEXT PRIMARY KEY,
    salt BLOB NOT NULL,
    digest BLOB NOT NULL,
    rows_by_place TEXT NOT NULL
);
"""

LOGGED_REQUEST = (
    c.REQUEST_ID,
    c.USER_ID,
    c.OCCURRED_AT,
    c.ENDPOINT,
    c.K,
    c.BUNDLE_VERSION,
    c.VARIANT,
    c.DEGRADED,
    c.LATENCY_MS,
    c.COMPARISON,
    c.ASKED,
)
"""What is told of an answer."""
LOGGED_IMPRESSION = (
    c.REQUEST_ID,
    c.USER_ID,
    c.ITEM_ID,
    c.POSITION,
    c.SCORE,
    c.PROPENSITY,
    c.SOURCES,
    c.FEATURES,
    c.OCCURRED_AT,
    c.REASONS,
    c.PLACED_BY,
)
"""What is told of an item in an answer."""


_LATER = (
    ("impressions", c.REASONS),
    ("impressions", c.PLACED_BY),
    ("requests", c.COMPARISON),
    ("requests", c.ASKED),
)
"""Columns of text that earlier versions had not, each with its table."""


def bring_up_to_date(connection: sqlite3.Connection) -> None:
    """Add what a file of an earlier version lacks; several processes may open it at once."""
    if _lacking(connection):
        connection.execute("BEGIN IMMEDIATE")
        for table, column in _lacking(connection):
            connection.execute(f"ALTER TABLE {table} ADD COLUMN {column} TEXT")
        connection.execute("COMMIT")


def _lacking(connection: sqlite3.Connection) -> list[tuple[str, str]]:
    """Return the columns, with their tables, that a file of an earlier version has not."""
    return [
        (table, column)
        for table, column in _LATER
        if column not in [row[1] for row in connection.execute(f"PRAGMA table_info({table})")]
    ]
