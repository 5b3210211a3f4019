"""What does it mean when DuckDB refuses the store's file, and what is to be done? One sentence."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ingest.errors import HeldStoreError, StoreError, first_line


@contextmanager
def translated(path: Path) -> Iterator[None]:
    """Turn DuckDB's errors about the file into one sentence that says what to do."""
    import duckdb

    try:
        yield
    except duckdb.Error as error:
        kind = HeldStoreError if _HELD in str(error) else StoreError
        raise kind(_sentence(path, error)) from error


_HELD = "Could not set lock"
_FULL = "the disk is full; the store is as before this job: free space and run it again"
_DAMAGED = "wanted a DuckDB store, got a damaged or foreign file; restore a copy, or move it away and load again"
_NOT_ALLOWED = "the system does not allow it; allow reading and writing it and its folder, or use another workspace"
_ADVICE = {
    "No space left": _FULL,
    "disk is full": _FULL,
    "not a valid DuckDB": _DAMAGED,
    "orrupt": _DAMAGED,
    "hecksum": _DAMAGED,
    "Read-only file system": _NOT_ALLOWED,
    "Permission denied": _NOT_ALLOWED,
    "storage version": "written by another version of DuckDB; install that version or load again",
}
"""What DuckDB's message contains -> what we say; the first that fits."""


def _sentence(path: Path, error: Exception) -> str:
    message = str(error)
    if _HELD in message:
        holder = message.partition("PID ")[2].partition(")")[0]
        who = f"process {holder}" if holder else "another process"
        return f"{path}: {who} has the store open; wait for that job to end (analysts read analytics.duckdb instead)"
    advice = next((said for part, said in _ADVICE.items() if part in message), None)
    return f"{path}: {advice}" if advice else f"{path}: DuckDB refused: {first_line(error)}; mend that and run it again"
