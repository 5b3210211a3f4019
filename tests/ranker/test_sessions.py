"""Sessions are those that events name, and pauses where they name none: in features and in what followed what."""

from dataclasses import replace
from datetime import timedelta

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest import columns as c
from ingest.outbox import OnlineEvent
from ingest.store import END_OF_TIME, Store
from ranker.factors import FactorsConfig
from ranker.history import History
from ranker.moments import Moments, Recent
from ranker.neighbours import NeighboursConfig
from ranker.query import Query
from ranker.registry import FEATURE_NAMES
from ranker.sessions import SESSION_US, code_of, session_codes, session_mask
from ranker.sources import Behaviour
from tests.ranker.conftest import catalogue, live_events

MINUTE = 60_000_000
ITEMS = catalogue("a", "b", "d", "e", "z")
FLAT = NeighboursConfig(half_life=1e9, lag_decay=0.5, shrinkage=0.0, max_history=100)


def visits(*rows: tuple[str, str, int, str | None]) -> pl.DataFrame:
    """Interactions of (user, item, minute, session)."""
    told = pl.DataFrame(rows, schema=[c.USER_ID, c.ITEM_ID, c.OCCURRED_AT, c.SESSION_ID], orient="row")
    return told.with_columns(
        pl.col(c.SESSION_ID).cast(pl.String),
        pl.from_epoch(pl.col(c.OCCURRED_AT) * MINUTE, "us").alias(c.OCCURRED_AT),
        pl.lit(1.0).alias(c.WEIGHT),
    )


def in_session(history: History, user: str, minute: float) -> list[str]:
    """The items of the user's session at a minute, oldest first."""
    moments = Moments(users=history.user_rows([user]), as_of=np.array([int(minute * MINUTE)]))
    recent = history.recent(moments, 20)
    return [ITEMS.ids[row] for row in recent.items[session_mask(recent)].tolist()]


def test_a_session_has_the_same_number_wherever_it_is_told():
    """In a log of millions and in a live event; events without one, or with an empty one, have none."""
    ids = ["s1", None, "s2", "s1", ""]
    in_log, live = session_codes(pl.Series(ids)), session_codes(ids)
    assert in_log.tolist() == live.tolist()
    assert in_log.dtype == live.dtype == np.int32
    assert in_log[[1, 4]].tolist() == [0, 0]
    assert in_log[0] == in_log[3] != in_log[2] != 0
    assert in_log.view(np.uint32)[0] == code_of("s1")
    for nobody in (pl.Series([None, None], dtype=pl.String), pl.Series([], dtype=pl.String), [None], [""], []):
        assert session_codes(nobody) is None


def test_a_session_lasts_as_long_as_its_id():
    """Over a pause of two hours; another session a minute before is another one, whatever the half hour says."""
    log = visits(("ann", "a", 0, "s0"), ("ann", "b", 1, "s1"), ("ann", "d", 121, "s1"))
    history = History.from_frames(ITEMS, log)
    assert in_session(history, "ann", 122) == ["b", "d"]
    assert in_session(history, "ann", 2) == ["b"]
    assert in_session(history, "ann", 1) == ["a"]
    without = History.from_frames(ITEMS, log.drop(c.SESSION_ID))
    assert in_session(without, "ann", 122) == ["d"]
    assert in_session(without, "ann", 2) == ["a", "b"]


def test_a_question_long_after_the_last_event_is_in_no_session():
    """It names none, so that the half hour decides, to the microsecond."""
    history = History.from_frames(ITEMS, visits(("ann", "a", 0, "s1"), ("ann", "b", 60, "s1")))
    assert in_session(history, "ann", 90) == ["a", "b"]
    assert in_session(history, "ann", 90 + 1 / MINUTE) == []


def test_two_devices_at_once_are_two_sessions():
    history = History.from_frames(
        ITEMS,
        visits(("ann", "a", 0, "phone"), ("ann", "b", 1, "desk"), ("ann", "d", 2, "phone"), ("ann", "e", 3, None)),
    )
    assert in_session(history, "ann", 4) == ["a", "d", "e"], "the event without an id belongs to what it follows"


