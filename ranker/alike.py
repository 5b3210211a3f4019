"""Which known items does each item's text resemble? Neighbours by text, so that a new item has a past, too."""

from typing import Final

import numpy as np
import numpy.typing as npt

from ranker.arrays import Floats, Ints, Rows

ALIKE: Final = 20
"""Neighbours of each item."""
AMONG: Final = 20_000
"""Neighbours are looked for among this many of the most taken items: the cost grows with their number."""
_CELLS: Final = 8_000_000


def fit_alike(vectors: Floats, counts: Ints, rows: npt.NDArray[np.integer] | None = None) -> Rows:
    """Return the rows of the most similar other items that anyone has touched [n_rows, 20], -1 where there are fewer.

    `vectors` [n_items, d] have unit length or are zero; an item without text has no neighbour and is none. Neighbours
    are those of `rows`, by default of all items.
    """
    n_items = len(vectors)
    asked = np.arange(n_items) if rows is None else rows
    speaks: npt.NDArray[np.bool_] = np.asarray(vectors.any(axis=1))
    by_count = np.lexsort((np.arange(n_items), -counts))
    among = np.sort(by_count[(counts[by_count] > 0) & speaks[by_count]][:AMONG])
    out = np.full((len(asked), ALIKE), -1, np.int32)
    size = min(ALIKE, len(among) - 1)
    if size < 1:
        return out
    own = np.full(n_items, -1)
    own[among] = np.arange(len(among))
    wanted = np.flatnonzero(speaks[asked])
    block = max(1, _CELLS // len(among))
    theirs = vectors[among].T
    for start in range(0, len(wanted), block):
        place = wanted[start : start + block]
        cosine = vectors[asked[place]] @ theirs
        itself = own[asked[place]]
        cosine[np.flatnonzero(itself >= 0), itself[itself >= 0]] = -np.inf
        nearest = np.argpartition(-cosine, size - 1, axis=1)[:, :size]
        out[place, :size] = np.sort(among[nearest], axis=1)
    return out
