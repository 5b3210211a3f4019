"""How do analysts get a copy that nothing ever locks? Copied, made durable, then renamed over the old one."""

import errno
import logging
import secrets
import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from ingest.copy_apart import copy_apart
from ingest.errors import StoreError, first_line
from ingest.progress import Progress, silent, unseen
from ingest.store import Store
from ingest.tell_bundles import tell_bundles
from ingest.whole_file import make_durable
from ingest.workspace import Workspace

log = logging.getLogger(__name__)


def publish(workspace: Workspace, *, patient: bool = False, progress: Progress = silent) -> Path:
    """Replace `analytics.duckdb` by a copy of the store as it is now; readers of the old copy keep it until they close.

    Which bundle serves is written into the store first: promoting one does not.
    StoreError: there is no store yet, a job is writing it, or the disk is full; the old copy stays in each case. A job
    that has the store is waited for where `patient`; `progress` is told of it.
    """
    import duckdb

    target = workspace.analytics_path
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(4)}.new")
    if not workspace.store_path.exists():
        raise StoreError(f"{workspace.store_path}: no store here yet; load data first with `readrank ingest FILE...`")
    # Holding it shows that no job is writing and that nobody else publishes, and keeps both out meanwhile.
    path = workspace.store_path
    with Store.open_when_free(path, progress) if patient else Store.open(path) as store:
        for unfinished in target.parent.glob(f".{target.name}.*.new"):
            unfinished.unlink()
        try:
            tell_bundles(store, workspace.bundles_path)
            store.connection.execute("CHECKPOINT")  # all into the one file that is copied
            copy_apart(workspace.store_path, temporary)
            # A log that a client left beside the old copy would make the new one unreadable for everybody.
            target.with_name(f"{target.name}.wal").unlink(missing_ok=True)
            temporary.replace(target)
            make_durable(target.parent)
        except (OSError, duckdb.Error) as error:
            raise StoreError(
                f"{target}: {_why(error, workspace.store_path)}; the store itself is whole and the old copy "
                "stays: mend that, then run `readrank publish`"
            ) from error
        finally:
            temporary.unlink(missing_ok=True)
    return target


@contextmanager
def publishing(
    workspace: Workspace, watched: Callable[[], AbstractContextManager[Progress]] = unseen
) -> Iterator[None]:
    """Publish what the block has written, also when it fails half-way: what it committed until then is in the store.

    After a block that succeeds, another job that has the store is waited for; `watched` opens what shows the wait.
    """
    try:
        yield
    except Exception:
        try:
            if _is_behind(workspace):
                publish(workspace)
        except StoreError as error:  # the block's own error matters more
            log.info("not published: %s", error)
        raise
    with watched() as progress:
        publish(workspace, patient=True, progress=progress)


_WRITTEN = """
    SELECT
        (SELECT count(*) FROM loads), (SELECT count(*) FROM requests), (SELECT count(*) FROM bundles),
        (SELECT count(*) FROM evaluations), (SELECT count(*) FROM erasures)
"""
"""Every job adds a row to one of these."""


def _is_behind(workspace: Workspace) -> bool:
    """Whether the store has what the copy lacks; nobody should wait for a large copy to hear of a mistyped name."""
    if not workspace.store_path.exists():
        return False
    seen = []
    for path in (workspace.store_path, workspace.analytics_path):
        if path.exists():
            with Store.open(path, read_only=True) as store, store.transaction() as connection:
                seen.append(connection.execute(_WRITTEN).fetchone())
        else:
            seen.append((0, 0, 0, 0, 0))
    return seen[0] != seen[1]


def _why(error: Exception, store: Path) -> str:
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        needed, free = store.stat().st_size / 1e9, shutil.disk_usage(store.parent).free / 1e9
        return f"the copy needs {needed:,.3f} GB, {free:,.3f} GB are free on the disk"
    said = error.strerror if isinstance(error, OSError) else first_line(error)
    return f"the copy could not be written: {said}"
