"""How often was each item taken before a moment that hardly moves? Counted on from where the last question left it.

A service asks about now, an hour ago, a week ago: from one question to the next few events pass each of these moments.
What is kept of each is a count of every item, which a table look-up reads where a binary search would take many steps.
"""

from collections.abc import Sequence
from functools import cached_property
from typing import Final

import numpy as np
import numpy.typing as npt

from ranker.arrays import Rows, Times

FARTHEST: Final = 100_000
"""A moment moved by more events than this is counted on only if the next question lies there, too."""


class RunningCounts:
    """Counts of a log in order of time; each place in the moments asked follows a moment of its own."""

    def __init__(self, times: Times, items: Rows) -> None:
        self._times = times
        self._items = items
        self._slots: dict[int, tuple[int, npt.NDArray[np.int32] | None]] = {}
        self._far: dict[int, int] = {}

    def before(self, moments: Sequence[int], rows: npt.NDArray[np.integer]) -> list[npt.NDArray[np.int32] | None]:
        """Count the events of rows before each moment [n_rows]; None for one far from the last two in its place.

        Rows that the log does not have count 0.

        >>> counts = RunningCounts(np.array([10, 20, 20, 30]), np.array([0, 1, 0, 0], np.int32))
        >>> [found.tolist() for found in counts.before([30, 20], np.array([0, 1, 7, -1]))]
        [[2, 1, 0, 0], [1, 0, 0, 0]]
        """
        ends = np.searchsorted(self._times, moments).tolist()
        counts = [self._counts(slot, end) for slot, end in enumerate(ends)]
        known = (rows >= 0) & (rows < self._n_rows)
        places = np.where(known, rows, self._n_rows)
        return [None if of_all is None else of_all[places] for of_all in counts]

    @cached_property
    def _n_rows(self) -> int:
        return int(self._items.max(initial=-1)) + 1

    def _counts(self, slot: int, end: int) -> npt.NDArray[np.int32] | None:
        """Count every row up to a place in the log, and one row more, to which nothing happens."""
        at, counts = self._slots.get(slot, (0, None))
        if counts is None:
            counts = np.bincount(self._items[:end], minlength=self._n_rows + 1).astype(np.int32)
        elif abs(end - at) > FARTHEST and abs(end - self._far.get(slot, at)) > FARTHEST:
            self._far[slot] = end
            return None
        elif end != at:
            # A new array: another thread may be reading the old one.
            counts = counts.copy()
            np.add.at(counts, self._items[min(at, end) : max(at, end)], np.int32(1 if end > at else -1))
        self._slots[slot] = end, counts
        return counts
