"""How does a workspace take in what happened? Files or rejected rows, then what came over HTTP; then the old may go."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ingest import load, replay
from ingest.checks import ChecksConfig, KindsConfig
from ingest.drain import Drained, drain
from ingest.load_reading import LoadReport
from ingest.mapping import ColumnsConfig
from ingest.moments import utc_now
from ingest.outbox import Outbox
from ingest.progress import Progress, silent
from ingest.pseudonyms import Pseudonyms
from ingest.quality import QualityConfig
from ingest.retention import Retained, RetentionConfig, retain
from ingest.store import Store
from ingest.workspace import Workspace


@dataclass(frozen=True, kw_only=True)
class TakenIn:
    """What became of everything that was taken in, and what went."""

    reports: list[LoadReport]
    """One for each file, or for each load that rejected rows are of."""
    drained: Drained | None
    """What came over HTTP; None where no service has run."""
    retained: Retained


def take_in(
    workspace: Workspace,
    files: Sequence[Path] = (),
    *,
    rejected: bool = False,
    preset: str | None = None,
    time_format: str | None = None,
    on_load: Callable[[LoadReport], None] = lambda report: None,
    progress: Progress = silent,
) -> TakenIn:
    """Load files, or with `rejected` check rejected rows again; drain the outbox; apply retention.

    All is done as the workspace's settings say, but for `time_format`, which goes before that under `[checks]`. What
    was loaded stays when a later file, draining or retention fails: `on_load` is called with the report of each file by
    then. Nothing is published: see `ingest.publish.publishing`.
    """
    checks = workspace.section("checks", ChecksConfig)
    if time_format:
        checks = replace(checks, time_format=time_format)
    columns = workspace.section("columns", ColumnsConfig)
    kinds = workspace.section("kinds", KindsConfig)
    quality = workspace.section("quality", QualityConfig)
    pseudonyms = Pseudonyms.of_workspace(workspace)
    users = pseudonyms.column if pseudonyms else None
    retention = workspace.section("retention", RetentionConfig)
    with Store.open(workspace.store_path) as store:
        if rejected:
            reports = replay.replay_rejected(
                store, columns=columns, checks=checks, kinds=kinds, quality=quality, users=users, progress=progress
            )
        else:
            reports = load.load_files(
                store,
                files,
                preset=preset,
                columns=columns,
                checks=checks,
                kinds=kinds,
                quality=quality,
                users=users,
                on_load=on_load,
                progress=progress,
            )
        drained, _ = drain_outbox(workspace, store)
    return TakenIn(
        reports=reports, drained=drained, retained=retain(workspace, retention, utc_now(), progress=progress)
    )


def drain_outbox(workspace: Workspace, store: Store) -> tuple[Drained | None, int]:
    """Take what came over HTTP into the store; return what that was, and the number of the last event that is there.

    None and 0 where no service has run.
    """
    if not workspace.outbox_path.exists():
        return None, 0
    with Outbox.open(workspace.outbox_path) as outbox:
        drained = drain(outbox, store, workspace.section("quality", QualityConfig))
        return drained, outbox.drained_seq()
