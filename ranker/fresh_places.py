"""How many places may new items have, and in whose answers? What a share of the known ones' NDCG@10 buys."""

from dataclasses import dataclass
from typing import Any, Final, Self

import numpy as np
import numpy.typing as npt

from ranker.arrays import Floats
from ranker.blend import Blend
from ranker.candidates import Candidates
from ranker.examples import Examples
from ranker.registry import FEATURE_NAMES
from ranker.rules import RulesConfig
from ranker.slots import order_pairs
from ranker.sources import SOURCES

K: Final = 10
TRIED: Final = (2, 3, 4, 5)
"""So many of every `fresh_every` places may be kept, as far as half of them goes."""
SHARES: Final = (1.0, 0.75, 0.5, 0.25)
"""Of the users with a past, those may have more places who took the youngest items: so large a share of them."""
NEARLY: Final = 0.95
"""This share of the most fresh items found is as good as all of it: the last few cost more than the many before."""
FEWEST: Final = 30
"""With fewer takings of fresh items than this in the later window nothing is known, and the setting stays."""
RARE: Final = 0.01
"""Where fresh items are a smaller share of what was taken than this, nobody asks for them, and no place is kept."""
MANY: Final = 1_000
"""So many takings tell that something is rare."""
_FRESH: Final = FEATURE_NAMES.index("rank_fresh")
_NEWNESS: Final = FEATURE_NAMES.index("user_newness")


@dataclass(frozen=True, kw_only=True)
class FreshPlaces:
    """How many of every `fresh_every` places are kept for new items, by what the user is known to take."""

    kept: int = 1
    """For users who take young items; everybody else has one. 0: nobody has any at the cutoff."""
    newness: float = -np.inf
    """Up to which `user_newness` that is."""

    @classmethod
    def of(cls, rules: RulesConfig, measured: dict[str, Any]) -> Self:
        """Return what training chose, if the rules still leave it that choice; else one place for everybody."""
        chosen = measured.get("fresh_places", {})
        if rules.fresh_cost <= 0 or chosen.get("every") != rules.fresh_every or "kept" not in chosen:
            return cls()
        return cls(kept=chosen["kept"], newness=chosen.get("newness", -np.inf))

    def at(self, features: Floats, live: npt.NDArray[np.bool_] | None = None) -> npt.NDArray[np.int64]:
        """Return it for each pair's user [n_pairs]; a user without a past has what everybody has.

        Everybody has one place in live answers, marked by `live`: few new items are taken next, and more do not pay.
        """
        kept = np.where(features[:, _NEWNESS] <= self.newness, self.kept, min(self.kept, 1))
        return kept if live is None else np.where(live, 1, kept)


