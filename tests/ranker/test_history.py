import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest import columns as c
from ranker.counter import AsOfCounter
from ranker.history import History
from ranker.live_events import LiveEvents
from ranker.moments import Moments
from ranker.timeline import HOUR, POPULAR_SHARES, Timeline
from tests.ranker.conftest import DAY, catalogue, live_events, log


def at(history: History, *asked: tuple[str, int]) -> Moments:
    return Moments(
        users=history.user_rows([user for user, _ in asked]),
        as_of=np.array([moment for _, moment in asked], np.int64),
    )


def test_count_leaves_out_the_instant_itself(small):
    _, history = small
    counts = history.item_counts(np.array([0, 0]), before=np.array([2 * DAY, 2 * DAY + 1]))
    assert counts.tolist() == [1, 2]


def test_a_live_event_an_instant_after_the_log_is_the_latest_of_all():
    log_and_live = Timeline(np.array([10]), np.array([0])).with_live(Timeline(np.array([11]), np.array([0])))
    assert log_and_live.since_share(0.5, np.array([12])).tolist() == [11]
    assert log_and_live.since_share(1.0, np.array([12])).tolist() == [10]


def test_count_since_takes_the_instant_itself(small):
    _, history = small
    before = np.array([4 * DAY, 4 * DAY])
    counts = history.item_counts(np.array([0, 0]), before=before, since=np.array([2 * DAY, 2 * DAY + 1]))
    assert counts.tolist() == [2, 1]


def test_recent_is_oldest_first_and_padded_in_front(small):
    _, history = small
    recent = history.recent(at(history, ("ann", 3 * DAY)), length=3)
    assert recent.items.tolist() == [[-1, 0, 1]]
    assert recent.ages.tolist() == [[0, 2 * 86_400, 86_400]]


def test_recent_of_an_unknown_user_is_empty(small):
    _, history = small
    assert not history.recent(at(history, ("nobody", 9 * DAY)), length=4).mask.any()


def test_taken_lists_each_query_on_its_own(small):
    _, history = small
    taken = history.taken(at(history, ("bob", 3 * DAY), ("ann", 2 * DAY)))
    assert list(zip(taken.query.tolist(), taken.item.tolist(), strict=True)) == [(0, 0), (1, 0)]


def test_negative_weight_counts_as_taken_but_not_as_popular_nor_recent():
    items = catalogue("a")
    history = History.from_frames(items, log(("ann", "a", 1), weight=-1.0))
    moments = at(history, ("ann", 2 * DAY))
    assert history.taken(moments).weight.tolist() == [-1.0]
    assert history.item_counts(np.array([0]), before=np.array([2 * DAY])).tolist() == [0]
    assert not history.recent(moments, 5).mask.any()


def test_live_events_join_the_past_of_known_and_new_users(small):
    items, history = small
    later = history.and_then(live_events(items, ("ann", "z", 4 * DAY), ("eve", "b", 5 * DAY)))
    moments = at(later, ("ann", 6 * DAY), ("eve", 6 * DAY))
    assert later.recent(moments, 2).items.tolist() == [[0, 2], [-1, 1]]
    assert later.item_counts(np.array([1, 2]), before=np.array([6 * DAY])).tolist() == [2, 1]
    assert later.user_counts(moments).tolist() == [4, 1]


def test_session_events_come_on_top_of_live_ones(small):
    items, history = small
    live = history.and_then(live_events(items, ("eve", "b", 5 * DAY)))
    session = live.and_then(live_events(items, ("eve", "z", 6 * DAY)))
    assert session.recent(at(session, ("eve", 7 * DAY)), 2).items.tolist() == [[1, 2]]


def test_saved_history_answers_the_same(small, tmp_path):
    _, history = small
    history.save(tmp_path)
    loaded = History.load(tmp_path)
    moments = at(loaded, ("ann", 3 * DAY), ("bob", 9 * DAY))
    assert loaded.recent(moments, 3).items.tolist() == history.recent(moments, 3).items.tolist()
    assert loaded.log_counts(np.array([3 * DAY])).tolist() == [3]


