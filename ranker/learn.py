"""How do past questions become blends? One for what the sources propose, one for what somebody else chose."""

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import polars as pl

from ingest.progress import Progress, silent
from ranker import calibrate
from ranker.blend import Blend, Trees
from ranker.boost import fit, importance
from ranker.calibrate import Calibration
from ranker.cold_users import ask_cold_users, choose_order
from ranker.examples import Examples, ExamplesConfig, Truth, all_later, make_examples, next_items, rows_by_query
from ranker.fresh_places import choose_places
from ranker.fusion import Fusion, fuse_given
from ranker.gain import compare
from ranker.given import every_outcome, impression_examples
from ranker.history import History
from ranker.slices import make_slices, window_bounds
from ranker.source_recall import QUESTIONS, recall_of_sources
from ranker.sources import Sources
from ranker.train_config import TrainConfig
from ranker.untouched import choose_demotion, with_waiting

FEWEST_POSITIVES = 20
"""With fewer positive examples than this in a window nothing tells whether trees are any good: fused ranks serve."""
MIN_POSITIVES = 50
"""With fewer than this, trees serve only where they are better than fused ranks by an interval, with more unless they
are worse by one."""
LATER_SHARE = 0.25
"""Latest share of the examples that chooses the number of trees."""
CALIBRATED_REQUESTS = 2_000
"""Most shown requests of the later window, clicked or not, that tell how likely a click is."""
ASKED_WHOLE = 1_500
"""So many questions of each sort are asked of the later window with all their candidates: they tell what places for new
items cost, and how much lower untouched items stand in live answers."""
COLD_MOMENTS = 12
"""At so many moments of the later window it is asked in which order users without a past should see items."""


@dataclass(frozen=True, kw_only=True)
class Learned:
    """A blend and what was measured of it on the later window."""

    blend: Blend | None
    """None where the other blend serves."""
    calibration: Calibration | None = None
    measured: dict[str, Any]
    sources: dict[str, Any] = field(default_factory=dict)
    """What each source finds."""
    places: dict[str, Any] = field(default_factory=dict)
    """How many places new items have, and what each number of them costs."""
    cold_users: dict[str, Any] = field(default_factory=dict)
    """What orders the candidates of users without a past, and how good each order is."""
    untouched: dict[str, Any] = field(default_factory=dict)
    """How much lower untouched items stand in live answers, and what that gains."""


def learn(
    sources: Sources,
    history: History,
    since: int | None,
    until: int,
    config: TrainConfig,
    progress: Progress = silent,
) -> Learned:
    """Learn to order what the sources propose, from questions in `since <= time < until`; fused ranks with too few.

    `sources` know nothing from `since` on. None: there is no moment at which examples could begin.
    """
    if since is None:
        cause = (
            "all interactions lie at one moment" if history.user_ids else "there are no interactions before the cutoff"
        )
        return Learned(blend=Fusion(), measured={"learned": False, "why": cause})
    shares = (1 - LATER_SHARE, LATER_SHARE)
    between = window_bounds(history, since, until, shares)
    earlier, later = make_slices(
        sources, history, between, shares, config.candidates, config.examples, config.rules, progress
    )
    window = _LaterWindow(sources, history, between[1], until, config)
    found = window.recall()
    positives = [earlier.positives, later.positives]
    parts = earlier.parts + later.parts
    if min(positives) < FEWEST_POSITIVES:
        return _fused(parts, _too_few("positive examples", positives, FEWEST_POSITIVES), found)
    judge = Examples.concatenate(later.parts)
    fitted = fit(Examples.concatenate(earlier.parts), judge, config.blend)
    by_trees, by_ranks = (blend.score(judge.features) for blend in (fitted.earlier, Fusion.fit(earlier.parts)))
    gain = compare(judge, by_trees, by_ranks, config.examples.seed)
    if gain.is_worse or (min(positives) < MIN_POSITIVES and not gain.is_better):
        why = f"{min(positives)} positive examples in a window; NDCG@10 of later queries is {gain.value:.4f} by trees"
        return _fused(parts, f"{why}, {gain.baseline:.4f} by ranks", found)
    calibration, calibrated = calibrate.calibrate(fitted.earlier, later.following)
    return Learned(
        blend=fitted.trees,
        calibration=calibration,
        measured={
            "learned": True,
            **fitted.measured,
            "ranks_ndcg@10": gain.baseline,
            "calibration": calibrated,
            "candidate_recall": round(Examples.concatenate(parts).retrieved, 4),
            "importance": _importance(fitted.trees),
        },
        sources=found,
        places=window.places(fitted.earlier),
        cold_users=window.cold_users(fitted.earlier),
        untouched=window.untouched(fitted.earlier),
    )