def choose_places(blend: Blend, later: Examples | None, rules: RulesConfig) -> dict[str, Any]:
    """Return `every`, and `kept` and `newness` of what is chosen, and what each choice costs on the later window.

    Tried are some numbers of places, for all users with a past and for those of them who took the youngest items. Of
    what leaves to known items all but the share `fresh_cost` of the NDCG@10 that they have without any place, and finds
    nearly as many fresh items as the most that is found so, the least costly is taken; without gain there is `every`
    alone. What is found of new items does not make up for what is lost of known ones: in answers of later days it does
    so less than in this window. Where fresh items are `RARE` among what was taken none is kept, if that costs less.
    `later` must hold all candidates, not a sample.
    """
    every = rules.fresh_every
    stays: dict[str, Any] = {"every": every, "tried": {}}
    if not every or rules.fresh_cost <= 0 or later is None:
        return stays
    asked = _Asked(later, blend.score(later.features))
    rare = asked.n_taken >= MANY and asked.n_fresh_taken < RARE * asked.n_taken
    if asked.n_fresh_taken < FEWEST and not rare:
        return stays
    newness = later.features[np.cumsum(later.groups) - 1, _NEWNESS]
    without, usual = asked.measured(0, FreshPlaces()), asked.measured(every, FreshPlaces())
    tried = {"0": without, "1": usual}
    if rare:
        return {**stays, **({"kept": 0} if without["ndcg@10"] > usual["ndcg@10"] else {}), "tried": tried}
    found: list[tuple[dict[str, float], dict[str, Any]]] = [(usual, stays)]
    known = newness[np.isfinite(newness)]
    for kept in (number for number in TRIED if number <= every // 2 and len(known)):
        for share in reversed(SHARES):  # few places first
            limit = float(np.quantile(known, share))
            figures = asked.measured(every, FreshPlaces(kept=kept, newness=limit))
            tried[f"{kept} for {share:.0%}"] = figures
            cheap = figures["known_ndcg@10"] >= without["known_ndcg@10"] * (1 - rules.fresh_cost)
            if cheap and figures["fresh_recall@10"] > usual["fresh_recall@10"]:
                found.append((figures, {**stays, "kept": kept, "newness": limit}))
    enough = NEARLY * max(figures["fresh_recall@10"] for figures, _ in found)
    near = [one for one in found if one[0]["fresh_recall@10"] >= enough]
    _, chosen = max(near, key=lambda one: (one[0]["known_ndcg@10"], one[0]["fresh_recall@10"]))
    return {**chosen, "tried": tried}


class _Asked:
    """A later window's questions, down to the candidates that can stand among the first: by score, or as fresh ones."""

    def __init__(self, later: Examples, score: npt.NDArray[np.float64]) -> None:
        query = np.repeat(np.arange(len(later.groups), dtype=np.int32), later.groups)
        fresh = np.isfinite(later.features[:, _FRESH])
        taken = later.labels > 0
        kept = np.union1d(_first(query, score, np.ones_like(fresh)), _first(query, score, fresh))
        ideal = np.concatenate([[0], np.cumsum(1 / np.log2(np.arange(K) + 2))])
        self.n_taken, self.n_fresh_taken = int(taken.sum()), int((taken & fresh).sum())
        self._best = np.maximum(ideal[np.minimum(np.bincount(query[taken], minlength=len(later.groups)), K)], ideal[1])
        self._features, self._score = later.features[kept], score[kept]
        self._taken, self._fresh = taken[kept], fresh[kept]
        ranks = np.full((len(kept), len(SOURCES)), np.nan, np.float32)
        ranks[:, SOURCES.index("fresh")] = self._features[:, _FRESH]
        self._pairs = Candidates(query=query[kept], item=np.arange(len(kept), dtype=np.int32), ranks=ranks)

    def measured(self, every: int, places: FreshPlaces) -> dict[str, float]:
        """Return NDCG@10, the part of it that known items have, and recall@10 of fresh ones."""
        chosen, rank = order_pairs(self._pairs, self._score, K, every, places.at(self._features))
        query, gain = self._pairs.query[chosen], self._taken[chosen] / np.log2(rank + 1)
        fresh = self._fresh[chosen]
        whole, of_known = (np.bincount(query, gains, len(self._best)) / self._best for gains in (gain, gain * ~fresh))
        found = int((self._taken[chosen] & fresh).sum())
        return {
            "ndcg@10": round(float(whole.mean()), 4),
            "known_ndcg@10": round(float(of_known.mean()), 4),
            "fresh_recall@10": round(found / max(self.n_fresh_taken, 1), 4),
        }


def _first(
    query: npt.NDArray[np.int32], score: npt.NDArray[np.float64], among: npt.NDArray[np.bool_]
) -> npt.NDArray[np.int64]:
    """Return the first K pairs of each query by score, among some."""
    rows = np.flatnonzero(among)
    order = rows[np.lexsort((rows, -score[rows], query[rows]))]
    begins = np.flatnonzero(np.diff(query[order], prepend=-1))
    place = np.arange(len(order)) - np.repeat(begins, np.diff(np.append(begins, len(order))))
    return np.asarray(order[place < K], np.int64)
