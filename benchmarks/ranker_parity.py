"""Are the features that a service computes, one request at a time, those of a batch over the whole log?"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import numpy.typing as npt
import polars as pl

from benchmarks.ranker_shop import Shop, some_items
from ingest import columns as c
from ranker.arrays import Floats
from ranker.candidates import CandidatesConfig, blocks, propose
from ranker.features import compute
from ranker.given import GivenRequests, given_features
from ranker.history import History
from ranker.moments import Moments
from ranker.query import GivenItem, Query, RankedItem
from ranker.registry import FEATURE_NAMES
from ranker.rules import RulesConfig, allowed_items

TOLERANCE = 1e-6
GIVEN = 20
"""Items given in each request to rank, and places asked for in each to recommend."""


@dataclass(frozen=True, kw_only=True)
class Parity:
    """How many requests were compared, and what differed."""

    requests: int
    with_live_events: int
    """Requests at moments that come after live events."""
    values: int
    equal: int
    """Requests all of whose values are equal."""
    largest: float
    """Largest difference of any value, relative to its size where that is above 1."""
    features: tuple[str, ...]
    """Names of the features that ever differed."""


def served_and_batch(shop: Shop, n: int, rng: np.random.Generator) -> Parity:
    """Ask `n` single requests, half to recommend and half to rank, and compute the same features in batch.

    Requests before the cutoff are asked of the bundle's own history, later ones of the history with live events. The
    batch reads one history that was built from the whole log, and so also holds what came after each request.
    """
    asked = _asked(shop, n, rng)
    whole = History.from_frames(shop.ranker.catalogue, shop.interactions, shop.impressions)
    recommends, ranks = asked[: n // 2], asked[n // 2 :]
    items = [some_items(shop, GIVEN, rng) for _ in ranks]
    served = [_recommended(shop, query) for query in recommends]
    served += [_ranked(shop, query, given) for query, given in zip(ranks, items, strict=True)]
    batch = _proposed_batch(shop, whole, recommends, served[: len(recommends)])
    batch += _given_batch(shop, whole, ranks, items)
    return _compared(shop, asked, served, batch)


def _asked(shop: Shop, n: int, rng: np.random.Generator) -> list[Query]:
    """Draw moments of later interactions: half before the cutoff, half among the live events."""
    log = shop.interactions.sort(c.OCCURRED_AT)
    before = log.filter(pl.col(c.OCCURRED_AT) < shop.ranker.cutoff)
    live = log.filter(pl.col(c.OCCURRED_AT) >= shop.ranker.cutoff)
    halves = [(before, n - n // 2), (live, n // 2)]
    drawn = [
        part[rng.integers(len(part) // 2, len(part), size).tolist()] if len(part) else part for part, size in halves
    ]
    rows = pl.concat(drawn)[rng.permutation(sum(map(len, drawn))).tolist()]
    return [Query(user_id=user, as_of=as_of, k=GIVEN) for user, as_of in rows[[c.USER_ID, c.OCCURRED_AT]].iter_rows()]


def _history(shop: Shop, as_of: datetime) -> History:
    return shop.ranker.history if as_of < shop.ranker.cutoff else shop.live


def _recommended(shop: Shop, query: Query) -> list[RankedItem]:
    answer = shop.ranker.recommend(query, _history(shop, query.as_of))
    return [item for item in answer.items if len(item.features)]


def _ranked(shop: Shop, query: Query, given: list[GivenItem]) -> list[RankedItem]:
    answer = shop.ranker.rank(query, given, _history(shop, query.as_of))
    by_id = {item.item_id: item for item in answer.items}
    return [by_id[item.item_id] for item in given]


def _proposed_batch(shop: Shop, history: History, queries: list[Query], served: list[list[RankedItem]]) -> list[Floats]:
    """Compute the features of what was served; what the batch did not propose at all has NaN in every place."""
    ranker, sources = shop.ranker, shop.ranker.model.sources
    moments = _moments(history, queries)
    out: list[Floats] = []
    for block in blocks(len(queries), len(ranker.catalogue)):
        situation = sources.situation(history, moments.take(block))
        allowed = allowed_items(history, situation.moments, ranker.catalogue, RulesConfig())
        pairs = propose(sources, situation, allowed, CandidatesConfig())
        kept = [
            (number, row)
            for number, items in enumerate(served[block])
            for row in ranker.catalogue.rows(item.item_id for item in items).tolist()
        ]
        key = pairs.query.astype(np.int64) * len(ranker.catalogue) + pairs.item
        wanted = np.array([number * len(ranker.catalogue) + row for number, row in kept], np.int64)
        place = np.minimum(np.searchsorted(key, wanted), len(key) - 1)
        features = compute(situation, sources.everything, pairs.take(place), sources)
        features[key[place] != wanted] = np.nan
        ends = np.cumsum([len(items) for items in served[block]])
        out += np.split(features, ends[:-1])
    return out


def _given_batch(shop: Shop, history: History, queries: list[Query], items: list[list[GivenItem]]) -> list[Floats]:
    frame = pl.DataFrame(
        {
            c.REQUEST_ID: [f"{n:09}" for n, given in enumerate(items) for _ in given],
            c.USER_ID: [query.user_id for query, given in zip(queries, items, strict=True) for _ in given],
            c.ITEM_ID: [item.item_id for given in items for item in given],
            c.OCCURRED_AT: [query.as_of for query, given in zip(queries, items, strict=True) for _ in given],
        },
        schema_overrides={c.OCCURRED_AT: pl.Datetime("us")},
    )
    requests = GivenRequests.from_frame(frame, history, shop.ranker.catalogue)
    features = np.empty((len(frame), len(FEATURE_NAMES)), np.float32)
    features[requests.order] = given_features(shop.ranker.model.sources, history, requests)
    return np.split(features, np.cumsum([len(given) for given in items])[:-1])


def _moments(history: History, queries: list[Query]) -> Moments:
    as_of = pl.Series([query.as_of for query in queries], dtype=pl.Datetime("us")).dt.epoch("us").to_numpy()
    return Moments(users=history.user_rows([query.user_id for query in queries]), as_of=as_of)


def _compared(
    shop: Shop, asked: list[Query], served: Sequence[list[RankedItem]], batch: Sequence[npt.NDArray[np.float32]]
) -> Parity:
    equal, largest, differ, values = 0, 0.0, np.zeros(len(FEATURE_NAMES), bool), 0
    for items, wanted in zip(served, batch, strict=True):
        got = np.array([item.features for item in items], np.float64).reshape(wanted.shape)
        scale = np.maximum(np.abs(wanted), 1)
        apart = np.where(np.isnan(got) & np.isnan(wanted), 0, np.abs(got - wanted) / scale)
        apart = np.where(np.isnan(apart), np.inf, apart)
        values += apart.size
        largest = max(largest, float(apart.max(initial=0)))
        differ |= (apart > TOLERANCE).any(axis=0)
        equal += bool((apart <= TOLERANCE).all())
    return Parity(
        requests=len(asked),
        with_live_events=sum(query.as_of >= shop.ranker.cutoff for query in asked),
        values=values,
        equal=equal,
        largest=largest,
        features=tuple(name for name, apart in zip(FEATURE_NAMES, differ, strict=True) if apart),
    )
