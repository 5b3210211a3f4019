"""What was taken in all, in order of time? Windows of a share of the log, and what was popular at each full hour."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np
import numpy.typing as npt

from ranker.arrays import Floats, Ints, Rows, Times
from ranker.best import best

HOUR: Final = 3_600_000_000
POPULAR_SHARES: Final = {"trending": 0.01, "popular": 0.05, "evergreen": 1.0}
"""Windows that are counted each hour: the interactions of this latest share of the log."""
FRESH_BELOW: Final = 3
"""An item with fewer interactions than this counts as fresh."""
_MOST_KEPT: Final = 2_000
_CELLS_KEPT: Final = 10_000_000
_FEWEST_HOURS_KEPT: Final = 4


@dataclass(frozen=True, kw_only=True)
class Hour:
    """How often each item was taken in the windows that end at one full hour."""

    counts: Mapping[str, Floats]
    """For each of `POPULAR_SHARES` [n_items]."""

    @cached_property
    def most(self) -> Mapping[str, npt.NDArray[np.int64]]:
        """The 2,000 most taken items of each window: most first, of equals the first, none that nobody took."""
        return {name: _most(counts) for name, counts in self.counts.items()}

    @cached_property
    def log_popular(self) -> Floats:
        """Log of 1 + how often each item was taken in the window `popular` [n_items]."""
        return np.log1p(self.counts["popular"])

    @cached_property
    def log_in_vogue(self) -> Floats:
        """Sum of the logs of 1 + how often each item was taken in `popular` and in `trending` [n_items]."""
        return self.log_popular + np.log1p(self.counts["trending"])

    @cached_property
    def fresh(self) -> npt.NDArray[np.bool_]:
        """True where hardly anyone has touched an item [n_items]."""
        return np.asarray(self.counts["evergreen"] < FRESH_BELOW)

    def has_more(self, name: str) -> bool:
        """Tell whether items were taken in a window that `most` does not hold."""
        return len(self.most[name]) == _MOST_KEPT


class Timeline:
    """Interactions of positive weight in order of time; `live` is a small one, told later, that lies on `under`.

    `times` and `items` are those of the lowest layer. Hours that were counted are kept in `hourly`, which a timeline
    shares with those made of it by adding live events.
    """

    def __init__(
        self,
        times: Times,
        items: Rows,
        layers: "tuple[Timeline, Timeline] | None" = None,
        hourly: "dict[tuple[int, int], Hour] | None" = None,
    ):
        self.times = times
        self.items = items
        self._layers = layers
        self._live_places = None if layers is None else _places(*layers)
        self._hourly: dict[tuple[int, int], Hour] = {} if hourly is None else hourly
        self._hour_seen = -1, 0
        self._counted: tuple[int, Ints] | None = None

    def with_live(self, live: "Timeline") -> "Timeline":
        """Return this timeline with events on top that were told later."""
        return Timeline(self.times, self.items, (self, live), self._hourly)

    def __len__(self) -> int:
        return len(self.times) if self._layers is None else sum(map(len, self._layers))

    def count(self, before: Times) -> Ints:
        """Count all interactions before each moment."""
        if self._layers is None:
            return np.searchsorted(self.times, before, side="left")
        under, live = self._layers
        return under.count(before) + live.count(before)

    def since_share(self, share: float | npt.NDArray[np.float64], before: Times) -> Times:
        """Return since which moment the latest `share` of all interactions before each moment lie; both broadcast.

        A window that adapts to the pace of the log: 1 % may be an hour of a busy shop or a year of a quiet one. It
        holds one interaction at least, where there is one.
        """
        n_before = self.count(before)
        # At least one: a window of none would begin with the first event that is still to come.
        n_inside = np.maximum((n_before * share).astype(np.int64), 1)
        return self._time_at(np.maximum(n_before - n_inside, 0))

    def hours(self, n_items: int, as_of: Times) -> tuple[list[Hour], Ints]:
        """Count every item's interactions in windows that end at the last full hour before each moment.

        Returns the distinct hours and, for each moment, its hour's place among them. The hour keeps the counts worth
        remembering: a service computes them once an hour, and anew when an event of an earlier hour comes.
        """
        if len(as_of) == 1:
            return [self._hour(int(as_of[0]) // HOUR * HOUR, n_items)], np.zeros(1, np.int64)
        hours, place = np.unique(as_of // HOUR * HOUR, return_inverse=True)
        return [self._hour(hour, n_items) for hour in hours.tolist()], place

    def counts(self, n_items: int, since: int, before: int) -> Ints:
        """Count every item's interactions in `since <= time < before`, from the log in order."""
        if self._layers is not None:
            under, live = self._layers
            return under.counts(n_items, since, before) + live.counts(n_items, since, before)
        start, end = np.searchsorted(self.times, [since, before])
        return self._counts_to(n_items, end) if start == 0 else self._counts_within(n_items, start, end)

    def _hour(self, hour: int, n_items: int) -> Hour:
        key = (hour, self._live_before(hour))
        found = self._hourly.get(key)
        if found is None:
            if len(self._hourly) >= max(_CELLS_KEPT // max(n_items, 1), _FEWEST_HOURS_KEPT):
                self._hourly.clear()
            since = {name: int(self.since_share(part, np.asarray([hour]))[0]) for name, part in POPULAR_SHARES.items()}
            counts = {name: self.counts(n_items, start, hour).astype(np.float32) for name, start in since.items()}
            found = self._hourly[key] = Hour(counts=counts)
        return found

    def _time_at(self, positions: Ints) -> Times:
        """Return the times at these places of the whole log in order of time, at most those of its last; 0 without."""
        if not len(self):
            return np.zeros(np.shape(positions), np.int64)
        positions = np.minimum(positions, len(self) - 1)
        if self._layers is None or self._live_places is None:
            return np.asarray(self.times[positions], np.int64)
        under, live = self._layers
        if not len(live):
            return under._time_at(positions)
        earlier = np.searchsorted(self._live_places, positions)
        at = np.minimum(earlier, len(live) - 1)
        return np.where(self._live_places[at] == positions, live.times[at], under._time_at(positions - earlier))

    def _live_before(self, hour: int) -> int:
        """Return a number that tells apart what live events there are before an hour; 0 for none."""
        if self._layers is None:
            return 0
        if self._hour_seen[0] != hour:
            under, live = self._layers
            n_before = int(np.searchsorted(live.times, hour))
            told = under._live_before(hour) + _sum_of_hashes(live.times[:n_before], live.items[:n_before])
            self._hour_seen = hour, told % 2**64
        return self._hour_seen[1]

    def _counts_to(self, n_items: int, end: int) -> Ints:
        """Count all up to a place in the log, from the place counted last: neighbouring hours lie close together."""
        at, counts = self._counted or (0, np.zeros(n_items, np.int64))
        between = self._counts_within(n_items, min(at, end), max(at, end))
        counts = counts + between if end >= at else counts - between
        self._counted = end, counts
        return counts

    def _counts_within(self, n_items: int, start: int, end: int) -> Ints:
        return np.bincount(self.items[start:end], minlength=n_items)


def _places(under: Timeline, live: Timeline) -> Ints:
    """Return the places of the live events in the whole log in order of time; of one instant they are the last."""
    return under.count(live.times + 1) + np.arange(len(live.times))


def _sum_of_hashes(times: Times, items: Rows) -> int:
    """Return a number that tells sets of events apart, however they lie in layers; 0 for none.

    Each is hashed by SplitMix64 (Steele, Lea and Flood 2014).
    """
    mixed = times.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15) + items.astype(np.uint64)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return int((mixed ^ (mixed >> np.uint64(31))).sum(dtype=np.uint64))


def _most(counts: Floats) -> npt.NDArray[np.int64]:
    taken = np.flatnonzero(counts > 0)
    rows = taken[best(counts[taken], _MOST_KEPT)]
    found: npt.NDArray[np.int64] = rows[np.lexsort((rows, -counts[rows]))]
    return found
