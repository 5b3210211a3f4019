"""How does a person leave `online.sqlite`, byte for byte, while services have it open?

The outbox also notes which erasures have begun, in the transaction that deletes: so a second run knows what the first
one had removed. The note holds no id, only a salted scrypt digest of it, and goes when the erasure is complete.
"""

import hashlib
import json
import secrets
import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ingest.errors import OutboxError
from ingest.outbox import Outbox, translated

PLACES = ("events", "requests", "impressions")
WAIT_SECONDS = 30.0
"""How long services may keep the write-ahead log busy before we give up."""


@dataclass(frozen=True)
class Begun:
    """An erasure under way."""

    receipt_id: str
    rows: dict[str, int]
    """Rows removed from the outbox until now, by place."""
    again: bool
    """Whether an earlier run had begun it."""


def begin_in_outbox(path: Path, ids: Sequence[str]) -> Begun:
    """Delete a person's events and answers and note that the erasure has begun, all in one transaction.

    Then the file is rebuilt and its write-ahead log emptied, so that no byte of the deleted rows stays. Services may go
    on: they wait for the rebuilding, and see by `Outbox.erasures` that events they hold in memory are gone.
    """
    Outbox.open(path).close()
    with _connected(path) as connection:
        connection.execute("BEGIN IMMEDIATE")
        begun = _noted(connection, ids) or Begun(secrets.token_hex(16), {}, again=False)
        places = ", ".join("?" for _ in ids)
        rows = dict(begun.rows)
        for table in PLACES:
            gone = connection.execute(f"DELETE FROM {table} WHERE user_id IN ({places})", tuple(ids)).rowcount
            place = f"{path.name}:{table}"
            if gone or place in rows:
                rows[place] = rows.get(place, 0) + gone
        if begun.again:
            connection.execute(
                "UPDATE erasures_begun SET rows_by_place = ? WHERE receipt_id = ?", (json.dumps(rows), begun.receipt_id)
            )
        else:
            salt = secrets.token_bytes(16)
            connection.execute(
                "INSERT INTO erasures_begun VALUES (?, ?, ?, ?)",
                (begun.receipt_id, salt, _digest(ids[0], salt), json.dumps(rows)),
            )
        connection.execute("UPDATE watermarks SET seq = seq + 1 WHERE name = 'erasures'")
        connection.execute("COMMIT")
        _rebuild(connection, path)
    return Begun(begun.receipt_id, rows, begun.again)


def finish_in_outbox(path: Path, receipt_id: str) -> None:
    """Forget the note of an erasure that is complete."""
    with _connected(path) as connection:
        connection.execute("DELETE FROM erasures_begun WHERE receipt_id = ?", (receipt_id,))


def unfinished_erasures(path: Path) -> int:
    """Count erasures that were begun and never completed."""
    if not path.exists():
        return 0
    Outbox.open(path).close()
    with _connected(path) as connection:
        return int(connection.execute("SELECT count(*) FROM erasures_begun").fetchone()[0])


def empty_log(connection: sqlite3.Connection, wait: float = WAIT_SECONDS) -> bool:
    """Bring the write-ahead log into the file and cut it to nothing; False when somebody kept it busy for too long."""
    deadline = time.monotonic() + wait
    while connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]:
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def _rebuild(connection: sqlite3.Connection, path: Path) -> None:
    connection.execute("VACUUM")
    if not empty_log(connection):
        raise OutboxError(
            f"{path}: the rows are deleted, but a process kept reading for over {WAIT_SECONDS:.0f} s and old pages "
            "stay in its write-ahead log; end that process or wait, and run it again"
        )


def _noted(connection: sqlite3.Connection, ids: Sequence[str]) -> Begun | None:
    rows = connection.execute("SELECT receipt_id, salt, digest, rows_by_place FROM erasures_begun").fetchall()
    for receipt_id, salt, digest, rows_by_place in rows:
        if secrets.compare_digest(_digest(ids[0], salt), digest):
            return Begun(receipt_id, json.loads(rows_by_place), again=True)
    return None


def _digest(user_id: str, salt: bytes) -> bytes:
    return hashlib.scrypt(user_id.encode("utf-8", "surrogatepass"), salt=salt, n=2**14, r=8, p=1)


@contextmanager
def _connected(path: Path) -> Iterator[sqlite3.Connection]:
    with translated(path):
        connection = sqlite3.connect(path, timeout=WAIT_SECONDS, isolation_level=None)
        try:
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute("PRAGMA secure_delete = ON")
            yield connection
        finally:
            connection.close()
