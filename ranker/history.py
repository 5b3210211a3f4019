"""What had users done, and items seen, before a moment? The one source of every behavioural number.

Training at a million past moments, evaluating and serving call the same functions with their own `as_of`, so features
are point-in-time by construction.
"""

import json
import operator
from collections.abc import Iterable, Sequence
from functools import reduce
from pathlib import Path
from typing import Final, Self

import numpy as np
import numpy.typing as npt
import polars as pl

from encoders.kinds import NO_KINDS, Kinds
from ingest import columns as c
from ingest.moments import NEVER
from ranker.arrays import Floats, Ints, Rows, Times
from ranker.asked import asked_at
from ranker.catalogue import Catalogue
from ranker.counter import AsOfCounter
from ranker.last_events import LastEvents
from ranker.layer import Layer
from ranker.live_events import LiveEvents
from ranker.log_arrays import exposure_of, kinds_of
from ranker.moments import Moments, Recent, Taken
from ranker.running_counts import RunningCounts
from ranker.sessions import session_codes
from ranker.timeline import Hour, Timeline

_KINDS: Final = "kinds.json"


class History:
    """Interactions by user and by item, and impressions by item, each sorted by time.

    Popularity counts only interactions of positive weight; a user's own past keeps all of them. What was told after the
    bundle's log lies on it in layers, small ones, each told after those below it.
    """

    def __init__(
        self,
        layer: Layer,
        shown: AsOfCounter,
        clicked: AsOfCounter,
        *,
        kinds: Kinds = NO_KINDS,
        under: "History | None" = None,
    ):
        """Lay a layer on the history `under` it, which is not copied; without one it is that of the bundle."""
        self._layers: tuple[Layer, ...] = (*under._layers, layer) if under else (layer,)
        self._shown = shown
        self._clicked = clicked
        self.kinds = kinds
        """The kinds of its events, live ones too."""
        log = layer.timeline
        self._timeline: Timeline = under._timeline.with_live(log) if under else log
        self._running: RunningCounts = under._running if under else RunningCounts(log.times, log.items)
        self._under = under
        self._first_events: Times | None = None
        self._first_takings: Times | None = None

    @classmethod
    def from_frames(
        cls, catalogue: Catalogue, interactions: pl.DataFrame, impressions: pl.DataFrame | None = None
    ) -> Self:
        """Build from the store's frames; interactions and impressions of items outside the catalogue are left out."""
        items = catalogue.rows(interactions[c.ITEM_ID])
        users = {user: row for row, user in enumerate(interactions[c.USER_ID].unique(maintain_order=True).to_list())}
        user_rows = interactions[c.USER_ID].replace_strict(users, return_dtype=pl.Int32).to_numpy() if users else items
        kinds, codes = kinds_of(interactions)
        layer = Layer.of_events(
            users,
            user_rows,
            items,
            interactions[c.OCCURRED_AT].dt.epoch("us").to_numpy(),
            interactions[c.WEIGHT].to_numpy(),
            asked=asked_at(interactions, impressions).dt.epoch("us").to_numpy(),
            kinds=codes,
            sessions=session_codes(interactions[c.SESSION_ID]) if c.SESSION_ID in interactions.columns else None,
        )
        return cls(layer, *exposure_of(catalogue, impressions), kinds=kinds)

    def and_then(self, events: LiveEvents) -> "History":
        """Return this history with more events on top of all that it has, which is shared, not built again.

        The answers are those of all live events added at once; what it costs depends on the new events alone. Each
        layer makes questions a little dearer, so a few of them are enough.
        """
        users = {user: self._row(user) for user in events.user_ids}
        n_users = sum(len(layer.users) for layer in self._layers)
        fresh = {user: n_users + row for row, user in enumerate(u for u, row in users.items() if row is None)}
        users.update(fresh)
        kinds = self.kinds.and_also(events.kinds or ())
        live = Layer.of_events(
            fresh,
            np.fromiter((users[user] for user in events.user_ids), np.int64, len(events.user_ids)),
            events.items,
            events.times,
            events.weights,
            kinds=None if events.kinds is None else kinds.codes(events.kinds),
            sessions=None if events.sessions is None else session_codes(events.sessions),
        )
        return History(live, self._shown, self._clicked, kinds=kinds, under=self)

    def settled(self) -> "History":
        """Return this history with its live events in one layer, so that questions are as cheap as with one.

        What it costs depends on all live events; but they are only sorted once more.
        """
        if self._under is None or self._under._under is None:
            return self
        bundle = self._under
        while bundle._under is not None:
            bundle = bundle._under
        live = Layer.stacked(self._layers[1:])
        return History(live, self._shown, self._clicked, kinds=self.kinds, under=bundle)

    @property
    def user_ids(self) -> list[str]:
        """Return users in row order, without those of live events."""
        return list(self._layers[0].users)

    def user_rows(self, user_ids: Sequence[str]) -> Rows:
        """Return the row of each user, -1 for one without history, as `AsOfCounter` has it."""
        rows = (self._row(user) for user in user_ids)
        return np.fromiter((-1 if row is None else row for row in rows), np.int32, len(user_ids))

    def _row(self, user: str) -> int | None:
        """Return a user's row; None for one without history."""
        for layer in self._layers:
            if (row := layer.users.get(user)) is not None:
                return row
        return None

    def recent(self, moments: Moments, length: int) -> Recent:
        """Return what was positive among each query's last `length` interactions strictly before its moment."""
        last = [layer.by_user.last(moments, length) for layer in self._layers]
        return LastEvents.of_layers(last).positive(moments.as_of)

    def user_counts(self, moments: Moments) -> Ints:
        """Count all interactions of each query's user before its moment."""
        return _sum(layer.by_user.count(moments) for layer in self._layers)

    def taken(self, moments: Moments) -> Taken:
        """Return everything each user did before the moment."""
        return Taken.of_layers([layer.by_user.before(moments) for layer in self._layers])

    def item_counts(
        self, items: npt.NDArray[np.integer], *, before: Times, since: Times | None = None
    ) -> npt.NDArray[np.int64]:
        """Count interactions of items in `since <= time < before`; arrays broadcast."""
        return _sum(layer.by_item.count(items, before=before, since=since) for layer in self._layers)

    def counts_of_all(self, n_items: int, *, before: int, since: int = -NEVER) -> Ints:
        """Count the interactions of every item in `since <= time < before` (microseconds) [n_items]."""
        return self._timeline.counts(n_items, since, before)

    def item_counts_at(self, items: npt.NDArray[np.integer], moments: Sequence[Times]) -> Ints:
        """Count interactions of items before each of several moments [n_moments, n_items]; one, or one an item.

        Moments of a place in the sequence should lie near those that it had before: `RunningCounts`.
        """
        bundle, *lives = self._layers
        counts = self._counts_now(items, moments) if len(moments[0]) == 1 else bundle.by_item.count_at(items, moments)
        return _sum([counts, *(live.by_item.count_at(items, moments) for live in lives)])

    def _counts_now(self, items: npt.NDArray[np.integer], moments: Sequence[Times]) -> Ints:
        running = self._running.before([int(before[0]) for before in moments], items)
        far = [slot for slot, found in enumerate(running) if found is None]
        counts = np.zeros((len(moments), len(items)), np.int64)
        for slot, found in enumerate(running):
            counts[slot] = 0 if found is None else found
        counts[far] = self._layers[0].by_item.count_at(items, [moments[slot] for slot in far])
        return counts

    def item_ages(self, items: npt.NDArray[np.integer], *, before: Times) -> tuple[Floats, Floats]:
        """Seconds since each item's first and last interaction before the moment; NaN for a cold item."""
        ages = [layer.by_item.ages(items, before=before) for layer in self._layers]
        first, last = zip(*ages, strict=True)
        return reduce(np.fmax, first), reduce(np.fmin, last)

    def first_takings(self, n_items: int) -> Times:
        """Return when each item was first taken (an event of positive weight), else `NEVER`; live events aside."""
        if self._first_takings is None:
            rows, by_item = np.arange(n_items), self._layers[0].by_item
            first, end = by_item.start(rows), by_item.start(rows + 1)
            self._first_takings = np.where(end > first, by_item.time_at(first), NEVER)
        return self._first_takings

    def first_events(self, n_items: int) -> Times:
        """Return the time of each item's first event of whatever weight, live ones too; else `NEVER`."""
        if self._first_events is None:
            # Bundles that earlier versions refreshed hold first times of users who have lost their past.
            first = (self._under.first_events(n_items) if self._under else self.first_takings(n_items)).copy()
            newest = self._layers[-1].by_user
            np.minimum.at(first, newest.items, newest.times)
            self._first_events = first
        return self._first_events

    def exposure(self, items: npt.NDArray[np.integer], *, before: Times) -> tuple[Ints, Ints]:
        """Count how often items were shown, and shown and clicked, before the moment."""
        return self._shown.count(items, before=before), self._clicked.count(items, before=before)

    def exposure_total(self, before: Times) -> tuple[Ints, Ints]:
        """Count all impressions, and all clicked ones, before the moments."""
        return self._shown.total(before), self._clicked.total(before)

    def log_counts(self, before: Times) -> Ints:
        """Count all interactions of positive weight before each moment."""
        return self._timeline.count(before)

    def since_share(self, share: float | npt.NDArray[np.float64], before: Times) -> Times:
        """Return since which moment the latest `share` of all interactions before each moment lie; both broadcast."""
        return self._timeline.since_share(share, before)

    def hours(self, n_items: int, as_of: Times) -> tuple[list[Hour], Ints]:
        """Return what was popular at the last full hour before each moment: distinct hours, and each moment's place."""
        return self._timeline.hours(n_items, as_of)

    def events(self, *, before: int) -> tuple[Ints, Rows, Floats, Times]:
        """Return user rows, item rows, weights and times before a moment, by user and time; without live events."""
        log = self._layers[0].by_user
        times = log.times
        kept = times < before
        return log.users[kept].astype(np.int64), log.items[kept], log.weights[kept], times[kept]

    def asked(self, *, before: int) -> Times:
        """Return when each of the same `events` was asked for; of a loaded bundle, their times."""
        log = self._layers[0].by_user
        return log.asked[log.times < before]

    def sessions(self, *, before: int) -> Rows | None:
        """Return the number of the session that each of the same `events` names, 0 for none; None where none does."""
        log = self._layers[0].by_user
        return None if log.sessions is None else log.sessions[log.times < before]

    @property
    def n_events(self) -> int:
        """How many events there are, without live ones."""
        return len(self._layers[0].by_user.items)

    def same_events(self, other: "History") -> bool:
        """Whether both hold the same of users and impressions, live events aside, over the same rows of items."""
        ours, theirs = self._layers[0], other._layers[0]
        return (
            self.kinds == other.kinds
            and list(ours.users) == list(theirs.users)
            and ours.by_user.same(theirs.by_user)
            and self._shown.same(other._shown)
            and self._clicked.same(other._clicked)
        )

    def save(self, folder: Path) -> None:
        """Write all but live events: arrays as `.npy` files, users as Parquet, kinds as JSON."""
        folder.mkdir(parents=True, exist_ok=True)
        self._layers[0].save(folder)
        self._shown.save(folder, "shown")
        self._clicked.save(folder, "clicked")
        (folder / _KINDS).write_text(json.dumps(self.kinds.names), encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Memory-map what `save` wrote; the history of an earlier bundle knows no kinds."""
        kinds = json.loads((folder / _KINDS).read_text(encoding="utf-8")) if (folder / _KINDS).is_file() else ()
        return cls(
            Layer.load(folder),
            AsOfCounter.load(folder, "shown"),
            AsOfCounter.load(folder, "clicked"),
            kinds=Kinds(tuple(kinds)),
        )


def _sum(counts: Iterable[Ints]) -> Ints:
    """Add up what layers count; of one layer its own array, not a copy."""
    return reduce(operator.add, counts)
