"""How does one reading of a file become rows of one table? Checked batch by batch, merged, compared with the past."""

import logging
import secrets
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import TYPE_CHECKING, Self

import polars as pl

from ingest import columns as c
from ingest.ahead import ahead
from ingest.batches import Batch, Reading
from ingest.checks import Checked, Checker, KindsConfig
from ingest.event_rules import DEFAULT_WEIGHT
from ingest.keyed_members import keyed_members, with_users
from ingest.mapping import Table
from ingest.merge_impressions import merge_impressions
from ingest.merge_interactions import InteractionWriter
from ingest.merge_items import merge_items
from ingest.quality import Finding, LoadFacts, QualityConfig, findings
from ingest.quarantine import REJECTED, Quarantine
from ingest.stage import Stage
from ingest.store import MEMORY_LIMIT, STREAMING_MEMORY_LIMIT, memory
from ingest.values import as_id, nulls

if TYPE_CHECKING:
    import duckdb

log = logging.getLogger(__name__)

BATCHES_AHEAD = 2
"""Checked batches that may wait while others are being written; one batch more waits to be checked."""

Users = Callable[[pl.Series], pl.Series]
"""Turns a column of user ids into what may be kept of them: pseudonyms."""


@dataclass(frozen=True, kw_only=True)
class LoadReport:
    """What became of one reading of a file: rows_read = rows_loaded + rows_duplicate + rows_rejected."""

    path: str
    table: Table | None
    """None for an empty file, or one that the preset passes over."""
    load_id: str | None = None
    """Its row in `loads`; None where there is none."""
    rows_read: int = 0
    rows_loaded: int = 0
    """New rows; for items new or changed ones, for impressions also ones now known to be clicked."""
    rows_duplicate: int = 0
    """Rows that the store had already, or that stood in the file twice."""
    rows_rejected: int = 0
    reasons: dict[str, int] = field(default_factory=dict)
    """Rejected rows by reason code."""
    rejected_before: int = 0
    """Rejected rows that an earlier load of the same file had kept: they are kept once."""
    passed_over: dict[str, int] = field(default_factory=dict)
    """Lines that the preset knows and that no table holds, by what they are; they are no rows."""
    unknown_kinds: dict[str, int] = field(default_factory=dict)
    """Rows by kind that the settings do not name; each counted 1."""
    without_text: int = 0
    """Items that have neither title, description nor categories."""
    findings: tuple[Finding, ...] = ()
    """What its quality was checked for, raised or not."""

    @classmethod
    def of(cls, facts: LoadFacts, findings: Iterable[Finding]) -> Self:
        """Tell what a load knows of itself, and what was found of its quality."""
        return cls(
            path=facts.path,
            table=facts.table,
            load_id=facts.load_id,
            rows_read=facts.rows_read,
            rows_loaded=facts.rows_loaded,
            rows_duplicate=facts.rows_duplicate,
            rows_rejected=facts.rows_rejected,
            reasons=facts.reasons,
            findings=tuple(findings),
        )


def new_load_id(moment: datetime) -> str:
    """Make an id that sorts by time and is shared with no other load."""
    return f"{moment:%Y%m%dT%H%M%S%f}-{secrets.token_hex(4)}"


def load_reading(
    connection: "duckdb.DuckDBPyConnection",
    reading: Reading,
    *,
    path: str,
    checker: Checker,
    quarantine: Quarantine,
    quality: QualityConfig,
    again: bool = False,
    users: Users | None = None,
    on_batch: Callable[[Batch, int], None] = lambda batch, n_read: None,
    started: datetime,
) -> LoadReport:
    """Check and merge one reading inside the caller's transaction, which lets DuckDB hold little while files stream.

    `again`: its rows were rejected before. `on_batch` is called after each batch with it and the number of rows read so
    far.
    """
    load_id = new_load_id(started)
    sink: InteractionWriter | Stage | None = None
    tally = _Tally()
    with closing(ahead(_checked(reading, checker, users), depth=BATCHES_AHEAD)) as batches:
        for batch, checked, rejected in batches:
            if sink is None:
                sink = _sink(connection, batch.table, load_id, started)
            quarantine.keep(rejected, load_id, batch.table)
            sink.add(_weighted(checked.good, checker.kinds) if batch.table == "interactions" else checked.good)
            tally.add(batch, checked, rejected)
            on_batch(batch, tally.n_read)
    if sink is None:
        return LoadReport(path=path, table=None, passed_over=dict(tally.passed_over))
    quarantine.finish_reading(tally.n_read, tally.reasons)
    n_loaded = _merge(connection, sink, load_id=load_id, moment=started, present=tally.present)
    facts = LoadFacts(
        load_id=load_id,
        table=sink.table,
        path=path,
        rows_read=tally.n_read,
        rows_loaded=n_loaded,
        rows_duplicate=tally.n_good - n_loaded,
        rows_rejected=tally.reasons.total(),
        reasons=dict(tally.reasons.most_common()),
        started=started,
        first_arrival=sink.first_arrival if isinstance(sink, InteractionWriter) else 0,
        origin="rejected rows" if again else "file",
    )
    log.info("loaded path=%s table=%s rows=%d rejected=%d", path, sink.table, n_loaded, facts.rows_rejected)
    return replace(
        LoadReport.of(facts, findings(connection, facts, quality)),
        passed_over=dict(tally.passed_over),
        unknown_kinds=dict(tally.unknown_kinds.most_common()),
        without_text=tally.without_text,
    )


