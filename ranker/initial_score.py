"""Where does boosting begin? At what interest alone is worth, which little data can tell; trees add what it misses."""

from dataclasses import dataclass
from typing import Any, Final, Self

import numpy as np
import numpy.typing as npt

from ranker.examples import Examples
from ranker.registry import FEATURE_NAMES
from ranker.timeline import Floats

INTEREST: Final = FEATURE_NAMES.index("interest")


@dataclass(frozen=True, kw_only=True)
class InitialScore:
    """A multiple of interest to which trees are added (LightGBM's `init_score`); by default nothing."""

    weight: float = 0.0
    """Change of the log odds as interest grows by one; not negative."""
    mean: float = 0.0
    """Mean interest of the examples: an item of that interest begins at 0."""

    @classmethod
    def fit(cls, examples: Examples) -> Self:
        """Weigh interest by logistic regression on what was taken, among what belongs to the same question.

        Where more interest speaks against an item, or all interest is alike, nothing is the beginning.
        """
        from sklearn.linear_model import LogisticRegression

        interest, taken = examples.features[:, INTEREST].astype(np.float64), examples.labels > 0
        query = np.repeat(np.arange(len(examples.groups)), examples.groups)
        within = interest - (np.bincount(query, interest) / examples.groups)[query]
        spread = float(within.std())
        if not spread > 0 or taken.all() or not taken.any():
            return cls()
        model = LogisticRegression(C=1e6, solver="newton-cholesky").fit(within[:, None] / spread, taken)
        return cls(weight=max(float(model.coef_[0, 0]) / spread, 0.0), mean=float(interest.mean()))

    @classmethod
    def of(cls, measured: dict[str, Any]) -> Self:
        """Return the one that a training has left in what it measured of a blend; nothing where it has left none."""
        return cls(**measured.get("initial_score", {}))

    def score(self, features: Floats) -> npt.NDArray[np.float64]:
        """Return where each row begins [n]; features [n, n_features] in the order of `FEATURES`."""
        if not self.weight:
            return np.zeros(len(features))
        return self.weight * (features[:, INTEREST].astype(np.float64) - self.mean)


NOTHING: Final = InitialScore()
