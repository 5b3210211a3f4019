"""Which places show an item that the model would not have shown, and with what probability? Exploration, logged."""

import hashlib
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

KEPT = 3
"""The first places of an answer are never given away."""


@dataclass(frozen=True, kw_only=True)
class Drawn:
    """What became of each place of one answer."""

    drawn: npt.NDArray[np.int64]
    """Number in the pool of the item that takes the place; -1 where the place keeps its own."""
    propensity: npt.NDArray[np.float64]
    """Probability that the item now at this place is shown there, over all draws."""


def generator(request_id: str) -> np.random.Generator:
    """Return the random numbers of one request: the same id draws the same."""
    digest = hashlib.blake2b(request_id.encode(), digest_size=16).digest()
    return np.random.default_rng(int.from_bytes(digest))


def explore(may_change: npt.NDArray[np.bool_], n_pool: int, share: float, rng: np.random.Generator) -> Drawn:
    """Give each place that may change, by itself with probability `share`, to an item drawn uniformly from a pool.

    One item takes one place: those drawn are the first of a random permutation of the pool. Every item of a pool of m
    is equally likely to stand at each place of a permutation, so that, with no sum over what else was drawn, a place
    shows its own item with probability 1 - share and each item of the pool with share / m. (Draws without replacement
    that prefer high scores, as by Plackett and Luce, have no such closed form beyond the first.) These are the weights
    of Horvitz and Thompson's estimator, which is unbiased for any policy that chooses among what could be shown;
    compare Li, Chu, Langford and Wang, Unbiased offline evaluation of contextual-bandit-based news article
    recommendation algorithms, WSDM 2011.

    Where the pool is smaller than the places that may change, only the last so many of them do.
    """
    drawn = np.full(len(may_change), -1, np.int64)
    propensity = np.ones(len(may_change))
    places = np.flatnonzero(may_change)
    places = places[max(len(places) - n_pool, 0) :]
    if len(places) and share > 0:
        given_away = rng.random(len(places)) < share
        propensity[places] = np.where(given_away, share / n_pool, 1 - share)
        drawn[places[given_away]] = rng.permutation(n_pool)[: given_away.sum()]
    return Drawn(drawn=drawn, propensity=propensity)
