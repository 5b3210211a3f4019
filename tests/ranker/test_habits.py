"""A user's habits and the context of a question, by arithmetic."""

import numpy as np
import pytest
from scipy.sparse import csr_matrix

from encoders.newcomer_bonus import NO_BONUS
from ranker.habits import context, habits
from ranker.history import History
from ranker.moments import Moments
from ranker.neighbours import history_weights, last_items
from ranker.situation import Situation
from ranker.timeline import HOUR
from tests.ranker.conftest import DAY, catalogue, log

ITEMS = catalogue("a", "b", "z")
MINUTE = HOUR // 60
THURSDAY = 0
"""1970 began with one."""


def situation(history: History, user: str, as_of: int) -> Situation:
    moments = Moments(users=history.user_rows([user]), as_of=np.array([as_of]))
    recent = history.recent(moments, 50)
    nothing = csr_matrix((1, 3), dtype=np.float32)
    return Situation(
        moments=moments,
        history=history,
        recent=recent,
        interest=np.zeros((1, 2), np.float32),
        factors=np.zeros((1, 2)),
        past=history_weights(recent, 3, 0.8),
        last=last_items(recent),
        words=nothing,
        taste=nothing,
        together=nothing,
        following=nothing,
        vectors=np.zeros((3, 2), np.float32),
        typical=np.zeros(1),
        newcomers=NO_BONUS,
        item_factors=np.zeros((3, 2)),
        new_from=moments.as_of,
    )


@pytest.fixture
def ann() -> History:
    """She takes a on day 1, b on day 2, a again on day 3."""
    return History.from_frames(ITEMS, log(("ann", "a", 1), ("ann", "b", 2), ("ann", "a", 3)))


def test_habits_of_a_user(ann):
    found = habits(situation(ann, "ann", 4 * DAY), np.array([0, 1, 2]), np.zeros(3, np.int32))
    assert found["taken_before"].tolist() == [2, 1, 0]
    assert found["user_repeats"][0] == pytest.approx(1 - 2 / 3)
    assert found["user_count"][0] == pytest.approx(np.log1p(3))
    assert found["user_span"][0] == pytest.approx(np.log1p(2 * 86_400))
    assert found["user_pace"][0] == pytest.approx(np.log1p(86_400))
    assert found["user_idle"][0] == pytest.approx(np.log1p(86_400))
    assert found["user_hour"][0] == pytest.approx(0, abs=1e-6)


def test_how_the_user_stands_to_an_item(ann):
    found = habits(situation(ann, "ann", 4 * DAY), np.array([0, 1, 2, -1]), np.zeros(4, np.int32))
    assert found["taken_before"].tolist() == [2, 1, 0, 0]
    assert np.exp(found["taken_last"][:2]) == pytest.approx([86_401, 2 * 86_400 + 1])
    assert np.isnan(found["taken_last"][2:]).all()
    three_days_and_one = np.log1p(1 / np.sqrt(72) + 1 / np.sqrt(24))  # of weight 1 each
    assert found["activation"] == pytest.approx([three_days_and_one, np.log1p(1 / np.sqrt(48)), 0, 0])


def test_what_was_disliked_is_remembered_but_not_active(ann):
    both = History.from_frames(ITEMS, log(("ann", "a", 1)).vstack(log(("ann", "a", 2), weight=-1.0)))
    found = habits(situation(both, "ann", 3 * DAY), np.array([0]), np.zeros(1, np.int32))
    assert np.exp(found["taken_last"][0]) == pytest.approx(86_401)
    assert found["activation"][0] == pytest.approx(np.log1p(1 / np.sqrt(48)))


def test_newness_is_the_age_of_items_when_taken():
    """Ann was first with all; b and a were one and three days old when bob took them, who then took a again."""
    both = History.from_frames(
        ITEMS, log(("ann", "a", 1), ("ann", "b", 2), ("bob", "b", 3), ("bob", "a", 4), ("bob", "a", 5))
    )
    found = habits(situation(both, "bob", 5 * DAY), np.array([0]), np.zeros(1, np.int32))
    assert found["user_newness"][0] == pytest.approx((np.log1p(86_400) + np.log1p(3 * 86_400)) / 2, rel=1e-9)
    first = habits(situation(both, "ann", 5 * DAY), np.array([0]), np.zeros(1, np.int32))
    assert first["user_newness"][0] == pytest.approx(0, abs=1e-6)


def test_interaction_at_the_instant_does_not_count(ann):
    before = habits(situation(ann, "ann", 3 * DAY), np.array([0]), np.zeros(1, np.int32))
    after = habits(situation(ann, "ann", 3 * DAY + 1), np.array([0]), np.zeros(1, np.int32))
    assert (before["taken_before"][0], after["taken_before"][0]) == (1, 2)


def test_usual_hour_is_circular(ann):
    """All her interactions are at midnight: 23 o'clock is one hour away, not 23."""
    found = habits(situation(ann, "ann", 4 * DAY - HOUR), np.array([0]), np.zeros(1, np.int32))
    assert found["user_hour"][0] == pytest.approx(1)


def test_cold_user_has_no_habits(ann):
    found = habits(situation(ann, "nobody", 4 * DAY), np.array([0]), np.zeros(1, np.int32))
    assert found["taken_before"][0] == 0
    unknown = (
        "user_repeats",
        "user_popular",
        "user_newness",
        "user_weight",
        "user_hour",
        "user_idle",
        "user_span",
        "user_pace",
    )
    assert all(np.isnan(found[name][0]) for name in unknown)


def test_one_interaction_is_a_past(ann):
    found = habits(situation(ann, "ann", 1 * DAY + HOUR), np.array([0]), np.zeros(1, np.int32))
    assert found["user_idle"][0] == pytest.approx(np.log1p(3_600))
    assert (found["user_span"][0], found["user_pace"][0]) == (0, 0)
    assert found["user_hour"][0] == pytest.approx(1)


def test_context_tells_hour_weekday_and_session(ann):
    asked = situation(ann, "ann", 3 * DAY + 10 * MINUTE)
    found = context(asked, np.zeros(1, np.int32))
    assert found["hour"][0] == pytest.approx(1 / 6)
    assert found["weekday"][0] == (3 + 3) % 7
    assert found["session_length"][0] == 1
    assert found["session_age"][0] == pytest.approx(np.log1p(600))
    later = context(situation(ann, "ann", 3 * DAY + 31 * MINUTE), np.zeros(1, np.int32))
    assert later["session_length"][0] == 0
    assert np.isnan(later["session_age"][0])


def test_whole_past_holds_what_was_liked_long_before_it_was_taken_again_and_again():
    """Each once: a hundred events of one item push none of the others out, only later other items do."""
    again = [("ann", "b", day) for day in range(2, 102)]
    history = History.from_frames(ITEMS, log(("ann", "a", 1), *again).vstack(log(("ann", "z", 50), weight=-1.0)))
    asked = situation(history, "ann", 200 * DAY)
    assert set(asked.recent.items[asked.recent.mask].tolist()) == {1}
    assert asked.own.latest(0, 300).tolist() == [0, 1]
    assert asked.own.latest(0, 1).tolist() == [1]
    assert situation(history, "nobody", 200 * DAY).own.latest(0, 300).tolist() == []
