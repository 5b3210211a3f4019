"""Which model serves at this moment, and what has happened since it was trained?"""

import gc
import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from api.errors import NoBundleError
from ingest.errors import ReadrankError
from ingest.outbox import OnlineEvent
from ranker.query import Answer, GivenItem, Query

if TYPE_CHECKING:
    from ranker.history import History

log = logging.getLogger(__name__)

MOST_WAIT_S = 0.5
"""An accepted event must change the next recommendation within a second: history is never older than this."""


class Recommender(Protocol):
    """What the service needs of a loaded bundle: `ranker.rank.Ranker` as seen from here."""

    version: str
    outbox_seq: int

    @property
    def cutoff(self) -> datetime:
        """All that was learned happened before it."""

    @property
    def history(self) -> "History":
        """Return everything before the cutoff."""

    def history_with(self, events: Sequence[OnlineEvent]) -> "History":
        """Return the bundle's history and the events since."""

    def recommend(self, query: Query, history: "History | None" = None) -> Answer:
        """Choose and order items of the whole catalogue."""

    def rank(self, query: Query, items: Sequence[GivenItem], history: "History | None" = None) -> Answer:
        """Order the given items."""

    def popular(self, query: Query, history: "History | None" = None) -> Answer:
        """Answer without the models, hard rules kept."""

    def item(self, item_id: str) -> dict[str, Any] | None:
        """Return what the catalogue says of an item."""


class Events(Protocol):
    """Where accepted events can be read again: `ingest.outbox.Outbox`."""

    def events_after(self, seq: int) -> tuple[list[OnlineEvent], int]:
        """Return the events accepted after `seq`, and the last number given."""

    def erasures(self) -> int:
        """Return how often a user was forgotten: when it rises, events read earlier may be gone."""


@dataclass(frozen=True)
class Moment:
    """One model with one history: what a single answer is made from."""

    ranker: Recommender
    history: "History"
    stale: bool
    """True when accepted events could not be read: the history may miss some."""


def load_ranker(folder: Path) -> Recommender:
    """Load a bundle; LightGBM and NumPy are imported here, not with the service's own modules."""
    from threadpoolctl import threadpool_limits

    from ranker.rank import Ranker

    threadpool_limits(1)  # workers share the cores: threads of BLAS that wait for each other by spinning only cost
    return Ranker.load(folder)