def kinds_of(history: History, user: str) -> list[str]:
    """What the user did, oldest first."""
    recent = history.recent(at(history, (user, 90 * DAY)), 9)
    return [("", *history.kinds.names)[code] for code in recent.kinds[recent.mask].tolist()]


def of_kinds(*kinds: str | None) -> pl.DataFrame:
    """What ann did with b, a day each."""
    rows = log(*(("ann", "b", day) for day in range(len(kinds))))
    return rows.with_columns(pl.Series(c.KIND, kinds, pl.String))


def test_events_keep_their_kind_also_new_ones_told_later(tmp_path):
    items = catalogue("a", "b")
    history = History.from_frames(items, of_kinds("view", "like", "view", None))
    assert history.kinds.names == ("view", "like")
    assert kinds_of(history, "ann") == ["view", "like", "view", ""]
    later = history.and_then(live_events(items, ("ann", "a", 9 * DAY), ("eve", "a", 9 * DAY), kinds=["wave", "like"]))
    later = later.and_then(live_events(items, ("eve", "b", 10 * DAY)))
    assert kinds_of(later, "ann") == ["view", "like", "view", "", "wave"]
    assert kinds_of(later, "eve") == ["like", ""]
    history.save(tmp_path)
    assert kinds_of(History.load(tmp_path), "ann") == ["view", "like", "view", ""]


def test_a_history_saved_without_kinds_knows_none(tmp_path):
    items = catalogue("a", "b")
    History.from_frames(items, of_kinds("view", "like")).save(tmp_path)
    for name in ("kinds.json", "user_kinds.npy"):
        (tmp_path / name).unlink()
    earlier = History.load(tmp_path)
    assert kinds_of(earlier, "ann") == ["", ""]
    later = earlier.and_then(live_events(items, ("ann", "a", 9 * DAY), kinds=["view"]))
    assert kinds_of(later, "ann")[-1] == "view"


def test_a_kind_costs_a_byte_an_event():
    many = [f"kind {n:03d}" for n in range(300)]
    history = History.from_frames(catalogue("a", "b"), of_kinds(*many, *many[:10]))
    codes = history._layers[0].by_user.kinds
    assert codes.dtype == np.uint8
    assert codes.tolist()[:12] == list(range(1, 13))
    assert codes.tolist()[254:300] == [255, *[0] * 45]


def ever_taken(history: History, n_items: int, as_of: np.ndarray) -> list[list[float]]:
    return [hour.counts["evergreen"].tolist() for hour in history.hours(n_items, as_of)[0]]


def test_popular_counts_end_at_the_last_full_hour():
    items = catalogue("a")
    noon = DAY + 12 * 3_600_000_000
    frame = log(("ann", "a", 0), ("bob", "a", 0)).with_columns(
        pl.Series(c.OCCURRED_AT, [noon - 1, noon], pl.Datetime("us"))
    )
    history = History.from_frames(items, frame)
    hours, place = history.hours(1, np.array([noon + 60_000_000, noon - 1]))
    assert [hours[n].counts["evergreen"].tolist() for n in place] == [[1], [0]]


def whole_and_live(hours: list[tuple[int, int]], n_live: int) -> tuple[History, History]:
    """The same log twice: all of it, and its last events on top of the rest; rows are (item, hour), sorted by hour."""
    items = catalogue("a", "b")
    frame = log(*(("ann", "ab"[item], 0) for item, _ in hours)).with_columns(
        pl.Series(c.OCCURRED_AT, [hour * HOUR for _, hour in hours], pl.Int64).cast(pl.Datetime("us"))
    )
    early, late = frame[: len(frame) - n_live], frame[len(frame) - n_live :]
    live = History.from_frames(items, early).and_then(
        LiveEvents(
            user_ids=late[c.USER_ID].to_list(),
            items=items.rows(late[c.ITEM_ID]),
            times=late[c.OCCURRED_AT].dt.epoch("us").to_numpy(),
            weights=late[c.WEIGHT].to_numpy(),
        )
    )
    return History.from_frames(items, frame), live


