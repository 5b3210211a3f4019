"""What is known of a query and an item, in numbers? The one function behind training, evaluation and service."""

from itertools import pairwise
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from ranker.arrays import Floats, Rows
from ranker.candidates import Candidates
from ranker.catalogue import Catalogue
from ranker.habits import context, habits
from ranker.likeness import likeness
from ranker.popularity import popularity, published
from ranker.registry import FEATURE_NAMES, FUSION_OFFSET
from ranker.situation import ItemSet, Situation
from ranker.sources import SOURCES, Sources
from ranker.sparse_rows import entries_at, row_lengths, row_maxima, row_products, sum_of_rows

WHOLE_PAST: Final = 300
"""So many different items of a user's past count alike in what tells of the whole of it: as many as neighbours are
fitted on by default. Who takes the same again and again has few different ones among the latest events."""


def compute(situation: Situation, items: ItemSet, candidates: Candidates, sources: Sources) -> Floats:
    """Return features [n_candidates, n_features] in the order of `FEATURES`; NaN = not defined for this pair.

    Everything is as of each query's moment: nothing at or after it can change a value.
    """
    query, place = candidates.query, candidates.item
    rows = items.rows[place]
    columns: dict[str, npt.NDArray[Any]] = {**_products(situation, items, candidates, sources)}
    columns["category"] = columns["category_share"] * _in_vogue(situation, query, rows)
    columns["interest_gap"] = columns["interest"] - situation.typical[query]
    columns |= likeness(situation, items, candidates)
    columns |= _ranks(candidates)
    columns |= popularity(situation, rows, query, sources)
    columns["age_published"] = published(rows, situation.moments.as_of[query], sources.catalogue.published_at)
    columns |= habits(situation, rows, query)
    columns["popular_gap"] = columns["count_all"] - columns["user_popular"]
    columns["newness_gap"] = columns["age_first"] - columns["user_newness"]
    columns |= _prices(situation, sources, query, rows)
    columns["n_categories"] = row_lengths(items.categories, place)
    columns["n_words"] = np.log1p(row_lengths(items.words, place))
    columns |= context(situation, query)
    by_name = np.empty((len(FEATURE_NAMES), len(candidates)), np.float32)
    for number, name in enumerate(FEATURE_NAMES):
        by_name[number] = columns[name]
    return np.ascontiguousarray(by_name.T)


def _products(situation: Situation, items: ItemSet, candidates: Candidates, sources: Sources) -> dict[str, Floats]:
    """Look at each query's own candidates alone, so that a pair's numbers do not depend on who else asks."""
    names = (
        *("interest", "factors", "words", "category_share", "facet_share", "facet_lift"),
        *("together", "following", "together_last", "following_last", "straight_last"),
        *("together_whole", "factors_whole"),
    )
    out = {name: np.zeros(len(candidates), np.float32) for name in names}
    bounds = np.searchsorted(candidates.query, np.arange(len(situation) + 1))
    for query, (start, end) in enumerate(pairwise(bounds.tolist())):
        place = candidates.item[start:end]
        rows = items.rows[place]
        found = {
            "interest": situation.interest_in(query, items, place),
            "factors": situation.factors_in(query, rows),
            "words": situation.words_in(query, items, place),
            "category_share": situation.taste_in(query, items, place),
            **_facets(situation, sources.catalogue, query, rows),
            "together": entries_at(situation.together, query, rows),
            "following": entries_at(situation.following, query, rows),
        }
        if len(whole := situation.own.latest(query, WHOLE_PAST)):
            alike = np.full(len(whole), 1 / len(whole))
            together = sum_of_rows(sources.together, whole, alike)
            found["together_whole"] = np.where(rows >= 0, together[rows], 0)
            found["factors_whole"] = np.where(
                rows >= 0, sources.factors.items[rows] @ sources.factors.folded_in(whole), 0
            )
        if situation.last[query] >= 0:
            found["together_last"] = entries_at(sources.together, situation.last[query], rows)
            found["following_last"] = entries_at(sources.following, situation.last[query], rows)
            found["straight_last"] = entries_at(sources.straight, situation.last[query], rows)
        for name, values in found.items():
            out[name][start:end] = values
    return out


def _facets(situation: Situation, catalogue: Catalogue, query: int, rows: Rows) -> dict[str, npt.NDArray[Any]]:
    """Return which share of a user's decayed past has each item's attribute values: mean, and largest lift."""
    facets = catalogue.facets
    if not facets.shape[1] or situation.last[query] < 0:
        return {"facet_share": np.full(len(rows), np.nan), "facet_lift": np.full(len(rows), np.nan)}
    past = slice(*situation.past.indptr[query : query + 2])
    share = sum_of_rows(facets, situation.past.indices[past], situation.past.data[past])
    known = np.maximum(rows, 0)
    held = np.where(rows >= 0, row_lengths(facets, known), 0)
    lift = row_maxima(facets, known, share * catalogue.facet_rarity)
    return {
        "facet_share": np.where(held > 0, row_products(facets, known, share) / np.maximum(held, 1), np.nan),
        "facet_lift": np.where(held > 0, np.log1p(lift), np.nan),
    }


def _in_vogue(situation: Situation, query: Rows, rows: Rows) -> Floats:
    hours, hour = situation.hours
    out = np.zeros(len(rows), np.float32)
    for number, each in enumerate(hours):
        of_hour = np.flatnonzero((hour[query] == number) & (rows >= 0))
        out[of_hour] = each.log_in_vogue[rows[of_hour]]
    return out


def _ranks(candidates: Candidates) -> dict[str, npt.NDArray[Any]]:
    ranks = candidates.ranks
    proposed = np.isfinite(ranks)
    n_sources = proposed.sum(axis=1)
    best = np.where(proposed, ranks, np.inf).min(axis=1, initial=np.inf)
    return {
        **{f"rank_{name}": np.log(ranks[:, n]) for n, name in enumerate(SOURCES)},
        "rank_best": np.log(np.where(n_sources > 0, best, np.nan)),
        "fused": np.where(proposed, 1 / (FUSION_OFFSET + ranks), 0).sum(axis=1),
        "n_sources": n_sources,
        "given": n_sources == 0,
    }


def _prices(situation: Situation, sources: Sources, query: Rows, rows: Rows) -> dict[str, npt.NDArray[Any]]:
    price = sources.log_prices
    recent = situation.recent
    paid = np.where(recent.mask, price[recent.items], np.nan)
    known = np.isfinite(paid)
    n_known = known.sum(axis=1)
    level = np.where(n_known > 0, np.where(known, paid, 0).sum(axis=1) / np.maximum(n_known, 1), np.nan)[query]
    own = np.where(rows >= 0, price[rows], np.nan)
    return {"price": own, "user_price": level, "price_gap": own - level}
