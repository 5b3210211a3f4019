"""Which items are worth ranking for a query? The best of every source, in one list."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from scipy import sparse

from ingest.bounds import Size, check_bounds
from ranker.arrays import Floats, Ints, Rows
from ranker.best import best, best_from_approximate
from ranker.scores import Scores, score_all
from ranker.situation import ItemSet, Situation
from ranker.sources import NEEDS_HISTORY, SOURCES, Sources
from ranker.timeline import POPULAR_SHARES, Hour

Places = npt.NDArray[np.int64]

WORDS_COMPARED: Final = 3
"""Items that share words, for each that the source proposes, whose words are all compared."""
AT_LEAST_AT_ONCE: Final = 16
"""Fewest queries of a block, however large the catalogue."""
AT_MOST_AT_ONCE: Final = 2_000
"""Most queries of a block, however small the catalogue."""
MOST_EVENTS_AT_ONCE: Final = 10_000_000
"""Most events in the pasts of a block's queries, which take some seventy bytes each; one query may have more."""


@dataclass(frozen=True, kw_only=True)
class CandidatesConfig:
    """How many items each source proposes."""

    interest: Size = 150
    """Nearest by the text encoder's interest."""
    words: Size = 80
    """Nearest by shared words."""
    together: Size = 100
    """Taken by the same users."""
    following: Size = 100
    """Taken soon after the user's latest items."""
    factors: Size = 100
    """Nearest by collaborative factors."""
    category: Size = 50
    """Popular and trending in the user's categories."""
    facets: Size = 50
    """With the same author, brand or other attribute values as the user's past, rare values before common ones."""
    repeats: Size = 50
    """What the user took before, often and lately, where the rules allow repeats."""
    trending: Size = 60
    """Most taken in the latest 1 % of the log."""
    popular: Size = 60
    """Most taken in the latest 5 % of the log."""
    evergreen: Size = 60
    """Most taken of all time."""
    fresh: Size = 60
    """Nearest by interest among items that hardly anyone has touched; without texts, those first touched most
    lately."""

    def __post_init__(self) -> None:
        check_bounds(self)


@dataclass(frozen=True, kw_only=True)
class Candidates:
    """Query-item pairs, ordered by query: what features and the ranker work on."""

    query: Rows
    """Number of the query."""
    item: Rows
    """Place of the item in the scored `ItemSet`."""
    ranks: Floats
    """Rank in each source [n, n_sources], 1-based; NaN where the source did not propose the item."""

    def __len__(self) -> int:
        return len(self.query)

    def take(self, index: npt.NDArray[np.integer] | npt.NDArray[np.bool_]) -> "Candidates":
        """Return some of the pairs."""
        return Candidates(query=self.query[index], item=self.item[index], ranks=self.ranks[index])


def propose(
    sources: Sources,
    situation: Situation,
    allowed: npt.NDArray[np.bool_],
    config: CandidatesConfig,
    scores: Scores | None = None,
) -> Candidates:
    """Take the best items of each source for each query, among those `allowed` [q, n_items].

    `scores` are those of `score_all`, where they are known already.

    Personal sources propose nothing to a user without history, and no source proposes an item it scores 0 or less,
    interest and fresh aside, whose scores have no natural zero: by interest nothing is proposed that no text speaks of.
    """
    scores = scores or score_all(sources, situation)
    warm: npt.NDArray[np.bool_] = np.asarray(situation.recent.mask.any(axis=1))
    n_items = allowed.shape[1]
    pairs = [np.empty(0, np.int64)]
    found: list[tuple[int, npt.NDArray[np.integer]]] = [(0, np.empty(0, np.int64))]
    for query, its_own in enumerate(allowed):
        search = _Search(situation, scores, sources.everything, query, its_own)
        for column, name in enumerate(SOURCES):
            size = getattr(config, name)
            if not size or (name in NEEDS_HISTORY and not warm[query]):
                continue
            top, values = search.best(name, size)
            top = top[np.lexsort((top, -values))][:size]
            pairs.append(query * n_items + top)
            found.append((column, np.arange(1, len(top) + 1)))
    return _union(pairs, found, n_items)


def every_pair(n_queries: int, n_items: int) -> Candidates:
    """Return all pairs, proposed by no source: the candidates of a ranking of given items."""
    query, item = np.divmod(np.arange(n_queries * n_items, dtype=np.int32), np.int32(max(n_items, 1)))
    ranks = np.full((len(query), len(SOURCES)), np.nan, np.float32)
    return Candidates(query=query, item=item, ranks=ranks)


