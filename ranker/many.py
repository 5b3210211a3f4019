"""How are many questions answered at once? In blocks, each question as it would be answered alone."""

import numpy as np
import polars as pl

from ingest import columns as c
from ingest.moments import to_microseconds
from ingest.progress import Progress, silent
from ranker.arrange import NOTHING, Arranged, Wish
from ranker.candidates import blocks
from ranker.catalogue import Catalogue
from ranker.given import GivenRequests, given_blocks
from ranker.history import History
from ranker.model import Model
from ranker.moments import Moments
from ranker.rules import allowed_items


def recommend_many(
    model: Model, queries: pl.DataFrame, k: int, history: History, progress: Progress = silent
) -> pl.DataFrame:
    """Return query_id, item_id, rank, score for queries of query_id, user_id, as_of.

    Without `as_of` a query is asked at the end of the bundle's history.
    """
    moments = _moments(model, queries, history)
    answers = [_frame(queries.clear(), model.catalogue, NOTHING)]
    for block in blocks(len(moments), len(model.catalogue), pasts=history.user_counts(moments)):
        situation = model.sources.situation(history, moments.take(block))
        allowed = allowed_items(history, situation.moments, model.catalogue, model.rules)
        answers.append(_frame(queries[block], model.catalogue, model.place(situation, allowed, Wish(k=k)).places))
        progress("recommend", block.stop, len(moments))
    return pl.concat(answers)


def rank_many(model: Model, requests: pl.DataFrame, history: History, progress: Progress = silent) -> pl.DataFrame:
    """Return request_id, user_id, item_id, score, one row for each of request_id, user_id, item_id, occurred_at."""
    given = GivenRequests.from_frame(requests, history, model.catalogue)
    score = np.empty(len(requests), np.float64)
    # Features of all pairs at once would be the most that a long file holds in memory.
    for pairs, features in given_blocks(model.sources, history, given):
        score[given.order[pairs]] = model.score_given(features, given.query[pairs])
        progress("rank", pairs.stop, len(requests))
    return requests.select(c.REQUEST_ID, c.USER_ID, c.ITEM_ID).with_columns(pl.Series(c.SCORE, score))


def _moments(model: Model, queries: pl.DataFrame, history: History) -> Moments:
    if c.AS_OF in queries.columns:
        as_of = queries[c.AS_OF].fill_null(model.known_until).dt.epoch("us").to_numpy()
    else:
        as_of = np.full(len(queries), to_microseconds(model.known_until), np.int64)
    return Moments(users=history.user_rows(queries[c.USER_ID].to_list()), as_of=as_of)


def _frame(queries: pl.DataFrame, catalogue: Catalogue, places: Arranged) -> pl.DataFrame:
    return pl.DataFrame(
        {
            c.QUERY_ID: queries[c.QUERY_ID].gather(places.query),
            c.ITEM_ID: catalogue.items[c.ITEM_ID].gather(places.item),
            c.RANK: pl.Series(places.rank, dtype=pl.Int32),
            c.SCORE: pl.Series(places.score, dtype=pl.Float64),
        }
    )
