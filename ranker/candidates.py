"""Which items are worth ranking for a query? The best of every source, in one list."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from ranker.counter import Rows
from ranker.history import Floats
from ranker.sources import POPULAR_SHARES, SOURCES, Situation

EDGE: Final = 1e-5
"""By how much of the lengths of two vectors their product may be off in single precision."""


@dataclass(frozen=True, kw_only=True)
class CandidatesConfig:
    """How many items each source proposes."""

    interest: int = 150
    """Nearest by the text encoder's interest."""
    words: int = 80
    """Nearest by shared words."""
    together: int = 100
    """Taken by the same users."""
    following: int = 100
    """Taken soon after the user's latest items."""
    factors: int = 100
    """Nearest by collaborative factors."""
    category: int = 50
    """Popular in the user's categories."""
    trending: int = 60
    """Most taken in the latest 1 % of the log."""
    popular: int = 60
    """Most taken in the latest 5 % of the log."""
    evergreen: int = 60
    """Most taken of all time."""
    fresh: int = 60
    """Nearest by interest among items hardly anyone has touched."""


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
    situation: Situation, scores: dict[str, Floats], allowed: npt.NDArray[np.bool_], config: CandidatesConfig
) -> Candidates:
    """Take the best items of each source for each query, among those `allowed` [q, n_items].

    Personal sources propose nothing to a user without history, and no source proposes an item it scores 0 or less,
    interest and fresh aside, whose scores have no natural zero.
    """
    warm: npt.NDArray[np.bool_] = np.asarray(situation.recent.mask.any(axis=1))
    near_interest = EDGE * np.linalg.norm(situation.interest, axis=1)
    near_factors = EDGE * np.linalg.norm(situation.factors, axis=1) * situation.longest_factors
    n_items = allowed.shape[1]
    pairs = [np.empty(0, np.int64)]
    found: list[tuple[int, npt.NDArray[np.integer]]] = [(0, np.empty(0, np.int64))]
    for query, its_own in enumerate(allowed):
        for column, name in enumerate(SOURCES):
            size = getattr(config, name)
            if not size or not (warm[query] or name in POPULAR_SHARES):
                continue
            score = scores[name][query]
            # Sums in single precision depend on what else is in the batch: who is near the edge is decided exactly.
            if name in {"interest", "fresh"}:
                top = _best(score, its_own & (score > -np.inf), size, near_interest[query])
                values = situation.interest_in(query, top, situation.vectors[top])
            elif name == "factors":
                top = _best(score, its_own & (score > -near_factors[query]), size, near_factors[query])
                values = situation.factors_in(query, top)
                top, values = top[values > 0], values[values > 0]
            else:
                top = _best(score, its_own & (score > 0), size)
                values = score[top]
            top = top[np.lexsort((top, -values))][:size]
            pairs.append(query * n_items + top)
            found.append((column, np.arange(1, len(top) + 1)))
    return _union(pairs, found, n_items)


def every_pair(n_queries: int, n_items: int) -> Candidates:
    """Return all pairs, proposed by no source: the candidates of a ranking of given items."""
    query, item = np.divmod(np.arange(n_queries * n_items, dtype=np.int32), np.int32(max(n_items, 1)))
    ranks = np.full((len(query), len(SOURCES)), np.nan, np.float32)
    return Candidates(query=query, item=item, ranks=ranks)


def blocks(n_queries: int, n_items: int, cells: int = 4_000_000) -> Iterator[slice]:
    """Cut queries into blocks whose score matrices have about `cells` cells: flat memory, few calls."""
    size = max(1, cells // max(n_items, 1))
    for start in range(0, n_queries, size):
        yield slice(start, min(start + size, n_queries))


def _best(score: Floats, allowed: npt.NDArray[np.bool_], size: int, slack: float = 0) -> npt.NDArray[np.int64]:
    """Return the places of the `size` greatest allowed scores in no order, of equal ones the first.

    With `slack`, also of all that come so close to the least of them.
    """
    places = np.flatnonzero(allowed)
    if len(places) <= size:
        return places
    values = score[places]
    least = np.partition(values, len(values) - size)[len(values) - size]
    if slack:
        near: npt.NDArray[np.int64] = places[values >= least - slack]
        return near
    above, level = places[values > least], places[values == least]
    return np.concatenate([above, level[: size - len(above)]])


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