@dataclass
class _Tally:
    """What the batches of one reading add up to."""

    n_read: int = 0
    n_good: int = 0
    without_text: int = 0
    present: frozenset[str] = frozenset()
    reasons: Counter[str] = field(default_factory=Counter)
    unknown_kinds: Counter[str] = field(default_factory=Counter)
    passed_over: Counter[str] = field(default_factory=Counter)

    def add(self, batch: Batch, checked: Checked, rejected: pl.DataFrame) -> None:
        self.n_read += batch.rows.height + batch.broken.height
        self.n_good += checked.good.height
        self.present |= batch.present
        self.reasons.update(dict(rejected[c.REASON_CODE].value_counts().iter_rows()))
        self.unknown_kinds.update(checked.unknown_kinds)
        self.passed_over.update(batch.passed_over)
        if batch.table == "items":
            self.without_text += _count_without_text(checked.good)


def _checked(reading: Reading, checker: Checker, users: Users | None) -> Iterator[tuple[Batch, Checked, pl.DataFrame]]:
    """Check batches; of what was read, only that of rejected rows is handed on."""
    with closing(ahead(reading.batches())) as batches:
        for batch in batches:
            rows = _with_pseudonyms(batch, users)
            checked = checker.check(batch.table, rows)
            rejected = pl.concat([_broken(batch, users), _rejected(batch, rows, checked, users)])
            yield replace(batch, as_read=None), checked, rejected


def _broken(batch: Batch, users: Users | None) -> pl.DataFrame:
    """Complete what the reader found to be no rows; under pseudonyms no text of it is kept, nor whose it is."""
    nothing = pl.lit(None, pl.String)
    if users is not None:
        rows = batch.broken.with_columns(nothing.alias(c.RAW), nothing.alias(c.USER_ID))
    elif c.USER_ID in batch.broken.columns:
        rows = batch.broken
    else:
        rows = batch.broken.with_columns(nothing.alias(c.USER_ID))
    return rows.with_columns(nothing.alias(c.LAYOUT)).select(*REJECTED)


def _rejected(batch: Batch, rows: pl.DataFrame, checked: Checked, users: Users | None) -> pl.DataFrame:
    """Complete what the checks found by the rows as their file has them, and by whose they are."""
    if checked.rejected.is_empty():
        return pl.DataFrame(schema=REJECTED)
    positions = checked.rejected[c.ROW]
    user_ids = nulls(c.USER_ID, pl.String, len(positions))
    if c.USER_ID in rows.columns:
        user_ids = as_id(rows[c.USER_ID].gather(positions))
    raw, as_read, layout = nulls(c.RAW, pl.String, len(positions)), batch.as_read, None
    if as_read is not None:
        raw = as_read.texts(positions)
        layout = as_read.layout.as_text() if as_read.layout else None
        if users is not None and batch.table != "items":
            raw = keyed_members(raw, as_read.user_columns[1:], users) if len(as_read.user_columns) > 1 else raw
            raw = with_users(raw, (*as_read.user_columns, *as_read.else_user), user_ids)
    as_kept = raw.alias(c.RAW), user_ids.alias(c.USER_ID), pl.lit(layout, pl.String).alias(c.LAYOUT)
    return checked.rejected.with_columns(*as_kept).select(*REJECTED)


def _sink(
    connection: "duckdb.DuckDBPyConnection", table: Table, load_id: str, moment: datetime
) -> "InteractionWriter | Stage":
    if table == "interactions":
        return InteractionWriter(connection, load_id=load_id, moment=moment)
    return Stage(connection, table)


def _merge(
    connection: "duckdb.DuckDBPyConnection",
    sink: "InteractionWriter | Stage",
    *,
    load_id: str,
    moment: datetime,
    present: frozenset[str],
) -> int:
    """Finish the load and return how many rows were new or changed something."""
    if isinstance(sink, InteractionWriter):
        return sink.finish()
    with memory(connection, MEMORY_LIMIT, then=STREAMING_MEMORY_LIMIT):  # sorts and groups of all that waits
        if sink.table == "items":
            n_new = merge_items(connection, load_id=load_id, moment=moment, present=present)
        else:
            n_new = merge_impressions(connection, load_id=load_id)
    sink.clear()
    return n_new


def _with_pseudonyms(batch: Batch, users: Users | None) -> pl.DataFrame:
    """Give users their pseudonyms, in the column that tells them and in further ones that came along as context."""
    rows, layout = batch.rows, batch.as_read.layout if batch.as_read else None
    if users is None or c.USER_ID not in rows.columns:
        return rows
    rows = rows.with_columns(users(as_id(rows[c.USER_ID])).alias(c.USER_ID))
    if layout is not None and layout.table == "interactions" and len(layout.user_columns) > 1:
        rows = rows.with_columns(keyed_members(rows[c.REST], layout.user_columns[1:], users))
    return rows


def _weighted(good: pl.DataFrame, kinds: KindsConfig) -> pl.DataFrame:
    """Give each row its own weight, else its kind's, else 1; keep what the log itself said for the row's identity."""
    if good[c.WEIGHT].null_count() == 0:
        return good.with_columns(pl.col(c.WEIGHT).alias(c.GIVEN_WEIGHT))
    of_kind = pl.col(c.KIND).replace_strict(kinds.weights, default=DEFAULT_WEIGHT, return_dtype=pl.Float64)
    return good.with_columns(
        pl.col(c.WEIGHT).alias(c.GIVEN_WEIGHT),
        pl.coalesce(c.WEIGHT, of_kind).alias(c.WEIGHT),
    )


def _count_without_text(items: pl.DataFrame) -> int:
    no_categories = pl.col(c.CATEGORIES).list.len().fill_null(0) == 0
    no_text = pl.col(c.TITLE).is_null() & pl.col(c.DESCRIPTION).is_null() & no_categories
    return items.filter(no_text).height