def test_events_without_an_id_keep_to_pauses():
    history = History.from_frames(
        ITEMS, visits(("ann", "a", 0, None), ("ann", "b", 20, None), ("ann", "d", 40, "s1"), ("ann", "e", 75, None))
    )
    assert in_session(history, "ann", 41) == ["a", "b", "d"]
    assert in_session(history, "ann", 76) == ["e"], "35 minutes after s1, and of no id"


@pytest.mark.parametrize("since", [1, 1_799_999_999, 1_234_567_891])
@pytest.mark.parametrize(("pause", "session"), [(30 * MINUTE, ["a", "b"]), (30 * MINUTE + 1, ["b"])])
def test_a_pause_is_measured_to_the_microsecond_whenever_it_is_asked(pause, session, since):
    """In seconds, whose last digits are lost in a difference, half an hour could be a little more."""
    first = 57 * 365 * 24 * 60 * MINUTE
    events = live_events(ITEMS, ("ann", "a", first), ("ann", "b", first + pause))
    history = History.from_frames(ITEMS, visits(("bob", "z", 0, None))).and_then(events)
    moments = Moments(users=history.user_rows(["ann"]), as_of=np.array([first + pause + since]))
    recent = history.recent(moments, 20)
    assert [ITEMS.ids[row] for row in recent.items[session_mask(recent)].tolist()] == session


event = st.tuples(st.integers(0, 40), st.sampled_from([0, 0, 1, 2]), st.booleans())


@given(st.lists(event, max_size=8), st.integers(0, 40))
def test_a_session_in_plain_words(events, since_last):
    """Each event: minutes to the next newer one, session (0: none), and whether it counts: what is hidden does not."""
    pauses, codes, counts = ([of[n] for of in reversed(events)] for n in range(3))
    ages = [60.0 * age for age in np.cumsum([since_last, *pauses[1:]])][: len(events)] if events else []
    newest_first = [row for row in range(len(events)) if counts[row]]
    wanted, before, present, unbroken = [], 0.0, 0, True
    last_code = 0
    for row in newest_first:
        code = codes[row]
        near = ages[row] - before <= SESSION_US / 1e6 or (code and code == last_code)
        unbroken = unbroken and near and (not code or not present or code == present)
        if unbroken and code and not present:
            present = code
        if unbroken or (present and code == present):
            wanted.append(row)
        before, last_code = ages[row], code
    length = len(events) + 2
    recent = Recent(
        items=np.full((1, length), -1, np.int32),
        weights=np.zeros((1, length), np.float32),
        ages=np.zeros((1, length)),
        kinds=np.zeros((1, length), np.uint8),
        sessions=np.zeros((1, length), np.int32),
    )
    for row in newest_first:
        place = length - 1 - row
        recent.items[0, place], recent.ages[0, place], recent.sessions[0, place] = 3, ages[row], codes[row]
    assert (length - 1 - np.flatnonzero(session_mask(recent)[0])[::-1]).tolist() == wanted
    nameless = replace(recent, sessions=np.zeros_like(recent.sessions))
    np.testing.assert_array_equal(session_mask(nameless), session_mask(replace(recent, sessions=None)))


