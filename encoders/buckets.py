"""Which embedding row do an event's weight and an age use? The same answer in torch and in NumPy."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

WEIGHT_BUCKETS = 7
AGE_BUCKETS = 32
_WEIGHT_EDGES = np.array([0.0, np.nextafter(0.0, 1.0), 1.0, 2.0, 4.0, 8.0])
"""Where each bucket but the first begins."""


def weight_bucket(weights: ArrayLike) -> NDArray[np.int64]:
    """Return 0 below zero, 1 at zero, 2 below one, then one bucket a doubling, 6 from eight on.

    >>> weight_bucket([-1, 0, 0.5, 1, 2, 5, 10]).tolist()
    [0, 1, 2, 3, 4, 5, 6]
    """
    return np.searchsorted(_WEIGHT_EDGES, np.asarray(weights, dtype=np.float64), side="right")


def age_bucket(seconds: ArrayLike) -> NDArray[np.int64]:
    """Return the whole doublings of one second: 0 for the same instant, 16 for a day, 24 for a year.

    Negative ages, which only a clock fault can make, count as 0.

    >>> age_bucket([0, 1, 86_400, 365 * 86_400, -5]).tolist()
    [0, 1, 16, 24, 0]
    """
    s = np.maximum(np.asarray(seconds, dtype=np.float64), 0.0)
    return np.minimum(np.floor(np.log2(1.0 + s)), AGE_BUCKETS - 1).astype(np.int64)
