"""How much does each source say for each item of the catalogue? The look over everything that candidates come from.

Sums over all items are in single precision, whose last digits depend on what else is computed with them; the
`Situation` has the same numbers exactly for the items that matter.
"""

from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from scipy import sparse

from ranker.arrays import Floats, Rows, Times
from ranker.coarse import CoarseVectors
from ranker.shared_words import weightiest
from ranker.situation import Situation
from ranker.sources import Sources
from ranker.sparse_rows import dense_row
from ranker.timeline import POPULAR_SHARES, Hour

EDGE: Final = 1e-5
"""By how much of the lengths of two vectors their product may be off in single precision."""


@dataclass(frozen=True, kw_only=True)
class Scores:
    """What the sources say of the whole catalogue to each query; higher speaks more for the item."""

    interest: Floats
    """Text interest, approximately [q, n_items]."""
    interest_error: Floats
    """The most that it can be off [q]."""
    factors: Floats
    """Products of collaborative factors, approximately [q, n_items]."""
    factors_error: Floats
    """The most that they can be off [q]."""
    category: sparse.csr_matrix
    """What is popular and trending in the user's categories [q, n_items], items in order; others have none."""
    words: Floats
    """Words of the past, those alone that weigh most [q, n_items]."""
    few: dict[str, sparse.csr_matrix]
    """Sources that speak of few items: together, following, facets and repeats."""
    hours: list[Hour]
    hour: npt.NDArray[np.int64]
    """Each query's place among the hours."""
    near: npt.NDArray[np.bool_]
    """Whether interest tells anything [q, n_items]: there are words of the user's past, and of the item."""
    first: Times
    """When anybody first touched each item, in microseconds [n_items]; the largest int64 where nobody has."""
    as_of: Times
    """The moment of each query, in microseconds [q]."""

    def of(self, name: str, query: int) -> npt.NDArray[np.floating[Any]]:
        """Return what one source says of all items to one query [n_items]; -inf where interest tells nothing."""
        if name in POPULAR_SHARES:
            return self.hours[int(self.hour[query])].counts[name]
        if name in self.few:
            return dense_row(self.few[name], query)
        if name == "category":
            return dense_row(self.category, query)
        if name == "fresh":
            return self._fresh(query)
        if name == "interest":
            return np.where(self.near[query], self.interest[query], np.float32(-np.inf))
        found: Floats = getattr(self, name)[query]
        return found

    def _fresh(self, query: int) -> npt.NDArray[np.floating[Any]]:
        """Return the interest in what hardly anyone has touched; if none is told, when it was first touched."""
        fresh = self.hours[int(self.hour[query])].fresh
        if self.near[query].any():
            return np.where(fresh & self.near[query], self.interest[query], np.float32(-np.inf))
        return np.where(fresh & (self.first < self.as_of[query]), self.first, -np.inf)


def score_all(sources: Sources, situation: Situation) -> Scores:
    """Look at every item of the catalogue for every query."""
    items = sources.everything
    hours, hour = situation.hours
    interest, interest_error = _approximate_interest(sources, situation)
    factors, factors_error = _approximate_products(
        sources.coarse_factors, situation.factors.astype(np.float32), sources.factors.items
    )
    return Scores(
        interest=interest,
        interest_error=interest_error,
        factors=factors,
        factors_error=factors_error,
        category=_by_category(sources, situation),
        words=_approximate_words(sources, situation),
        few={
            "together": situation.together,
            "following": situation.following,
            "facets": _by_facets(sources, situation),
            "repeats": situation.own.by_activation(len(items)),
        },
        hours=hours,
        hour=hour,
        near=np.asarray(situation.interest.any(axis=1))[:, None] & items.speaks,
        first=situation.history.first_events(len(items)),
        as_of=situation.moments.as_of,
    )


