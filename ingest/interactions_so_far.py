"""What did interactions look like before this load? Remembered in one row, so that nobody scans the past to know."""

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import duckdb

MAX_KINDS = 1_000
"""A log with more kinds than this uses the column for something else."""


@dataclass(frozen=True, kw_only=True)
class Span:
    """Interactions that follow each other in arrival, summed up."""

    next_arrival: int
    """Exclusive end: arrivals in it are lower."""
    newest: datetime | None = None
    """Newest occurred_at; None when there was no interaction."""
    kinds: frozenset[str] = frozenset()
    """At most MAX_KINDS of them."""

    def followed_by(self, later: "Span") -> "Span":
        """Join both into one."""
        return Span(
            next_arrival=later.next_arrival,
            newest=max((moment for moment in (self.newest, later.newest) if moment is not None), default=None),
            kinds=frozenset(sorted(self.kinds | later.kinds)[:MAX_KINDS]),
        )


def recall(connection: "duckdb.DuckDBPyConnection", *, before: int) -> Span:
    """Sum up the interactions with `arrival < before`; reads only what came after the last summary kept.

    Rows that came by other ways than a checked load, as all that was drained did once, are seen here too.
    """
    row = connection.execute("SELECT next_arrival, newest_at, kinds FROM interactions_so_far").fetchone()
    past = Span(next_arrival=0)
    if row and row[0] <= before:  # else the last arrivals were erased and given away again
        past = Span(next_arrival=row[0], newest=row[1], kinds=frozenset(row[2]))
    since, _ = look(connection, first=past.next_arrival, before=before)
    return past.followed_by(since)


def look(connection: "duckdb.DuckDBPyConnection", *, first: int, before: int) -> tuple[Span, dict[str, int]]:
    """Sum up the interactions with `first <= arrival < before`; also tell the rows of each kind, most first."""
    # A filter on arrival alone lets zone maps skip all other rows.
    rows = connection.execute(
        """
        SELECT kind, count(*) AS n_rows, max(max(occurred_at)) OVER ()
        FROM interactions
        WHERE arrival >= $first AND arrival < $before
        GROUP BY kind
        ORDER BY n_rows DESC, kind
        LIMIT $limit
        """,
        {"first": first, "before": before, "limit": MAX_KINDS},
    ).fetchall()
    counts = {kind: n_rows for kind, n_rows, _ in rows}
    return Span(next_arrival=before, newest=rows[0][2] if rows else None, kinds=frozenset(counts)), counts


def remember(connection: "duckdb.DuckDBPyConnection", past: Span) -> None:
    """Keep the summary for the next load; it holds when the transaction does."""
    connection.execute("DELETE FROM interactions_so_far")
    connection.execute(
        "INSERT INTO interactions_so_far (next_arrival, newest_at, kinds) VALUES (?, ?, ?)",
        [past.next_arrival, past.newest, sorted(past.kinds)],
    )
