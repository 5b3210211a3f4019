"""How do analysts get a copy that nothing ever locks? Copied, made durable, then renamed over the old one."""

import os
import subprocess
import sys
from pathlib import Path

from ingest.errors import StoreError
from ingest.store import Store
from ingest.workspace import Workspace


def publish(workspace: Workspace) -> Path:
    """Replace `analytics.duckdb` by a copy of the store as it is now; readers of the old copy keep it until they close.

    StoreError: there is no store yet, a job is writing it, or the disk is full; the old copy stays in each case.
    """
    target = workspace.analytics_path
    temporary = target.with_name(f".{target.name}.{os.getpid()}.new")
    # Opening it shows that no job is writing, folds the write-ahead log into the file, and keeps jobs out meanwhile.
    if not workspace.store_path.exists():
        raise StoreError(f"{workspace.store_path}: no store here yet; load data first with `readrank ingest FILE...`")
    with Store.open(workspace.store_path) as store:
        store.connection.execute("CHECKPOINT")
        try:
            _copy(workspace.store_path, temporary)
            _make_durable(temporary)
            temporary.replace(target)
            _make_durable(target.parent)
        except OSError as error:
            raise StoreError(
                f"{target}: the copy could not be written: {error.strerror}; the old copy stays"
            ) from error
        finally:
            temporary.unlink(missing_ok=True)
    return target


def _copy(source: Path, target: Path) -> None:
    """Copy in another process: closing the file in this one would drop DuckDB's lock on it (POSIX file locks)."""
    program = "import shutil, sys\ntry: shutil.copyfile(*sys.argv[1:])\nexcept OSError as e: sys.exit(e.errno or 5)"
    done = subprocess.run([sys.executable, "-I", "-c", program, str(source), str(target)], check=False)
    if done.returncode:
        raise OSError(done.returncode, os.strerror(abs(done.returncode)))


def _make_durable(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
