"""How are candidates ordered where there is too little to learn from? By their ranks in the sources, each weighed."""

from collections.abc import Sequence
from typing import Any, Final, Self

import numpy as np
import numpy.typing as npt

from ranker.arrays import Floats, Rows
from ranker.examples import Examples, rows_by_query
from ranker.initial_score import RANKS, reciprocal_ranks
from ranker.registry import FEATURE_NAMES, FUSION_OFFSET
from ranker.sources import SOURCES

PRIOR: Final = 20
"""Each source counts as if it had been met in so many questions more, and had been as good there as all on average."""
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
        if not any((part.labels > 0).any() for part in parts):
            return cls()
        examples = Examples.concatenate(list(parts))
        taken = examples.labels > 0
        query = rows_by_query(examples.groups)[taken]
        rank = np.exp(examples.features[taken][:, RANKS].astype(float))
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
        return np.asarray(self._weights * reciprocal_ranks(features), np.float64)


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
