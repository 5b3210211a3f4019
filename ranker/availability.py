"""Which items could not be had at a past moment? Their absences: an item whose availability never changed has none."""

from dataclasses import dataclass
from functools import cached_property
from typing import Self

import numpy as np
import numpy.typing as npt
import polars as pl

from ingest import columns as c
from ranker.arrays import Rows, Times

SCHEMA = pl.Schema(
    {c.ITEM_ID: pl.String(), c.GONE_AFTER: pl.Datetime("us"), c.GONE_UNTIL: pl.Datetime("us")},
)
"""As `Store.absences` tells them."""


@dataclass(frozen=True, kw_only=True)
class Absences:
    """Intervals `after < moment <= until` at which an item could not be had; those of one item do not touch.

    A moment knows what the catalogue said strictly before it.
    """

    rows: Rows
    """Catalogue row of the item."""
    after: Times
    until: Times

    @classmethod
    def of(cls, rows: Rows, frame: pl.DataFrame) -> Self:
        """Take a frame of `SCHEMA` with the row of each of its items; -1 for items that are not there."""
        here = rows >= 0
        bounds = np.iinfo(np.int64)
        after = frame[c.GONE_AFTER].dt.epoch("us").fill_null(bounds.min).to_numpy()
        until = frame[c.GONE_UNTIL].dt.epoch("us").fill_null(bounds.max).to_numpy()
        return cls(rows=rows[here], after=after[here], until=until[here])

    @cached_property
    def last_change(self) -> int:
        """From the moment after this one on all is as it is now; before everything where nothing ever changed."""
        bounds = np.iinfo(np.int64)
        changes = np.concatenate([self.after, self.until])
        return int(changes[changes < bounds.max].max(initial=bounds.min))

    def available_at(self, as_of: Times, now: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
        """Mark what could be had at each moment, given what can be had now [n_items].

        [q, n_items], or [1, n_items] where nothing has changed since any of the moments.

        >>> import numpy as np
        >>> sold_out = Absences(rows=np.array([1]), after=np.array([10]), until=np.array([20]))
        >>> sold_out.available_at(np.array([10, 11, 20, 21]), np.array([True, True])).tolist()
        [[True, True], [True, False], [True, False], [True, True]]
        >>> sold_out.available_at(np.array([21, 22]), np.array([True, True])).tolist()
        [[True, True]]
        """
        if not len(as_of) or as_of.min() > self.last_change:
            return now[None]
        found = np.repeat(self._ever(now)[None], len(as_of), axis=0)
        for row, moment in zip(found, as_of.tolist(), strict=True):
            row[self.rows[(self.after < moment) & (moment <= self.until)]] = False
        return found

    def available_each_at(self, moments: Times, now: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
        """Mark the items that could be had each at a moment of its own; both [n_items]."""
        found = self._ever(now)
        moment = moments[self.rows]
        found[self.rows[(self.after < moment) & (moment <= self.until)]] = False
        return found

    def _ever(self, now: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
        ever = now.copy()
        ever[self.rows] = True
        return ever
