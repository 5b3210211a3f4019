"""Where do trees begin? At what interest alone is worth, or at nothing."""

from dataclasses import dataclass
from typing import Any, Final, Self

import numpy as np
import numpy.typing as npt

from ranker.arrays import Floats
from ranker.registry import FEATURE_NAMES

INTEREST: Final = FEATURE_NAMES.index("interest")


@dataclass(frozen=True, kw_only=True)
class InitialScore:
    """A multiple of interest to which trees are added (LightGBM's `init_score`); by default nothing."""

    weight: float = 0.0
    """Change of the log odds as interest grows by one; not negative."""
    mean: float = 0.0
    """Interest at which it is 0: the mean of what was learned from."""

    @classmethod
    def of(cls, measured: dict[str, Any]) -> Self:
        """Return the one that a training left in what it measured of a blend; an older one left none."""
        return cls(**measured.get("initial_score", {}))

    def score(self, features: Floats) -> npt.NDArray[np.float64]:
        """Return where each row begins [n]; features [n, n_features] in the order of `FEATURES`."""
        if not self.weight:
            return np.zeros(len(features))
        return self.weight * (features[:, INTEREST].astype(np.float64) - self.mean)


NO_INITIAL: Final = InitialScore()
