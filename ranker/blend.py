"""How do features become one score? LambdaRank over trees."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np
import numpy.typing as npt

from ranker.compiled import load_compiled
from ranker.examples import Examples
from ranker.initial_score import INTEREST, NOTHING, InitialScore
from ranker.registry import FEATURE_NAMES, FEATURES
from ranker.timeline import Floats

MIN_TREES = 10
"""Fewer never serve, however early the later window is best."""


@dataclass(frozen=True, kw_only=True)
class BlendConfig:
    """How LightGBM is trained."""

    trees: int = 500
    """Trees at most."""
    patience: int = 40
    """Trees without a better NDCG@10 on the later window before training stops; 0 grows all of them."""
    learning_rate: float = 0.05
    """Shrinkage of each tree."""
    leaves: int = 31
    """Leaves of a tree."""
    min_rows: int = 50
    """Rows in a leaf at least."""
    l2: float = 5.0
    """L2 penalty of leaf values."""
    feature_share: float = 0.7
    """Share of the features that each tree may use."""
    row_share: float = 0.8
    """Share of the rows that each tree sees."""
    truncation: int = 20
    """Pairs below this rank teach nothing."""
    given_leaves: int = 7
    """Leaves of a tree of the blend for given items, which has fewer and noisier examples."""
    given_trees: int = 800
    """Trees of the blend for given items where it has few examples: a few later requests cannot tell when to stop."""
    monotone: bool = False
    """Whether what can only speak for an item, such as interest, may never lower its score; the blend for given items,
    which has few examples, is always held to that."""
    from_interest: bool = False
    """Whether boosting begins at what interest alone is worth, instead of at nothing; the blend for given items, which
    has few examples, always does."""
    compiled: bool = True
    """Whether training also compiles the trees to machine code, where lleaves is installed: seconds of training for
    scores several times as fast."""
    threads: int = 1
    """Threads of LightGBM. More are faster alone, but wait for each other by spinning where the cores are shared."""
    seed: int = 0
    """Seed of the samples."""

    def for_given(self, pairs: int) -> "BlendConfig":
        """Return how the blend for given items is trained on so many pairs: slowly, each tree on half of everything.

        What was shown is often little to learn from: of two trees alike, another sample may make quite different ones.
        With few pairs many small steps leave less to chance, and a later window of few requests would end them by
        chance, so all are taken; with many they would only make a slower model. What interest is worth a few requests
        tell, so trees need not find it out from small pieces of the data.
        """
        few = pairs < FEW_PAIRS
        pace = GIVEN_PACE_OF_FEW if few else GIVEN_PACE
        return replace(
            self,
            leaves=self.given_leaves,
            monotone=True,
            from_interest=True,
            learning_rate=self.learning_rate * pace,
            patience=0 if few else round(self.patience / pace),
            trees=self.given_trees if few else self.trees,
            feature_share=min(self.feature_share, 0.5),
            row_share=min(self.row_share, 0.5),
        )


GIVEN_PACE: Final = 0.4
"""By how much slower than the other blend the one for given items learns."""
GIVEN_PACE_OF_FEW: Final = 0.1
"""The same with fewer than `FEW_PAIRS` to learn from."""
FEW_PAIRS: Final = 50_000
LAST_POSITION: Final = 100
"""Places from here on count as one: so far down little is looked at, and little is known of each."""


class Blend(Protocol):
    """Anything that turns features into scores."""

    def score(self, features: Floats) -> npt.NDArray[np.float64]:
        """Return one score a row, higher is better; features [n, n_features] in the order of `FEATURES`."""


class Trees:
    """A LightGBM model, and the score at which it began."""

    def __init__(self, booster: Any, compiled: Any | None = None, *, initial: InitialScore = NOTHING):
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
        interest the initial score is added, a linear term of mean zero, whose SHAP value is the term itself.
        """
        found = np.array(self.booster.predict(features, pred_contrib=True, num_threads=1), np.float64)
        found[:, INTEREST] += self.initial.score(features)
        return found

    @classmethod
    def load(cls, path: Path, *, initial: InitialScore = NOTHING) -> "Trees":
        """Read a LightGBM text model, and its machine code where training left some for this kind of machine."""
        import lightgbm

        booster = lightgbm.Booster(model_file=str(path))
        return cls(booster, load_compiled(path, booster), initial=initial)


@dataclass(frozen=True, kw_only=True)
class Fitted:
    """What learning gives."""

    trees: Trees
    """Learned from all examples: what serves."""
    before: Trees
    """Of the same size, learned from the earlier examples alone: its scores of the later ones are as honest as in
    service."""
    measured: dict[str, Any]


