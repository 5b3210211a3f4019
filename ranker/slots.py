"""Which places are kept for new items? Without being shown they would never be learned about."""

import itertools

import numpy as np
import numpy.typing as npt

from ranker.candidates import Candidates
from ranker.sources import SOURCES


def order_pairs(
    pairs: Candidates,
    score: npt.NDArray[np.float64],
    k: int,
    every: int,
    kept: int | npt.NDArray[np.integer] = 1,
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return the pairs of each query's first `k` places, query by query and best first, and their 1-based ranks.

    Places follow the score, ties the item's row, with one exception: of every `every` places at least `kept` go to
    candidates of the source `fresh`. Where fewer stand there by their score, the best still to come take the last
    ones; of a shorter stretch at the end they have the same share, rounded down. `kept`, at most `every`, may be
    another number for each query, then given with each of its pairs; `every` 0 keeps no place.
    """
    order = np.lexsort((pairs.item, -score, pairs.query))
    fresh = np.isfinite(pairs.ranks[:, SOURCES.index("fresh")])
    bounds = np.flatnonzero(np.diff(pairs.query[order], prepend=-1, append=-1))
    here = np.broadcast_to(kept, len(pairs))[order]
    chosen = [
        _with_fresh(order[start:end], fresh, k, every, int(here[start])) if every else order[start:end][:k]
        for start, end in itertools.pairwise(bounds)
    ]
    if not chosen:
        return order, order
    return np.concatenate(chosen), np.concatenate([np.arange(1, len(part) + 1) for part in chosen])


def _with_fresh(
    order: npt.NDArray[np.int64], fresh: npt.NDArray[np.bool_], k: int, every: int, kept: int
) -> npt.NDArray[np.int64]:
    k = min(k, len(order))
    for start in range(0, k, every):
        end = min(start + every, k)
        stretch, later = order[start:end], order[end:]
        new = fresh[stretch]
        missing = kept * (end - start) // every - int(new.sum())
        if missing <= 0:
            continue
        coming = np.flatnonzero(fresh[later])[:missing]
        if not len(coming):
            break
        going = np.flatnonzero(~new)[-len(coming) :]
        stays, comes, goes = np.delete(stretch, going), later[coming], stretch[going]
        order = np.concatenate([order[:start], stays, comes, goes, np.delete(later, coming)])
    return order[:k]
