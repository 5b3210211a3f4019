"""What is left of a job that is killed? Starts a job, kills it at a chosen moment, and tells how far it had come.

A victim is a process that has imported everything and waits: the clock starts when it gets its job, so that kills fall
into the job and not into Python's start. It says each phase as it enters it, on a pipe that outlives it.

    python benchmarks/killing.py        is what a victim runs; it reads its job from standard input
"""

import sys
from pathlib import Path

# as a script, this file's own folder comes first and would hide the room `ingest` behind benchmarks/ingest.py
if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import hashlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import duckdb

    from ingest.store import Store

Mark = Callable[[str], None]
Snapshot = dict[str, tuple[int, str]]
"""Table -> number of rows, and a fingerprint of what they say; `order` -> the same of interactions in their order."""

VOLATILE = {"load_id", "ingested_at", "started_at", "finished_at", "checked_at", "updated_at", "arrival"}
"""Columns that differ between two runs of the same job; the order that `arrival` gives is looked at instead."""


@dataclass(frozen=True)
class Ended:
    """How a victim ended."""

    killed: bool
    """False when it had finished before its moment came."""
    phase: str
    """The last phase that it entered."""
    entered: dict[str, float]
    """Seconds from getting its job to entering each phase."""
    seconds: float
    """From getting its job to its end."""


class Victims:
    """Processes that wait for a job, the next one always being made ready. Use as a context manager."""

    def __init__(self) -> None:
        self._next = self._start()

    def __enter__(self) -> "Victims":
        return self

    def __exit__(self, *_: object) -> None:
        self._next.kill()
        self._next.communicate()

    def run(self, job: str, *, kill_after: float | None = None, kill_in: str = "", **given: str) -> Ended:
        """Let a victim do a job, and kill it so many seconds after its start, or after it entered the phase `kill_in`.

        RuntimeError when the job itself fails.
        """
        victim, self._next = self._next, self._start()
        assert victim.stdin is not None
        assert victim.stdout is not None
        victim.stdout.readline()  # it says when it is ready
        started = time.monotonic()
        victim.stdin.write(json.dumps({"job": job, **given}).encode() + b"\n")
        said: list[bytes] = []
        while kill_in and (not said or (said[-1] and said[-1].split()[1].decode() != kill_in)):
            said.append(victim.stdout.readline())
        if kill_after is not None:
            time.sleep(kill_after)
            victim.kill()
        rest, last_words = victim.communicate()
        seconds = time.monotonic() - started
        if victim.returncode not in (0, -signal.SIGKILL):
            raise RuntimeError(f"{job} ended with {victim.returncode}: {last_words.decode()[-2000:]}")
        words = [line.decode().split() for line in [*said, *rest.splitlines()] if line]
        entered = {phase: float(moment) - started for moment, phase in words}
        return Ended(victim.returncode != 0, list(entered)[-1] if entered else "waiting", entered, seconds)

    @staticmethod
    def _start() -> "subprocess.Popen[bytes]":
        pipe = subprocess.PIPE
        command = [sys.executable, str(Path(__file__).resolve())]
        # Unbuffered: what `readline` took ahead would be lost to `communicate`.
        return subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, bufsize=0)


def snapshot(store: "Store") -> Snapshot:
    """Read all of an open store, and tell what it holds."""
    from ingest.store import END_OF_TIME

    held = {table: _told(store.connection, table, columns) for table, columns in _tables(store.connection).items()}
    rows = store.interactions(before=END_OF_TIME)
    order = hashlib.sha256(rows.write_csv().encode()).hexdigest()
    return {**held, "order": (rows.height, order)}


def _tables(connection: "duckdb.DuckDBPyConnection") -> dict[str, list[str]]:
    found = connection.sql("SELECT table_name, column_name FROM duckdb_columns() WHERE NOT internal ORDER BY ALL")
    views = {name for (name,) in connection.sql("SELECT view_name FROM duckdb_views()").fetchall()}
    tables: dict[str, list[str]] = {}
    for table, column in found.fetchall():
        if table not in views:
            tables.setdefault(table, []).extend([column] if column not in VOLATILE else [])
    return tables


def _told(connection: "duckdb.DuckDBPyConnection", table: str, columns: list[str]) -> tuple[int, str]:
    said = f"SELECT count(*), CAST(sum(hash({', '.join(columns)})) AS VARCHAR) FROM {table}"
    ((n_rows, fingerprint),) = connection.sql(said).fetchall()
    return int(n_rows), str(fingerprint)


@contextmanager
def _told_commits(store: "Store", mark: Mark) -> Iterator[None]:
    """Mark the moment before each commit of the store; whether the commit came through is then open."""
    transaction = store.transaction

    @contextmanager
    def watched() -> Iterator["duckdb.DuckDBPyConnection"]:
        with transaction() as connection:
            yield connection
            mark("committing")
        mark("committed")

    store.transaction = watched  # type: ignore[method-assign]
    yield


def _load(mark: Mark, *, store: str, log: str) -> None:
    from ingest.load import load_files
    from ingest.store import Store

    mark("opening")
    with Store.open(store) as opened, _told_commits(opened, mark):
        mark("loading")
        load_files(opened, [log])
        mark("closing")


def _drain(mark: Mark, *, store: str, outbox: str, at_once: str = "", die_at: str = "") -> None:
    import ingest.drain
    from ingest.outbox import Outbox
    from ingest.store import Store

    if at_once:  # small portions, so that there are many moments between the two databases
        ingest.drain.EVENTS_AT_ONCE = ingest.drain.ANSWERS_AT_ONCE = int(at_once)

    def or_die(phase: str) -> None:
        mark(phase)
        if phase == die_at:
            os.kill(os.getpid(), signal.SIGKILL)

    mark("opening")
    with Store.open(store) as opened, Outbox.open(outbox) as box, _told_commits(opened, or_die):
        mark("draining")
        ingest.drain.drain(box, opened)
        mark("closing")


def _publish(mark: Mark, *, workspace: str) -> None:
    from ingest.publish import publish
    from ingest.workspace import Workspace

    mark("publishing")
    publish(Workspace(Path(workspace)))


JOBS: dict[str, Callable[..., None]] = {"load": _load, "drain": _drain, "publish": _publish}


def main() -> None:
    """Wait for a job, and do it."""
    import duckdb  # noqa: F401
    import polars  # noqa: F401
    import pyarrow  # noqa: F401

    import ingest.drain
    import ingest.load
    import ingest.publish  # noqa: F401

    def mark(phase: str) -> None:
        os.write(1, f"{time.monotonic()} {phase}\n".encode())  # one clock for all processes

    mark("ready")
    given = json.loads(sys.stdin.readline())
    JOBS[given.pop("job")](mark, **given)
    mark("ended")


if __name__ == "__main__":
    main()
