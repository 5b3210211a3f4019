"""Where do trees begin? At what interest and the sources' ranks are worth by themselves, or at nothing."""

from dataclasses import dataclass, field, replace
from typing import Any, Final, Self

import numpy as np
import numpy.typing as npt

from ranker.arrays import Floats
from ranker.examples import Examples, rows_by_query
from ranker.fusion import RANKS, Fusion, weighed_ranks
from ranker.registry import FEATURE_NAMES
from ranker.sources import SOURCES

INTEREST: Final = FEATURE_NAMES.index("interest")
_LEAST_SPREAD: Final = 1e-6
"""What differs by less within questions differs by rounding: interest, or fused ranks."""


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
        weights, means = (np.array([held[name] for name in SOURCES]) for held in (self.ranks, self.rank_means))
        return np.asarray(weighed_ranks(features, weights) - weights * means, np.float64)


NO_INITIAL: Final = InitialScore()


def fit_initial(examples: Examples, *, from_interest: bool, from_ranks: bool) -> InitialScore:
    """Return what interest and fused ranks (`ranker.fusion`) are worth by themselves, as far as they are asked for.

    Logistic regression of what was taken tells it, by how far each lies above the mean of its question. What speaks
    against an item where there is more of it, or is alike everywhere, has no part.
    """
    fusion = Fusion.fit([examples]) if from_ranks else None
    columns = {"interest": examples.features[:, INTEREST].astype(np.float64)} if from_interest else {}
    columns |= {"ranks": fusion.score(examples.features)} if fusion else {}
    worth = _worth(columns, examples)
    found = NO_INITIAL
    if "interest" in worth:
        found = replace(found, weight=worth["interest"], mean=float(columns["interest"].mean()))
    if fusion and "ranks" in worth:
        means = weighed_ranks(examples.features, np.ones(len(SOURCES))).mean(axis=0)
        found = replace(
            found,
            ranks={name: worth["ranks"] * weight for name, weight in fusion.weights.items()},
            rank_means=dict(zip(SOURCES, means.tolist(), strict=True)),
        )
    return found


def _worth(columns: dict[str, npt.NDArray[np.float64]], examples: Examples) -> dict[str, float]:
    """Return by how much the log odds of having been taken grow with each column; those where they do not are left out.

    When one is left out the others are weighed again.
    """
    from sklearn.linear_model import LogisticRegression

    query, taken = rows_by_query(examples.groups), examples.labels > 0
    if taken.all() or not taken.any():
        return {}
    within = {name: values - (np.bincount(query, values) / examples.groups)[query] for name, values in columns.items()}
    spread = {name: float(values.std()) for name, values in within.items()}
    kept = [name for name in columns if spread[name] > _LEAST_SPREAD]
    while kept:
        table = np.stack([within[name] / spread[name] for name in kept], axis=1)
        model = LogisticRegression(C=1e6, solver="newton-cholesky").fit(table, taken)
        weights = dict(zip(kept, model.coef_[0].tolist(), strict=True))
        if min(weights.values()) > 0:
            return {name: weight / spread[name] for name, weight in weights.items()}
        kept = [name for name in kept if weights[name] > 0]
    return {}