def blocks(n_queries: int, n_items: int, cells: int = 4_000_000, pasts: Ints | None = None) -> Iterator[slice]:
    """Cut queries into blocks: flat memory, few calls.

    The score matrices of a block have about `cells` cells. For a large catalogue they have more, as a few queries shall
    share each reading of it; for a small one less, as each query has vectors of its own. `pasts` are the numbers of
    events before each query [n_queries], all of which a block holds at once: very long ones make it shorter.
    """
    size = int(np.clip(cells // max(n_items, 1), AT_LEAST_AT_ONCE, AT_MOST_AT_ONCE))
    start = 0
    while start < n_queries:
        end = min(start + size, n_queries)
        if pasts is not None:
            within = np.searchsorted(np.cumsum(pasts[start:end]), MOST_EVENTS_AT_ONCE, side="right")
            end = start + max(int(within), 1)
        yield slice(start, end)
        start = end


class _Search:
    """One query's search of the sources: for each the best of what is allowed, with exact scores.

    Scores of a batch are approximate, and the error depends on the batch; items near the edge are compared exactly.
    """

    def __init__(
        self, situation: Situation, scores: Scores, items: ItemSet, query: int, allowed: npt.NDArray[np.bool_]
    ) -> None:
        self.situation = situation
        self.scores = scores
        self.items = items
        self.query = query
        self.allowed = allowed

    def best(self, name: str, size: int) -> tuple[Places, npt.NDArray[np.floating[Any]]]:
        """Return the `size` best places of a source or some more, in no order, and their scores."""
        if name in POPULAR_SHARES:
            return self._by_popularity(name, size)
        if name in self.scores.few:
            return self._by_few(name, size)
        ways: dict[str, Callable[[int], tuple[Places, npt.NDArray[np.floating[Any]]]]] = {
            "interest": self._by_interest,
            "fresh": self._by_freshness,
            "words": self._by_words,
            "factors": self._by_factors,
            "category": self._by_category,
        }
        return ways[name](size)

    @property
    def _hour(self) -> Hour:
        return self.scores.hours[int(self.scores.hour[self.query])]

    def _by_interest(self, size: int) -> tuple[Places, Floats]:
        return self._nearest(self.allowed, size)

    def _by_freshness(self, size: int) -> tuple[Places, npt.NDArray[np.floating[Any]]]:
        if self.scores.near[self.query].any():
            return self._nearest(self.allowed & self._hour.fresh, size)
        newest = self.scores.of("fresh", self.query)
        top = best(newest, size, self.allowed)
        return top, newest[top]

    def _nearest(self, among: npt.NDArray[np.bool_], size: int) -> tuple[Places, Floats]:
        interest, error = self.scores.interest[self.query], float(self.scores.interest_error[self.query])
        exact = partial(self.situation.interest_in, self.query, self.items)
        return best_from_approximate(interest, error, size, exact, among & self.scores.near[self.query])

    def _by_category(self, size: int) -> tuple[Places, Floats]:
        return self._best_of(*_row(self.scores.category, self.query), size)

    def _by_factors(self, size: int) -> tuple[Places, Floats]:
        scores, error = self.scores.factors[self.query], float(self.scores.factors_error[self.query])
        exact = partial(self.situation.factors_in, self.query)
        top, values = best_from_approximate(scores, error, size, exact, self.allowed & (scores > -error))
        return top[values > 0], values[values > 0]

    def _by_popularity(self, name: str, size: int) -> tuple[Places, Floats]:
        counts, most = self._hour.counts[name], self._hour.most[name]
        top = most[self.allowed[most]][:size]
        if len(top) == size or not self._hour.has_more(name):
            return top, counts[top]
        return _positive(counts, size, self.allowed)

    def _by_few(self, name: str, size: int) -> tuple[Places, Floats]:
        rows, values = _row(self.scores.few[name], self.query)
        in_order = np.argsort(rows)  # of equal scores the first items come first
        return self._best_of(rows[in_order], values[in_order], size)

    def _best_of(self, rows: Rows, values: Floats, size: int) -> tuple[Places, Floats]:
        kept = self.allowed[rows] & (values > 0)
        rows, values = rows[kept], values[kept]
        top = best(values, size)
        return rows[top].astype(np.int64), values[top]

    def _by_words(self, size: int) -> tuple[Places, Floats]:
        """Find items by some of the words, and compare those that come near by all of them."""
        rows, _ = _positive(self.scores.words[self.query], WORDS_COMPARED * size, self.allowed)
        return rows, self.situation.words_in(self.query, self.items, rows)


def _row(matrix: sparse.csr_matrix, row: int) -> tuple[Rows, Floats]:
    start, end = matrix.indptr[row], matrix.indptr[row + 1]
    return matrix.indices[start:end], matrix.data[start:end]


def _positive(scores: Floats, size: int, among: npt.NDArray[np.bool_]) -> tuple[Places, Floats]:
    rows = np.flatnonzero((scores > 0) & among)
    top = rows[best(scores[rows], size)]
    return top, scores[top]


def _union(
    pairs: list[npt.NDArray[np.int64]], found: list[tuple[int, npt.NDArray[np.integer]]], n_items: int
) -> Candidates:
    distinct, place = np.unique(np.concatenate(pairs), return_inverse=True)
    ranks = np.full((len(distinct), len(SOURCES)), np.nan, np.float32)
    start = 0
    for column, rank in found:
        ranks[place[start : start + len(rank)], column] = rank
        start += len(rank)
    query, item = np.divmod(distinct, n_items)
    return Candidates(query=query.astype(np.int32), item=item.astype(np.int32), ranks=ranks)
