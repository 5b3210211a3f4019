"""How sure is the mean of differences, each of two answers to one question? A paired bootstrap."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

DRAWS: Final = 2_000
LEVEL: Final = 0.95
_AT_ONCE: Final = 100


def mean_interval(differences: NDArray[np.float64], *, seed: int) -> tuple[float, float]:
    """Return the percentile bootstrap interval of the mean of differences [n_questions], at least one.

    Where all are equal, as of a single question, the mean is both bounds.

    >>> mean_interval(np.array([0.5, 0.5]), seed=0)
    (0.5, 0.5)
    """
    from scipy.stats import bootstrap

    if len(differences) < 2 or np.ptp(differences) == 0:
        return float(differences.mean()), float(differences.mean())
    interval = bootstrap(
        (differences,),
        np.mean,
        n_resamples=DRAWS,
        batch=_AT_ONCE,
        confidence_level=LEVEL,
        method="percentile",
        rng=np.random.default_rng(seed),
    ).confidence_interval
    return float(interval.low), float(interval.high)
