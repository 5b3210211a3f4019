"""Which model serves at this moment, and how does another take its place?"""

import gc
import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from api.errors import NoBundleError, ServiceError
from api.live_history import Events, LiveHistory, Serving
from api.recommender import Recommender, load_ranker, read_a_text, warm_up
from ingest.errors import ReadrankError

log = logging.getLogger(__name__)

MOST_PAUSE_S: Final = 300.0
"""A bundle that did not load is tried again after a second, two, four and so on, at last every five minutes."""


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
        patience_s: float = 0.25,
    ):
        """Ask at most `check_every_s` for a bundle; an answer waits `patience_s` where events are read anew."""
        self._bundles = bundles
        self._source = events
        self._load = load
        self._check_every_s = check_every_s
        self._patience_s = patience_s
        self._loading = threading.Lock()
        self._serving: tuple[Path, LiveHistory] | None = None
        self._checked = float("-inf")
        self._tried: Path | None = None
        self._pause_s = 0.0
        self._again = float("-inf")
        self._problem: str | None = None

    def start(self) -> None:
        """Load the bundle now; a problem is kept for `problems` instead of raised."""
        self._checked = time.monotonic()
        if folder := self._live_folder():
            self._reload(folder)

    def stop(self) -> None:
        """Hand what was kept from the garbage collector back to it."""
        gc.unfreeze()

    def now(self) -> Serving:
        """Return model and history as they are; NoBundleError when there has never been a model that loads."""
        self.look_for_bundle()
        if self._serving is None:
            loading = f"{self._bundles}: a bundle is being loaded; ask again in some seconds"
            raise NoBundleError(loading if self._loading.locked() else self._problem or loading)
        return self._serving[1].now()

    def look_for_bundle(self) -> None:
        """Start loading when `bundles/live` names another bundle; the answer at hand does not wait for it.

        Answers ask for it, and a service does between them too: after a quiet time the first one is not from an old
        bundle.
        """
        now = time.monotonic()
        if now - self._checked < self._check_every_s:
            return
        self._checked = now
        folder = self._live_folder()
        if folder is None or self._loading.locked():
            return
        if self._serving and folder == self._serving[0]:
            # Whatever kept another from taking its place: nobody wants that one now.
            self._problem = self._tried = None
        elif folder != self._tried or now >= self._again:
            threading.Thread(target=self._reload, args=(folder,), name="bundle-loader", daemon=True).start()

    def catch_up(self) -> None:
        """Count the events accepted by now.

        Full answers do so themselves; a service also repeats it between them: while they hang, simple answers must know
        what users hide and take.
        """
        if self._serving:
            self._serving[1].now()

    def peek(self) -> Serving | None:
        """Return model and history as they were when events were last counted, without any waiting."""
        return self._serving[1].serving if self._serving else None

    @property
    def n_events(self) -> int:
        """How many live events count."""
        return self._serving[1].n_events if self._serving else 0

    @property
    def problems(self) -> list[str]:
        """What is wrong, one sentence each; answers may be possible all the same."""
        return [problem for problem in (self._problem, self._serving and self._serving[1].problem) if problem]

    def _live_folder(self) -> Path | None:
        from ranker.bundle import live_folder

        try:
            return live_folder(self._bundles)
        except ReadrankError as error:
            self._problem = str(error)
            return None

    def _reload(self, folder: Path) -> None:
        if not self._loading.acquire(blocking=False):
            return
        try:
            started = time.monotonic()
            ranker = self._load(folder)
            warm_up(ranker)
            history = LiveHistory(ranker, self._source, patience_s=self._patience_s)
            if history.problem and self._serving:
                # The model that serves knows live events; this one would know none.
                raise ServiceError(f"{folder}: serves as soon as accepted events can be read: {history.problem}")
            if self._serving and self._live_folder() != folder:
                return  # rolled back meanwhile: what nobody wants any more does not serve, not even for a second
            self._serving = folder, history
            self._problem, self._pause_s = None, 0.0
            log.info("bundle serves version=%s seconds=%.2f", ranker.version, time.monotonic() - started)
            threading.Thread(target=read_a_text, args=(ranker,), name="text-reader", daemon=True).start()
        except Exception as error:
            foreseen = isinstance(error, ReadrankError)
            said = str(error) if foreseen else f"{folder}: does not load: {error!r}"
            log.error("bundle refused version=%s problem=%s", folder.name, said, exc_info=not foreseen)
            self._problem = said
            self._pause_s = min(max(1.0, 2 * self._pause_s), MOST_PAUSE_S) if folder == self._tried else 1.0
            self._again = time.monotonic() + self._pause_s
        finally:
            self._tried = folder
            self._loading.release()
        # The model lives long: sparing the collector its millions of objects spares answers its pauses.
        gc.collect()
        gc.freeze()
