"""In which order does a user without a past see items? In the blend's, or in that of a popularity list.

The blend has mostly met users with a past. Whether it has learned more of the others than a plain list knows is asked
of a later window, and the better one orders their candidates.
"""

from typing import Any, Final

import numpy as np
import numpy.typing as npt

from ranker.blend import Blend
from ranker.candidates import Candidates
from ranker.examples import Examples
from ranker.gain import ndcg_of_queries
from ranker.registry import FEATURE_NAMES
from ranker.sources import SOURCES
from ranker.timeline import POPULAR_SHARES

BLEND: Final = "blend"
FEWEST: Final = 50
"""With fewer questions of such users whose answer was proposed nothing is known, and the blend orders."""


def choose_order(blend: Blend, later: Examples | None) -> dict[str, Any]:
    """Return `by`, what orders best, and NDCG@10 of each order on the later window.

    `later` holds questions of users without a past, with all their candidates.
    """
    if later is None or len(later.groups) < FEWEST:
        return {"by": BLEND, "tried": {}}
    taken = (later.labels > 0).astype(np.int64)
    orders = {BLEND: blend.score(later.features)}
    for name in POPULAR_SHARES:
        rank = later.features[:, FEATURE_NAMES.index(f"rank_{name}")]
        orders[name] = _listed_first(rank, orders[BLEND], np.repeat(np.arange(len(later.groups)), later.groups))
    tried = {name: float(ndcg_of_queries(taken, score, later.groups).mean()) for name, score in orders.items()}
    return {
        "by": max(tried, key=lambda name: tried[name]),  # of equals the first: the blend
        "tried": {name: round(value, 4) for name, value in tried.items()},
        "questions": len(later.groups),
    }


def order_strangers(
    pairs: Candidates, score: npt.NDArray[np.float64], warm: npt.NDArray[np.bool_], by: str
) -> npt.NDArray[np.float64]:
    """Give the candidates of users without a past the order of a popularity list; `warm` marks the others [q].

    The scores of a query stay the same numbers but for ties, handed out in the other order: places, and not what a
    score means, change.
    """
    strange = ~warm[pairs.query]
    if by == BLEND or not strange.any():
        return score
    out = score.copy()
    query, rank = pairs.query[strange], pairs.ranks[strange, SOURCES.index(by)]
    out[strange] = _listed_first(rank, score[strange], query)
    return out


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
