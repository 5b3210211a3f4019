"""What have killed jobs left behind? Folders of a kind that a job removes at its end, and that nobody owns any more.

Whatever is unfinished in a workspace has one of these names:

- `.training-*`, `.evaluation-*`, `.searching-*` and `.writing-*` (any file, also a key and the store of an erasure),
  `bundles/.*.tmp`, `bundles/.removed-*` and the folders of `training/`: each has a lock, and goes here, with any job.
- `.pseudonym.*.new`: what an earlier version left of a key; goes here, too.
- `.analytics.duckdb.*.new`: whoever publishes holds the store, and removes those of others (`ingest.publish`).
- `analytics/.*.new`: whoever writes Parquet owns that folder, and removes those of others (`ingest.publish_parquet`).
"""

import logging
import shutil
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from ingest.bundle_folders import REMOVED
from ingest.held import LOCK, held
from ingest.search_tables import SEARCHING
from ingest.whole_file import WRITING
from ingest.workspace import Workspace

log = logging.getLogger(__name__)

TRAINING: Final = ".training-"
EVALUATION: Final = ".evaluation-"
"""How folders begin that a training and an evaluation have meanwhile; `ingest.held.scratch` makes and owns them."""
RESUMED_WITHIN: Final = timedelta(days=1)
"""How long what a killed training has learned waits for the next one."""


def clear_leftovers(workspace: Workspace, *, now: datetime | None = None) -> tuple[str, ...]:
    """Remove what killed jobs left; returns the names of the folders, relative to the workspace.

    With `now`, what a training has learned until it was killed stays for `RESUMED_WITHIN`; without, it goes as well. A
    folder that a living process owns is spared, however old it is. One that cannot be removed is logged and stays.
    """
    patterns = [(workspace.root, f"{prefix}*") for prefix in (TRAINING, EVALUATION, SEARCHING)]
    patterns += [(workspace.bundles_path, ".*.tmp"), (workspace.bundles_path, f"{REMOVED}*")]
    patterns += [(place, f"{WRITING}*") for place in (workspace.root, workspace.bundles_path, workspace.tuning_path)]
    folders = [folder for where in patterns for folder in _folders(*where)]
    for key in workspace.root.glob(".pseudonym.*.new"):
        key.unlink(missing_ok=True)
    before = None if now is None else now - RESUMED_WITHIN
    return _clear(workspace, folders) + _clear(workspace, _folders(workspace.training_path, "*"), before=before)


def clear_trainings(workspace: Workspace, *, but: Path) -> tuple[str, ...]:
    """Remove what killed trainings have learned, but the folder `but`; returns names as `clear_leftovers` does."""
    return _clear(workspace, (folder for folder in _folders(workspace.training_path, "*") if folder != but))


def _clear(workspace: Workspace, folders: Iterable[Path], *, before: datetime | None = None) -> tuple[str, ...]:
    cleared = []
    for folder in sorted(set(folders)):
        with held(folder) as unowned:
            if not unowned or not folder.is_dir() or (before is not None and _last_changed(folder) >= before):
                continue
            try:
                shutil.rmtree(folder)
            except OSError as error:
                log.warning("left over, and cannot be removed: %s (%s)", folder, error)
            else:
                cleared.append(str(folder.relative_to(workspace.root)))
    if cleared:
        log.info("cleared leftovers=%s", ",".join(cleared))
    return tuple(cleared)


def _folders(parent: Path, pattern: str) -> Iterator[Path]:
    """Name the folders that may be left over, and those of which only the lock is."""
    yield from (path for path in parent.glob(pattern) if path.is_dir() and not path.is_symlink())
    yield from (path.with_name(path.name.removesuffix(LOCK)) for path in parent.glob(pattern + LOCK))


def _last_changed(folder: Path) -> datetime:
    """Return when anything in a folder was written last."""
    last = max(path.stat().st_mtime for path in (folder, *folder.rglob("*")))
    return datetime.fromtimestamp(last, UTC).replace(tzinfo=None)
