"""What is known of a query and an item, in numbers? The one function behind training, evaluation and service."""

from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import sparse

from ranker.candidates import Candidates
from ranker.counter import Rows
from ranker.habits import context, habits
from ranker.likeness import likeness
from ranker.popularity import popularity, published
from ranker.registry import FEATURE_NAMES, FUSION_OFFSET
from ranker.situation import ItemSet, Situation, dense_row
from ranker.sources import SOURCES, Sources
from ranker.timeline import Floats


def compute(situation: Situation, items: ItemSet, candidates: Candidates, sources: Sources) -> Floats:
    """Return features [n_candidates, n_features] in the order of `FEATURES`; NaN = not defined for this pair.

    Everything is as of each query's moment: nothing at or after it can change a value.
    """
    query, place = candidates.query, candidates.item
    rows = items.rows[place]
    columns: dict[str, npt.NDArray[Any]] = _products(situation, items, candidates)
    columns["category"] = columns["category_share"] * _log_popular(situation, query, rows)
    columns["together"] = _at(situation.together, query, rows)
    columns["following"] = _at(situation.following, query, rows)
    columns["interest_gap"] = columns["interest"] - situation.typical[query]
    columns |= likeness(situation, items, candidates)
    columns["together_last"] = _at(situation.last @ sources.together, query, rows)
    columns["following_last"] = _at(situation.last @ sources.following, query, rows)
    columns["facet_share"] = _facet_share(situation, sources, query, rows)
    columns |= _ranks(candidates)
    columns |= popularity(situation, rows, query, sources)
    columns["age_published"] = published(rows, situation.moments.as_of[query], sources.catalogue.published_at)
    columns |= habits(situation, rows, query)
    columns["popular_gap"] = columns["count_all"] - columns["user_popular"]
    columns |= _prices(situation, sources, query, rows)
    columns["n_categories"] = np.diff(items.categories.indptr)[place]
    columns["n_words"] = np.log1p(np.diff(items.words.indptr)[place])
    columns |= context(situation, query)
    return np.stack([np.asarray(columns[name], np.float32) for name in FEATURE_NAMES], axis=1)


def _products(situation: Situation, items: ItemSet, candidates: Candidates) -> dict[str, Floats]:
    """Multiply each query with its own candidates alone, so that a pair's numbers do not depend on who else asks."""
    interest, factors, words, share = np.zeros((4, len(candidates)), np.float32)
    bounds = np.searchsorted(candidates.query, np.arange(len(situation) + 1))
    for number, (start, end) in enumerate(pairwise(bounds.tolist())):
        place = candidates.item[start:end]
        interest[start:end] = situation.interest_in(number, items.rows[place], items.vectors[place])
        factors[start:end] = situation.factors_in(number, items.rows[place])
        words[start:end] = situation.words_in(number, items.words[place])
        share[start:end] = situation.taste_in(number, items.categories[place])
    return {"interest": interest, "factors": factors, "words": words, "category_share": share}


def _log_popular(situation: Situation, query: Rows, rows: Rows) -> Floats:
    hours, hour = situation.hours
    out = np.zeros(len(rows), np.float32)
    for number, each in enumerate(hours):
        of_hour = np.flatnonzero((hour[query] == number) & (rows >= 0))
        out[of_hour] = each.log_popular[rows[of_hour]]
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


def _facet_share(situation: Situation, sources: Sources, query: Rows, rows: Rows) -> npt.NDArray[np.floating[Any]]:
    """Return which share of the user's decayed past has the item's attribute values, mean over its values."""
    facets = sources.catalogue.facets
    if not facets.shape[1]:
        return np.full(len(rows), np.nan)
    past = situation.past @ facets
    of_item = facets[np.maximum(rows, 0)]
    held = np.diff(of_item.indptr)
    shares = np.zeros(len(rows), np.float32)
    bounds = np.searchsorted(query, np.arange(len(situation) + 1))
    for number, (start, end) in enumerate(pairwise(bounds.tolist())):
        shares[start:end] = of_item[start:end] @ dense_row(past, number)
    known = (rows >= 0) & (held > 0) & (np.diff(situation.past.indptr)[query] > 0)
    return np.where(known, shares / np.maximum(held, 1), np.nan)


def _at(matrix: sparse.csr_matrix, query: Rows, columns: npt.NDArray[np.integer[Any]]) -> Floats:
    """Look up entries of a sparse matrix, 0 where it has none; columns of -1 have none."""
    matrix.sort_indices()
    stored = np.repeat(np.arange(matrix.shape[0]), np.diff(matrix.indptr)) * matrix.shape[1] + matrix.indices
    if not len(stored):
        return np.zeros(len(columns), np.float32)
    wanted = query.astype(np.int64) * matrix.shape[1] + columns
    place = np.minimum(np.searchsorted(stored, wanted), len(stored) - 1)
    found: Floats = np.where((stored[place] == wanted) & (columns >= 0), matrix.data[place], 0).astype(np.float32)
    return found
