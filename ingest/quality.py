"""Is a load like those before it? A few cheap checks after each merge: told and kept, nothing is refused for them."""

import statistics
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any, Literal

from ingest.bounds import Bounds, Days, Fraction, Positive, Size, check_bounds
from ingest.interactions_so_far import MAX_KINDS, Span, look, recall, remember
from ingest.mapping import Table
from ingest.moments import utc_now
from ingest.usual_volume import alike_before, by_days, family

if TYPE_CHECKING:
    import duckdb


@dataclass(frozen=True, kw_only=True)
class QualityConfig:
    """When a load is reported as unlike those before it; nothing is refused for it."""

    volume_factor: Annotated[float, Bounds(over=1)] = 3.0
    """A file is reported when it has more rows than usual times this, or fewer than usual divided by this."""
    volume_loads: Positive = 10
    """Usual is the median of this many latest loads of files whose names differ only in dates and numbers; for
    events over HTTP, of this many latest days that brought any."""
    volume_min_loads: Size = 3
    """With fewer such loads or days nothing is usual yet."""
    max_unknown_item_share: Fraction = 0.1
    """Largest share of new rows that may name items that the catalogue lacks; 1 never reports."""
    late_days: Days = 30.0
    """An event is late when it is this many days older than the newest event known before the load."""
    max_late_share: Fraction = 0.05
    """Largest share of new events that may be late; 1 never reports."""
    max_future_share: Fraction = 0.001
    """Largest share of a file's rows that may lie in the future; those rows are rejected anyway."""
    max_new_kinds: Size = 0
    """Most kinds in a load that no earlier load had."""
    min_text_share: Fraction = 0.5
    """Smallest share of the catalogue that must have a title or a description; 0 never reports."""

    def __post_init__(self) -> None:
        check_bounds(self)


