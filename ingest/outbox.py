"""What was accepted over HTTP and must not be lost? A WAL-mode SQLite file that all worker processes share."""

import os
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ingest.errors import OutboxError
from ingest.logged_answers import delete_answers, write_answer
from ingest.moments import to_microseconds, to_moment
from ingest.outbox_tables import SCHEMA, bring_up_to_date

if TYPE_CHECKING:
    import polars as pl

_BUSY_SECONDS = 10.0


@dataclass(slots=True, kw_only=True)
class OnlineEvent:
    """One interaction as it came over HTTP, checked and complete; nobody changes it.

    Not frozen: that would take three times as long to make, and a service reads a million of them at its start.
    """

    event_id: str
    user_id: str
    item_id: str
    kind: str
    weight: float
    occurred_at: datetime
    """Naive UTC."""
    request_id: str | None = None
    session_id: str | None = None


@dataclass(frozen=True)
class Appended:
    """What became of the events handed in."""

    accepted: int
    duplicates: int
    """Events whose event_id was there already."""


class Outbox:
    """The file `online.sqlite`; any number of threads and processes may have it open."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        with translated(path):
            self._connection = self._connect("FULL")
            try:
                self._connection.executescript(SCHEMA)
                bring_up_to_date(self._connection)
            except BaseException:
                self._connection.close()
                raise
            # Answers may be lost with the power; events may not.
            self._answers = self._connect("NORMAL")
        self._opened = _which(path)

    @classmethod
    def open(cls, path: Path | str) -> "Outbox":
        """Open the outbox, making it when it is not there; OutboxError when it is damaged or cannot be written."""
        return cls(Path(path))

    def __enter__(self) -> "Outbox":
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._connection.close()
            self._answers.close()

    def append(self, events: Iterable[OnlineEvent]) -> Appended:
        """Write events and return only when they are safe on disk; known event_ids are passed over."""
        rows = [
            (
                event.event_id,
                event.user_id,
                event.item_id,
                event.kind,
                event.weight,
                to_microseconds(event.occurred_at),
                event.request_id,
                event.session_id,
            )
            for event in events
        ]
        with self._writing(self._connection) as cursor:
            before = self._connection.total_changes
            cursor.executemany(
                """
                INSERT OR IGNORE INTO events
                    (event_id, user_id, item_id, kind, weight, occurred_at, request_id, session_id)
                VALUES (?, ?, ?, ?, ?, ?, ?, ?)
                """,
                rows,
            )
            accepted = self._connection.total_changes - before
        return Appended(accepted, len(rows) - accepted)

    def events_after(self, seq: int, limit: int = -1) -> tuple[list[OnlineEvent], int]:
        """Return events that arrived after number `seq`, in order of arrival, and the number of the last one.

        At most `limit` of them; a negative limit is none. Cheap enough to be asked before every answer.
        """
        with self._using():
            rows = self._connection.execute(f"{_EVENTS} WHERE seq > ? ORDER BY seq LIMIT ?", (seq, limit)).fetchall()
        return [_event(row) for row in rows], rows[-1][0] if rows else seq

    def unknown_events(
        self, seq: int, limit: int, *, known_seq: int, known_until: datetime
    ) -> tuple[list[OnlineEvent], int]:
        """Return events after number `seq` that a bundle does not know, at most `limit`, and the number to go on from.

        A bundle knows events up to number `known_seq` that occurred before `known_until`: they stay here for a while,
        and counting them again would double them. In an outbox begun anew the numbers start again below `known_seq`:
        the number to go on from is that of the last event that there really is, known or not.
        """
        with self._using():
            end = self._connection.execute("SELECT coalesce(max(seq), 0) FROM events").fetchone()[0]
            rows = self._connection.execute(
                f"{_EVENTS} WHERE seq > ? AND (seq > ? OR occurred_at >= ?) ORDER BY seq LIMIT ?",
                (seq, known_seq, to_microseconds(known_until), limit),
            ).fetchall()
        last = rows[-1][0] if rows else 0
        return [_event(row) for row in rows], last if len(rows) == limit else max(last, end)

    def log_answer(self, request: Mapping[str, Any], impressions: Sequence[Mapping[str, Any]]) -> None:
        """Keep one answer for the next drain: a row of `requests` and its rows of `impressions`."""
        with self._writing(self._answers) as cursor:
            write_answer(cursor, request, impressions)

    def drained_seq(self) -> int:
        """Return the number of the last event that is in the store."""
        return self._watermark("drained")

    def erasures(self) -> int:
        """Return how often a user was forgotten: when it rises, events read earlier may be gone."""
        return self._watermark("erasures")

    def purge(self, before: datetime, up_to: int | None = None) -> int:
        """Forget drained events with `occurred_at < before` and, if given, `seq <= up_to`; return how many."""
        with self._writing(self._connection) as cursor:
            return cursor.execute(
                """
                DELETE FROM events
                WHERE occurred_at < :before
                    AND seq <= (SELECT seq FROM watermarks WHERE name = 'drained')
                    AND (:up_to IS NULL OR seq <= :up_to)
                """,
                {"before": to_microseconds(before), "up_to": up_to},
            ).rowcount

    def answers(self, limit: int) -> "tuple[pl.DataFrame, pl.DataFrame, int]":
        """Return the oldest logged requests, their impressions, and the number of the last request, 0 when none waits.

        Whole answers, one at least; they end with the one that brings them to `limit` rows of both.
        """
        from ingest.waiting_answers import oldest_answers

        with self._using():
            return oldest_answers(self._answers, limit)

    def events_drained(self, seq: int) -> None:
        """Note that events up to number `seq` are in the store."""
        with self._writing(self._connection) as cursor:
            cursor.execute("UPDATE watermarks SET seq = max(seq, ?) WHERE name = 'drained'", (seq,))

    def answers_drained(self, seq: int) -> None:
        """Forget logged requests up to number `seq`, and their impressions."""
        with self._writing(self._answers) as cursor:
            delete_answers(cursor, seq)

    def _connect(self, synchronous: str) -> sqlite3.Connection:
        connection = sqlite3.connect(self.path, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute(f"PRAGMA synchronous = {synchronous}")
        # What is deleted is overwritten, so that what was drained or forgotten does not stay in free pages.
        connection.execute("PRAGMA secure_delete = ON")
        return connection

    def _watermark(self, name: str) -> int:
        with self._using():
            row = self._connection.execute("SELECT seq FROM watermarks WHERE name = ?", (name,)).fetchone()
        return int(row[0])

    @contextmanager
    def _using(self) -> Iterator[None]:
        """Hold the lock; OutboxError where the file has gone: what were written there then would never be drained."""
        with self._lock, translated(self.path):
            if _which(self.path) != self._opened:
                raise OutboxError(
                    f"{self.path}: was deleted, moved or replaced while in use; stop the service, put the file back "
                    "if there is one, and start the service again"
                )
            yield

    @contextmanager
    def _writing(self, connection: sqlite3.Connection) -> Iterator[sqlite3.Cursor]:
        """Run the block as one transaction that holds the write lock from its start, so that waiting is fair."""
        with self._using():
            cursor = connection.cursor()
            cursor.execute("BEGIN IMMEDIATE")
            try:
                yield cursor
                cursor.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:
                    cursor.execute("ROLLBACK")
                raise


_EVENTS = """
SELECT seq, event_id, user_id, item_id, kind, weight, occurred_at, request_id, session_id
FROM events
"""


def _which(path: Path) -> tuple[int, int] | None:
    """Tell one file from another of the same name; None where there is none."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _event(row: tuple[Any, ...]) -> OnlineEvent:
    return OnlineEvent(
        event_id=row[1],
        user_id=row[2],
        item_id=row[3],
        kind=row[4],
        weight=row[5],
        occurred_at=to_moment(row[6]),
        request_id=row[7],
        session_id=row[8],
    )


@contextmanager
def translated(path: Path) -> Iterator[None]:
    """Turn SQLite's errors into one sentence that says what to do."""
    try:
        yield
    except sqlite3.Error as error:
        message = str(error)
        if "full" in message:
            advice = "the disk is full; free space and send again"
        elif "locked" in message:
            advice = f"another process has been writing for over {_BUSY_SECONDS:.0f} s; try again"
        elif "disk I/O" in message:
            advice = f"the disk is full or fails ({message}); free space or mend it, and try again"
        elif "not a database" in message or "malformed" in message:
            advice = "wanted an SQLite database, got a damaged or foreign file; move it away or restore it"
        elif "unable to open" in message or "readonly" in message:
            advice = f"cannot be opened for writing ({message}); check the folder and its permissions"
        else:
            advice = f"SQLite refused: {message}; mend that and try again"
        raise OutboxError(f"{path}: {advice}") from error
