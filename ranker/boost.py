"""How are trees grown? By LambdaRank, in steps and sizes that suit how many examples there are."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Annotated, Any, Final

import numpy as np

from ingest.bounds import Amount, Bounds, Positive, PositiveAmount, Seed, Share, Size, check_bounds
from ranker.blend import Trees
from ranker.examples import Examples
from ranker.initial_score import NO_INITIAL, InitialScore, fit_initial
from ranker.registry import FEATURE_NAMES, FEATURES

_LONGEST = 2**31 - 1
"""LightGBM's whole numbers end here."""
_Leaves = Annotated[int, Bounds(least=2, most=131_072)]
"""How many leaves LightGBM can grow."""

MIN_TREES = 10
"""Fewer never serve, however early the later window is best."""


@dataclass(frozen=True, kw_only=True)
class BlendConfig:
    """How LightGBM is trained."""

    trees: Positive = 500
    """Most trees."""
    patience: Size = 40
    """Stop after this many trees without a better NDCG@10 on the later window; 0 grows all of them."""
    learning_rate: PositiveAmount = 0.05
    """Shrinkage of each tree."""
    leaves: _Leaves = 31
    """Leaves of a tree."""
    min_rows: Annotated[int, Bounds(least=0, most=_LONGEST)] = 50
    """Fewest rows in a leaf."""
    l2: Amount = 5.0
    """L2 penalty of leaf values."""
    feature_share: Share = 0.7
    """Share of the features that each tree may use."""
    row_share: Share = 0.8
    """Share of the rows that each tree sees."""
    truncation: Annotated[int, Bounds(least=1, most=_LONGEST)] = 20
    """Pairs of which both items rank below this place teach nothing."""
    given_leaves: _Leaves = 7
    """Leaves of each tree in the blend for given items, which has fewer and noisier examples."""
    given_trees: Positive = 800
    """Trees of the blend for given items where examples are few: a few later requests cannot tell when to stop."""
    monotone: bool = False
    """Whether features that can only speak for an item, such as interest, may never lower its score. The blend for
    given items, which has few examples, is always held to that."""
    from_interest: bool = False
    """Whether boosting begins at what interest alone is worth; for given items it always does."""
    from_ranks: bool = True
    """Whether boosting begins at what the ranks in the sources are worth, fused. With few examples trees alone would
    lose to that. Given items have no such ranks."""
    compiled: bool = True
    """Whether training also compiles the trees to machine code, where lleaves is installed: it takes seconds and
    makes scoring several times as fast."""
    threads: Size = 1
    """Threads of LightGBM. More are faster on idle cores, but spin while they wait, which costs where cores are
    shared."""
    seed: Seed = 0
    """Seed of the samples."""

    def __post_init__(self) -> None:
        check_bounds(self)

    def for_given(self, rows: int) -> "BlendConfig":
        """Return how the blend for given items is trained on so many rows: slowly, each tree on half of everything.

        What was shown is often little to learn from: of two trees alike, another sample may make quite different ones.
        With few rows many small steps leave less to chance, and a later window of few requests would end them by
        chance, so all are taken; with many they would only make a slower model. A few requests are enough to
        tell what interest is worth, so trees need not find it out from small pieces of the data.
        """
        few = rows < FEW_ROWS
        pace = GIVEN_PACE_OF_FEW if few else GIVEN_PACE
        return replace(
            self,
            leaves=self.given_leaves,
            monotone=True,
            from_interest=True,
            from_ranks=False,
            learning_rate=self.learning_rate * pace,
            patience=0 if few else round(self.patience / pace),
            trees=self.given_trees if few else self.trees,
            feature_share=min(self.feature_share, 0.5),
            row_share=min(self.row_share, 0.5),
        )


GIVEN_PACE: Final = 0.4
"""Learning rate of the blend for given items, as a share of the other's."""
GIVEN_PACE_OF_FEW: Final = 0.1
"""The same with fewer than `FEW_ROWS` to learn from."""
FEW_ROWS: Final = 50_000
"""With fewer shown items than this to learn from, the blend for given items is trained as few examples need."""
LAST_POSITION: Final = 100
"""Places from here on count as one: so far down little is looked at, and little is known of each."""


@dataclass(frozen=True, kw_only=True)
class Data:
    """Examples as LightGBM reads them, and the score at which each row begins."""

    rows: Any
    """A `lightgbm.Dataset`."""
    initial: InitialScore


@dataclass(frozen=True, kw_only=True)
class Fitted:
    """What learning gives."""

    trees: Trees
    """Learned from all examples: what serves."""
    earlier: Trees
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
    earlier, ndcg = grow(dataset(train, initial), dataset(valid, initial), config)
    both = Examples.concatenate([train, valid])
    every = dataset(both, initial_score(both, config))
    size = earlier.booster.best_iteration
    booster = lightgbm.train(_parameters(config), every.rows, size)
    return Fitted(
        trees=Trees(booster, initial=every.initial),
        earlier=earlier,
        measured={
            "trees": size,
            "valid_ndcg@10": ndcg,
            "rows": float(len(both.labels)),
            "initial_score": asdict(every.initial),
        },
    )


def initial_score(examples: Examples, config: BlendConfig) -> InitialScore:
    """Return where boosting on the examples begins by the settings."""
    return fit_initial(examples, from_interest=config.from_interest, from_ranks=config.from_ranks)


def grow(
    data: Data, later: Data, config: BlendConfig, watch: Callable[[int, float], None] | None = None
) -> tuple[Trees, float]:
    """Learn from `data` until `later` has not gained for a while; return the model and its NDCG@10 there.

    Both begin at the same score. The model has the size that was best there, but `MIN_TREES` at least; without patience
    it has all its trees.

    `watch` is told the number of trees and the NDCG@10 after each tree, and may raise to end it all.
    """
    import lightgbm

    ndcg: list[float] = []

    def tell(state: Any) -> None:
        ndcg.append(float(state.evaluation_result_list[0][2]))
        if watch is not None:
            watch(state.iteration + 1, ndcg[-1])

    booster = lightgbm.train(
        _parameters(config),
        data.rows,
        config.trees,
        valid_sets=[later.rows],
        callbacks=[tell, *([lightgbm.early_stopping(config.patience, verbose=False)] if config.patience else [])],
        keep_training_booster=True,  # otherwise trees after the best would be gone, and of MIN_TREES some are
    )
    booster.best_iteration = (
        max(booster.best_iteration, min(MIN_TREES, config.trees)) if config.patience else config.trees
    )
    return Trees(booster, initial=data.initial), ndcg[: booster.best_iteration][-1]


def dataset(examples: Examples, initial: InitialScore = NO_INITIAL) -> Data:
    """Return the examples as LightGBM reads them; one may serve many trainings, whatever their settings.

    What was shown further up is clicked more often, whatever it is. Where places are known LightGBM learns that part as
    a number for each place, beside the trees, which are left with the rest: scores tell of no place.
    """
    import lightgbm

    names = [name.replace("%", "_percent") for name in FEATURE_NAMES]
    rows = lightgbm.Dataset(
        examples.features,
        examples.labels,
        group=examples.groups,
        init_score=None if initial == NO_INITIAL else initial.score(examples.features),
        position=np.minimum(examples.positions, LAST_POSITION) if examples.positions.any() else None,
        feature_name=names,
        free_raw_data=False,
    )
    return Data(rows=rows, initial=initial)


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
