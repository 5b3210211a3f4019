"""Examples come from the latest share of the log, and from an earlier moment on where that holds few takings."""

import string

import pytest

from ranker.fusion import Fusion
from ranker.history import History
from ranker.learn import learn
from ranker.slices import examples_begin, window_bounds
from ranker.train_config import TrainConfig
from tests.ranker.conftest import DAY, catalogue, log

ITEMS = catalogue(*string.ascii_lowercase)
NEW = {1: "a", 5: "b", 16: "c", 17: "d"}
LOG = log(*(("ann", NEW.get(day, "a"), day) for day in range(1, 21)))
"""Twenty days, one event each: the latest tenth are two, the latest 30 % are the six from day 15 on."""


@pytest.mark.parametrize(
    ("fewest", "repeats", "begins"),
    [
        (1, False, 17),  # the tenth holds none, the first before it is that of d
        (2, False, 16),
        (3, False, 15),  # b was taken on day 5: too early
        (2, True, 19),  # with repeats the tenth holds two
        (3, True, 18),
    ],
)
def test_examples_begin_earlier_where_few_were_taken(monkeypatch, fewest: int, repeats: bool, begins: int):
    monkeypatch.setattr("ranker.slices.FEWEST_TAKINGS", fewest)
    history = History.from_frames(ITEMS, LOG)
    assert examples_begin(history, 21 * DAY, 0.1, repeats=repeats) == begins * DAY
    assert examples_begin(history, 21 * DAY, 0.5, repeats=repeats) == 11 * DAY, "a wider share stays"


def test_what_is_disliked_is_not_taken(monkeypatch):
    monkeypatch.setattr("ranker.slices.FEWEST_TAKINGS", 1)
    disliked = LOG.vstack(log(("ann", "e", 20), weight=-1.0))
    assert examples_begin(History.from_frames(ITEMS, disliked), 21 * DAY, 0.1) == 17 * DAY


def test_windows_of_a_log_of_dates_stay_within_it():
    """All of the later log lies at one instant: a window may be empty, none ends after the log."""
    dates = History.from_frames(ITEMS, log(("ann", "a", 1), *((user, "b", 9) for user in "uvwxyz")))
    assert window_bounds(dates, 9 * DAY, 9 * DAY + 1, [0.6, 0.2, 0.2]) == [
        9 * DAY,
        9 * DAY + 1,
        9 * DAY + 1,
        9 * DAY + 1,
    ]
    assert window_bounds(dates, 1 * DAY, 9 * DAY + 1, [0.5, 0.5]) == [1 * DAY, 9 * DAY, 9 * DAY + 1]


def test_without_interactions_that_is_said():
    nobody = History.from_frames(ITEMS, LOG.clear())
    assert examples_begin(nobody, 21 * DAY, 0.1) is None
    learned = learn(None, nobody, None, 21 * DAY, TrainConfig())
    assert isinstance(learned.blend, Fusion)
    assert learned.measured["why"] == "there are no interactions before the cutoff"
