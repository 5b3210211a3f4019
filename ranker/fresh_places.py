"""How many places may new items have? As many as a later window says that a small share of NDCG@10 buys."""

from dataclasses import replace
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from ranker.blend import Blend
from ranker.candidates import Candidates
from ranker.examples import Examples
from ranker.registry import FEATURE_NAMES
from ranker.rules import RulesConfig
from ranker.slots import order_pairs
from ranker.sources import SOURCES

K: Final = 10
TRIED: Final = (10, 5, 4, 3, 2)
"""Every so many places one may be kept."""
FEWEST: Final = 30
"""With fewer takings of fresh items than this in the later window nothing is known, and the setting stays."""
_FRESH: Final = FEATURE_NAMES.index("rank_fresh")


def choose_places(blend: Blend, later: Examples | None, rules: RulesConfig) -> dict[str, Any]:
    """Return `every` and what each choice costs: NDCG@10 and recall@10 of fresh items on the later window.

    The most places are taken whose NDCG@10 stays within the share `fresh_cost` of that without any, as long as each
    step finds more fresh items; never fewer than `fresh_every` says. `later` must hold all candidates, not a sample.
    """
    if not rules.fresh_every or rules.fresh_cost <= 0 or later is None:
        return {"every": rules.fresh_every, "tried": {}}
    score = blend.score(later.features)
    fresh = np.isfinite(later.features[:, _FRESH])
    if int((later.labels[fresh] > 0).sum()) < FEWEST:
        return {"every": rules.fresh_every, "tried": {}}
    tried = {every: _measured(later, score, fresh, every) for every in (0, *_steps(rules.fresh_every))}
    enough = tried[0]["ndcg@10"] * (1 - rules.fresh_cost)
    chosen = rules.fresh_every
    for every in _steps(rules.fresh_every)[1:]:
        found_more = tried[every]["fresh_recall@10"] > tried[chosen]["fresh_recall@10"]
        if tried[every]["ndcg@10"] < enough or not found_more:
            break
        chosen = every
    return {"every": chosen, "tried": {str(every): figures for every, figures in tried.items()}}


def with_places(rules: RulesConfig, measured: dict[str, Any]) -> RulesConfig:
    """Return the rules with as many places as training chose, if it had a choice and they still leave it one."""
    chosen = measured.get("fresh_places", {}).get("every", rules.fresh_every)
    free = rules.fresh_every and rules.fresh_cost > 0 and 0 < chosen < rules.fresh_every
    return replace(rules, fresh_every=chosen) if free else rules


def _steps(most: int) -> list[int]:
    return [most, *(every for every in TRIED if every < most)]


def _measured(
    later: Examples, score: npt.NDArray[np.float64], fresh: npt.NDArray[np.bool_], every: int
) -> dict[str, float]:
    query = np.repeat(np.arange(len(later.groups), dtype=np.int32), later.groups)
    ranks = np.full((len(query), len(SOURCES)), np.nan, np.float32)
    ranks[:, SOURCES.index("fresh")] = later.features[:, _FRESH]
    pairs = Candidates(query=query, item=np.arange(len(query), dtype=np.int32), ranks=ranks)
    chosen, rank = order_pairs(pairs, score, K, every)
    taken = later.labels > 0
    gained = np.bincount(query[chosen], taken[chosen] / np.log2(rank + 1), len(later.groups))
    ideal = np.concatenate([[0], np.cumsum(1 / np.log2(np.arange(K) + 2))])
    best = ideal[np.minimum(np.bincount(query[taken], minlength=len(later.groups)), K)]
    found = float((taken & fresh)[chosen].sum() / (taken & fresh).sum())
    return {
        "ndcg@10": round(float((gained / np.maximum(best, ideal[1])).mean()), 4),
        "fresh_recall@10": round(found, 4),
    }
