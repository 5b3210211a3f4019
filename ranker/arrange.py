"""Which item takes which place? All stages after the score, composed once for single answers and for batches."""

from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np
import numpy.typing as npt

from ranker.arrays import Floats
from ranker.candidates import Candidates
from ranker.caps import Caps
from ranker.catalogue import Catalogue
from ranker.diversity import PLACES, diverse, pool_size
from ranker.explore import KEPT, explore, generator
from ranker.query import PlacedBy
from ranker.rules import RulesConfig
from ranker.slots import order_pairs
from ranker.sources import SOURCES

PLACED_BY: Final = np.dtype(f"U{max(map(len, PlacedBy))}")


@dataclass(frozen=True, kw_only=True)
class Wish:
    """What one answer asks of the stages."""

    k: int
    diversity: float | None = None
    """None: as the settings say."""
    categories: frozenset[str] = frozenset()
    """Categories asked for; caps do not count them."""
    request_id: str | None = None
    """Seeds exploration; None: no place is given away, because nobody would log with what probability."""


@dataclass(frozen=True, kw_only=True)
class Arranged:
    """Items in their places, query by query; all arrays have one entry an item."""

    query: npt.NDArray[np.int64]
    item: npt.NDArray[np.int64]
    """Catalogue row."""
    rank: npt.NDArray[np.int64]
    """1-based."""
    pair: npt.NDArray[np.int64]
    """Number of the candidate pair; -1 for an item that no source proposed."""
    score: npt.NDArray[np.float64]
    """The ranker's; below all of them for an item that no source proposed."""
    propensity: npt.NDArray[np.float64]
    """Probability with which the item was shown at this place."""
    by: npt.NDArray[np.str_]
    """What put the item there: a value of `PlacedBy`, which fits `PLACED_BY`."""


