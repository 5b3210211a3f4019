"""How often may one category, brand or author come within an answer? Caps, and the order in which they give way."""

from collections.abc import Iterable, Mapping

import numpy as np
import numpy.typing as npt
from scipy import sparse

from ingest import columns as c
from ranker.attributes import values
from ranker.catalogue import Catalogue

CATEGORY = "category"
"""The name under which `categories` of an item are capped; every other name is that of an attribute."""

_UNLIMITED = np.iinfo(np.int64).max // 2


class Caps:
    """Which capped values each item has, and how many items of an answer may share one.

    An item counts for each of its values, so that it fits only while all of them have room. One without a value of an
    attribute is not capped by it.
    """

    def __init__(self, catalogue: Catalogue, limits: Mapping[str, int]):
        self.n_items = len(catalogue)
        self._names: list[tuple[str, str]] = []
        pairs: list[tuple[int, int]] = []
        per_value: list[int] = []
        for name, limit in limits.items():
            if not limit:
                continue
            columns: dict[str, int] = {}
            for row, found in enumerate(capped_values(catalogue, name)):
                for value in dict.fromkeys(found):
                    pairs.append((row, columns.setdefault(value, len(self._names) + len(columns))))
            self._names += [(name, value) for value in columns]
            per_value += [limit] * len(columns)
        self.limits = np.array(per_value, np.int64)
        rows, columns_of = np.array(pairs, np.int64).reshape(-1, 2).T
        shape = (self.n_items, len(self._names))
        self.by_item = sparse.csr_matrix((np.ones(len(rows), np.int32), (rows, columns_of)), shape=shape)
        self.by_value = self.by_item.tocsc()

    def __bool__(self) -> bool:
        return len(self.limits) > 0

    def tally(self, asked_for: Iterable[str] = ()) -> "Tally":
        """Begin to count an answer; categories that were asked for are not capped in it."""
        wanted = {(CATEGORY, name) for name in asked_for}
        left = self.limits.copy()
        if wanted:
            left[[column for column, name in enumerate(self._names) if name in wanted]] = _UNLIMITED
        return Tally(self, left)


def capped_values(catalogue: Catalogue, name: str) -> list[list[str]]:
    """Return what each item has of that which a cap counts: its categories, or its values of an attribute."""
    if name != CATEGORY:
        return values(catalogue, name)
    return [told or [] for told in catalogue.items[c.CATEGORIES].to_list()]


class Tally:
    """How much room an answer has still: `open` [n_items] marks the items that fit beside those counted."""

    def __init__(self, caps: Caps, left: npt.NDArray[np.int64]):
        self._caps = caps
        self._left = left
        self.open = np.ones(caps.n_items, bool)

    def add(self, row: int) -> bool:
        """Count an item of the answer; tells whether others no longer fit."""
        if not self._caps:
            return False
        by_item, by_value = self._caps.by_item, self._caps.by_value
        closed = False
        for value in by_item.indices[by_item.indptr[row] : by_item.indptr[row + 1]].tolist():
            self._left[value] -= 1
            if not self._left[value]:
                self.open[by_value.indices[by_value.indptr[value] : by_value.indptr[value + 1]]] = False
                closed = True
        return closed

    def pick(self, rows: npt.NDArray[np.integer], n: int) -> npt.NDArray[np.int64]:
        """Count the first `n` of the items that fit, in their order; returns their places in `rows`."""
        picked: list[int] = []
        start = 0
        while len(picked) < n:
            for step in np.flatnonzero(self.open[rows[start:]])[: n - len(picked)].tolist():
                picked.append(start + step)
                if self.add(int(rows[start + step])):
                    break  # what was open may not be so any more
            else:
                break
            start = picked[-1] + 1
        return np.array(picked, np.int64)

    def fill(self, rows: npt.NDArray[np.integer], n: int) -> tuple[npt.NDArray[np.int64], int]:
        """Count `n` of the items, or all; returns their places in `rows`, and how many of these, the first, had room.

        Where none is left that fits, all caps give way by as much as they are, as often as it takes: an answer that
        cannot keep to three of a brand keeps to six.
        """
        waiting = np.arange(len(rows))
        chosen: list[npt.NDArray[np.int64]] = []
        while n > 0 and len(waiting):
            picked = self.pick(rows[waiting], n)
            chosen.append(waiting[picked])
            n -= len(picked)
            waiting = np.delete(waiting, picked)
            if n > 0:
                self._widen()
        return np.concatenate([np.empty(0, np.int64), *chosen]), len(chosen[0]) if chosen else 0

    def _widen(self) -> None:
        self._left += self._caps.limits
        full = (self._left <= 0).astype(np.int32)
        self.open = np.asarray(self._caps.by_item @ full).ravel() == 0