def fit(train: Examples, valid: Examples, config: BlendConfig) -> Fitted:
    """Learn LambdaRank (Burges, From RankNet to LambdaRank to LambdaMART, 2010), then refit on all with the best size.

    The number of trees is chosen by NDCG@10 on the later window, where there is patience; both sets together train the
    final model, because the latest examples are the most like what is served next.
    """
    import lightgbm

    initial = initial_score(train, config)
    before, ndcg = grow(dataset(train, initial), dataset(valid, initial), config, initial=initial)
    both = Examples.concatenate([train, valid])
    initial = initial_score(both, config)
    size = before.booster.best_iteration
    booster = lightgbm.train(_parameters(config), dataset(both, initial), size)
    return Fitted(
        trees=Trees(booster, initial=initial),
        before=before,
        measured={
            "trees": size,
            "valid_ndcg@10": ndcg,
            "rows": float(len(both.labels)),
            "initial_score": asdict(initial),
        },
    )


def initial_score(examples: Examples, config: BlendConfig) -> InitialScore:
    """Return where boosting on the examples begins."""
    return InitialScore.fit(examples) if config.from_interest else NOTHING


def grow(
    data: Any,
    later: Any,
    config: BlendConfig,
    watch: Callable[[int, float], None] | None = None,
    *,
    initial: InitialScore = NOTHING,
) -> tuple[Trees, float]:
    """Learn from the data set `data` until `later` has not gained for a while; return the model and its NDCG@10 there.

    Without patience it has all its trees. `initial` is the one that both data sets were made with.

    `watch` is told the number of trees and the NDCG@10 after each tree, and may raise to end it all.
    """
    import lightgbm

    def tell(state: Any) -> None:
        if watch is not None:
            watch(state.iteration + 1, float(state.evaluation_result_list[0][2]))

    booster = lightgbm.train(
        _parameters(config),
        data,
        config.trees,
        valid_sets=[later],
        callbacks=[tell, *([lightgbm.early_stopping(config.patience, verbose=False)] if config.patience else [])],
        keep_training_booster=True,  # otherwise trees after the best would be gone, and of MIN_TREES some are
    )
    ndcg = float(booster.best_score["valid_0"]["ndcg@10"])
    booster.best_iteration = (
        max(booster.best_iteration, min(MIN_TREES, config.trees)) if config.patience else config.trees
    )
    return Trees(booster, initial=initial), ndcg


def dataset(examples: Examples, initial: InitialScore = NOTHING) -> Any:
    """Return the examples as LightGBM reads them; one may serve many trainings, whatever their settings.

    Each row begins at its `initial` score.

    What was shown further up is clicked more often, whatever it is. Where places are known LightGBM learns that part as
    a number for each place, beside the trees, which are left with the rest: scores tell of no place.
    """
    import lightgbm

    names = [name.replace("%", "_percent") for name in FEATURE_NAMES]
    return lightgbm.Dataset(
        examples.features,
        examples.labels,
        group=examples.groups,
        init_score=None if initial == NOTHING else initial.score(examples.features),
        position=np.minimum(examples.positions, LAST_POSITION) if examples.positions.any() else None,
        feature_name=names,
        free_raw_data=False,
    )


def importance(trees: Trees) -> Sequence[tuple[str, float]]:
    """Return features with their share of the total gain, greatest first."""
    gain = trees.booster.feature_importance("gain")
    order = np.argsort(-gain)
    return [(FEATURE_NAMES[place], float(gain[place] / max(gain.sum(), 1e-12))) for place in order]


def _parameters(config: BlendConfig) -> dict[str, Any]:
    return {
        "objective": "lambdarank",
        "metric": "ndcg",
        "eval_at": [10],
        "label_gain": list(range(7)),
        "lambdarank_truncation_level": config.truncation,
        "learning_rate": config.learning_rate,
        "num_leaves": config.leaves,
        "min_data_in_leaf": config.min_rows,
        "lambda_l2": config.l2,
        "feature_fraction": config.feature_share,
        "bagging_fraction": config.row_share,
        "bagging_freq": 1,
        "num_threads": config.threads,
        "seed": config.seed,
        "deterministic": True,
        "force_row_wise": True,
        "feature_pre_filter": False,
        "monotone_constraints": [int(feature.speaks_for) for feature in FEATURES] if config.monotone else None,
        "verbosity": -1,
    }
