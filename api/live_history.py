"""What has happened that the bundle which serves does not know?"""

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING, Final, Protocol

from api.recommender import Recommender
from ingest.errors import ReadrankError
from ingest.outbox import OnlineEvent

if TYPE_CHECKING:
    from ranker.history import History

log = logging.getLogger(__name__)

MOST_WAIT_S: Final = 0.5
"""An accepted event must change the next recommendation within a second: history is never older than this."""
SETTLE_FROM: Final = 2_000
"""With more events than this in the layer that answers build themselves (3 ms), all are settled beside the answers."""
MOST_ON_TOP: Final = 10_000
"""More than this are neither read nor put on top while an answer waits: they count when they have been settled."""
READ_AT_ONCE: Final = 200_000
"""Events of a first reading are built into history in parts of so many, so that memory never holds all as objects."""
MOST_PAUSE_S: Final = 10.0
"""Longest pause before work that failed is tried again."""


class Events(Protocol):
    """Where accepted events can be read again: `ingest.outbox.Outbox`."""

    def events_after(self, seq: int, limit: int = -1) -> tuple[list[OnlineEvent], int]:
        """Return the events accepted after `seq`, at most `limit` if it is not negative, and the last one's number."""

    def unknown_events(
        self, seq: int, limit: int, *, known_seq: int, known_until: datetime
    ) -> tuple[list[OnlineEvent], int]:
        """Return the same without what a bundle knows: events up to `known_seq` that occurred before `known_until`."""

    def erasures(self) -> int:
        """Return how often a user was forgotten: when it rises, events read earlier may be gone."""


@dataclass(frozen=True)
class Serving:
    """One model with one history: what a single answer is made from."""

    ranker: Recommender
    history: "History"
    stale: bool
    """True when accepted events could not be read: the history may miss some."""


class LiveHistory:
    """Keeps one model's history up to date with accepted events that its bundle lacks; asked from any thread.

    Live events lie on the bundle's history in two layers: nearly all of them in one that is built beside the answers,
    the latest in a small one on top, which an answer builds before it asks. So an event counts in the next answer, and
    no answer waits long for others: while the large layer is built they go on with the history that there is.
    """

    def __init__(self, ranker: Recommender, source: Events, *, patience_s: float = 0.25):
        """Read the events that the model does not know; where that fails `serving` is stale, and it is tried again.

        `patience_s` is how long the answer that finds them to be read anew waits before it goes on with what there is.
        """
        self._ranker = ranker
        self._source = source
        self._patience_s = patience_s
        self._lock = threading.Lock()
        self._beside: threading.Thread | None = None
        self._reading: threading.Thread | None = None
        self._again = float("-inf")
        self._erasures: int | None = None
        self._seq = 0
        self._settled, self._n_settled = ranker.history, 0
        self._late: list[OnlineEvent] = []
        self._n_counted = 0
        self._built, self._cost = float("-inf"), 0.0
        self._reading_problem: str | None = None
        self._beside_problem: str | None = None
        self.serving = Serving(ranker, ranker.history, stale=True)
        self._attempt(self._read_anew)

    @property
    def n_events(self) -> int:
        """How many live events count."""
        return self._n_counted

    @property
    def problem(self) -> str | None:
        """Why events are missing."""
        return self._reading_problem or self._beside_problem

    def now(self) -> Serving:
        """Return model and history with the events accepted by now."""
        with self._lock:
            reading = self._catch_up()
        if reading is not None:
            reading.join(self._patience_s)
        return self.serving

    def _catch_up(self) -> threading.Thread | None:
        """Count new events, holding the lock; return the thread that reads all of them anew if it has just begun."""
        reading = None
        try:
            if self._source.erasures() != self._erasures:
                # Never read so far, or somebody was forgotten: what we hold may be theirs, what the outbox has is not.
                reading = self._reading = self._begin(self._read_anew) or self._reading
            if self._erasures is not None:
                fresh, self._seq = self._source.events_after(self._seq, MOST_ON_TOP)
                self._late += fresh
                n_late = len(self._late)
                if self._n_counted < self._n_settled + n_late and n_late <= MOST_ON_TOP and self._due():
                    started = time.monotonic()
                    self._count()
                    self._built = time.monotonic()
                    self._cost = self._built - started
                if n_late > SETTLE_FROM:
                    self._begin(self._settle)
            self._reading_problem = None
        except Exception as error:
            # Whatever broke, the history we hold still answers; the next answer tries again.
            self._reading_problem = _said(error, self._reading_problem)
        self._mark()
        return reading

    def _due(self) -> bool:
        """Whether to build the upper layer now: at once while that is cheap, less often as it grows costly."""
        return time.monotonic() - self._built >= min(MOST_WAIT_S, 10 * self._cost)

    def _count(self) -> None:
        """Put the events that are not settled on top of those that are; holding the lock."""
        history = self._ranker.history_with(self._late, self._settled) if self._late else self._settled
        self.serving = replace(self.serving, history=history)
        self._n_counted = self._n_settled + len(self._late)

    def _mark(self) -> None:
        """Say of the history that serves whether it may miss events; holding the lock."""
        stale = self.problem is not None or self._erasures is None
        if stale != self.serving.stale:
            self.serving = replace(self.serving, stale=stale)

    def _begin(self, work: Callable[[], None]) -> threading.Thread | None:
        """Start work beside the answers, unless some is under way or has just failed; holding the lock."""
        if time.monotonic() < self._again or (self._beside is not None and self._beside.is_alive()):
            return None
        self._beside = threading.Thread(target=self._attempt, args=(work,), name="live-history", daemon=True)
        self._beside.start()
        return self._beside

    def _attempt(self, work: Callable[[], None]) -> None:
        started = time.monotonic()
        problem = None
        try:
            work()
        except Exception as error:
            problem = _said(error, self._beside_problem)
            # What took long and failed would take long again.
            self._again = time.monotonic() + min(MOST_PAUSE_S, 10 * (time.monotonic() - started))
        with self._lock:
            self._beside_problem = problem
            self._mark()

    def _read_anew(self) -> None:
        """Build the history from all that the outbox has and the model does not know."""
        erasures = self._source.erasures()
        ranker, history, seq, n_events = self._ranker, self._ranker.history, 0, 0
        more = True
        while more:
            events, seq = self._source.unknown_events(
                seq, READ_AT_ONCE, known_seq=ranker.outbox_seq, known_until=ranker.known_until
            )
            history = ranker.history_with(events, history) if events else history
            n_events += len(events)
            more = len(events) == READ_AT_ONCE
        history = history.settled()
        with self._lock:
            self._erasures, self._seq, self._late = erasures, seq, []
            self._settled, self._n_settled = history, n_events
            self._count()

    def _settle(self) -> None:
        """Put the upper layer's events into the lower one, so that the upper one is small again."""
        with self._lock:
            late, settled = list(self._late), self._settled
        history = self._ranker.history_with(late, settled).settled()
        with self._lock:
            self._settled, self._n_settled = history, self._n_settled + len(late)
            self._late = self._late[len(late) :]
            self._count()


def _said(error: Exception, before: str | None) -> str:
    """Return one sentence on an error, logged where it is news."""
    said = str(error) if isinstance(error, ReadrankError) else f"live events cannot be used: {error!r}"
    if said != before:
        log.error("live events missing problem=%s", said, exc_info=not isinstance(error, ReadrankError))
    return said
