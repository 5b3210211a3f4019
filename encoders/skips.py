"""What else did a user see when an item was taken, and leave? Skipped items, as negatives of that one question."""

import numpy as np
from numpy.typing import NDArray

from encoders.sequences import Sequences, Shown

Ints = NDArray[np.int64]


class Skips:
    """Tells for each event which request showed its user what was then skipped, and draws from it."""

    def __init__(self, data: Sequences, *, n: int) -> None:
        """Find each event's request: the one that the event answered, else the user's last strictly before the event.

        Where the first had nothing skipped, the second stands in. No skip is what its user took, refused or clicked
        at any time in the log, and what has no text. Without `n` nothing is looked for.
        """
        self.n = n
        shown = data.shown if n else Shown.nothing()
        self.request = np.full(len(data.items) if len(shown.users) else 0, -1, np.int64)
        """The request of each event [n_events]; -1 for none. Nothing where nothing was shown."""
        if not len(shown.users):
            return
        request = np.repeat(np.arange(len(shown.users)), np.diff(shown.starts))
        pair = shown.users[request] * max(data.n_items, 1) + shown.items
        events = data.users * max(data.n_items, 1) + data.items
        clicked = shown.clicked
        skip = (shown.users[request] >= 0) & data.has_text[shown.items]
        skip &= ~np.isin(pair, np.concatenate([events, pair[clicked]]))
        self.items = shown.items[skip]
        """Catalogue rows of what was skipped, request by request."""
        self._n = np.bincount(request[skip], minlength=len(shown.users))
        self._starts = np.cumsum(self._n) - self._n
        some = np.flatnonzero(self._n > 0)
        self.request = _latest(shown.users[some], shown.times[some], some, data.users, data.times)
        told = clicked & (self._n[request] > 0)
        # a request and what it led to may bear the same time
        answered = _latest(pair[told], shown.times[request[told]], request[told], events, data.times + 1)
        self.request = np.where(answered >= 0, answered, self.request)

    def draw(self, events: Ints, rng: np.random.Generator) -> tuple[Ints, NDArray[np.bool_]]:
        """Return up to `n` skips of each event's request [p, n], 0 where the mask is False.

        They stand next to each other in their request, from a random one on, so that none is drawn twice. Where no
        event has any, the width is 0 and the generator is left as it was.
        """
        requests = self.request[events] if len(self.request) else np.full(len(events), -1, np.int64)
        found = requests >= 0
        if not found.any():
            return np.zeros((len(events), 0), np.int64), np.zeros((len(events), 0), bool)
        there = np.where(found, self._n[requests], 0)
        place = np.arange(self.n)[None, :]
        mask = place < there[:, None]
        first = rng.integers(0, np.maximum(there, 1))
        index = self._starts[requests][:, None] + (first[:, None] + place) % np.maximum(there, 1)[:, None]
        return np.where(mask, self.items[np.where(mask, index, 0)], 0), mask


def _latest(groups: Ints, times: Ints, values: Ints, asked: Ints, moments: Ints) -> Ints:
    """Return the value of the latest row of each asked group strictly before its moment; -1 where there is none.

    >>> rows = np.array([4, 4, 9]), np.array([10, 20, 15]), np.array([0, 1, 2])
    >>> _latest(*rows, np.array([4, 4, 4, 9, 5]), np.array([21, 20, 10, 99, 99])).tolist()
    [1, 0, -1, 2, -1]
    """
    if not len(groups):
        return np.full(len(asked), -1, np.int64)
    order = np.lexsort((times, groups))
    groups, times, values = groups[order], times[order], values[order]
    distinct, group = np.unique(groups, return_inverse=True)
    instants = np.unique(times)
    # one number a row, by group and then by time
    key = group * (len(instants) + 1) + np.searchsorted(instants, times)
    own = np.minimum(np.searchsorted(distinct, asked), len(distinct) - 1)
    last = np.searchsorted(key, own * (len(instants) + 1) + np.searchsorted(instants, moments)) - 1
    there = (distinct[own] == asked) & (last >= 0)
    there &= group[last] == own
    return np.where(there, values[last], -1)