class _LaterWindow:
    """The later window, asked as service is: with all candidates, and about more than the order of one list.

    With all their candidates questions take a lot of memory, so each sort is asked when it is needed and let go.
    """

    def __init__(self, sources: Sources, history: History, since: int, until: int, config: TrainConfig) -> None:
        self._sources = sources
        self._history = history
        self._since = since
        self._until = until
        self._config = config
        self._rng = np.random.default_rng(config.examples.seed)
        self._taken = all_later(history, since, until, repeats=config.rules.repeats)
        self._next = next_items(history, since, until, repeats=config.rules.repeats)

    def recall(self) -> dict[str, Any]:
        """Measure what each source finds of what users took: what came at all, and next.

        Where people come once, nobody has a past at the window's beginning, and sources that look for what is like it
        would seem to find nothing.
        """
        config = self._config
        some = self._taken.sample(QUESTIONS // 2, self._rng).and_also(self._next.sample(QUESTIONS // 2, self._rng))
        return recall_of_sources(self._sources, self._history, some, config.candidates, config.rules).as_json()

    def places(self, trees: Trees) -> dict[str, Any]:
        """Choose how many places new items have."""
        return choose_places(trees, self._ask(self._taken), self._config.rules)

    def cold_users(self, trees: Trees) -> dict[str, Any]:
        """Choose the order in which users without a past see items."""
        shares = [1 / COLD_MOMENTS] * COLD_MOMENTS
        evenly = np.unique(window_bounds(self._history, self._since, self._until, shares)[:-1])
        config = self._config
        asked = ask_cold_users(self._sources, self._history, evenly, self._until, config.candidates, config.rules)
        return choose_order(trees, asked)

    def untouched(self, trees: Trees) -> dict[str, Any]:
        """Choose how much lower untouched items stand in live answers."""
        waiting = with_waiting(self._next, self._history, self._sources.catalogue)
        return choose_demotion(trees, self._ask(waiting))

    def _ask(self, truth: Truth) -> Examples | None:
        """Ask some of the questions, with all their candidates."""
        some, config = truth.sample(ASKED_WHOLE, self._rng), self._config
        every = ExamplesConfig(negatives=len(self._sources.catalogue))
        if not len(some.moments):
            return None
        return make_examples(self._sources, self._history, some, config.candidates, every, self._rng, config.rules)


def learn_given(
    sources: Sources, history: History, since: int | None, impressions: pl.DataFrame, config: TrainConfig
) -> Learned:
    """Learn to order given items from what was shown from `since` on, clicked or not; no blend with too few of them."""
    if impressions.is_empty():
        return Learned(blend=None, measured={"learned": False, "why": "no impressions"})
    if since is None and history.user_ids:  # the sources have met whatever happened
        return Learned(blend=None, measured={"learned": False, "why": "all interactions lie at one moment"})
    seed = config.examples.seed
    shown = impression_examples(
        sources, history, impressions, since=since, max_requests=config.examples.max_requests, seed=seed
    )
    later = np.quantile(shown.as_of, 1 - LATER_SHARE) if len(shown.as_of) else 0
    earlier_part, later_part = shown.split(shown.as_of < later)
    positives = [int((part.labels > 0).sum()) for part in (earlier_part, later_part)]
    if min(positives) < MIN_POSITIVES:
        why = {"learned": False, "why": _too_few("clicked impressions", positives, MIN_POSITIVES)}
        return Learned(blend=None, measured=why)
    fitted = fit(earlier_part, later_part, config.blend.for_given(len(earlier_part.labels)))
    request = rows_by_query(later_part.groups).astype(np.int32)
    by_trees, by_ranks = fitted.earlier.score(later_part.features), fuse_given(later_part.features, request)
    # Ranks tie often, and of equal scores the first row counts as first: rows as they were shown would flatter ranks.
    mixed = np.lexsort((np.random.default_rng(seed).random(len(request)), request))
    gain = compare(replace(later_part, labels=later_part.labels[mixed]), by_trees[mixed], by_ranks[mixed], seed)
    if gain.is_worse:
        worse = f"NDCG@10 of later requests is {gain.value:.4f} by trees, {gain.baseline:.4f} by fused ranks"
        return Learned(blend=Fusion(), measured={"learned": False, "fused": True, "why": worse})
    outcomes = every_outcome(
        sources, history, impressions, since=int(later), max_requests=CALIBRATED_REQUESTS, seed=seed
    )
    calibration, calibrated = calibrate.calibrate(fitted.earlier, outcomes)
    figures = {
        "learned": True,
        **fitted.measured,
        "valid_ndcg@10": gain.value,
        "ranks_ndcg@10": gain.baseline,
        "calibration": calibrated,
        "importance": _importance(fitted.trees),
    }
    return Learned(blend=fitted.trees, calibration=calibration, measured=figures)


def _fused(parts: list[Examples], why: str, sources: dict[str, Any]) -> Learned:
    """Return fusion of ranks, with weights of all examples, where no trees are to be had."""
    fusion = Fusion.fit(parts)
    weights = {name: round(weight, 4) for name, weight in fusion.weights.items()}
    return Learned(blend=fusion, measured={"learned": False, "why": why, "weights": weights}, sources=sources)


def _importance(trees: Trees) -> dict[str, float]:
    return {name: round(share, 4) for name, share in importance(trees)[:20]}


def _too_few(what: str, found: list[int], wanted: int) -> str:
    return f"{' and '.join(map(str, found))} {what} in the earlier and later window, {wanted} wanted in each"
