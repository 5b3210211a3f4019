"""The first event of a user, and an item that has none: each has a path of its own through the trained shop."""

from datetime import timedelta

import numpy as np
import polars as pl
import pytest

from ingest import columns as c
from ingest.moments import to_microseconds
from ingest.outbox import OnlineEvent
from ingest.store import END_OF_TIME, Store
from ranker.history import History
from ranker.moments import Moments
from ranker.query import Answer, Query
from ranker.rank import Ranker
from ranker.sources import NEEDS_HISTORY, PERSONAL
from ranker.timeline import POPULAR_SHARES

USER, COLD_USER = "came once", "came never"
INSTANT = timedelta(microseconds=1)
AT_ONCE = set(PERSONAL) - {"repeats", "facets"}
"""Sources for which one event must do; the shop repeats nothing, and its items share no attribute."""


@pytest.fixture(scope="module")
def item(ranker: Ranker) -> str:
    """What most people took: everything has something to say of it."""
    rows = np.arange(len(ranker.catalogue))
    counts = ranker.history.item_counts(rows, before=np.array(to_microseconds(ranker.cutoff)))
    return ranker.catalogue.ids[int(counts.argmax())]


@pytest.fixture(scope="module")
def stored(shop, ranker, item) -> History:
    """The shop's history as if the log held one event of the user, as old as its newest."""
    with Store.open(shop.store_path, read_only=True) as store:
        log, shown = store.interactions(before=END_OF_TIME), store.impressions(before=END_OF_TIME)
    once = log.tail(1).with_columns(pl.lit(USER).alias(c.USER_ID), pl.lit(item).alias(c.ITEM_ID))
    return History.from_frames(ranker.catalogue, pl.concat([log, once]), shown)


@pytest.fixture(scope="module")
def live(ranker, item) -> History:
    """The bundle's history with one event of the user that came after it."""
    moment = ranker.cutoff + INSTANT
    event = OnlineEvent(event_id="1", user_id=USER, item_id=item, kind="click", weight=2.0, occurred_at=moment)
    return ranker.history_with([event])


@pytest.fixture(params=["stored", "live"])
def history(request) -> History:
    return request.getfixturevalue(request.param)


def asked(ranker: Ranker, user: str, history: History, **changes) -> Answer:
    """Ask two instants after the cutoff: one after a live event."""
    query = Query(user_id=user, as_of=ranker.cutoff + 2 * INSTANT, **{"k": 50, "explain": True, **changes})
    return ranker.recommend(query, history)


def sources(answer: Answer) -> set[str]:
    return {source for item in answer.items for source in item.sources}


def ids(answer: Answer) -> list[str]:
    return [item.item_id for item in answer.items]


def test_one_event_is_answered_at_once_by_every_personal_source(ranker, history, item):
    moments = Moments(users=history.user_rows([USER]), as_of=np.array([to_microseconds(ranker.cutoff + 2 * INSTANT)]))
    assert history.user_counts(moments).tolist() == [1]
    answer = asked(ranker, USER, history)
    assert sources(answer) >= AT_ONCE
    assert item not in ids(answer)
    assert {reason.because for shown in answer.items for reason in shown.reasons} == {None, item}


def test_who_came_once_is_answered_otherwise_than_who_never_came(ranker, history):
    once, never = asked(ranker, USER, history), asked(ranker, COLD_USER, history)
    assert not sources(never) & NEEDS_HISTORY
    assert set(ids(once)[:10]) != set(ids(never)[:10])


def test_one_event_says_the_same_in_the_store_and_live(ranker, stored, live):
    first, other = asked(ranker, USER, stored), asked(ranker, USER, live)
    assert len(set(ids(first)[:10]) & set(ids(other)[:10])) >= 8, "the moments differ, and with them ages and counts"


def test_an_item_without_an_event_is_shown_because_it_is_fresh(ranker, history):
    """Among all that may be shown, and in the place of ten that is kept for what hardly anyone has touched."""
    rows = np.arange(len(ranker.catalogue))
    untouched = set(np.array(ranker.catalogue.ids)[history.first_events(len(rows)) == np.iinfo(np.int64).max])
    shown = asked(ranker, USER, history, k=len(rows)).items
    fresh = {found.item_id for found in shown if "fresh" in found.sources}
    assert untouched
    assert untouched <= fresh
    best = [found for found in asked(ranker, USER, history, k=10).items if "fresh" in found.sources]
    assert best
    assert not any(set(found.sources) & set(POPULAR_SHARES) for found in best)
