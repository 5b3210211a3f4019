"""What is old enough to go, and what must stay? Applied at the end of `ingest`, `train`, `nightly` and `refresh`."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Annotated

from ingest.bounds import MOST_DAYS, Bounds, Size, check_bounds
from ingest.bundle_folders import BundleFolder, bundle_folders, remove_bundle
from ingest.leftovers import clear_leftovers
from ingest.outbox import Outbox
from ingest.progress import Progress, silent
from ingest.store import Store
from ingest.workspace import Workspace

log = logging.getLogger(__name__)

_DaysOrForGood = (
    Annotated[float, Bounds(least=0, most=MOST_DAYS, way_out="leave it out to keep things for good")] | None
)
_DaysOrDefault = (
    Annotated[float, Bounds(least=0, most=MOST_DAYS, way_out=f"write {MOST_DAYS} to keep things for good")] | None
)


@dataclass(frozen=True, kw_only=True)
class RetentionConfig:
    """How many days things are kept, applied after ingest, train, nightly and refresh. A setting left out has its
    default: those without a number here keep things for good. For the others 500000 days means for good."""

    interactions_days: _DaysOrForGood = None
    """An interaction is removed from the store this many days after it happened; later trainings do not see it."""
    requests_days: _DaysOrForGood = None
    """Logged answers, and impressions from the service or from files, are removed after this many days."""
    rejected_days: _DaysOrForGood = None
    """A rejected row is removed this many days after its load."""
    bundles_days: _DaysOrForGood = None
    """A bundle that does not serve is removed this many days after it was written."""
    keep_bundles: Size = 3
    """The newest bundles, up to this many, stay however old they are; so do the one that serves and the one before."""
    erased_bundles_days: _DaysOrDefault = 30
    """Bundles trained with a forgotten person are removed this many days after the erasure, whatever keep_bundles
    says. One that still serves stays until another one does: train."""
    outbox_days: _DaysOrDefault = 30
    """An event leaves online.sqlite this many days after it happened, once it is in the store and covered by the
    bundle that serves, the one before it and all newer ones. A bundle covers what arrived before its training, or its
    refresh, and happened before the end of its history. An older bundle that is promoted again lacks the live events
    removed since."""

    def __post_init__(self) -> None:
        check_bounds(self)


@dataclass(frozen=True, kw_only=True)
class Retained:
    """What one pass removed."""

    rows: dict[str, int] = field(default_factory=dict)
    """Rows removed, by place; places without any are left out."""
    bundles: tuple[str, ...] = ()
    """Versions of the bundles removed."""
    leftovers: tuple[str, ...] = ()
    """Folders that killed jobs had left."""

    def __bool__(self) -> bool:
        return bool(self.rows or self.bundles or self.leftovers)


def retain(workspace: Workspace, config: RetentionConfig, now: datetime, *, progress: Progress = silent) -> Retained:
    """Remove what is older than its days: `moment < now - days` goes, the instant itself stays.

    Another job that has the store is waited for.

    Deleted rows are out of every query at once; their bytes stay in the store's file until DuckDB uses the place again.
    The outbox keeps what a bundle that may come to serve will ask for: what happened from the end of its history on, or
    arrived after that was read. What killed jobs have left goes at once, what a killed training has learned after a
    day.
    """
    leftovers = clear_leftovers(workspace, now=now)
    with Store.open_when_free(workspace.store_path, progress) as store:
        removed = _remove_bundles(workspace, config, erased_bundles(store), now)
        rows = _remove_rows(store, config, now)
        if removed:
            with store.transaction() as connection:
                connection.execute(
                    "UPDATE bundles SET status = 'retired' WHERE list_contains($versions, version)",
                    {"versions": list(removed)},
                )
    n_events = _purge(workspace, config, now)
    if n_events:
        rows["online.sqlite:events"] = n_events
    if rows or removed:
        log.info("retention removed rows=%s bundles=%s", rows, ",".join(removed))
    return Retained(rows=rows, bundles=removed, leftovers=leftovers)


def doomed(
    bundles: Sequence[BundleFolder], config: RetentionConfig, erased: dict[str, datetime], now: datetime
) -> list[BundleFolder]:
    """Choose the bundles to remove; none while nothing serves, because then any may be the one that should.

    `erased` tells of bundles trained with persons erased since: when the first of them was.
    """
    if not any(bundle.live for bundle in bundles):
        return []
    newest = {bundle.version for bundle in bundles[-config.keep_bundles :]} if config.keep_bundles else ()
    chosen = []
    for bundle in bundles:
        if bundle.live:
            continue
        promised = erased.get(bundle.version)
        due = promised is not None and _before(promised, config.erased_bundles_days, now)
        spared = bundle.previous or bundle.version in newest
        if due or (not spared and _before(bundle.created_at, config.bundles_days, now)):
            chosen.append(bundle)
    return chosen


def _before(moment: datetime, days: float | None, now: datetime) -> bool:
    return days is not None and moment < now - timedelta(days=days)


def erased_bundles(store: Store) -> dict[str, datetime]:
    """Return each bundle trained with somebody erased, with the moment of the first such erasure."""
    return dict(
        store.connection.execute(
            """
            SELECT version, min(erased_at)
            FROM (SELECT unnest(bundle_versions) AS version, erased_at FROM erasures)
            GROUP BY version
            """
        ).fetchall()
    )


def _remove_bundles(
    workspace: Workspace, config: RetentionConfig, erased: dict[str, datetime], now: datetime
) -> tuple[str, ...]:
    removed = []
    for bundle in doomed(bundle_folders(workspace.bundles_path), config, erased, now):
        remove_bundle(bundle)
        removed.append(bundle.version)
    return tuple(removed)


_OLD = {
    "interactions": "occurred_at < $before",
    "requests": "occurred_at < $before",
    "impressions": "occurred_at < $before",
    "rejected_rows": "load_id IN (SELECT load_id FROM loads WHERE finished_at < $before)",
}


def _remove_rows(store: Store, config: RetentionConfig, now: datetime) -> dict[str, int]:
    days = {
        "interactions": config.interactions_days,
        "requests": config.requests_days,
        "impressions": config.requests_days,
        "rejected_rows": config.rejected_days,
    }
    removed = {}
    with store.transaction() as connection:
        for table, kept in days.items():
            if kept is not None:
                gone = connection.execute(
                    f"DELETE FROM {table} WHERE {_OLD[table]}", {"before": now - timedelta(days=kept)}
                ).fetchone()
                if gone and gone[0]:
                    removed[table] = int(gone[0])
    return removed


def _purge(workspace: Workspace, config: RetentionConfig, now: datetime) -> int:
    """Forget drained events that are known to each bundle that may come to serve.

    It knows what arrived before its history was read and happened before the end of that.
    """
    if config.outbox_days is None or not workspace.outbox_path.exists():
        return 0
    before, up_to = now - timedelta(days=config.outbox_days), None
    bundles = _may_serve(bundle_folders(workspace.bundles_path))
    if bundles:
        before = min(before, *(bundle.known_until for bundle in bundles))
        up_to = min(bundle.outbox_seq for bundle in bundles)
    with Outbox.open(workspace.outbox_path) as outbox:
        return outbox.purge(before, up_to)


def _may_serve(bundles: Sequence[BundleFolder]) -> list[BundleFolder]:
    """Choose, of bundles oldest first, the one that serves, the one before it and all newer ones; all while none does.

    Promoting a bundle older than `previous` is allowed, but holds back no events: otherwise the first bundle ever
    trained would hold every event for good.
    """
    live = next((number for number, bundle in enumerate(bundles) if bundle.live), 0)
    return [bundle for number, bundle in enumerate(bundles) if number >= live or bundle.previous]
