"""How often did something happen to a row before a moment? Binary search, for millions of rows."""

from collections.abc import Sequence
from pathlib import Path
from typing import Self

import numpy as np
import numpy.typing as npt

from ranker.arrays import Ints, Rows, Times, mapped

_FEW_EVENTS = 64
"""With more rows than this for each event, beginnings are searched, not kept."""


class AsOfCounter:
    """Counts of events per row as they stood at any moment.

    Events lie in one sorted array of keys `row * (n_moments + 1) + rank of the event's time`, so how many events a row
    had before a moment is the difference of two binary searches. Times are microseconds since 1970, naive UTC; every
    bound called `before` is exclusive, every bound called `since` is inclusive.

    >>> counter = AsOfCounter.from_events(np.array([0, 0, 1]), np.array([10, 20, 20]))
    >>> counter.count(np.array([0, 0, 1]), before=np.array([20, 21, 20])).tolist()
    [1, 2, 0]
    """

    def __init__(self, keys: Ints, moments: Times):
        self._keys = keys
        self._moments = moments
        self._base = len(moments) + 1
        self._order: Ints | None = None
        self._starts: Ints | None = None

    @classmethod
    def from_events(cls, rows: npt.NDArray[np.integer], times: npt.NDArray[np.integer]) -> Self:
        """Sort events given in any order: row and time (microseconds) of each."""
        moments, ranks = np.unique(np.asarray(times, np.int64), return_inverse=True)
        keys = np.asarray(rows, np.int64) * (len(moments) + 1) + ranks
        keys.sort()
        return cls(keys, moments)

    def __len__(self) -> int:
        return len(self._keys)

    def position(self, rows: npt.NDArray[np.integer], before: npt.NDArray[np.integer]) -> Ints:
        """Return where in row order the events of `rows` at or after `before` begin; both arrays broadcast."""
        ranks = self._moments.searchsorted(before)
        if ranks.size == 1 and ranks.item() == len(self._moments):  # after all events, as a service asks
            return self.start(np.asarray(rows) + 1)
        return self._first_at(np.asarray(rows, np.int64) * self._base + ranks)

    def start(self, rows: npt.NDArray[np.integer]) -> Ints:
        """Return where in row order the events of `rows` begin."""
        n_rows = int(self._keys[-1] // self._base) + 1 if len(self._keys) else 0
        if n_rows > _FEW_EVENTS * len(self._keys):  # a handful of live events of late rows: no table of all rows
            return self._first_at(np.asarray(rows, np.int64) * self._base)
        if self._starts is None:
            self._starts = self._first_at(np.arange(n_rows + 1, dtype=np.int64) * self._base)
        begins: Ints = self._starts.take(rows, mode="clip")
        return begins

    def count(
        self,
        rows: npt.NDArray[np.integer],
        *,
        before: npt.NDArray[np.integer],
        since: npt.NDArray[np.integer] | None = None,
    ) -> Ints:
        """Count events of each row in `since <= time < before`; arrays broadcast, unknown rows count 0."""
        first = self.start(rows) if since is None else self.position(rows, since)
        counted: Ints = np.maximum(self.position(rows, before) - first, 0)
        return counted

    def count_at(self, rows: npt.NDArray[np.integer], moments: Sequence[npt.NDArray[np.integer]]) -> Ints:
        """Count events of rows before each of several moments [n_moments, n_rows]; a moment is one, or one a row."""
        first = self.start(rows)
        counts = np.zeros((len(moments), len(rows)), np.int64)
        for number, before in enumerate(moments):
            if len(before) != 1 or (len(self._moments) and before[0] > self._moments[0]):
                np.maximum(self.position(rows, before) - first, 0, out=counts[number])
        return counts

    def total(self, before: npt.NDArray[np.integer]) -> Ints:
        """Count events of all rows before each moment."""
        if self._order is None:
            self._order = np.sort(self._keys % self._base)
        ranks = np.searchsorted(self._moments, before, side="left")
        counted: Ints = np.searchsorted(self._order, ranks)
        return counted

    def time_at(self, positions: npt.NDArray[np.integer]) -> Times:
        """Return the time of events by their position in row order."""
        if not len(self._keys):
            return np.zeros(np.shape(positions), np.int64)
        taken: Times = self._moments[self._keys[np.clip(positions, 0, len(self._keys) - 1)] % self._base]
        return taken

    def ages(
        self, rows: npt.NDArray[np.integer], *, before: npt.NDArray[np.integer]
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        """Seconds from each row's first event, and from its last one, to `before`; NaN where it has none yet."""
        first, end = self.start(rows), self.position(rows, before)
        known = end > first
        moment = np.asarray(before, np.int64)
        ages = (np.where(known, (moment - self.time_at(place)) / 1e6, np.nan) for place in (first, end - 1))
        to_first, to_last = (age.astype(np.float32) for age in ages)
        return to_first, to_last

    def rows(self) -> Rows:
        """Return the row of each event, in row order."""
        found: Rows = (self._keys // self._base).astype(np.int32)
        return found

    def same(self, other: "AsOfCounter") -> bool:
        """Whether both count the same events."""
        return np.array_equal(self._keys, other._keys) and np.array_equal(self._moments, other._moments)

    def joined(self, *others: Self) -> Self:
        """Return its events and those of others.

        >>> one = AsOfCounter.from_events(np.array([0, 1]), np.array([10, 20]))
        >>> both = one.joined(AsOfCounter.from_events(np.array([1]), np.array([5])))
        >>> both.count(np.array([0, 1]), before=np.array([11, 11])).tolist()
        [1, 1]
        """
        all_events = ((counter.rows(), counter.time_at(np.arange(len(counter)))) for counter in (self, *others))
        rows, times = map(np.concatenate, zip(*all_events, strict=True))
        return type(self).from_events(rows, times)

    def save(self, folder: Path, name: str) -> None:
        """Write the two arrays as `<name>_keys.npy` and `<name>_moments.npy`."""
        np.save(folder / f"{name}_keys.npy", self._keys)
        np.save(folder / f"{name}_moments.npy", self._moments)

    @classmethod
    def load(cls, folder: Path, name: str) -> Self:
        """Memory-map what `save` wrote."""
        return cls(mapped(folder / f"{name}_keys.npy"), mapped(folder / f"{name}_moments.npy"))

    def _first_at(self, keys: Ints) -> Ints:
        found: Ints = self._keys.searchsorted(keys)
        return found
