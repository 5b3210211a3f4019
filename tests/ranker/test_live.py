"""A question later than the cutoff asks what comes next; one at the cutoff asks about the time to come."""

from datetime import timedelta

import polars as pl
import pytest

from ingest import columns as c
from ranker.query import GivenItem, Query
from ranker.registry import FEATURE_NAMES

LIVE = FEATURE_NAMES.index("live")
INSTANT = timedelta(microseconds=1)


@pytest.mark.parametrize(("later", "live"), [(-INSTANT, 0), (0 * INSTANT, 0), (INSTANT, 1)])
def test_live_begins_right_after_the_cutoff(ranker, later, live):
    answer = ranker.recommend(Query(user_id=ranker.history.user_ids[0], as_of=ranker.cutoff + later, k=20))
    assert {item.features[LIVE] for item in answer.items} == {live}


def test_given_items_are_always_asked_about_live(ranker):
    query = Query(user_id=ranker.history.user_ids[0], as_of=ranker.cutoff)
    answer = ranker.rank(query, [GivenItem(item_id=item) for item in ranker.catalogue.ids[:3]])
    assert {item.features[LIVE] for item in answer.items} == {1}


def test_a_batch_holds_both_and_is_answered_as_single_questions_are(ranker):
    user, moments = ranker.history.user_ids[0], [ranker.cutoff, ranker.cutoff + INSTANT]
    queries = pl.DataFrame({c.QUERY_ID: ["at", "after"], c.USER_ID: user, c.AS_OF: moments})
    batch = ranker.recommend_batch(queries, 20)
    for query_id, as_of in zip(queries[c.QUERY_ID], moments, strict=True):
        alone = ranker.recommend(Query(user_id=user, as_of=as_of, k=20)).items
        assert batch.filter(pl.col(c.QUERY_ID) == query_id)[c.ITEM_ID].to_list() == [item.item_id for item in alone]
