"""Among what should a taken item stand out? Items drawn by popularity and near neighbours, each with its chance."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from encoders.sequences import Sequences

Ints = NDArray[np.int64]

_NEIGHBOURS = 20
_MOST_COMPARED = 20_000
"""More items than these are too many to compare with each other: each epoch takes some of them."""


class Negatives:
    """Draws the items that a step's targets are told from, beside the targets of the same step."""

    def __init__(self, data: Sequences, target: NDArray[np.bool_], *, n: int, power: float, n_near: int = 0) -> None:
        counts = np.bincount(data.items[target], minlength=data.n_items).astype(np.float64)
        touched = data.has_text & (np.bincount(data.items, minlength=data.n_items) > 0)
        drawn = np.where(touched, (counts + 1) ** power, 0.0)
        self.n = n
        self.n_near = n_near
        self.touched = np.flatnonzero(touched)
        self.share = counts / max(counts.sum(), 1)
        """Share of the targets that each item is [n_items]."""
        self.drawn = drawn / max(drawn.sum(), 1e-12)
        """Chance of each item in one draw by popularity [n_items]."""
        self._up_to = np.cumsum(self.drawn)
        """A draw searches in these sums, as NumPy's `choice` does, which would make them anew each time."""
        self._up_to /= self._up_to[-1:] if touched.any() else 1
        self._found = 0
        self._neighbours = np.empty((0, _NEIGHBOURS), np.int64)
        self._near = np.zeros(data.n_items)

    def look_around(self, vectors: Tensor, rng: np.random.Generator) -> None:
        """Find each item's nearest by the present vectors [n_items, dim]; of a large catalogue, among a random part."""
        self._neighbours = np.full((len(self.share), _NEIGHBOURS), -1, np.int64)
        some = self.touched
        if len(some) > _MOST_COMPARED:
            some = np.sort(rng.choice(some, _MOST_COMPARED, replace=False))
        found = self._found = max(min(_NEIGHBOURS, len(some) - 1), 0)
        if not found:
            return
        compared = vectors[torch.from_numpy(some).to(vectors.device)]
        for start in range(0, len(some), 1024):
            likeness = compared[start : start + 1024] @ compared.T
            row = torch.arange(len(likeness), device=likeness.device)
            likeness[row, start + row] = -torch.inf  # an item is not its own neighbour
            near = likeness.topk(found, dim=1).indices.cpu().numpy()
            self._neighbours[some[start : start + 1024], :found] = some[near]
        held = self._neighbours >= 0
        self._near[:] = 0
        np.add.at(self._near, self._neighbours[held], np.broadcast_to(self.share[:, None] / found, held.shape)[held])

    def draw(self, targets: Ints, rng: np.random.Generator) -> Ints:
        """Return `n` items by popularity and up to `n_near` neighbours of the targets; items may repeat."""
        drawn = np.searchsorted(self._up_to, rng.random(self.n), side="right") if self.n else np.zeros(0, np.int64)
        if not self.n_near or not self._found:
            return drawn
        near = self._neighbours[rng.choice(targets, self.n_near), rng.integers(0, self._found, self.n_near)]
        return np.concatenate([drawn, near[near >= 0]])

    def log_odds(self, candidates: Ints, n_targets: int) -> NDArray[np.float32]:
        """Return the log of each candidate's chance to be in a step of so many targets [c] (logQ)."""
        missing = (1 - self.share[candidates]) ** n_targets * (1 - self.drawn[candidates]) ** self.n
        missing *= (1 - np.minimum(self._near[candidates], 1)) ** self.n_near
        odds: NDArray[np.float32] = np.log(np.maximum(1 - missing, 1e-9)).astype(np.float32)
        return odds
