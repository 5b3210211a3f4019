"""What was taken lately, and in which categories does it lie? Of a large catalogue a small part."""

from dataclasses import dataclass
from typing import Self

import numpy as np
from scipy import sparse

from ranker.arrays import Floats, Rows
from ranker.situation import ItemSet
from ranker.timeline import Hour


@dataclass(frozen=True, kw_only=True)
class InVogue:
    """The items that were taken lately at some hour, and their categories."""

    hour: Hour
    rows: Rows
    """In order [n]."""
    in_vogue: Floats
    """How much each was taken, as a logarithm [n]."""
    categories: sparse.csr_matrix
    """Multi-hot [n, n_categories]."""
    roots_of_categories: Floats
    """Square root of each item's number of categories, at least 1 [n]."""

    @classmethod
    def of(cls, hour: Hour, items: ItemSet) -> Self:
        """Gather them from the whole catalogue."""
        rows = np.flatnonzero(hour.log_in_vogue > 0).astype(np.int32)
        return cls(
            hour=hour,
            rows=rows,
            in_vogue=hour.log_in_vogue[rows],
            categories=items.categories[rows],
            roots_of_categories=items.roots_of_categories[rows],
        )
