"""How much is to be added for items that nobody has touched? As much as costs other answers next to nothing."""

from torch import Tensor

from encoders.measure import HeldOut, rank_targets
from encoders.sequences import Sequences
from encoders.tower import UserTower

FEWEST_COLD = 20
"""Held-out questions answered by a new item, below which nothing is added."""

STEPS = [0.25 * step for step in range(17)]
"""What is tried, in units of interest."""


def fit_newcomers(
    data: Sequences, asked: HeldOut, vectors: Tensor, tower: UserTower, length: int, *, cost: float
) -> float:
    """Return the largest addition with which recall at 10 is at most the share `cost` below the best.

    Words of items that were taken have learned from it and those of new items have not, so that at equal liking a new
    item has the lower interest. 0 where too few held-out questions were answered by a new item to know.
    """
    if cost < 0 or int(asked.cold.sum()) < FEWEST_COLD:
        return 0.0
    ranks = rank_targets(data, asked, vectors, tower, length, newcomers=STEPS)
    return largest_within((ranks <= 10).mean(axis=1).tolist(), cost)


def largest_within(recalls: list[float], cost: float) -> float:
    """Return the last step whose recall is at most the share `cost` below the best; 0 where nothing is ever found.

    >>> largest_within([0.100, 0.101, 0.100, 0.09], 0.02)
    0.5
    """
    if not max(recalls):
        return 0.0
    enough = max(recalls) * (1 - cost)
    return max(step for step, recall in zip(STEPS, recalls, strict=False) if recall >= enough)
