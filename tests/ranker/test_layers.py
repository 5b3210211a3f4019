"""Live events put on in layers, each on those before it, answer like all of them added at once."""

from dataclasses import astuple

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest import columns as c
from ingest.moments import to_microseconds
from ranker.history import History
from ranker.layer import Layer
from ranker.live_events import LiveEvents
from ranker.moments import Moments
from ranker.query import Query
from ranker.sessions import session_mask
from ranker.timeline import HOUR
from tests.ranker.conftest import catalogue, live_events, log

ITEMS = catalogue("a", "b", "z")
USERS = ["ann", "bob", "eve", "fay"]
ROWS = np.array([0, 1, 2])

KINDS = st.sampled_from(["view", "like", "wave"])
SESSIONS = st.sampled_from([None, "s1", "s2"])
event = st.tuples(
    st.sampled_from(USERS), st.integers(-1, 2), st.integers(0, 30), st.sampled_from([1.0, 2.0, -1.0]), KINDS, SESSIONS
)


def told(history: History, events: list[tuple]) -> History:
    users, items, hours, weights, kinds, sessions = ([event[n] for event in events] for n in range(6))
    live = LiveEvents(
        user_ids=users,
        items=np.array(items, np.int32),
        times=np.array(hours, np.int64) * HOUR,
        weights=np.array(weights, np.float32),
        kinds=kinds,
        sessions=sessions,
    )
    return history.and_then(live)


def everything(history: History, hour: int) -> list[list]:
    """All that a history can be asked about one hour."""
    as_of = np.full(len(USERS), hour * HOUR)
    moments, before = Moments(users=history.user_rows(USERS), as_of=as_of), as_of[:1]
    recent = history.recent(moments, 4)
    shares = np.array([0.01, 0.2, 0.5, 1.0])
    hours, _ = history.hours(3, before)
    answers = [
        *(recent.items, recent.weights, recent.ages, recent.kinds, session_mask(recent)),
        sorted(zip(*(part.tolist() for part in astuple(history.taken(moments))), strict=True)),  # in no promised order
        history.user_counts(moments),
        history.item_counts(ROWS, before=before),
        history.item_counts(ROWS, before=before, since=before - 5 * HOUR),
        history.item_counts_at(ROWS, [before, before - HOUR]),
        *history.item_ages(ROWS, before=before),
        history.first_events(3),
        history.log_counts(as_of),
        history.since_share(shares, np.repeat(before, 4)),
        *hours[0].counts.values(),
    ]
    return [np.nan_to_num(np.asarray(answer), nan=-1).tolist() for answer in answers]


@settings(max_examples=100, deadline=None)
@given(
    past=st.lists(st.tuples(st.sampled_from(USERS[:2]), st.sampled_from("abz"), st.integers(0, 1)), max_size=6),
    layers=st.lists(st.lists(event, max_size=8), min_size=2, max_size=3),
)
def test_layers_answer_like_all_events_at_once(past, layers):
    frame = log(*past) if past else log(("ann", "a", 0))[:0]
    bundle = History.from_frames(ITEMS, frame.with_columns(pl.lit("view").alias(c.KIND)))
    layered = bundle
    for layer in layers:
        layered = told(layered, layer)
    together = told(bundle, [event for layer in layers for event in layer])
    settled = layered.settled()
    assert layered.user_rows([*USERS, "nobody"]).tolist() == together.user_rows([*USERS, "nobody"]).tolist()
    for hour in (0, 7, 24, 31):
        assert everything(layered, hour) == everything(settled, hour) == everything(together, hour)
    assert layered.kinds == settled.kinds == together.kinds


def test_layers_share_the_hours_counted_for_all_events_at_once():
    bundle = History.from_frames(ITEMS, log(("ann", "a", 0)))
    events = [("bob", 1, 1, 1.0, "view", None), ("eve", 0, 2, 1.0, "view", "s1"), ("eve", 1, 9, 1.0, "view", "s1")]
    before = np.array([5 * HOUR])
    together = told(bundle, events)
    layered = told(told(bundle, events[1:]), events[:1])
    assert layered.hours(3, before)[0][0] is together.hours(3, before)[0][0]
    assert bundle.hours(3, before)[0][0] is not together.hours(3, before)[0][0]


def test_settled_history_takes_further_layers():
    bundle = History.from_frames(ITEMS, log(("ann", "a", 0)))
    parts = [[("bob", 1, 1, 1.0, "view", "s1")], [("eve", 0, 1, 2.0, "like", None)], [("bob", 2, 1, 1.0, "view", "s2")]]
    settled = told(told(told(bundle, parts[0]), parts[1]).settled(), parts[2])
    assert everything(settled, 31) == everything(told(bundle, [event for part in parts for event in part]), 31)
    assert settled.user_rows(["eve", "bob"]).tolist() == [2, 1]


def test_events_on_top_leave_the_history_below_as_it_was():
    bundle = History.from_frames(ITEMS, log(("ann", "a", 0)))
    below = told(bundle, [("bob", 1, 1, 1.0, "view", None)])
    before = everything(below, 31)
    above = told(below, [("fay", 2, 1, 1.0, "like", None)])
    assert everything(below, 31) == before != everything(above, 31)
    assert (bundle.kinds.names, below.kinds.names, above.kinds.names) == ((), ("view",), ("view", "like"))


def test_a_session_does_not_build_live_events_again(ranker, monkeypatch):
    """What was built of live events is shared with the question that adds its session to it."""
    user, items = ranker.history.user_ids[3], ranker.catalogue.ids[:3]
    at = to_microseconds(ranker.cutoff)
    live = ranker.history.and_then(live_events(ranker.catalogue, *((user, item, at) for item in items)))
    built = []
    build = Layer.of_events.__func__

    def counted(cls, users, rows, *arrays, **more):
        built.append(len(rows))
        return build(cls, users, rows, *arrays, **more)

    monkeypatch.setattr(Layer, "of_events", classmethod(counted))
    query = Query(user_id=user, as_of=ranker.cutoff, k=5, session=tuple(items[:2]))
    assert ranker.recommend(query, live).items
    assert built == [2]


@pytest.mark.parametrize("looked_at", [(), (1, 2, 1)])
def test_answers_are_the_same_from_layers_as_from_all_at_once(ranker, looked_at):
    users = ranker.history.user_ids[:4]
    hour = to_microseconds(ranker.cutoff) // HOUR + 1
    events = [(users[n % 4], n % 20, hour + n, 1.0 + n % 3, "view", None) for n in range(30)]
    layered = told(told(ranker.history, events[:20]), events[20:])
    session = tuple(ranker.catalogue.ids[row] for row in looked_at)
    query = Query(user_id=users[1], as_of=ranker.cutoff.replace(year=2100), k=20, session=session)
    one, other = (ranker.recommend(query, history) for history in (layered, told(ranker.history, events)))
    assert one.items
    for left, right in zip(one.items, other.items, strict=True):
        assert (left.item_id, left.score) == (right.item_id, right.score)
        np.testing.assert_array_equal(left.features, right.features)
