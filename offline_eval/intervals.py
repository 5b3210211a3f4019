"""How sure is a mean over queries? Bootstrap intervals, of one system and of the difference between two."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

_CELLS = 4_000_000


@dataclass(frozen=True)
class Interval:
    """A value with the interval around it."""

    value: float
    low: float
    high: float
    n: int
    """How many queries it is over; with 0 the value and the bounds are NaN."""


def mean_intervals(
    values: ArrayLike, *, draws: int = 2000, seed: int = 0, level: float = 0.95, of: ArrayLike | None = None
) -> list[Interval]:
    """Give the percentile bootstrap interval of each column's mean: `values` is [n_queries, n_columns] or [n_queries].

    Queries are drawn with replacement, the same draws for all columns. With `of` (same shape) the statistic is
    sum(values) / sum(of), as for recall over items.

    >>> interval = mean_intervals([0.0, 1.0, 1.0, 0.0], draws=500)[0]
    >>> interval.value, interval.low, interval.high, interval.n
    (0.5, 0.0, 1.0, 4)
    """
    above = np.asarray(values, dtype=np.float64)
    above = above[:, None] if above.ndim == 1 else above
    below = np.ones_like(above) if of is None else np.asarray(of, dtype=np.float64).reshape(above.shape)
    n, m = above.shape
    total = below.sum(axis=0)
    if n == 0 or not total.all():
        return [Interval(float("nan"), float("nan"), float("nan"), n)] * m
    rng = np.random.default_rng(seed)
    means = np.empty((draws, m))
    step = max(1, _CELLS // n)
    for first in range(0, draws, step):
        times = _times_drawn(rng, min(step, draws - first), n)
        with np.errstate(invalid="ignore"):  # a draw without any true item has no recall, and is left out below
            means[first : first + step] = (times @ above) / (times @ below)
    tail = (1.0 - level) / 2.0
    lows, highs = np.nanquantile(means, [tail, 1.0 - tail], axis=0)
    centre = above.sum(axis=0) / total
    return [
        Interval(float(value), float(low), float(high), n) for value, low, high in zip(centre, lows, highs, strict=True)
    ]


def paired_interval(ours: ArrayLike, theirs: ArrayLike, *, draws: int = 2000, seed: int = 0) -> Interval:
    """Give the interval of the mean difference `ours - theirs`, query by query in the same order.

    Pairing removes what makes queries hard or easy for both, so it sees differences that two separate intervals hide.

    >>> difference = paired_interval([0.3, 0.9, 0.6], [0.2, 0.8, 0.5], draws=100)
    >>> round(difference.value, 6), round(difference.low, 6), round(difference.high, 6)
    (0.1, 0.1, 0.1)
    """
    difference = np.asarray(ours, dtype=np.float64) - np.asarray(theirs, dtype=np.float64)
    return mean_intervals(difference, draws=draws, seed=seed)[0]


def _times_drawn(rng: np.random.Generator, draws: int, n: int) -> NDArray[np.float64]:
    """Count how often each query falls into each draw: [draws, n]; a product with it sums all columns at once."""
    cells = rng.integers(0, n, (draws, n)) + np.arange(draws)[:, None] * n
    return np.bincount(cells.ravel(), minlength=draws * n).reshape(draws, n).astype(np.float64)
