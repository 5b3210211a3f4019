"""How sure is a mean over queries? Bootstrap intervals, of one system and of the difference between two.

Queries of one user are alike, so a hundred of them tell less than a hundred users with one each. What is drawn is
therefore a user with all queries of that user: the cluster bootstrap (Davison and Hinkley, Bootstrap Methods and their
Application, 1997, section 3.8; Field and Welsh, Bootstrapping clustered data, 2007).
"""

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
    """How many queries it is over; with 0 the value and the bounds are NaN, with those of one user the bounds are."""


def mean_intervals(
    values: ArrayLike,
    *,
    draws: int = 2000,
    seed: int = 0,
    level: float = 0.95,
    denominators: ArrayLike | None = None,
    users: ArrayLike | None = None,
) -> list[Interval]:
    """Give the percentile bootstrap interval of each column's mean: `values` is [n_queries, n_columns] or [n_queries].

    Users are drawn with replacement, each with all queries that `users` says are theirs [n_queries], the same draws for
    all columns; without `users` each query is a user's only one. With `denominators` (same shape) the statistic is
    sum(values) / sum(denominators), as for recall over items. How far users differ cannot be told from one user: there
    are no bounds then.

    >>> interval = mean_intervals([0.0, 1.0, 1.0, 0.0], draws=500)[0]
    >>> interval.value, interval.low, interval.high, interval.n
    (0.5, 0.0, 1.0, 4)
    >>> interval = mean_intervals([0.0, 0.2, 0.6, 0.6], users=["ann", "ann", "bob", "bob"], draws=500)[0]
    >>> round(interval.value, 6), round(interval.low, 6), round(interval.high, 6)  # ann alone, bob alone
    (0.35, 0.1, 0.6)
    >>> mean_intervals([0.6])[0]  # one user
    Interval(value=0.6, low=nan, high=nan, n=1)
    """
    numerator = np.asarray(values, dtype=np.float64)
    numerator = numerator[:, None] if numerator.ndim == 1 else numerator
    denominator = np.ones_like(numerator)
    if denominators is not None:
        denominator = np.asarray(denominators, dtype=np.float64).reshape(numerator.shape)
    n, m = numerator.shape
    total = denominator.sum(axis=0)
    if not total.all():  # without queries it is 0
        return [Interval(float("nan"), float("nan"), float("nan"), n)] * m
    centre = numerator.sum(axis=0) / total
    if users is not None:
        numerator, denominator = _sums_of_users(np.hstack([numerator, denominator]), np.asarray(users))
    n_users = len(numerator)
    if n_users == 1:
        return [Interval(float(value), float("nan"), float("nan"), n) for value in centre]
    rng = np.random.default_rng(seed)
    means = np.empty((draws, m))
    step = max(1, _CELLS // n_users)
    for first in range(0, draws, step):
        times = _times_drawn(rng, min(step, draws - first), n_users)
        with np.errstate(invalid="ignore"):  # a draw without any true item has no recall, and is left out below
            means[first : first + step] = (times @ numerator) / (times @ denominator)
    tail = (1.0 - level) / 2.0
    lows, highs = np.nanquantile(means, [tail, 1.0 - tail], axis=0)
    return [
        Interval(float(value), float(low), float(high), n) for value, low, high in zip(centre, lows, highs, strict=True)
    ]


def paired_interval(
    ours: ArrayLike, theirs: ArrayLike, *, draws: int = 2000, seed: int = 0, users: ArrayLike | None = None
) -> Interval:
    """Give the interval of the mean difference `ours - theirs`, query by query in the same order, `users` as there.

    Pairing removes what makes queries hard or easy for both, so it sees differences that two separate intervals hide.

    >>> difference = paired_interval([0.3, 0.9, 0.6], [0.2, 0.8, 0.5], draws=100)
    >>> round(difference.value, 6), round(difference.low, 6), round(difference.high, 6)
    (0.1, 0.1, 0.1)
    """
    difference = np.asarray(ours, dtype=np.float64) - np.asarray(theirs, dtype=np.float64)
    return mean_intervals(difference, draws=draws, seed=seed, users=users)[0]


def _sums_of_users(
    columns: NDArray[np.float64], users: NDArray[np.generic]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Sum the queries of each user, who stand in the order of their first: the left and the right half of the columns.

    Sums are all that a draw needs, so it costs as many cells as there are users.
    """
    _, first, number = np.unique(users, return_index=True, return_inverse=True)
    place = np.argsort(np.argsort(first))[number]
    sums = np.zeros((len(first), columns.shape[1]))
    np.add.at(sums, place, columns)
    left, right = np.hsplit(sums, 2)
    return left, right


def _times_drawn(rng: np.random.Generator, draws: int, n: int) -> NDArray[np.float64]:
    """Count how often each user falls into each draw: [draws, n]; a product with it sums all columns at once."""
    cells = rng.integers(0, n, (draws, n)) + np.arange(draws)[:, None] * n
    return np.bincount(cells.ravel(), minlength=draws * n).reshape(draws, n).astype(np.float64)
