"""How do online events and answers reach the store exactly once, whatever dies in between?"""

from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import polars as pl

from ingest import columns as c
from ingest.load import record_load
from ingest.load_reading import LoadReport, new_load_id
from ingest.merge_interactions import InteractionWriter
from ingest.moments import utc_now
from ingest.outbox import OnlineEvent, Outbox
from ingest.quality import Finding, LoadFacts, QualityConfig, findings

if TYPE_CHECKING:
    from ingest.store import Store

EVENTS_AT_ONCE = 100_000
ANSWERS_AT_ONCE = 20_000
"""Rows of requests and impressions: an impression with its features and reasons takes a kilobyte or two."""

_EVENT_SCHEMA: dict[str, Any] = {
    c.EVENT_ID: pl.String,
    c.USER_ID: pl.String,
    c.ITEM_ID: pl.String,
    c.KIND: pl.String,
    c.WEIGHT: pl.Float64,
    c.OCCURRED_AT: pl.Datetime("us"),
    c.REQUEST_ID: pl.String,
    c.SESSION_ID: pl.String,
}


@dataclass(frozen=True)
class Drained:
    """What one drain moved into the store."""

    events: int
    duplicates: int
    """Events that the store had already, as after a crash between the two databases."""
    requests: int
    impressions: int
    findings: tuple[Finding, ...] = field(default=(), compare=False)
    """What the quality of its events was checked for, raised or not; each check once a load."""


def drain(outbox: Outbox, store: "Store", quality: QualityConfig | None = None) -> Drained:
    """Move what is new into the store, exactly once: the store's keys decide, the watermark only saves work.

    Each step commits in the store before the outbox forgets or marks it. Events stay there until `Outbox.purge`,
    because a service needs them until its bundle covers them; answers go. What arrives meanwhile may wait for the next
    drain: where something always does, this one ends all the same. Each load of events is checked as `quality` says, by
    default as a `QualityConfig` does.
    """
    n_events = n_duplicates = n_requests = n_impressions = 0
    found: list[Finding] = []
    seq, more_follows = outbox.drained_seq(), True
    while more_follows:
        events, last = outbox.events_after(seq, EVENTS_AT_ONCE)
        if not events:
            break
        more_follows = len(events) == EVENTS_AT_ONCE and bool(outbox.events_after(last, limit=1)[0])
        report = _store_events(store, outbox, events, quality or QualityConfig(), more_follows=more_follows)
        outbox.events_drained(last)
        n_events += report.rows_loaded
        n_duplicates += report.rows_duplicate
        found += report.findings
        seq = last
    more_follows = True
    while more_follows:
        requests, impressions, last = outbox.answers(ANSWERS_AT_ONCE)
        if not last:
            break
        more_follows = requests.height + impressions.height >= ANSWERS_AT_ONCE
        new_requests, new_impressions = _store_answers(store, requests, impressions)
        outbox.answers_drained(last)
        n_requests += new_requests
        n_impressions += new_impressions
    return Drained(n_events, n_duplicates, n_requests, n_impressions, tuple(found))


def _store_events(
    store: "Store", outbox: Outbox, events: list[OnlineEvent], quality: QualityConfig, *, more_follows: bool
) -> LoadReport:
    started = utc_now()
    load_id = new_load_id(started)
    frame = pl.DataFrame([asdict(event) for event in events], schema=_EVENT_SCHEMA)
    frame = frame.with_columns(pl.col(c.WEIGHT).alias(c.GIVEN_WEIGHT), pl.lit(None, pl.String).alias(c.CONTEXT))
    with store.transaction() as connection:
        writer = InteractionWriter(connection, load_id=load_id, moment=started)
        writer.add(frame)
        n_new = writer.finish()
        facts = LoadFacts(
            load_id=load_id,
            table=writer.table,
            path=str(outbox.path),
            rows_read=len(events),
            rows_loaded=n_new,
            rows_duplicate=len(events) - n_new,
            rows_rejected=0,
            reasons={},
            started=started,
            first_arrival=writer.first_arrival,
            origin="drained",
            more_follows=more_follows,
        )
        report = LoadReport.of(facts, findings(connection, facts, quality))
        record_load(connection, report, sha256=None, started=started)
    return report


def _store_answers(store: "Store", requests: pl.DataFrame, impressions: pl.DataFrame) -> tuple[int, int]:
    """Insert what the store lacks: a request is known by its id, an impression by request and item."""
    counts = []
    with store.transaction() as connection:
        for table, rows, key in (
            ("impressions", impressions, (c.REQUEST_ID, c.ITEM_ID)),
            ("requests", requests, (c.REQUEST_ID,)),
        ):
            connection.register("arriving", rows.to_arrow())
            inserted = connection.execute(
                f"""
                INSERT INTO {table} ({", ".join(rows.columns)})
                SELECT {", ".join(rows.columns)}
                FROM arriving
                ANTI JOIN {table} USING ({", ".join(key)})
                """
            ).fetchone()
            connection.unregister("arriving")
            counts.append(int(inserted[0]) if inserted else 0)
    return counts[1], counts[0]