class Live:
    """Keeps the model of `bundles/live` and its history up to date; asked before each answer, from any thread.

    Events come from the outbox, which all worker processes share, so an event accepted by one counts in the others.
    A new bundle is loaded beside the old one, which serves until then, and on if the new one does not load.
    """

    def __init__(
        self,
        bundles: Path,
        events: Events,
        *,
        load: Callable[[Path], Recommender] = load_ranker,
        check_every_s: float = 1.0,
    ):
        self._bundles = bundles
        self._source = events
        self._load = load
        self._check_every_s = check_every_s
        self._lock = threading.Lock()
        self._loading = threading.Lock()
        self._moment: Moment | None = None
        self._tried: Path | None = None
        self._checked = float("-inf")
        self._events: list[OnlineEvent] = []
        self._waiting: list[OnlineEvent] = []
        self._seq = 0
        self._erasures = 0
        self._built = float("-inf")
        self._cost = 0.0
        self._bundle_problem: str | None = None
        self._outbox_problem: str | None = None

    def start(self) -> None:
        """Load the bundle now; a problem is kept for `problems` instead of raised."""
        self._checked = time.monotonic()
        if folder := self._live_folder():
            self._reload(folder)

    def stop(self) -> None:
        """Hand what was kept from the garbage collector back to it."""
        gc.unfreeze()

    def now(self) -> Moment:
        """Return model and history as they are; NoBundleError when there has never been a model that loads."""
        self._look_for_bundle()
        with self._lock:
            if self._moment is None:
                raise NoBundleError(self._bundle_problem or f"{self._bundles}: holds no bundle")
            self._poll()
            return self._moment

    def peek(self) -> Moment | None:
        """Return model and history as the last answer saw them."""
        return self._moment

    @property
    def n_events(self) -> int:
        """How many live events count."""
        return len(self._events)

    @property
    def problems(self) -> list[str]:
        """What is wrong, one sentence each; answers may be possible all the same."""
        return [problem for problem in (self._bundle_problem, self._outbox_problem) if problem]

    def _poll(self) -> None:
        """Read new events and add them; holding the lock."""
        assert self._moment is not None
        ranker, history, stale = self._moment.ranker, self._moment.history, False
        try:
            if self._source.erasures() != self._erasures:
                # Somebody was forgotten: what we hold may be theirs, what the outbox still has is not.
                self._begin(ranker)
                return
            fresh, self._seq = self._source.events_after(self._seq)
            self._waiting += fresh
            if self._waiting and self._due():
                started = time.monotonic()
                history = ranker.history_with([*self._events, *self._waiting])
                self._events += self._waiting
                self._waiting = []
                self._built = time.monotonic()
                self._cost = self._built - started
            self._outbox_problem = None
        except Exception as error:
            # Whatever broke, the history we hold still answers; the next answer tries again.
            stale = True
            self._note_outbox(error)
        if history is not self._moment.history or stale != self._moment.stale:
            self._moment = Moment(ranker, history, stale)

    def _due(self) -> bool:
        """Whether to rebuild now: at once while that is cheap, less often as live events grow costly."""
        return time.monotonic() - self._built >= min(MOST_WAIT_S, 10 * self._cost)

    def _note_outbox(self, error: Exception) -> None:
        said = str(error) if isinstance(error, ReadrankError) else f"live events cannot be used: {error!r}"
        if said != self._outbox_problem:
            log.error("outbox unreadable problem=%s", said, exc_info=not isinstance(error, ReadrankError))
        self._outbox_problem = said

    def _look_for_bundle(self) -> None:
        """Start loading when `bundles/live` names another bundle; the answer at hand does not wait for it."""
        if time.monotonic() - self._checked < self._check_every_s:
            return
        self._checked = time.monotonic()
        folder = self._live_folder()
        if folder is not None and folder != self._tried and not self._loading.locked():
            threading.Thread(target=self._reload, args=(folder,), name="bundle-loader", daemon=True).start()

    def _live_folder(self) -> Path | None:
        from ranker.bundle import live_folder

        try:
            return live_folder(self._bundles)
        except ReadrankError as error:
            self._bundle_problem = str(error)
            return None

    def _reload(self, folder: Path) -> None:
        with self._loading:
            self._tried = folder
            try:
                started = time.monotonic()
                ranker = self._load(folder)
                _warm_up(ranker)
                with self._lock:
                    self._begin(ranker)
                self._bundle_problem = None
                log.info("bundle serves version=%s seconds=%.2f", ranker.version, time.monotonic() - started)
            except Exception as error:
                foreseen = isinstance(error, ReadrankError)
                said = str(error) if foreseen else f"{folder}: does not load: {error!r}"
                log.error("bundle refused version=%s problem=%s", folder.name, said, exc_info=not foreseen)
                self._bundle_problem = said
        # The model lives long: sparing the collector its millions of objects spares answers its pauses.
        gc.collect()
        gc.freeze()

    def _begin(self, ranker: Recommender) -> None:
        """Let `ranker` serve, with the events that its own history lacks; holding the lock."""
        events: list[OnlineEvent] = []
        seq = ranker.outbox_seq
        try:
            self._erasures = self._source.erasures()
            events, seq = uncovered(self._source, ranker)
            history = ranker.history_with(events) if events else ranker.history
            self._moment = Moment(ranker, history, stale=False)
        except Exception as error:
            self._note_outbox(error)
            self._moment = Moment(ranker, ranker.history, stale=True)
        self._events, self._waiting, self._seq = events, [], seq


def uncovered(source: Events, ranker: Recommender) -> tuple[list[OnlineEvent], int]:
    """Return the accepted events that a bundle does not know, and the number of the last event.

    A bundle knows events up to its `outbox_seq` that occurred before its cutoff. The outbox keeps them for a while, and
    counting them again would double them.
    """
    everything, last = source.events_after(0)
    fresh, seq = source.events_after(ranker.outbox_seq)
    fresh_ids = {event.event_id for event in fresh}
    known = [event for event in everything if event.occurred_at >= ranker.cutoff and event.event_id not in fresh_ids]
    # In an outbox begun anew the numbers start again below `outbox_seq`: go on from what it really holds.
    return [*known, *fresh], seq if fresh else last


def _warm_up(ranker: Recommender) -> None:
    """Answer once for nobody, so that no user waits for what libraries set up at their first call."""
    query = Query(user_id="", as_of=ranker.cutoff, k=10, explain=True)
    try:
        answer = ranker.recommend(query)
        ranker.rank(query, [GivenItem(item_id=item.item_id) for item in answer.items])
    except Exception:
        log.exception("warm-up failed version=%s", ranker.version)
