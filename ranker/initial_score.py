"""Where do trees begin? At what interest and the sources' ranks are worth by themselves, or at nothing."""

from dataclasses import dataclass, field
from typing import Any, Final, Self

import numpy as np
import numpy.typing as npt

from ranker.arrays import Floats
from ranker.registry import FEATURE_NAMES
from ranker.sources import SOURCES

INTEREST: Final = FEATURE_NAMES.index("interest")
RANKS: Final = [FEATURE_NAMES.index(f"rank_{name}") for name in SOURCES]
OFFSET: Final = 10
"""Added to each rank. Cormack, Clarke and Büttcher (SIGIR 2009) take 60, for lists that are all good; among ours the
first places of one may be worth more than any place of another."""


@dataclass(frozen=True, kw_only=True)
class InitialScore:
    """What trees are added to (LightGBM's `init_score`): a sum of terms of one feature each; by default nothing."""

    weight: float = 0.0
    """Change of the log odds as interest grows by one; not negative."""
    mean: float = 0.0
    """Interest at which its term is 0: the mean of what was learned from."""
    ranks: dict[str, float] = field(default_factory=dict)
    """Change of the log odds as 1 / (10 + rank) in a source grows by one, by the source's name; not negative."""
    rank_means: dict[str, float] = field(default_factory=dict)
    """1 / (10 + rank) at which a source's term is 0, by the same names."""

    @classmethod
    def of(cls, measured: dict[str, Any]) -> Self:
        """Return the one that a training left in what it measured of a blend; an older one left none."""
        return cls(**measured.get("initial_score", {}))

    def score(self, features: Floats) -> npt.NDArray[np.float64]:
        """Return where each row begins [n]; features [n, n_features] in the order of `FEATURES`."""
        out = np.zeros(len(features))
        if self.weight:
            out += self.weight * (features[:, INTEREST].astype(np.float64) - self.mean)
        if self.ranks:
            out += self._of_ranks(features).sum(axis=1)
        return out

    def contributions(self, features: Floats) -> npt.NDArray[np.float64]:
        """Return what each feature adds to it [n, n_features + 1].

        A term of one feature whose mean is zero is its own SHAP value, so the last column, what all rows share, is 0.
        """
        out = np.zeros((len(features), len(FEATURE_NAMES) + 1))
        if self.weight:
            out[:, INTEREST] = self.weight * (features[:, INTEREST].astype(np.float64) - self.mean)
        if self.ranks:
            out[:, RANKS] = self._of_ranks(features)
        return out

    def _of_ranks(self, features: Floats) -> npt.NDArray[np.float64]:
        weights, means = (np.array([held.get(name, 0.0) for name in SOURCES]) for held in (self.ranks, self.rank_means))
        return np.asarray(weights * (reciprocal_ranks(features) - means), np.float64)


def reciprocal_ranks(features: Floats) -> npt.NDArray[np.float64]:
    """Return 1 / (10 + rank) in each source [n, n_sources]; 0 where the source did not propose the item."""
    ranks = np.exp(features[:, RANKS].astype(float))
    return np.where(np.isnan(ranks), 0.0, 1 / (OFFSET + ranks))


NO_INITIAL: Final = InitialScore()