def _by_category(sources: Sources, situation: Situation) -> sparse.csr_matrix:
    """Weigh what was taken lately by the user's taste; all other items, most of a large catalogue, weigh nothing."""
    hours, hour = situation.hours
    held: list[tuple[Rows, Floats]] = [(np.empty(0, np.int32), np.empty(0, np.float32))] * len(situation)
    for number, each in enumerate(hours):
        items = sources.in_vogue(each)
        asked = np.flatnonzero(hour == number)
        share = (items.categories @ situation.taste[asked].toarray().T).T / items.roots_of_categories
        for query, weights in zip(asked.tolist(), share * items.in_vogue, strict=True):
            held[query] = items.rows, weights
    rows, weights = (np.concatenate(parts) for parts in zip(*held, strict=True))
    ends = np.concatenate([[0], np.cumsum([len(rows) for rows, _ in held])])
    return sparse.csr_matrix((weights, rows, ends), shape=(len(situation), len(sources.everything)))


def _by_facets(sources: Sources, situation: Situation) -> sparse.csr_matrix:
    """Return how much items share of the attribute values of the past [q, n_items], the rarer the more."""
    catalogue = sources.catalogue
    profile = situation.past @ catalogue.facets
    profile.data *= np.log(catalogue.facet_rarity)[profile.indices]
    return weightiest(profile, catalogue.items_by_facet) @ catalogue.items_by_facet


def _approximate_words(sources: Sources, situation: Situation) -> Floats:
    profile = weightiest(situation.words, sources.items_by_word)
    out = np.zeros((len(situation), len(sources.catalogue)), np.float32)
    for query, (start, end) in enumerate(pairwise(profile.indptr.tolist())):
        out[query] = sources.items_by_word[profile.indices[start:end]].T @ profile.data[start:end]
    return out


def _approximate_interest(sources: Sources, situation: Situation) -> tuple[Floats, Floats]:
    interest, error = _approximate_products(sources.coarse_vectors, situation.interest, sources.everything.vectors)
    _add_newcomers(sources, interest, situation)
    return interest, error + np.float32(EDGE * sources.interest.newcomers.words)


def _approximate_products(coarse: CoarseVectors, users: Floats, items: Floats) -> tuple[Floats, Floats]:
    """Return products of users with all items [q, n_items], and the most that each user's can be off [q].

    Those of one user come from eight bits, which are read sooner; several users share one reading of the whole.
    """
    if len(users) != 1:
        error = EDGE * coarse.longest * np.linalg.norm(users, axis=1)
        return users @ items.T, np.asarray(error, np.float32)
    products, error_of_one = coarse.products(users[0])
    return products[None], np.array([error_of_one], np.float32)


def interest_in_all(sources: Sources, situation: Situation) -> Floats:
    """Return each user's interest in each item of the catalogue at the query's moment [q, n_items].

    To items that nobody had touched strictly before the moment is added what the encoder has learned to add.
    """
    interest: Floats = situation.interest @ sources.everything.vectors.T
    _add_newcomers(sources, interest, situation)
    return interest


def _add_newcomers(sources: Sources, interest: Floats, situation: Situation) -> None:
    bonus = situation.newcomers
    if not bonus:
        return
    first, since = situation.history.first_events(len(sources.catalogue)), situation.new_from
    if len(since) and (since == since[0]).all():  # usually the end of the encoder's training
        items = sources.never_met(first, int(since[0]))
        interest[:, items] += bonus.of(situation.interest, _shared(sources, items, situation))
        return
    new = (first[None] >= since[:, None]) & sources.everything.speaks
    items = np.flatnonzero(new.any(axis=0))
    interest[:, items] += new[:, items] * bonus.of(situation.interest, _shared(sources, items, situation))


def _shared(sources: Sources, items: npt.NDArray[np.int64], situation: Situation) -> Floats:
    """Return how similar items are by words to each past [q, n]; one zero each where they are not asked for."""
    if not situation.newcomers.words:
        return np.zeros((len(situation), 1), np.float32)
    return sources.words_of(items).similarity(situation.words)