def test_live_events_go_on_with_a_session_of_the_bundle(tmp_path):
    """Also after save and load, and in a layer of its own."""
    early, late = ("ann", "a", 0, "s1"), [("ann", "b", 100, "s1"), ("ann", "d", 101, "s2"), ("ann", "e", 200, "s1")]
    whole = History.from_frames(ITEMS, visits(early, *late))
    bundle = History.from_frames(ITEMS, visits(early))
    bundle.save(tmp_path)
    nameless = History.from_frames(ITEMS, visits(("ann", "z", 90, None)))
    for under in (bundle, History.load(tmp_path)):
        live = under
        for user, item, minute, session in late:
            live = live.and_then(live_events(ITEMS, (user, item, minute * MINUTE), sessions=[session]))
        for minute in (100.5, 101.5, 150, 201):
            assert in_session(live, "ann", minute) == in_session(whole, "ann", minute)
        assert in_session(live, "ann", 201) == ["a", "b", "e"]
    assert nameless.sessions(before=600 * MINUTE) is None
    named = nameless.and_then(live_events(ITEMS, ("ann", "a", 91 * MINUTE), sessions=["s1"]))
    assert in_session(named, "ann", 92) == ["z", "a"]
    nameless.save(tmp_path / "none")
    assert not (tmp_path / "none" / "user_sessions.npy").exists()


def test_what_a_session_holds_later_changes_no_feature_before():
    early = [("ann", "a", 0, "s1"), ("ann", "b", 50, "s1")]
    later = [("ann", "d", 51, "s1"), ("bob", "e", 40, "s1")]
    moments = np.array([51 * MINUTE])
    found = []
    for rows in (early, early + later):
        history = History.from_frames(ITEMS, visits(*rows))
        recent = history.recent(Moments(users=history.user_rows(["ann"]), as_of=moments), 10)
        found.append((recent.items.tolist(), session_mask(recent).tolist()))
    assert found[0] == found[1]


def test_following_counts_one_session_more_as_events_name_it():
    """Three hours apart and of one session; a minute apart and of two; of none, half an hour decides."""
    config = replace(FLAT, session_weight=3.0, max_lag=1)
    for sessions, minutes, weight in (("xx", 180, 3), ("xy", 1, 1), ("x-", 30, 3), ("--", 30, 3), ("-x", 31, 1)):
        log = visits(*(("ann", "ab"[n], n * minutes, None if name == "-" else name) for n, name in enumerate(sessions)))
        log = pl.concat([log, visits(("bob", "a", 0, "x"), ("bob", "d", 500, "y"))])
        history = History.from_frames(ITEMS, log)
        found = Behaviour.fit(history, 600 * MINUTE, len(ITEMS), config, FactorsConfig(size=2)).following.toarray()
        assert found[0, 1] == pytest.approx(weight / np.sqrt((weight + 1) * weight)), sessions


def test_no_session_ids_are_what_no_column_is(ranker, shop):
    """To the bit: the numbers of a log that never heard of sessions."""
    with Store.open(shop.store_path, read_only=True) as store:
        log = store.interactions(before=END_OF_TIME)
    assert log[c.SESSION_ID].null_count() == 0
    nothing = log.with_columns(pl.lit(None, pl.String).alias(c.SESSION_ID))
    user, as_of = log[c.USER_ID][-1], log[c.OCCURRED_AT][-1] + timedelta(minutes=1)
    answers = []
    for frame in (nothing, nothing.drop(c.SESSION_ID)):
        history = History.from_frames(ranker.catalogue, frame)
        assert history.sessions(before=2**62) is None
        answers.append(ranker.recommend(Query(user_id=user, as_of=as_of), history).items)
    assert [item.features.tobytes() for item in answers[0]] == [item.features.tobytes() for item in answers[1]]


def test_an_event_over_http_brings_its_session_to_the_features(ranker):
    """Fifty minutes apart: one session where both name it, else the later one alone."""
    items, user = ranker.catalogue.ids[:2], "somebody new"
    for named, length in (("s1", 2), (None, 1)):
        events = [
            OnlineEvent(
                event_id=str(n),
                user_id=user,
                item_id=item,
                kind="view",
                weight=1.0,
                occurred_at=ranker.cutoff + timedelta(minutes=50 * n),
                session_id=named,
            )
            for n, item in enumerate(items)
        ]
        query = Query(user_id=user, as_of=ranker.cutoff + timedelta(minutes=60))
        answer = ranker.recommend(query, ranker.history_with(events)).items
        assert {item.features[FEATURE_NAMES.index("session_length")] for item in answer} == {length}
