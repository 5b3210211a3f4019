"""Counts before moments that move on, against the binary search."""

import numpy as np
import pytest

from ranker import running_counts
from ranker.history import History
from tests.ranker.conftest import DAY, catalogue, live_events, log

ITEMS = catalogue("a", "b", "z")
ROWS = np.array([2, 0, 1, 0, -1])


@pytest.fixture
def history() -> History:
    past = log(*[("ann", "ab"[day % 2], day) for day in range(1, 41)])
    return History.from_frames(ITEMS, past).and_then(live_events(ITEMS, ("bob", "z", 41 * DAY), ("eve", "a", 43 * DAY)))


def counted(history: History, *days: float) -> list[list[int]]:
    return history.item_counts_at(ROWS, [np.array([int(day * DAY)]) for day in days]).tolist()


def searched(history: History, *days: float) -> list[list[int]]:
    return [history.item_counts(ROWS, before=np.array([int(day * DAY)])).tolist() for day in days]


def test_moments_that_move_either_way_count_as_a_search_does(history):
    for now in (42, 44, 43, 20.5, 0, 60):
        days = (now, now - 1, now - 7, now - 30)
        assert counted(history, *days) == searched(history, *days)
    assert counted(history, 60) == [[1, 21, 20, 21, 0]]


def test_a_moment_far_from_the_last_is_searched_for(history, monkeypatch):
    monkeypatch.setattr(running_counts, "FARTHEST", 3)
    for now in (44, 10, 42, 40, 12):
        assert counted(history, now, now - 2) == searched(history, now, now - 2)


def test_the_instant_itself_does_not_count(history):
    at, after = np.array([2 * DAY]), np.array([2 * DAY + 1])
    assert history.item_counts_at(ROWS, [at, after]).tolist() == [[0, 0, 1, 0, 0], [0, 1, 1, 1, 0]]


def test_moments_of_many_questions_count_as_one_by_one(history):
    days = np.array([3, 44, 20, 41, 50])
    (together,) = history.item_counts_at(ROWS, [days * DAY])
    alone = [counted(history, day)[0][place] for place, day in enumerate(days.tolist())]
    assert together.tolist() == alone


def test_a_slot_moves_to_a_far_moment_that_is_asked_for_again(history, monkeypatch):
    monkeypatch.setattr(running_counts, "FARTHEST", 3)
    running = history._running
    known = [running.before([day * DAY], ROWS)[0] is not None for day in (41, 10, 11, 12, 40, 10)]
    assert known == [True, False, True, True, False, True]
    assert counted(history, 12) == searched(history, 12)


def test_what_another_thread_reads_is_left_as_it_was(history):
    running = history._running
    running.before([30 * DAY], ROWS)
    kept = running._slots[0][1]
    copy = kept.copy()
    running.before([35 * DAY], ROWS)
    np.testing.assert_array_equal(kept, copy)
    assert running._slots[0][1].sum() == copy.sum() + 5
