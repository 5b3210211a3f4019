"""How is a person forgotten, and what stays until when? From every place that we write, with one receipt.

Killed at any moment, each place is as before or after, and a second run does the rest:

1. `online.sqlite`: first, so that no drain can bring the rows back; the note that an erasure has begun lies there.
2. `readrank.duckdb`, written anew; the receipt stands in the new file, so that it comes with its renaming, once.
3. `analytics.duckdb` and `analytics/`, published anew from it; what killed jobs left goes.
4. The note goes. What is left names the person only in bundles, until they are replaced.
"""

import json
import logging
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from ingest.bundle_folders import bundle_folders, holds
from ingest.erase_outbox import begin_in_outbox, finish_in_outbox
from ingest.erase_store import rewrite_without, settle
from ingest.errors import ErasureError
from ingest.leftovers import clear_leftovers
from ingest.mentions import Person
from ingest.moments import utc_now
from ingest.progress import Progress, silent
from ingest.pseudonyms import Pseudonyms
from ingest.publish import publish
from ingest.publish_parquet import publish_parquet
from ingest.retention import RetentionConfig
from ingest.workspace import Workspace

if TYPE_CHECKING:
    import duckdb

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class BundleWithPerson:
    """A bundle that was trained with the person and is still there."""

    version: str
    live: bool
    """Whether it serves: then it goes only after another one does."""
    gone_by: datetime | None
    """When retention removes it, unless it still serves then; None when no setting removes it."""


@dataclass(frozen=True, kw_only=True)
class Forgotten:
    """What one erasure did."""

    receipt_id: str | None
    """Number of the row in `erasures`; None when nothing was held under that id."""
    rows: dict[str, int] = field(default_factory=dict)
    """Rows removed, by place: tables of the store, and those of `online.sqlite:`."""
    bundles: tuple[BundleWithPerson, ...] = ()
    completed: bool = False
    """Whether this run completed one that had been broken off."""
    leftovers: tuple[str, ...] = ()
    """Folders that killed jobs had left, whoever is in them."""


def person_of(workspace: Workspace, user_id: str) -> Person:
    """Return the ids under which a user is written down here; ErasureError for an id that nobody can have.

    Blanks around the id go, as they do in files and over HTTP: nobody is stored, or made a pseudonym of, with them.
    """
    user_id = user_id.strip()
    if not user_id:
        raise ErasureError("USER: wanted the id of a user, got only blanks; give the id as it stands in the logs")
    pseudonyms = Pseudonyms.of_workspace(workspace)
    return Person((pseudonyms.of(user_id), user_id) if pseudonyms else (user_id,))


def forget(workspace: Workspace, person: Person, config: RetentionConfig, *, progress: Progress = silent) -> Forgotten:
    """Remove a person from outbox, store and published copies; StoreError or OutboxError: run it again.

    Services may run meanwhile; jobs that write the store may not. What a service accepts from the person afterwards is
    new. Old logs bring the person back when they are loaded again.
    """
    # Whatever stands in the way of the store should be known before anything is removed.
    settle(workspace.store_path)
    now = utc_now()
    bundles = [bundle for bundle in bundle_folders(workspace.bundles_path) if holds(bundle, person.ids)]
    begun = begin_in_outbox(workspace.outbox_path, person.ids)
    log.info("erasure begun receipt_id=%s again=%s", begun.receipt_id, begun.again)
    with_person = tuple(
        BundleWithPerson(version=bundle.version, live=bundle.live, gone_by=gone_by(now, config)) for bundle in bundles
    )
    receipt = _Receipt(begun.receipt_id, now, dict(begun.rows), with_person)
    rewrite_without(workspace.store_path, person, receipt.sign, progress=progress)
    publish(workspace)
    if workspace.parquet_path.is_dir():
        publish_parquet(workspace, keep_previous=False, progress=progress)
    leftovers = clear_leftovers(workspace)
    finish_in_outbox(workspace.outbox_path, begun.receipt_id)
    log.info("erasure complete receipt_id=%s rows=%d", begun.receipt_id, sum(receipt.rows.values()))
    return Forgotten(
        receipt_id=begun.receipt_id if receipt.signed else None,
        rows={place: rows for place, rows in receipt.rows.items() if rows},
        bundles=with_person,
        completed=begun.again,
        leftovers=leftovers,
    )


@dataclass
class _Receipt:
    """The row of `erasures`: written into the new store before it takes the old one's place."""

    receipt_id: str
    erased_at: datetime
    rows: dict[str, int]
    bundles: tuple[BundleWithPerson, ...]
    signed: bool = False

    def sign(self, connection: "duckdb.DuckDBPyConnection", database: str, in_store: dict[str, int]) -> None:
        """Write the receipt, once; rows found by a second run are added to it. No person, no receipt."""
        table = f"{database}.main.erasures"
        for place, rows in in_store.items():
            self.rows[place] = self.rows.get(place, 0) + rows
        known = connection.execute(
            f"SELECT rows_by_place FROM {table} WHERE receipt_id = ?", [self.receipt_id]
        ).fetchone()
        if known:
            before = json.loads(known[0])
            self.rows = {**before, **self.rows, **{place: before.get(place, 0) + n for place, n in in_store.items()}}
            connection.execute(
                f"UPDATE {table} SET rows_erased = ?, rows_by_place = ? WHERE receipt_id = ?",
                [sum(self.rows.values()), json.dumps(self.rows), self.receipt_id],
            )
        elif any(self.rows.values()) or not self._promised(connection, table):
            versions = [bundle.version for bundle in self.bundles]
            connection.execute(
                f"""
                INSERT INTO {table}
                    (receipt_id, erased_at, rows_erased, rows_by_place, bundle_versions, bundles_gone_by)
                VALUES (?, ?, ?, ?, ?, ?)
                """,
                [
                    self.receipt_id,
                    self.erased_at,
                    sum(self.rows.values()),
                    json.dumps(self.rows),
                    versions,
                    self._gone_by(),
                ],
            )
        else:
            return
        self.signed = True

    def _promised(self, connection: "duckdb.DuckDBPyConnection", table: str) -> bool:
        """Whether an earlier receipt names every bundle that holds the person."""
        named = connection.execute(f"SELECT DISTINCT unnest(bundle_versions) FROM {table}").fetchall()
        return {bundle.version for bundle in self.bundles} <= {version for (version,) in named}

    def _gone_by(self) -> datetime | None:
        moments = [bundle.gone_by for bundle in self.bundles]
        dated = [moment for moment in moments if moment is not None]
        unsure = len(dated) < len(moments) or any(bundle.live for bundle in self.bundles)
        return None if unsure else max(dated, default=None)


def gone_by(erased_at: datetime, config: RetentionConfig) -> datetime | None:
    """Return when bundles trained with somebody erased are to be gone; None when no setting says so."""
    days = config.erased_bundles_days
    return None if days is None else erased_at + timedelta(days=days)
