"""How are candidates ordered where there is too little to learn from? By their ranks in the sources, each weighed."""

from collections.abc import Sequence
from typing import Any, Final, Self

import numpy as np
import numpy.typing as npt

from ranker.arrays import Floats, Rows
from ranker.examples import Examples, rows_by_query
from ranker.registry import FEATURE_NAMES, FUSION_OFFSET
from ranker.sources import SOURCES

OFFSET: Final = 10
"""Added to each rank. Cormack, Clarke and Büttcher (SIGIR 2009) take 60, for lists that are all good; among ours the
first places of one may be worth more than any place of another."""
PRIOR: Final = 20
"""Each source counts as if it had been met in so many questions more, and had been as good there as all on average."""
RANKS: Final = [FEATURE_NAMES.index(f"rank_{name}") for name in SOURCES]
"""Features that fused ranks are made of, in the order of `SOURCES`."""
_PLACES: Final = 10
_OF_GIVEN: Final = [FEATURE_NAMES.index(name) for name in ("interest", "words", "together", "count_all")]


class Fusion:
    """Reciprocal rank fusion (Cormack, Clarke and Büttcher, SIGIR 2009), in which sources that find more count more.

    A weight a source is all that is learned, so a few dozen questions are enough; without any all sources count alike.
    """

    def __init__(self, weights: dict[str, float] | None = None) -> None:
        """Take each source's weight by its name; one that is not named counts 1."""
        self.weights = {name: float((weights or {}).get(name, 1.0)) for name in SOURCES}
        self._weights = np.array(list(self.weights.values()))

    @classmethod
    def fit(cls, parts: Sequence[Examples]) -> Self:
        """Weigh each source by the mean gain of what was taken in its first ten places, 1 being the mean source."""
        of_taken, asked, n_questions = [], [], 0
        for part in parts:
            rows = np.flatnonzero(part.labels > 0)
            of_taken.append(part.features[rows][:, RANKS])
            asked.append(rows_by_query(part.groups)[rows] + n_questions)
            n_questions += len(part.groups)
        if not any(map(len, asked)):
            return cls()
        rank, query = np.exp(np.concatenate(of_taken).astype(float)), np.concatenate(asked)
        # Not `<= 10`: the logarithm of 10 as float32 comes back a little larger. NaN, not proposed, gains nothing.
        gained = np.where(rank < _PLACES + 0.5, 1 / np.log2(rank + 1), 0.0)
        share = 1 / np.bincount(query)[query]  # a question counts once, however many items it led to
        questions = len(np.unique(query))
        found = (gained * share[:, None]).sum(axis=0) / questions
        weights = (questions * found + PRIOR * found.mean()) / (questions + PRIOR)
        mean = weights.mean()
        return cls(dict(zip(SOURCES, weights / mean, strict=True))) if mean > 0 else cls()

    @classmethod
    def of(cls, measured: dict[str, Any]) -> Self:
        """Return the one that a training has left in the `measured` of its manifest."""
        return cls(measured.get("blend", {}).get("weights"))

    def score(self, features: Floats) -> npt.NDArray[np.float64]:
        """Sum weight / (10 + rank) over the sources that proposed an item."""
        return np.asarray(self._parts(features).sum(axis=1), np.float64)

    def contributions(self, features: Floats) -> npt.NDArray[np.float64]:
        """Return what the rank in each source adds [n, n_features + 1]: its part of the sum, and nothing is shared."""
        weights = np.zeros((len(features), len(FEATURE_NAMES) + 1))
        weights[:, RANKS] = self._parts(features)
        return weights

    def _parts(self, features: Floats) -> npt.NDArray[np.float64]:
        return weighed_ranks(features, self._weights)


def weighed_ranks(features: Floats, weights: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return weight / (10 + rank) in each source [n, n_sources]; 0 where the source did not propose the item.

    Of millions of rows it holds one copy.
    """
    found = np.exp(features[:, RANKS].astype(np.float64))
    found += OFFSET
    np.divide(1.0, found, out=found)
    found *= weights
    found[np.isnan(found)] = 0
    return np.asarray(found, np.float64)


def fuse_given(features: Floats, request: Rows) -> npt.NDArray[np.float64]:
    """Fuse the ranks of given items within each `request` [n], for no source has proposed them: by interest, words,
    what was taken with the user's past, and popularity. Equal values share a rank."""
    return np.asarray(_parts_of_given(features, request).sum(axis=1), np.float64)


def weights_of_given(features: Floats, chosen: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """Return what each feature adds to the fused scores of some of one request's items [n_chosen, n_features]."""
    weights = np.zeros((len(chosen), len(FEATURE_NAMES)))
    weights[:, _OF_GIVEN] = _parts_of_given(features, np.zeros(len(features), np.int32))[chosen]
    return weights


def _parts_of_given(features: Floats, request: Rows) -> npt.NDArray[np.float64]:
    parts = np.empty((len(features), len(_OF_GIVEN)))
    for part, column in enumerate(_OF_GIVEN):
        value = features[:, column]
        order = np.lexsort((-value, request))
        starts = np.diff(request[order], prepend=-1) != 0
        falls = starts | (np.diff(value[order], prepend=np.float32(np.inf)) != 0)
        place = np.arange(len(order))
        first, best = (np.maximum.accumulate(np.where(marked, place, 0)) for marked in (starts, falls))
        parts[order, part] = 1 / (FUSION_OFFSET + 1 + best - first)
    return parts
