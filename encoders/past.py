"""How much does each event of a past count?"""

from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

DECAY: Final = 0.8
"""Each older item of a user's past counts this much of the next newer one."""


def past_shares(weights: NDArray[np.floating], mask: NDArray[np.bool_], decay: float = DECAY) -> NDArray[np.float32]:
    """Return how much each event of a past counts [q, L]: each `decay` times the next newer, by log weight, sum 1.

    Events stand oldest first, with padding on any side where `mask` is False; without events all is 0.

    >>> past_shares(np.ones((1, 3)), np.array([[False, True, True]]), decay=0.25).tolist()
    [[0.0, 0.20000000298023224, 0.800000011920929]]
    """
    back = mask[:, ::-1].cumsum(axis=1)[:, ::-1] - 1
    counted = np.where(mask, decay**back * np.log1p(weights), 0)
    total = counted.sum(axis=1, keepdims=True)
    return np.asarray(counted / np.where(total > 0, total, 1), np.float32)


def past_rows(items: NDArray[np.integer], shares: NDArray[np.float32], n_items: int) -> csr_matrix:
    """Return pasts as sparse rows [q, n_items] of what each item [q, L] counts; a share of 0 is no part of a past."""
    counts = shares > 0
    ends = np.concatenate([[0], counts.sum(axis=1).cumsum()])
    return csr_matrix((shares[counts], items[counts], ends), shape=(len(items), n_items))
