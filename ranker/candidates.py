"""Which items are worth ranking for a query? The best of every source, in one list."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ranker.counter import Rows
from ranker.history import Floats
from ranker.sources import PERSONAL, SOURCES, Situation


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
    n_items = allowed.shape[1]
    pairs: list[npt.NDArray[np.int64]] = []
    found: list[tuple[int, npt.NDArray[np.integer]]] = []
    for column, name in enumerate(SOURCES):
        size = min(getattr(config, name), n_items)
        if not size:
            continue
        asked = warm if name in (*PERSONAL, "fresh") else np.ones_like(warm)
        score = np.where(allowed & asked[:, None], scores[name], -np.inf)
        if name not in {"interest", "fresh"}:
            score = np.where(score > 0, score, -np.inf)
        top = np.argpartition(-score, size - 1, axis=1)[:, :size]
        values = np.take_along_axis(score, top, axis=1)
        order = np.lexsort((top, -values), axis=1)
        top, values = np.take_along_axis(top, order, axis=1), np.take_along_axis(values, order, axis=1)
        query, place = np.nonzero(np.isfinite(values))
        pairs.append(query.astype(np.int64) * n_items + top[query, place])
        found.append((column, place + 1))
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
