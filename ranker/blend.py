"""How do features become one score? By trees, and by what they began at."""

from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from ranker.arrays import Floats
from ranker.compiled import load_compiled
from ranker.initial_score import NO_INITIAL, InitialScore


class Blend(Protocol):
    """Anything that turns features into scores, and can say what each feature adds to them."""

    def score(self, features: Floats) -> npt.NDArray[np.float64]:
        """Return one score a row, higher is better; features [n, n_features] in the order of `FEATURES`."""

    def contributions(self, features: Floats) -> npt.NDArray[np.float64]:
        """Return what each feature adds to each score [n, n_features + 1]; the last column is what all rows share."""


class Trees:
    """A LightGBM model, and the score at which it began."""

    def __init__(self, booster: Any, compiled: Any | None = None, *, initial: InitialScore = NO_INITIAL):
        """Hold the model, and the same as machine code where there is some; neither knows of `initial`."""
        self.booster = booster
        self.initial = initial
        self._compiled = compiled

    def score(self, features: Floats) -> npt.NDArray[np.float64]:
        """Sum the trees' leaf values, and where each row began."""
        if not len(features):
            return np.zeros(0)
        if self._compiled is not None:
            leaves = self._compiled.predict(np.ascontiguousarray(features), n_jobs=1)
        else:
            leaves = self.booster.predict(features, num_threads=1)
        return np.asarray(leaves, np.float64) + self.initial.score(features)

    def contributions(self, features: Floats) -> npt.NDArray[np.float64]:
        """Return exact SHAP values [n, n_features + 1]; the last column is the expected score.

        Lundberg et al., From local explanations to global understanding with explainable AI for trees, 2020. To
        these come the terms of the initial score.
        """
        found = np.array(self.booster.predict(features, pred_contrib=True, num_threads=1), np.float64)
        return np.asarray(found + self.initial.contributions(features), np.float64)

    @classmethod
    def load(cls, path: Path, *, initial: InitialScore) -> "Trees":
        """Read a LightGBM text model, and its machine code where training left some for this kind of machine.

        Where it began the model does not say: `initial` must be what it was trained with.
        """
        import lightgbm

        booster = lightgbm.Booster(model_file=str(path))
        return cls(booster, load_compiled(path, booster), initial=initial)