class Arranger:
    """The stages after the score, in this order, for each query by itself.

    1. Diversity chooses the first k candidates one by one, or the score does; either passes over what exceeds a cap.
    2. Places kept for new items are given to them, where they fit the caps.
    3. Exploration gives places away, but for the first ones and those that new items hold. Whatever it may draw fits
       the caps beside all that it may be drawn together with.
    4. Where candidates run out, the newest of what the rules allow follow; caps give way when nothing else is left.

    No stage looks at an item that the hard rules hold back: candidates and filling both come from what they allow.
    """

    def __init__(self, catalogue: Catalogue, vectors: Floats, rules: RulesConfig):
        self._published_at = catalogue.published_at
        self._vectors = vectors
        self._rules = rules
        self.caps = Caps(catalogue, rules.caps)

    @cached_property
    def _newest(self) -> npt.NDArray[np.int64]:
        """All items, the newest first."""
        # ~: the unknown, least, come last
        return np.lexsort((np.arange(len(self._published_at)), ~self._published_at))

    def arrange(
        self,
        pairs: Candidates,
        score: npt.NDArray[np.float64],
        allowed: npt.NDArray[np.bool_],
        wish: Wish,
        kept: npt.NDArray[np.integer] | None = None,
    ) -> Arranged:
        """Choose up to `wish.k` items for each query; `pairs` name catalogue rows, `allowed` is [q, n_items].

        `kept` of every `fresh_every` places go to new items, given with each pair of a query [n_pairs]; None: one.
        """
        kept = np.ones(len(pairs), np.int64) if kept is None else kept
        bounds = np.searchsorted(pairs.query, np.arange(len(allowed) + 1))
        parts = [
            self._one(np.arange(bounds[n], bounds[n + 1]), pairs, score, allowed[n], wish, kept)
            for n in range(len(allowed))
        ]
        if not parts:
            return NOTHING
        return Arranged(
            query=np.repeat(np.arange(len(parts)), [len(part.item) for part in parts]),
            item=np.concatenate([part.item for part in parts]),
            rank=np.concatenate([part.rank for part in parts]),
            pair=np.concatenate([part.pair for part in parts]),
            score=np.concatenate([part.score for part in parts]),
            propensity=np.concatenate([part.propensity for part in parts]),
            by=np.concatenate([part.by for part in parts]),
        )

    def _one(
        self,
        own: npt.NDArray[np.int64],
        pairs: Candidates,
        score: npt.NDArray[np.float64],
        allowed: npt.NDArray[np.bool_],
        wish: Wish,
        kept: npt.NDArray[np.integer],
    ) -> Arranged:
        order = own[np.lexsort((pairs.item[own], -score[own]))]
        pair, by = self._chosen(order, pairs, score, wish, kept)
        propensity = np.ones(len(pair))
        if wish.request_id is not None and self._rules.explore_share and len(pair) == wish.k:
            pair, propensity, explored = self._explored(order, pair, pairs, wish)
            by[explored] = PlacedBy.EXPLORE
        item, scores = pairs.item[pair].astype(np.int64), score[pair]
        if len(pair) < wish.k:
            pair, item, scores = self._filled(order, pair, pairs, score, allowed, wish)
            by = np.append(by, np.where(pair[len(by) :] >= 0, PlacedBy.CAP, PlacedBy.NEWEST))
            propensity = np.ones(len(pair))
        return Arranged(
            query=np.zeros(len(pair), np.int64),
            item=item,
            rank=np.arange(1, len(pair) + 1),
            pair=pair,
            score=scores,
            propensity=propensity,
            by=by,
        )

    def _chosen(
        self,
        order: npt.NDArray[np.int64],
        pairs: Candidates,
        score: npt.NDArray[np.float64],
        wish: Wish,
        kept: npt.NDArray[np.integer],
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.str_]]:
        """Return the candidate pairs of the first places, and what put each there; `order` is given best first.

        They keep within all caps, never over one.
        """
        diversity = self._rules.diversity if wish.diversity is None else wish.diversity
        if not diversity and not self.caps:
            return self._with_new(order, pairs, wish.k, kept)
        tally = self.caps.tally(wish.categories)
        first = different = np.empty(0, np.int64)
        if diversity:
            pool = order[: pool_size(wish.k)]
            rows = pairs.item[pool]
            near = score[pool], self._vectors[rows], rows
            chosen, by_difference = diverse(*near, min(wish.k, PLACES), diversity, tally)
            first, different = pool[chosen], pool[chosen[by_difference]]
        rest = order[~np.isin(order, first)]
        first = np.concatenate([first, rest[tally.pick(pairs.item[rest], wish.k - len(first))]])
        rest = rest[~np.isin(rest, first)]
        ranked = np.concatenate([first, rest[tally.open[pairs.item[rest]]]])
        while True:
            # New items that each fit beside the others may not fit together.
            placed, by = self._with_new(ranked, pairs, wish.k, kept)
            fits = self.caps.tally(wish.categories).pick(pairs.item[placed], wish.k)
            if len(fits) == len(placed):
                return placed, np.where(np.isin(placed, different) & (by == PlacedBy.SCORE), PlacedBy.DIVERSITY, by)
            ranked = ranked[~np.isin(ranked, np.delete(placed, fits))]

    def _with_new(
        self, ranked: npt.NDArray[np.int64], pairs: Candidates, k: int, kept: npt.NDArray[np.integer]
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.str_]]:
        falling = -np.arange(len(ranked), dtype=np.float64)
        order, _ = order_pairs(pairs.take(ranked), falling, k, self._rules.fresh_every, kept[ranked])
        by = np.where(_before_its_turn(order), PlacedBy.NEW, PlacedBy.SCORE).astype(PLACED_BY)
        return ranked[order], by

    def _explored(
        self, order: npt.NDArray[np.int64], placed: npt.NDArray[np.int64], pairs: Candidates, wish: Wish
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64], npt.NDArray[np.bool_]]:
        tally = self.caps.tally(wish.categories)
        tally.pick(pairs.item[placed], wish.k)
        rest = order[~np.isin(order, placed)]
        pool = rest[tally.pick(pairs.item[rest], self._rules.explore_top)]
        new = np.isfinite(pairs.ranks[placed, SOURCES.index("fresh")])
        may_change = (np.arange(len(placed)) >= KEPT) & ~new
        found = explore(may_change, len(pool), self._rules.explore_share, generator(str(wish.request_id)))
        explored = found.drawn >= 0
        pair = placed.copy()
        pair[explored] = pool[found.drawn[explored]]
        return pair, found.propensity, explored

    def _filled(
        self,
        order: npt.NDArray[np.int64],
        placed: npt.NDArray[np.int64],
        pairs: Candidates,
        score: npt.NDArray[np.float64],
        allowed: npt.NDArray[np.bool_],
        wish: Wish,
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.float64]]:
        """Add candidates left, then the newest of what is allowed; the placed ones stay where they are."""
        tally = self.caps.tally(wish.categories)
        tally.pick(pairs.item[placed], wish.k)
        left = order[~np.isin(order, placed)]
        others = allowed.copy()
        others[pairs.item[order]] = False
        newest = self._newest[others[self._newest]]
        if not self.caps:
            newest = newest[: wish.k]
        waiting = np.concatenate([left, np.full(len(newest), -1)])
        rows = np.concatenate([pairs.item[left], newest])
        more, _ = tally.fill(rows, wish.k - len(placed))
        pair = np.concatenate([placed, waiting[more]])
        known = pair >= 0
        scores = np.empty(len(pair))
        scores[known] = score[pair[known]]
        lowest = scores[known].min() if known.any() else 0.0
        scores[~known] = lowest - np.arange(1, (~known).sum() + 1)
        return pair, np.concatenate([pairs.item[placed], rows[more]]), scores


def _before_its_turn(order: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    """Mark the places that a number of 0, 1, 2 ... takes before a smaller one, which comes further down or not at all.

    >>> _before_its_turn(np.array([0, 1, 4, 2])).tolist()
    [False, False, True, False]
    >>> _before_its_turn(np.array([0, 2, 3])).tolist()
    [False, True, True]
    """
    left_out = np.setdiff1d(np.arange(len(order) + 1), order)[:1]
    coming = np.append(order[1:], left_out) if len(order) else order
    return order > np.minimum.accumulate(coming[::-1])[::-1]


NOTHING = Arranged(
    query=np.empty(0, np.int64),
    item=np.empty(0, np.int64),
    rank=np.empty(0, np.int64),
    pair=np.empty(0, np.int64),
    score=np.empty(0),
    propensity=np.empty(0),
    by=np.empty(0, PLACED_BY),
)
