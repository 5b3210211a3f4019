from datetime import datetime, timedelta

import numpy as np
import polars as pl
import pytest

from ingest import columns as c
from ingest.moments import to_microseconds
from ranker.asked import asked_at
from ranker.examples import next_items
from ranker.history import History
from tests.ranker.conftest import catalogue

NOON = datetime(2024, 5, 1, 12)
TICK = timedelta(microseconds=1)


def second(n: int) -> datetime:
    return NOON + timedelta(seconds=n)


def events(*rows: tuple[str | None, str, int, float], user: str = "ann") -> pl.DataFrame:
    """Interactions: request, item, second, weight."""
    told = [(user, item, second(at), weight, request) for request, item, at, weight in rows]
    schema = {
        c.USER_ID: pl.String,
        c.ITEM_ID: pl.String,
        c.OCCURRED_AT: pl.Datetime("us"),
        c.WEIGHT: pl.Float64,
        c.REQUEST_ID: pl.String,
    }
    return pl.DataFrame(told, schema=schema, orient="row")


def showings(*rows: tuple[str, str, int, int | None], user: str = "ann") -> pl.DataFrame:
    """Impressions: request, item, second, second of the click."""
    told = [
        (request, user, item, second(at), None if clicked_at is None else second(clicked_at))
        for request, item, at, clicked_at in rows
    ]
    schema = {
        c.REQUEST_ID: pl.String,
        c.USER_ID: pl.String,
        c.ITEM_ID: pl.String,
        c.OCCURRED_AT: pl.Datetime("us"),
        c.CLICKED_AT: pl.Datetime("us"),
    }
    return pl.DataFrame(told, schema=schema, orient="row")


@pytest.mark.parametrize(
    ("request_id", "item", "at"),
    [
        ("r1", "a", 10),  # its request showed it
        ("r1", "b", 30),  # its request showed others
        ("r9", "a", 30),  # of its request nothing is known
        (None, "a", 30),  # no answer led to it
        ("r2", "a", 20),  # shown twice: asked when it was shown first
        ("r3", "a", 30),  # shown after it was taken, by another clock
    ],
)
def test_an_event_was_asked_for_when_its_request_showed_its_item(request_id, item, at):
    shown = showings(("r1", "a", 10, None), ("r2", "a", 25, None), ("r2", "a", 20, None), ("r3", "a", 31, None))
    log = events((None, "z", 5, 1.0), (request_id, item, 30, 1.0))
    assert asked_at(log, shown).to_list() == [second(5), second(at)]


def test_a_request_id_of_another_user_says_nothing_and_units_of_time_do_not_matter():
    shown = showings(("r1", "a", 10, 30))
    assert asked_at(events(("r1", "a", 30, 1.0), user="bob"), shown).to_list() == [second(30)]
    coarse = shown.with_columns(pl.col(c.OCCURRED_AT).cast(pl.Datetime("ms")))
    assert asked_at(events(("r1", "a", 30, 1.0)), coarse).to_list() == [second(10)]


def test_without_requests_or_impressions_each_event_stands_at_its_own_moment():
    log = events(("r1", "a", 30, 1.0))
    shown = showings(("r1", "a", 10, None))
    for told in (asked_at(log, None), asked_at(log, shown.clear()), asked_at(log.drop(c.REQUEST_ID), shown)):
        assert told.to_list() == [second(30)]


@pytest.fixture
def shown_and_taken() -> History:
    """At noon a and b are shown to ann, who takes a after 20 seconds and b after 40, and z after 30 by nobody's advice.

    Zoe, who comes first in the log, takes what is not in the catalogue, and z at noon.
    """
    zoe = events(("r0", "gone", 0, 1.0), (None, "z", 0, 1.0), user="zoe")
    log = pl.concat([zoe, events(("r1", "a", 20, 1.0), (None, "z", 30, 1.0), ("r1", "b", 40, 1.0))])
    shown = [showings(("r0", "gone", -5, 0), user="zoe"), showings(("r1", "a", 0, 20), ("r1", "b", 0, 40))]
    return History.from_frames(catalogue("a", "b", "z"), log, pl.concat(shown))


def test_what_one_answer_led_to_is_one_question_at_its_moment(shown_and_taken):
    truth = next_items(shown_and_taken, to_microseconds(NOON), to_microseconds(second(99)))
    assert truth.moments.as_of.tolist() == [to_microseconds(second(at)) for at in (0, 0, 30)]
    assert sorted(zip(truth.query.tolist(), truth.item.tolist(), strict=True)) == [(0, 2), (1, 0), (1, 1), (2, 2)]
    assert truth.known_by.tolist() == truth.moments.as_of.tolist()


def test_what_is_taken_after_the_window_is_not_asked_in_it(shown_and_taken):
    truth = next_items(shown_and_taken, to_microseconds(NOON), to_microseconds(second(30)))
    assert truth.moments.as_of.tolist() == [to_microseconds(NOON)] * 2
    assert truth.item.tolist() == [2, 0]


def test_what_was_asked_before_the_window_is_not_asked_in_it(shown_and_taken):
    truth = next_items(shown_and_taken, to_microseconds(NOON + TICK), to_microseconds(second(99)))
    assert truth.item.tolist() == [2]


def test_a_question_knows_neither_that_its_own_answer_showed_an_item_nor_that_it_was_clicked(shown_and_taken):
    a = np.array([0])

    def exposure(moment: datetime) -> tuple[int, int]:
        shown, clicked = shown_and_taken.exposure(a, before=np.array([to_microseconds(moment)]))
        return int(shown[0]), int(clicked[0])

    assert exposure(NOON) == (0, 0)
    assert exposure(NOON + TICK) == (1, 0)
    assert exposure(second(20)) == (1, 0)
    assert exposure(second(20) + TICK) == (1, 1)


def test_a_loaded_history_answers_but_asks_nothing_anew(shown_and_taken, tmp_path):
    shown_and_taken.save(tmp_path)
    loaded = History.load(tmp_path)
    until = to_microseconds(second(99))
    assert len(loaded.asked(before=until)) == 4
    assert loaded.asked(before=until).tolist() == loaded.events(before=until)[3].tolist()
