"""In which order does a user without a past see items? In the blend's, or in that of a popularity list.

The blend has mostly met users with a past. Whether it has learned more of the others than a plain list knows is asked
of a later window, and the better one orders their candidates. At one moment they all see one list, and a single list is
good or bad by luck: so it is asked at several moments.
"""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from ingest.moments import NEVER
from ranker.arrays import Floats, Rows
from ranker.blend import Blend
from ranker.candidates import Candidates, CandidatesConfig, propose
from ranker.examples import known_items, labels_of
from ranker.features import compute
from ranker.gain import dcg_of_queries
from ranker.history import History
from ranker.moments import Moments
from ranker.registry import FEATURE_NAMES
from ranker.rules import RulesConfig, allowed_items
from ranker.sources import SOURCES, Sources
from ranker.timeline import POPULAR_SHARES

BLEND: Final = "blend"
FEWEST: Final = 50
"""With fewer such users who took anything proposed nothing is known, and the blend orders."""
_PLACES: Final = 10


@dataclass(frozen=True, kw_only=True)
class ColdUsers:
    """What a user without a past is proposed at some moments, and what those took who came after each."""

    pairs: Candidates
    """Candidates; `query` is the number of the moment."""
    features: Floats
    """[n_pairs, n_features]."""
    user: Rows
    """Number of the user of each taking."""
    item: Rows
    """What was taken, once by user."""
    label: npt.NDArray[np.int32]
    """What it was worth, as in `Examples`."""
    n_moments: npt.NDArray[np.int64]
    """At so many moments, the first of them all, each user had no past [n_users]."""

    @property
    def found(self) -> int:
        """Users who took something that they would have been proposed."""
        n_items = 1 + max(int(self.item.max(initial=0)), int(self.pairs.item.max(initial=0)))
        first = np.full(n_items, NEVER)
        np.minimum.at(first, self.pairs.item, self.pairs.query)
        return len(np.unique(self.user[first[self.item] < self.n_moments[self.user]]))

    def ndcg(self, score: npt.NDArray[np.float64]) -> float:
        """Return the mean NDCG@10 of the candidates in the order of a score [n_pairs], over all users and moments."""
        best = dcg_of_queries(self.label, self.user, np.lexsort((-self.label, self.user)), len(self.n_moments), _PLACES)
        order = np.lexsort((-score, self.pairs.query))
        query, item = self.pairs.query[order], self.pairs.item[order]
        place = np.arange(len(order)) - np.searchsorted(query, query)
        query, item, place = query[place < _PLACES], item[place < _PLACES], place[place < _PLACES]
        gained = 0.0
        discount = np.zeros(1 + max(int(self.item.max(initial=0)), int(item.max(initial=0))))
        for moment in range(int(self.n_moments.max(initial=0))):
            discount[:] = 0
            discount[item[query == moment]] = 1 / np.log2(place[query == moment] + 2)
            cold = moment < self.n_moments
            dcg = np.bincount(self.user, self.label * discount[self.item], len(self.n_moments))
            gained += float((dcg[cold] / best[cold]).sum())
        return gained / max(int(self.n_moments.sum()), 1)


def ask_cold_users(
    sources: Sources,
    history: History,
    moments: npt.NDArray[np.int64],
    until: int,
    candidates: CandidatesConfig,
    rules: RulesConfig,
) -> ColdUsers | None:
    """Ask at ascending moments what those take before `until` who have no past yet; None where nobody came."""
    users, items, weights, times = history.events(before=until)
    came = np.full(int(users.max(initial=-1)) + 1, NEVER)
    np.minimum.at(came, users, times)
    cold = np.flatnonzero((came[users] >= moments[0]) & (weights > 0))
    if not len(cold):
        return None
    cold = cold[np.lexsort((-weights[cold], items[cold], users[cold]))]
    asked, number = np.unique(users[cold], return_inverse=True)
    once = np.ones(len(cold), bool)
    once[1:] = (np.diff(number) != 0) | (np.diff(items[cold]) != 0)
    nobody = Moments(users=np.full(len(moments), -1, np.int32), as_of=moments)
    situation = sources.situation(history, nobody)
    allowed = allowed_items(history, nobody, sources.catalogue, rules)
    allowed &= known_items(history, sources.catalogue, np.full(len(moments), until))
    pairs = propose(sources, situation, allowed, candidates)
    return ColdUsers(
        pairs=pairs,
        features=compute(situation, sources.everything, pairs, sources),
        user=number[once].astype(np.int32),
        item=items[cold][once],
        label=labels_of(weights[cold][once]),
        n_moments=np.searchsorted(moments, came[asked], side="right"),
    )


def choose_order(blend: Blend, later: ColdUsers | None) -> dict[str, Any]:
    """Return `by`, what orders best, and NDCG@10 of each order on the later window."""
    if later is None or (found := later.found) < FEWEST:
        return {"by": BLEND, "tried": {}}
    score = blend.score(later.features)
    nobody = np.zeros(int(later.pairs.query.max()) + 1, bool)
    tried = {
        name: later.ndcg(order_for_cold_users(later.pairs, score, nobody, name)) for name in (BLEND, *POPULAR_SHARES)
    }
    return {
        "by": max(tried, key=lambda name: tried[name]),  # of equals the first: the blend
        "tried": {name: round(value, 4) for name, value in tried.items()},
        "users": len(later.n_moments),
        "found": found,
    }


def order_for_cold_users(
    pairs: Candidates, score: npt.NDArray[np.float64], warm: npt.NDArray[np.bool_], by: str
) -> npt.NDArray[np.float64]:
    """Give the candidates of users without a past the order of a popularity list; `warm` marks the others [q].

    The scores of a query stay the same numbers but for ties, handed out in the other order: places, and not what a
    score means, change.
    """
    cold = ~warm[pairs.query]
    if by == BLEND or not cold.any():
        return score
    out = score.copy()
    query, rank = pairs.query[cold], pairs.ranks[cold, SOURCES.index(by)]
    out[cold] = _listed_first(rank, score[cold], query)
    return out


def weights_of_ranks(
    pairs: Candidates, score: npt.NDArray[np.float64], by: str, chosen: npt.NDArray[np.int64]
) -> npt.NDArray[np.float64]:
    """Return what each feature adds to scores that a list has handed out, of the `chosen` pairs [n, n_features].

    The rank in the list is all that decides, also where an item is not listed. It bears the score less the mean of the
    query's candidates, which they share as they share the expected score of trees.
    """
    mean = np.bincount(pairs.query, score) / np.maximum(np.bincount(pairs.query), 1)
    weights = np.zeros((len(chosen), len(FEATURE_NAMES)))
    weights[:, FEATURE_NAMES.index(f"rank_{by}")] = score[chosen] - mean[pairs.query[chosen]]
    return weights


def _listed_first(
    rank: npt.NDArray[np.floating[Any]], score: npt.NDArray[np.float64], query: npt.NDArray[np.integer[Any]]
) -> npt.NDArray[np.float64]:
    """Hand out each query's scores by rank in a list, those that are not listed after it by their own score.

    Of equal scores each is lowered below the one before it by as little as a number can be: ties would hide the order.
    """
    by_list = np.lexsort((-score, np.where(np.isnan(rank), np.inf, rank), query))
    by_score = np.lexsort((-score, query))
    falling, of = score[by_score], query[by_score]
    while len(tied := 1 + np.flatnonzero((of[1:] == of[:-1]) & (falling[1:] >= falling[:-1]))):
        falling[tied] = np.nextafter(falling[tied - 1], -np.inf)
    out = np.empty_like(score)
    out[by_list] = falling
    return out
