"""What did interactions look like before this load? Remembered in one row, so that nobody scans the past to know."""

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import duckdb

MAX_KINDS = 1_000
"""A log with more kinds than this uses the column for something else."""


@dataclass(frozen=True, kw_only=True)
class Past:
    """A summary of all interactions with `arrival < next_arrival`."""

    next_arrival: int
    newest: datetime | None
    """Newest occurred_at; None when there was no interaction."""
    kinds: frozenset[str]
    """At most MAX_KINDS of them."""


def recall(connection: "duckdb.DuckDBPyConnection", *, before: int) -> Past:
    """Summarise the interactions with `arrival < before`; reads only what came after the last summary kept.

    Rows that came by other ways than a checked load, such as over HTTP, are seen here too.
    """
    row = connection.execute("SELECT next_arrival, newest_at, kinds FROM interactions_so_far").fetchone()
    next_arrival, newest, kinds = row or (0, None, [])
    if next_arrival > before:  # an erasure or a repair has renumbered: the summary is of other rows
        next_arrival, newest, kinds = 0, None, []
    return extended(connection, Past(next_arrival=next_arrival, newest=newest, kinds=frozenset(kinds)), before=before)


def extended(connection: "duckdb.DuckDBPyConnection", past: Past, *, before: int) -> Past:
    """Add the interactions from `past.next_arrival` on, up to `before`, exclusive."""
    # Filters on arrival alone let zone maps skip all other rows.
    rows = "FROM interactions WHERE arrival >= $since AND arrival < $before"
    bounds = {"since": past.next_arrival, "before": before}
    (latest,) = connection.execute(f"SELECT max(occurred_at) {rows}", bounds).fetchone() or (None,)
    kinds = connection.execute(f"SELECT DISTINCT kind {rows} LIMIT {MAX_KINDS}", bounds).fetchall()
    known = [moment for moment in (past.newest, latest) if moment is not None]
    return Past(
        next_arrival=before,
        newest=max(known, default=None),
        kinds=frozenset(sorted(past.kinds | {kind for (kind,) in kinds})[:MAX_KINDS]),
    )


def remember(connection: "duckdb.DuckDBPyConnection", past: Past) -> None:
    """Keep the summary for the next load; it holds when the transaction does."""
    connection.execute("DELETE FROM interactions_so_far")
    connection.execute(
        "INSERT INTO interactions_so_far (next_arrival, newest_at, kinds) VALUES (?, ?, ?)",
        [past.next_arrival, past.newest, sorted(past.kinds)],
    )
