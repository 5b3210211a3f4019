"""What had users done, and items seen, before a moment? The one source of every behavioural number.

Training at a million past moments, evaluating and serving call the same functions with their own `as_of`, so features
are point-in-time by construction.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Final, Self

import numpy as np
import numpy.typing as npt
import polars as pl

from encoders.kinds import NO_KINDS, Codes, Kinds
from encoders.sequences import NEVER
from ingest import columns as c
from ranker.asked import asked_at
from ranker.catalogue import Catalogue
from ranker.counter import AsOfCounter, Rows, Times, mapped
from ranker.last_events import LastEvents
from ranker.log_arrays import by_time, exposure_of, kinds_of
from ranker.moments import Moments, Recent
from ranker.running_counts import RunningCounts
from ranker.sessions import session_codes
from ranker.timeline import Floats, Hour, Timeline
from ranker.user_events import UserEvents

_KINDS: Final = "kinds.json"


class History:
    """Interactions by user and by item, and impressions by item, each sorted by time.

    Popularity counts only interactions of positive weight; a user's own past keeps all of them. `lives` are others,
    small, of what was told after this one was built: layers that lie on it, each told after those before it.
    """

    def __init__(
        self,
        users: dict[str, int],
        by_user: UserEvents,
        by_item: AsOfCounter,
        shown: AsOfCounter,
        clicked: AsOfCounter,
        timeline: Timeline,
        lives: tuple["History", ...] = (),
        running: RunningCounts | None = None,
        *,
        kinds: Kinds = NO_KINDS,
    ):
        self._users = users
        self._by_user = by_user
        self._by_item = by_item
        self._shown = shown
        self._clicked = clicked
        self._timeline = timeline
        self._lives = lives
        self.kinds = kinds
        """The kinds of its events, live ones too."""
        self._running = running or RunningCounts(timeline.times, timeline.items)
        self._under: History | None = None
        self._first_touches: Times | None = None
        self._first_times: Times | None = None

    @classmethod
    def from_frames(
        cls, catalogue: Catalogue, interactions: pl.DataFrame, impressions: pl.DataFrame | None = None
    ) -> Self:
        """Build from the store's frames; interactions and impressions of items outside the catalogue are left out."""
        items = catalogue.rows(interactions[c.ITEM_ID])
        known = items >= 0
        users = {user: row for row, user in enumerate(interactions[c.USER_ID].unique(maintain_order=True).to_list())}
        user_rows = interactions[c.USER_ID].replace_strict(users, return_dtype=pl.Int32).to_numpy() if users else items
        times = interactions[c.OCCURRED_AT].dt.epoch("us").to_numpy()
        weights = interactions[c.WEIGHT].to_numpy()
        asked = asked_at(interactions, impressions).dt.epoch("us").to_numpy()
        kinds, codes = kinds_of(interactions)
        sessions = session_codes(interactions[c.SESSION_ID]) if c.SESSION_ID in interactions.columns else None
        shown, clicked = exposure_of(catalogue, impressions)
        return cls._from_arrays(
            users,
            user_rows[known],
            items[known],
            times[known],
            weights[known],
            shown,
            clicked,
            asked=asked[known],
            kinds=kinds,
            codes=codes[known],
            sessions=None if sessions is None else sessions[known],
        )

    @classmethod
    def _from_arrays(
        cls,
        users: dict[str, int],
        user_rows: npt.NDArray[np.integer],
        items: npt.NDArray[np.integer],
        times: npt.NDArray[np.integer],
        weights: npt.NDArray[np.floating],
        shown: AsOfCounter,
        clicked: AsOfCounter,
        *,
        asked: npt.NDArray[np.integer] | None = None,
        kinds: Kinds = NO_KINDS,
        codes: Codes | None = None,
        sessions: Rows | None = None,
    ) -> Self:
        liked = np.flatnonzero(weights > 0)
        log = liked[np.argsort(times[liked], kind="stable")]
        return cls(
            users,
            UserEvents.from_events(user_rows, items, times, weights, asked=asked, kinds=codes, sessions=sessions),
            AsOfCounter.from_events(items[liked], times[liked]),
            shown,
            clicked,
            Timeline(times[log].astype(np.int64), items[log].astype(np.int32)),
            kinds=kinds,
        )

    def with_events(
        self,
        user_ids: Sequence[str],
        items: Rows,
        times: Sequence[int] | Times,
        weights: Sequence[float] | Floats,
        kinds: Sequence[str] | None = None,
        sessions: Sequence[str | None] | None = None,
    ) -> "History":
        """Return this history with later events added; the arrays already here are shared, not copied.

        Item rows of -1 (not in the catalogue) are left out. Replaces events added before: hand in all of them. Without
        `kinds` what was done is unknown, without `sessions` (ids; None for events without one) pauses part sessions.
        """
        root = self
        while root._under is not None:
            root = root._under
        return root.and_then(user_ids, items, times, weights, kinds, sessions)

    def and_then(
        self,
        user_ids: Sequence[str],
        items: Rows,
        times: Sequence[int] | Times,
        weights: Sequence[float] | Floats,
        kinds: Sequence[str] | None = None,
        sessions: Sequence[str | None] | None = None,
    ) -> "History":
        """Return this history with more events on top of the live ones it has, which are not built again.

        The answers are those of all live events added at once; what it costs depends on the new events alone. Each
        layer makes questions a little dearer, so a few of them are enough.
        """
        n_users = len(self._users) + sum(len(live._users) for live in self._lives)
        users = {user: self._row(user) for user in user_ids}
        fresh = {user: n_users + row for row, user in enumerate(u for u, row in users.items() if row is None)}
        users.update(fresh)
        items = np.asarray(items, np.int32)
        known = items >= 0
        rows = np.fromiter((users[user] for user in user_ids), np.int64, len(user_ids))
        numbers = None if sessions is None else session_codes(sessions)
        all_kinds = self.kinds.and_also(kinds or ())
        empty = AsOfCounter.from_events(np.empty(0, np.int64), np.empty(0, np.int64))
        live = History._from_arrays(
            fresh,
            rows[known],
            items[known],
            np.asarray(times, np.int64)[known],
            np.asarray(weights, np.float32)[known],
            empty,
            empty,
            kinds=all_kinds,
            codes=None if kinds is None else all_kinds.codes(kinds)[known],
            sessions=None if numbers is None else numbers[known],
        )
        later = History(
            self._users,
            self._by_user,
            self._by_item,
            self._shown,
            self._clicked,
            self._timeline.with_live(live._timeline),
            (*self._lives, live),
            self._running,
            kinds=all_kinds,
        )
        later._under = self
        return later

    @property
    def user_ids(self) -> list[str]:
        """Return users in row order, without those of live events."""
        return list(self._users)

    def user_rows(self, user_ids: Sequence[str]) -> Rows:
        """Return the row of each user; a user without history gets a row that no event has."""
        nobody = np.iinfo(np.int32).max
        rows = (self._row(user) for user in user_ids)
        return np.fromiter((nobody if row is None else row for row in rows), np.int32, len(user_ids))

    def _row(self, user: str) -> int | None:
        """Return a user's row; None for one without history."""
        for layer in (self, *self._lives):
            if (row := layer._users.get(user)) is not None:
                return row
        return None

    def recent(self, moments: Moments, length: int) -> Recent:
        """Return what was positive among each query's last `length` interactions strictly before its moment."""
        layers = [layer._by_user.last(moments, length) for layer in (self, *self._lives)]
        return LastEvents.of_layers(layers).positive(moments.as_of)

    def user_counts(self, moments: Moments) -> Times:
        """Count all interactions of each query's user before its moment."""
        return sum((live._by_user.count(moments) for live in self._lives), start=self._by_user.count(moments))

    def taken(self, moments: Moments) -> tuple[Times, Rows, Floats]:
        """Return everything each user did before the moment, as flat arrays: query number, item row, weight."""
        if not self._lives:
            return self._by_user.before(moments)
        layers = [layer._by_user.before(moments) for layer in (self, *self._lives)]
        query, items, weights = (np.concatenate(part) for part in zip(*layers, strict=True))
        order = np.argsort(query, kind="stable")
        return query[order], items[order], weights[order]

    def item_counts(
        self, items: npt.NDArray[np.integer], *, before: Times, since: Times | None = None
    ) -> npt.NDArray[np.int64]:
        """Count interactions of items in `since <= time < before`; arrays broadcast."""
        counts = self._by_item.count(items, before=before, since=since)
        return sum((live._by_item.count(items, before=before, since=since) for live in self._lives), start=counts)

    def item_counts_at(self, items: npt.NDArray[np.integer], moments: Sequence[Times]) -> Times:
        """Count interactions of items before each of several moments [n_moments, n_items]; one, or one an item.

        Moments of a place in the sequence should lie near those that it had before: `RunningCounts`.
        """
        counts = self._counts_now(items, moments) if len(moments[0]) == 1 else self._by_item.count_at(items, moments)
        return sum((live._by_item.count_at(items, moments) for live in self._lives), start=counts)

    def _counts_now(self, items: npt.NDArray[np.integer], moments: Sequence[Times]) -> Times:
        running = self._running.before([int(before[0]) for before in moments], items)
        far = [slot for slot, found in enumerate(running) if found is None]
        counts = np.zeros((len(moments), len(items)), np.int64)
        for slot, found in enumerate(running):
            counts[slot] = 0 if found is None else found
        counts[far] = self._by_item.count_at(items, [moments[slot] for slot in far])
        return counts

    def item_ages(self, items: npt.NDArray[np.integer], *, before: Times) -> tuple[Floats, Floats]:
        """Seconds since each item's first and last interaction before the moment; NaN for a cold item."""
        first, last = self._by_item.ages(items, before=before)
        for live in self._lives:
            live_first, live_last = live._by_item.ages(items, before=before)
            first, last = np.fmax(first, live_first), np.fmin(last, live_last)
        return first, last

    def first_times(self, n_items: int) -> Times:
        """Return the time of each item's first interaction of positive weight, else `NEVER`; live events aside."""
        if self._first_times is None:
            rows = np.arange(n_items)
            first, end = self._by_item.start(rows), self._by_item.start(rows + 1)
            self._first_times = np.where(end > first, self._by_item.time_at(first), NEVER)
        return self._first_times

    def first_touches(self, n_items: int) -> Times:
        """Return the time of each item's first interaction of whatever weight, live ones too; else `NEVER`.

        An item is untouched at a moment when this lies at or after it.
        """
        if self._first_touches is None:
            # The first times are also those of users who have lost their past.
            first = (self._under.first_touches(n_items) if self._under else self.first_times(n_items)).copy()
            newest = (self, *self._lives)[-1]._by_user
            np.minimum.at(first, newest.items, newest.times)
            self._first_touches = first
        return self._first_touches

    def exposure(self, items: npt.NDArray[np.integer], *, before: Times) -> tuple[Times, Times]:
        """Count how often items were shown, and shown and clicked, before the moment."""
        return self._shown.count(items, before=before), self._clicked.count(items, before=before)

    def exposure_total(self, before: Times) -> tuple[Times, Times]:
        """Count all impressions, and all clicked ones, before the moments."""
        return self._shown.total(before), self._clicked.total(before)

    def log_counts(self, before: Times) -> Times:
        """Count all interactions of positive weight before each moment."""
        return self._timeline.count(before)

    def since_share(self, share: float | npt.NDArray[np.float64], before: Times) -> Times:
        """Return since which moment the latest `share` of all interactions before each moment lie; both broadcast."""
        return self._timeline.since_share(share, before)

    def hours(self, n_items: int, as_of: Times) -> tuple[list[Hour], Times]:
        """Return what was popular at the last full hour before each moment: distinct hours, and each moment's place."""
        return self._timeline.hours(n_items, as_of)

    def events(self, *, before: int) -> tuple[Times, Rows, Floats, Times]:
        """Return user rows, item rows, weights and times before a moment, by user and time; without live events."""
        times = self._by_user.times
        kept = times < before
        users = self._by_user.users[kept].astype(np.int64)
        return users, self._by_user.items[kept], self._by_user.weights[kept], times[kept]

    def asked(self, *, before: int) -> Times:
        """Return when each of the same `events` was asked for; of a loaded bundle, their times."""
        return self._by_user.asked[self._by_user.times < before]

    def sessions(self, *, before: int) -> Rows | None:
        """Return the number of the session that each of the same `events` names, 0 for none; None where none does."""
        sessions = self._by_user.sessions
        return None if sessions is None else sessions[self._by_user.times < before]

    def moved(self, items: Rows, users: npt.NDArray[np.bool_]) -> "History":
        """Return this history, live events aside, for a catalogue whose rows have moved.

        `items` holds each old row's new one, -1 for an item that is gone with all that was done with it. Users not
        marked in `users` lose their name and their own past; in the counts of items what they did stays.
        """
        numbers = np.where(users, np.cumsum(users) - 1, -1).astype(np.int32)
        by_item = self._by_item.moved(items[self._by_item.rows()])
        names = [name for name, stays in zip(self.user_ids, users.tolist(), strict=True) if stays]
        return History(
            {name: row for row, name in enumerate(names)},
            self._by_user.moved(items, numbers),
            by_item,
            self._shown.moved(items[self._shown.rows()]),
            self._clicked.moved(items[self._clicked.rows()]),
            by_time(by_item),
            kinds=self.kinds,
        )

    def save(self, folder: Path) -> None:
        """Write the arrays as `.npy` files, the users as Parquet and the kinds as JSON."""
        folder.mkdir(parents=True, exist_ok=True)
        pl.DataFrame({c.USER_ID: self.user_ids}, schema={c.USER_ID: pl.String}).write_parquet(folder / "users.parquet")
        for name, counter in self._counters().items():
            counter.save(folder, name)
        self._by_user.save(folder)
        (folder / _KINDS).write_text(json.dumps(self.kinds.names), encoding="utf-8")
        np.save(folder / "log_times.npy", self._timeline.times)
        np.save(folder / "log_items.npy", self._timeline.items)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Memory-map what `save` wrote; the history of an earlier bundle knows no kinds."""
        users = pl.read_parquet(folder / "users.parquet")[c.USER_ID].to_list()
        by_item, log_items = AsOfCounter.load(folder, "by_item"), folder / "log_items.npy"
        kinds = json.loads((folder / _KINDS).read_text(encoding="utf-8")) if (folder / _KINDS).is_file() else ()
        return cls(
            {user: row for row, user in enumerate(users)},
            UserEvents.load(folder),
            by_item,
            AsOfCounter.load(folder, "shown"),
            AsOfCounter.load(folder, "clicked"),
            Timeline(mapped(folder / "log_times.npy"), mapped(log_items)) if log_items.is_file() else by_time(by_item),
            kinds=Kinds(tuple(kinds)),
        )

    def _counters(self) -> dict[str, AsOfCounter]:
        return {"by_item": self._by_item, "shown": self._shown, "clicked": self._clicked}
