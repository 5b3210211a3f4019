"""Which items share most words with a user's past? Found by the words that weigh most, not by reading every item.

Attribute values that items share are found in the same way.
"""

from itertools import pairwise
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy import sparse

from ranker.sparse_rows import row_lengths

WEIGHTIEST: Final = 64
"""Items are looked for by this many of the past's words, at most."""
READ_AT_MOST: Final = 200_000
"""And by no more words than have this many entries in all, one for each item that has a word; but always by one."""
_COMMON_SHARE: Final = 0.2
_COMMON_FROM: Final = 1_000
_DENSE_SHARE: Final = 0.1
"""A word that a larger share of the items has is read in all of them: they are most of what there is to read."""


class WordsOfItems:
    """The words of some items, laid out to be compared with profiles: common words dense, the others by word."""

    def __init__(self, words: sparse.csr_matrix) -> None:
        """Take the items' words [n, n_words]."""
        by_word = words.T.tocsr()
        held = np.diff(by_word.indptr)
        self._common = np.flatnonzero(held > _DENSE_SHARE * max(words.shape[0], 1))
        self._dense = by_word[self._common].toarray()
        kept = np.repeat(held <= _DENSE_SHARE * max(words.shape[0], 1), held)
        ends = np.concatenate([[0], np.cumsum(kept)])[by_word.indptr]
        self._rare = sparse.csr_matrix((by_word.data[kept], by_word.indices[kept], ends), shape=by_word.shape)

    def similarity(self, profiles: sparse.csr_matrix) -> npt.NDArray[np.float32]:
        """Return products of profiles [q, n_words] with the items [q, n]."""
        out = np.asarray(profiles[:, self._common].toarray() @ self._dense, np.float32)
        # One profile after another: SciPy's product of two sparse matrices takes twice as long.
        for query, (start, end) in enumerate(pairwise(profiles.indptr.tolist())):
            out[query] += self._rare[profiles.indices[start:end]].T @ profiles.data[start:end]
        return out


def rare_words(words: sparse.csr_matrix) -> sparse.csr_matrix:
    """Turn the words of items [n_items, n_words] into the items of words, leaving out words that every fifth item has.

    Such words weigh little, and their items are most of what would be read. In a catalogue of a few thousand items
    nothing is left out.
    """
    by_word = words.T.tocsr()
    held = np.diff(by_word.indptr)
    kept = held <= max(_COMMON_SHARE * words.shape[0], _COMMON_FROM)
    if kept.all():
        return by_word
    stays = np.repeat(kept, held)
    ends = np.concatenate([[0], np.cumsum(np.where(kept, held, 0))])
    return sparse.csr_matrix((by_word.data[stays], by_word.indices[stays], ends), shape=by_word.shape)


def weightiest(profile: sparse.csr_matrix, by_word: sparse.csr_matrix) -> sparse.csr_matrix:
    """Leave each row of a profile [q, n_words] its words of greatest weight, of those that items are found by."""
    held = row_lengths(by_word, profile.indices)
    weight = np.where(held > 0, profile.data, 0)
    row = np.repeat(np.arange(profile.shape[0]), np.diff(profile.indptr))
    order = np.lexsort((profile.indices, -weight, row))
    start = profile.indptr[row[order]]
    within = np.arange(len(order)) - start
    read = np.concatenate([[0], np.cumsum(np.where(weight > 0, held, 0)[order])])
    few = (read[1:] - read[start] <= READ_AT_MOST) | (within == 0)
    kept = np.sort(order[(within < WEIGHTIEST) & few & (weight[order] > 0)])
    ends = np.searchsorted(kept, profile.indptr)
    return sparse.csr_matrix((profile.data[kept], profile.indices[kept], ends), shape=profile.shape)