@settings(max_examples=60, deadline=None)
@given(
    hours=st.lists(st.tuples(st.integers(0, 1), st.integers(0, 30)), min_size=1, max_size=40),
    n_live=st.integers(0, 40),
    sorted_by_time=st.booleans(),
)
def test_windows_by_share_hold_live_events_like_those_of_a_log(hours, n_live, sorted_by_time):
    hours = sorted(hours, key=lambda row: row[1]) if sorted_by_time else hours
    whole, live = whole_and_live(hours, min(n_live, len(hours)))
    as_of = np.arange(0, 33) * HOUR
    for share in (0.05, 0.25, 1.0):
        assert live.since_share(share, as_of).tolist() == whole.since_share(share, as_of).tolist()
    for name, share in POPULAR_SHARES.items():
        popular = [[hour.counts[name].tolist() for hour in log.hours(2, as_of)[0]] for log in (live, whole)]
        assert popular[0] == popular[1]
        since = whole.since_share(share, as_of)
        counted = [
            whole.item_counts(np.array([0, 1]), before=b, since=s).tolist() for b, s in zip(as_of, since, strict=True)
        ]
        assert popular[1] == counted


def test_popular_counts_a_live_event_that_comes_after_its_hour_was_counted(small):
    items, history = small
    asked = np.array([10 * DAY])
    on_time = history.and_then(live_events(items, ("eve", "z", 9 * DAY)))
    assert ever_taken(on_time, 3, asked) == [[3, 1, 1]]
    late = history.and_then(live_events(items, ("eve", "z", 9 * DAY), ("eve", "z", 9 * DAY + 1)))
    assert ever_taken(late, 3, asked) == [[3, 1, 2]]
    assert ever_taken(history, 3, asked) == [[3, 1, 0]]


def test_a_bundle_without_the_log_in_order_makes_it(small, tmp_path):
    _, history = small
    history.save(tmp_path)
    (tmp_path / "log_items.npy").unlink()
    assert ever_taken(History.load(tmp_path), 3, np.array([10 * DAY])) == [[3, 1, 0]]


@settings(max_examples=60, deadline=None)
@given(
    events=st.lists(st.tuples(st.integers(0, 3), st.integers(0, 20)), max_size=40),
    asked=st.lists(st.tuples(st.integers(0, 4), st.integers(-1, 22), st.integers(-1, 22)), min_size=1, max_size=20),
)
def test_counter_agrees_with_counting_by_hand(events, asked):
    counter = AsOfCounter.from_events(
        np.array([row for row, _ in events], np.int64), np.array([time for _, time in events], np.int64)
    )
    rows, since, before = (np.array(column) for column in zip(*asked, strict=True))
    expected = [sum(row == r and s <= time < b for row, time in events) for r, s, b in asked]
    assert counter.count(rows, before=before, since=since).tolist() == expected


@pytest.mark.parametrize("share", [0.002, 0.01, 0.05])
def test_latest_share_of_a_short_log_knows_nothing_later(share):
    """Of fewer interactions than one share of them holds, the window holds the latest one, whatever comes after."""
    past = [("ann", "a", day) for day in range(1, 9)] + [("bob", "b", 9)]
    asked = np.array([10 * DAY])
    short, long = (
        History.from_frames(catalogue("a", "b"), log(*rows))
        for rows in (past, [*past, ("eve", "a", 10), ("eve", "b", 30)])
    )
    assert short.since_share(share, asked).tolist() == long.since_share(share, asked).tolist() == [9 * DAY]
    for history in (short, long):
        assert history.item_counts(
            np.array([0, 1]), before=asked, since=history.since_share(share, asked)
        ).tolist() == [0, 1]
