"""Which places are kept for new items? Without being shown they would never be learned about."""

import itertools

import numpy as np
import numpy.typing as npt

from ranker.candidates import Candidates
from ranker.sources import SOURCES


def order_pairs(
    pairs: Candidates, score: npt.NDArray[np.float64], k: int, fresh_every: int | npt.NDArray[np.integer]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return the pairs of each query's first `k` places, query by query and best first, and their 1-based ranks.

    Places follow the score, ties the item's row, with one exception: of every `fresh_every` places the last goes to the
    best candidate of the source `fresh` still to come, unless one stands among them by its score. 0 keeps no place; the
    number may be another one for each query, then given with each of its pairs.
    """
    order = np.lexsort((pairs.item, -score, pairs.query))
    fresh = np.isfinite(pairs.ranks[:, SOURCES.index("fresh")])
    bounds = np.flatnonzero(np.diff(pairs.query[order], prepend=-1, append=-1))
    every = np.broadcast_to(fresh_every, len(pairs))[order]
    chosen = [
        _with_fresh(order[start:end], fresh, k, int(every[start])) if every[start] else order[start:end][:k]
        for start, end in itertools.pairwise(bounds)
    ]
    if not chosen:
        return order, order
    return np.concatenate(chosen), np.concatenate([np.arange(1, len(part) + 1) for part in chosen])


def _with_fresh(
    order: npt.NDArray[np.int64], fresh: npt.NDArray[np.bool_], k: int, every: int
) -> npt.NDArray[np.int64]:
    for last in range(every - 1, min(k, len(order)), every):
        if fresh[order[last - every + 1 : last + 1]].any():
            continue
        later = np.flatnonzero(fresh[order[last + 1 :]])
        if not len(later):
            break
        found = last + 1 + later[0]
        order = np.concatenate([order[:last], order[found : found + 1], order[last:found], order[found + 1 :]])
    return order[:k]
