"""What have killed jobs left behind? Folders of a kind that a job removes at its end, and that nobody owns any more."""

import logging
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from ingest.bundle_folders import REMOVED
from ingest.held import LOCK, held
from ingest.search_tables import SEARCHING
from ingest.workspace import Workspace

log = logging.getLogger(__name__)

TRAINING: Final = ".training-"
EVALUATION: Final = ".evaluation-"
"""How folders begin that a training and an evaluation have meanwhile; `ingest.held.scratch` makes and owns them."""


def clear_leftovers(workspace: Workspace) -> tuple[str, ...]:
    """Remove what killed jobs left; returns the names of the folders, relative to the workspace.

    A folder that a living process owns is spared, however old it is. One that cannot be removed is logged and stays.
    """
    cleared = []
    for folder in sorted(_candidates(workspace)):
        with held(folder) as unowned:
            if not unowned or not folder.is_dir():
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


def _candidates(workspace: Workspace) -> Iterator[Path]:
    """Name the folders that may be left over, and those of which only the lock is."""
    patterns = [(workspace.root, f"{prefix}*") for prefix in (TRAINING, EVALUATION, SEARCHING)]
    patterns += [(workspace.bundles_path, ".*.tmp"), (workspace.bundles_path, f"{REMOVED}*")]
    for parent, pattern in patterns:
        yield from (path for path in parent.glob(pattern) if path.is_dir() and not path.is_symlink())
        yield from (path.with_name(path.name.removesuffix(LOCK)) for path in parent.glob(pattern + LOCK))
