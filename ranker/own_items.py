"""Which items did each user touch before, how often, and how present are they still?"""

from dataclasses import dataclass
from typing import Final, Self

import numpy as np
import numpy.typing as npt
from scipy import sparse

from ranker.arrays import Ints, Rows
from ranker.history import History
from ranker.moments import Moments

DECAY: Final = 0.5
"""Power of the age by which an event fades: `d` of base-level activation (Anderson, Schooler, Psychological Science
1991), which found the same law in what people meet and in what they remember."""
_LEAST_HOURS: Final = 1 / 60
"""Events of the last minute count alike: the law has no end at the moment itself."""


@dataclass(frozen=True, kw_only=True)
class OwnItems:
    """The distinct items of each query's whole past, ordered by query and item; arrays [n] but for `again`."""

    query: Rows
    item: Rows
    n_events: Ints
    """How often the user touched the item, in whatever kind."""
    age: npt.NDArray[np.float64]
    """Seconds since the latest of these events."""
    activation: npt.NDArray[np.float64]
    """Sum over those of positive weight of log2(1 + weight) / hours since ** `DECAY`: often and lately, both at once.
    A weight counts as it does in labels, as some logs have quantities there."""
    again: npt.NDArray[np.float64]
    """Which share of each query's past were items not new to the user [q]; NaN without a past."""

    @classmethod
    def of(cls, history: History, moments: Moments) -> Self:
        """Gather all that each query's user did strictly before its moment."""
        past = history.taken(moments)
        n_rows = int(past.item.max(initial=0)) + 1
        pairs, place, n_events = np.unique(
            past.query.astype(np.int64) * n_rows + past.item, return_inverse=True, return_counts=True
        )
        query, item = np.divmod(pairs, n_rows)
        seconds = (moments.as_of[past.query] - past.time) / 1e6
        age = np.full(len(pairs), np.inf)
        np.minimum.at(age, place, seconds)
        strength = np.log2(1 + np.maximum(past.weight, 0)) / np.maximum(seconds / 3600, _LEAST_HOURS) ** DECAY
        events, distinct = (np.bincount(numbers, minlength=len(moments)) for numbers in (past.query, query))
        return cls(
            query=query.astype(np.int32),
            item=item.astype(np.int32),
            n_events=n_events,
            age=age,
            activation=np.bincount(place, strength, len(pairs)).astype(np.float64),
            again=np.where(events > 0, 1 - distinct / np.maximum(events, 1), np.nan),
        )

    def places(self, query: Rows, item: Rows) -> npt.NDArray[np.int64]:
        """Return where pairs of query and item stand; -1 for an item that the user never touched."""
        if not len(self.item):
            return np.full(len(item), -1)
        n_rows = int(max(self.item.max(), item.max(initial=0))) + 1
        held, wanted = (q.astype(np.int64) * n_rows + i for q, i in ((self.query, self.item), (query, item)))
        at = np.minimum(np.searchsorted(held, wanted), len(held) - 1)
        return np.where((held[at] == wanted) & (item >= 0), at, -1)

    def latest(self, query: int, most: int) -> Rows:
        """Return the items of one query that its user liked, each once: the latest `most` of them, in row order."""
        start, end = np.searchsorted(self.query, [query, query + 1])
        liked = start + np.flatnonzero(self.activation[start:end] > 0)
        latest = liked[np.argsort(self.age[liked], kind="stable")[:most]]
        found: Rows = self.item[np.sort(latest)]
        return found

    def by_activation(self, n_items: int) -> sparse.csr_matrix:
        """Return each query's activations [q, n_items]."""
        ends = np.searchsorted(self.query, np.arange(len(self.again) + 1))
        return sparse.csr_matrix((self.activation.astype(np.float32), self.item, ends), (len(self.again), n_items))
