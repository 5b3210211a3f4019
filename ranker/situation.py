"""What is known of a query before any item is looked at, and what is an item to be scored?"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
from scipy import sparse

from encoders.newcomer_bonus import NewcomerBonus
from ranker.arrays import Floats, Ints, Rows, Times
from ranker.history import History
from ranker.moments import Moments, Recent
from ranker.own_items import OwnItems
from ranker.sessions import session_mask
from ranker.sparse_rows import dense_row, row_products
from ranker.timeline import Hour


@dataclass(frozen=True, kw_only=True)
class ItemSet:
    """Items to be scored: the whole catalogue, some of it, or items known by their text alone."""

    rows: npt.NDArray[np.int32]
    """Row in the catalogue; -1 for an item outside it."""
    vectors: Floats
    """Text vectors [n, d]."""
    words: sparse.csr_matrix
    """TF-IDF [n, n_words]."""
    categories: sparse.csr_matrix
    """Multi-hot [n, n_categories]."""

    @cached_property
    def speaks(self) -> npt.NDArray[np.bool_]:
        """True where an item has a text vector."""
        return np.asarray(self.vectors.any(axis=1))

    @cached_property
    def roots_of_categories(self) -> Floats:
        """Square root of each item's number of categories, at least 1."""
        return np.asarray(np.sqrt(np.maximum(np.diff(self.categories.indptr), 1)), np.float32)

    def __len__(self) -> int:
        return len(self.rows)


@dataclass(frozen=True, kw_only=True)
class Situation:
    """What is known of each query before any item is looked at."""

    moments: Moments
    history: History
    recent: Recent
    interest: Floats
    """User vectors by the text encoder [q, d]."""
    factors: npt.NDArray[np.float64]
    """User factors [q, f]."""
    past: sparse.csr_matrix
    """Weights of past items, summing to 1 in each row with history [q, n_items]."""
    last: Rows
    """Each query's latest item [q]; -1 without a past."""
    words: sparse.csr_matrix
    """Words of the past, weighted [q, n_words]."""
    taste: sparse.csr_matrix
    """Categories of the past, weighted [q, n_categories]."""
    together: sparse.csr_matrix
    """What the same users took as the past [q, n_items]."""
    following: sparse.csr_matrix
    """What users took soon after the past [q, n_items]."""
    vectors: Floats
    """Text vectors of the catalogue [n_items, d]."""
    typical: npt.NDArray[np.float64]
    """Each user's mean interest in the catalogue, as it was at the training [q]."""
    newcomers: NewcomerBonus
    """What is added to the interest in an item that nobody had touched."""
    item_factors: Floats
    """Collaborative factors of the catalogue [n_items, f]."""
    new_from: Times
    """An item first touched at or after this moment counts as touched by nobody [q]."""

    def interest_in(self, query: int, items: ItemSet, places: npt.NDArray[np.integer]) -> Floats:
        """Return one query's interest in the items at some places.

        In double precision, so that it is the same number for one item as among all of them.
        """
        user = self.interest[query]
        interest = items.vectors[places].astype(np.float64) @ user.astype(np.float64)
        if self.newcomers:
            rows, first = items.rows[places], self.history.first_events(len(self.vectors))
            new = ((rows < 0) | (first[rows] >= self.new_from[query])) & items.speaks[places]
            if new.any():
                shared = self.words_in(query, items, places[new])
                interest[new] += self.newcomers.of(user[None], shared[None])[0]
        return np.asarray(interest, np.float32)

    def factors_in(self, query: int, rows: npt.NDArray[np.integer]) -> Floats:
        """Return one query's product with the collaborative factors of items given by row, in double precision."""
        products = self.item_factors[rows].astype(np.float64) @ self.factors[query]
        return np.asarray(np.where(rows >= 0, products, 0), np.float32)

    def words_in(self, query: int, items: ItemSet, places: npt.NDArray[np.integer]) -> Floats:
        """Return one query's product with the words of the items at some places."""
        return np.asarray(items.words[places] @ dense_row(self.words, query), np.float32)

    def taste_in(self, query: int, items: ItemSet, places: npt.NDArray[np.integer]) -> Floats:
        """Return one query's weight of the items' categories: the sum by the root of their number.

        An item in many categories would otherwise speak to everybody.
        """
        weight = row_products(items.categories, places, dense_row(self.taste, query))
        return np.asarray(weight / items.roots_of_categories[places], np.float32)

    @cached_property
    def in_session(self) -> npt.NDArray[np.bool_]:
        """Which of the recent interactions belong to the present session [q, length]."""
        return session_mask(self.recent)

    @cached_property
    def own(self) -> OwnItems:
        """All items that each query's user touched before."""
        return OwnItems.of(self.history, self.moments)

    @cached_property
    def hours(self) -> tuple[list[Hour], Ints]:
        """What was popular at the last full hour before each query: distinct hours, and each query's place."""
        return self.history.hours(len(self.vectors), self.moments.as_of)

    def past_vectors(self, rows: npt.NDArray[np.int32]) -> Floats:
        """Return the text vectors of catalogue rows."""
        return self.vectors[rows]

    def __len__(self) -> int:
        return len(self.moments)
