"""What was shown, and what of it was clicked? Batches of requests for the listwise loss."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from encoders.batches import Histories, Ints, histories_at
from encoders.sequences import Sequences


@dataclass(frozen=True, kw_only=True)
class ShownBatch:
    """Requests with the history strictly before each, and the items it showed."""

    histories: Histories
    place: Ints
    gap: Ints
    items: Ints
    """Catalogue rows [r, s], 0 where `mask` is False."""
    mask: NDArray[np.bool_]
    clicked: NDArray[np.bool_]


class ShownBatches:
    """Draws requests that had both a click and a skip, by users with some history."""

    def __init__(self, data: Sequences, *, length: int, requests: int = 128, longest: int = 50) -> None:
        self.data = data
        self.length = length
        self.requests = requests
        self.longest = longest
        shown = data.shown
        self._clicked = shown.clicked  # of all that was shown: looked at once, not for every batch
        clicks = np.concatenate([[0], np.cumsum(self._clicked)])[shown.starts]
        clicks, sizes = np.diff(clicks), np.diff(shown.starts)
        chosen = np.flatnonzero((shown.users >= 0) & (clicks > 0) & (clicks < sizes))
        begins, ends = data.starts[shown.users[chosen]], data.starts[shown.users[chosen] + 1]
        chosen, begins = chosen[begins < ends], begins[begins < ends]
        self.usable = chosen[data.times[begins] < shown.times[chosen]]

    def draw(self, rng: np.random.Generator) -> ShownBatch | None:
        """Return a batch of requests, or None when the log has none to learn from."""
        if not len(self.usable):
            return None
        chosen = rng.choice(self.usable, size=min(self.requests, len(self.usable)), replace=False)
        return self.batch(chosen, rng)

    def batch(self, requests: Ints, rng: np.random.Generator) -> ShownBatch:
        """Return these requests; of a request that showed more than `longest`, every click and some skips."""
        shown = self.data.shown
        found, counts, gap = histories_at(self.data, shown.users[requests], shown.times[requests], self.length)
        rows = []
        for request in requests:
            row = np.arange(shown.starts[request], shown.starts[request + 1])
            if len(row) > self.longest:
                row = row[np.argsort(rng.random(len(row)) - self._clicked[row], kind="stable")[: self.longest]]
            rows.append(row)
        size = max(len(row) for row in rows)
        index = np.zeros((len(rows), size), dtype=np.int64)
        mask = np.zeros((len(rows), size), dtype=bool)
        for place, row in enumerate(rows):
            index[place, : len(row)] = row
            mask[place, : len(row)] = True
        return ShownBatch(
            histories=found,
            place=np.maximum(counts - 1, 0),
            gap=gap,
            items=np.where(mask, shown.items[index], 0),
            mask=mask,
            clicked=mask & self._clicked[index],
        )