@dataclass(frozen=True, kw_only=True)
class LoadFacts:
    """What a load knows of itself when its rows are merged."""

    load_id: str
    table: Table
    path: str
    rows_read: int
    rows_loaded: int
    rows_duplicate: int
    rows_rejected: int
    reasons: dict[str, int]
    """Rejected rows by reason code."""
    started: datetime
    first_arrival: int = 0
    """For interactions: rows of this load have `arrival` from here on, all earlier ones lie below."""
    origin: Literal["file", "rejected rows", "drained"] = "file"
    """What it was read from."""
    more_follows: bool = False
    """Whether the drain that brought it goes on."""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One check of one load."""

    check: str
    value: float | None
    """What was measured; None when there was nothing to measure or to compare with."""
    threshold: float
    raised: bool
    message: str
    """One sentence, also when all is well."""


def findings(connection: "duckdb.DuckDBPyConnection", facts: LoadFacts, config: QualityConfig) -> list[Finding]:
    """Check a load inside its transaction, after its merge; keep every result in `quality_findings` and return it.

    The cost follows the load's own rows, however many the store holds: they are found by their arrival numbers, and
    what must be known of the past is remembered.
    """
    found = [_volume(connection, facts, config)]
    if facts.table == "items":
        found.append(_text_coverage(connection, config))
    else:
        found += [_unknown_items(connection, facts, config), _future_events(facts, config)]
    if facts.table == "interactions":
        past = recall(connection, before=facts.first_arrival)
        new, kinds = look(connection, first=facts.first_arrival, before=facts.first_arrival + facts.rows_loaded)
        found += [_late_events(connection, facts, config, past), _new_kinds(kinds, config, past)]
        remember(connection, past.followed_by(new))
    moment = utc_now()
    connection.executemany(
        """
        INSERT INTO quality_findings (load_id, check_name, value, threshold, raised, message, checked_at)
        VALUES (?, ?, ?, ?, ?, ?, ?)
        """,
        [[facts.load_id, each.check, each.value, each.threshold, each.raised, each.message, moment] for each in found],
    )
    return found


def _volume(connection: "duckdb.DuckDBPyConnection", facts: LoadFacts, config: QualityConfig) -> Finding:
    """Compare with the median, which one odd load among the earlier ones does not move."""
    limit, n_rows, feed = config.volume_factor, facts.rows_read, f"files named like {family(facts.path)}"
    earlier = alike_before(connection, facts.path, facts.table, facts.load_id)
    alike = [rows for rows, _ in earlier]
    if facts.origin == "drained":
        if facts.more_follows:
            return _untold("volume", limit, "the drain goes on")
        today, alike = by_days(earlier, facts.started)
        n_rows, feed = n_rows + today, f"days on which events came from {family(facts.path)}"
    alike = alike[: config.volume_loads]
    usual = statistics.median(alike) if len(alike) >= max(1, config.volume_min_loads) else 0
    if not usual:
        return _untold("volume", limit, f"nothing is usual yet for {feed}")
    ratio = n_rows / usual
    return Finding(
        check="volume",
        value=ratio,
        threshold=limit,
        raised=not 1 / limit <= ratio <= limit,
        message=f"{n_rows:,} rows are {ratio:.3g} times the usual {usual:,.0f}, the median of the last "
        f"{len(alike)} {feed}",
    )


def _text_coverage(connection: "duckdb.DuckDBPyConnection", config: QualityConfig) -> Finding:
    """Judge the whole catalogue as it is after the load: a file may tell other columns only."""
    n_items, n_told = _row(
        connection, "SELECT count(*), count(*) FILTER (title IS NOT NULL OR description IS NOT NULL) FROM items"
    )
    share = n_told / n_items if n_items else None
    return Finding(
        check="text_coverage",
        value=share,
        threshold=config.min_text_share,
        raised=share is not None and share < config.min_text_share,
        message=f"{n_told:,} of {n_items:,} items of the catalogue have a title or a description",
    )


def _unknown_items(connection: "duckdb.DuckDBPyConnection", facts: LoadFacts, config: QualityConfig) -> Finding:
    limit = config.max_unknown_item_share
    if not facts.rows_loaded:
        return _untold("unknown_items", limit, "no row is new")
    if connection.execute("SELECT 1 FROM items LIMIT 1").fetchone() is None:
        return _untold("unknown_items", limit, "there is no catalogue yet to compare items with")
    # Zone maps of arrival leave all earlier rows unread; impressions have none, their load_id is one value a block.
    by_arrival = facts.table == "interactions"
    is_new, bound = ("arrival >= ?", facts.first_arrival) if by_arrival else ("load_id = ?", facts.load_id)
    n_new, n_known = _row(
        connection,
        f"""
        SELECT count(*), count(items.item_id)
        FROM (SELECT item_id FROM {facts.table} WHERE {is_new}) AS new
        LEFT JOIN items ON items.item_id = new.item_id
        """,
        bound,
    )
    return _share(
        "unknown_items", n_new - n_known, n_new, limit, "new rows name items that the catalogue does not hold"
    )


def _future_events(facts: LoadFacts, config: QualityConfig) -> Finding:
    limit = config.max_future_share
    if facts.origin == "rejected rows":
        return _untold("future_events", limit, "that was done when the file of these rows was loaded")
    future = facts.reasons.get("future_time", 0)
    return _share("future_events", future, facts.rows_read, limit, "rows lie in the future and were rejected")


def _late_events(
    connection: "duckdb.DuckDBPyConnection", facts: LoadFacts, config: QualityConfig, past: Span
) -> Finding:
    limit = config.max_late_share
    if past.newest is None or not facts.rows_loaded:
        return _untold("late_events", limit, "no event was known before" if facts.rows_loaded else "no row is new")
    (late,) = _row(
        connection,
        "SELECT count(*) FROM interactions WHERE arrival >= ? AND occurred_at < ?",
        facts.first_arrival,
        past.newest - timedelta(days=config.late_days),
    )
    said = (
        f"new events are over {config.late_days:g} days older than the newest known before, of {past.newest:%Y-%m-%d}"
    )
    return _share("late_events", late, facts.rows_loaded, limit, said)


def _new_kinds(counts: dict[str, int], config: QualityConfig, past: Span) -> Finding:
    limit = config.max_new_kinds
    if not past.kinds:
        return _untold("new_kinds", limit, "no event was known before")
    if len(past.kinds) >= MAX_KINDS:
        return _untold("new_kinds", limit, f"the log has {MAX_KINDS:,} kinds or more; new ones are no news")
    new = [(kind, n_rows) for kind, n_rows in counts.items() if kind not in past.kinds]
    named = [f"'{kind[:40]}' ({n_rows:,} row{'s' * (n_rows != 1)})" for kind, n_rows in new[:5]]
    if len(new) > len(named):
        named.append(f"and {len(new) - len(named):,} more")
    return Finding(
        check="new_kinds",
        value=len(new),
        threshold=limit,
        raised=len(new) > limit,
        message=f"kinds that no earlier load had: {', '.join(named)}" if new else "every kind was known before",
    )


def _untold(check: str, threshold: float, why: str) -> Finding:
    return Finding(check=check, value=None, threshold=threshold, raised=False, message=f"not judged: {why}")


def _share(check: str, part: int, whole: int, limit: float, said: str) -> Finding:
    share = part / whole if whole else None
    return Finding(
        check=check,
        value=share,
        threshold=limit,
        raised=share is not None and share > limit,
        message=f"{part:,} of {whole:,} {said}",
    )


def _row(connection: "duckdb.DuckDBPyConnection", query: str, *bound: object) -> tuple[Any, ...]:
    row: tuple[Any, ...] | None = connection.execute(query, list(bound)).fetchone()
    assert row is not None
    return row
