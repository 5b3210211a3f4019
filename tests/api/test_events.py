from datetime import datetime, timedelta

import polars as pl
import pytest

from api.events import Desk, read_moment
from api.requests import RankingsIn, RecommendationsIn
from ingest.checks import ChecksConfig, KindsConfig
from ingest.values import as_kind

ARRIVED = datetime(2024, 3, 1, 12, 0)


@pytest.fixture
def desk():
    return Desk(ChecksConfig(), KindsConfig(weights={"click": 2.0, "hide": -1.0}))


def accept(desk, **fields):
    accepted, rejected = desk.sort_out([{"user_id": "u", "item_id": "i", **fields}], ARRIVED)
    assert not rejected
    return accepted[0]


def test_desk_completes_what_is_not_told(desk):
    first, second = accept(desk), accept(desk)
    assert (first.kind, first.weight, first.occurred_at) == ("click", 2.0, ARRIVED)
    assert first.event_id != second.event_id
    assert first.request_id is None
    assert first.session_id is None


@pytest.mark.parametrize(
    ("kind", "weight", "counts"),
    [("hide", None, -1.0), (" CLICK ", None, 2.0), ("never-heard-of", None, 1.0), ("click", 7.5, 7.5)],
)
def test_desk_weighs_by_the_settings_unless_told(desk, kind, weight, counts):
    event = accept(desk, kind=kind, **({} if weight is None else {"weight": weight}))
    assert event.weight == counts
    assert event.kind == kind.strip().lower()


@pytest.mark.parametrize("kind", ["", " ", "\t\u3000", None, " Click "])
def test_a_kind_is_read_as_in_files(desk, kind):
    """A blank one is none."""
    assert accept(desk, kind=kind).kind == as_kind(pl.Series([kind], dtype=pl.String)).item() == "click"


@pytest.mark.parametrize(
    ("told", "moment"),
    [
        ("2024-03-01T12:00:00+02:00", datetime(2024, 3, 1, 10)),
        ("2024-02-29T23:30:00-01:00", datetime(2024, 3, 1, 0, 30)),
        ("2024-03-01T11:00:00Z", datetime(2024, 3, 1, 11)),
        ("2024-03-01 11:00:00.25", datetime(2024, 3, 1, 11, 0, 0, 250_000)),
        ("2024-02-01", datetime(2024, 2, 1)),
    ],
)
def test_times_become_naive_utc(desk, told, moment):
    assert read_moment(told) == moment
    assert accept(desk, occurred_at=told).occurred_at == moment


def test_desk_takes_a_clock_that_is_ahead_for_now(desk):
    day = timedelta(days=1)
    assert accept(desk, occurred_at=(ARRIVED + day).isoformat()).occurred_at == ARRIVED
    late = {"user_id": "u", "item_id": "i", "occurred_at": (ARRIVED + day + timedelta(microseconds=1)).isoformat()}
    accepted, rejected = desk.sort_out([late], ARRIVED)
    assert accepted == []
    assert rejected[0].reason_code == "future_time"
    assert rejected[0].detail == (
        "occurred_at: wanted at most 1 days ahead of 2024-03-01T12:00:00 UTC, "
        "got 2024-03-02T12:00:00.000001 UTC; set the sender's clock"
    )


@pytest.mark.parametrize(
    ("event", "code"),
    [
        ({"item_id": "i"}, "missing_user_id"),
        ({"user_id": "u"}, "missing_item_id"),
        ({"user_id": "", "item_id": "i"}, "missing_user_id"),
        ({"user_id": "  ", "item_id": "i"}, "missing_user_id"),
        ({"user_id": "u", "item_id": "i", "event_id": " "}, "missing_event_id"),
        ({"user_id": "u", "item_id": "i" * 513}, "long_id"),
        ({"user_id": "u\x00", "item_id": "i"}, "control_character"),
        ({"user_id": "\x1c", "item_id": "i"}, "control_character"),
        ({"user_id": "u", "item_id": "i", "kind": "\x1c"}, "control_character"),
        ({"user_id": "u", "item_id": "\udfff"}, "bad_item_id"),
        ({"user_id": "u", "item_id": "i", "occurred_at": "21-13-2024"}, "bad_time"),
        ({"user_id": "u", "item_id": "i", "occurred_at": 1709294400}, "bad_time"),
        ({"user_id": "u", "item_id": "i", "occurred_at": "0001-01-01T00:00:00+05:00"}, "bad_time"),
        ({"user_id": "u", "item_id": "i", "occurred_at": "1969-12-31T23:59:59"}, "before_1970"),
        ({"user_id": "u", "item_id": "i", "weight": float("nan")}, "bad_weight"),
        ({"user_id": "u", "item_id": "i", "weight": "2"}, "bad_weight"),
        ({"user_id": "u", "item_id": "i", "kind": 5}, "bad_kind"),
        ({"user_id": "u", "item_id": "i", "colour": "red"}, "unknown_field"),
        ({"user_id": "u", "item_id": "i", "\ud800": 1}, "unknown_field"),
        (["u", "i"], "not_an_object"),
        (None, "not_an_object"),
    ],
)
def test_desk_rejects_one_event_and_keeps_the_others(desk, event, code):
    good = {"user_id": "u", "item_id": "i"}
    accepted, rejected = desk.sort_out([good, event, good], ARRIVED)
    assert len(accepted) == 2
    assert [(r.index, r.reason_code) for r in rejected] == [(1, code)]
    assert len(rejected[0].detail.encode()) < 300
    assert rejected[0].detail.encode()


def test_an_optional_field_may_be_null(desk):
    optional = ("kind", "weight", "occurred_at", "event_id", "request_id", "session_id")
    event = accept(desk, **dict.fromkeys(optional))
    assert (event.kind, event.weight, event.occurred_at, event.request_id) == ("click", 2.0, ARRIVED, None)


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("occurred_at", True, "wanted an ISO 8601 time such as 2024-03-01T12:30:00Z, got true; correct it"),
        ("weight", 2e6, "wanted at most 1,000,000, got 2000000.0; correct it"),
    ],
)
def test_a_rejected_value_is_shown_as_in_json(desk, field, value, said):
    _, (rejected,) = desk.sort_out([{"user_id": "u", "item_id": "i", field: value}], ARRIVED)
    assert rejected.detail == f"{field}: {said}"


def test_an_event_that_is_no_object_says_nothing_of_headers(desk):
    _, (rejected,) = desk.sort_out(["x"], ARRIVED)
    assert rejected.detail == "event: wanted an object, got 'x'; correct it"


def test_blanks_around_ids_are_no_part_of_them(desk):
    ids = ("user_id", "item_id", "event_id", "request_id", "session_id")
    event = accept(desk, **{name: f" {name} 1\u00a0" for name in ids})
    assert [getattr(event, name) for name in ids] == [f"{name} 1" for name in ids]
    asked = RecommendationsIn(user_id=" u ", exclude=["i1 "], session=["\ti2"], compare=[" a", "b "])
    assert (asked.user_id, asked.exclude, asked.session, asked.compare) == ("u", ("i1",), ("i2",), ["a", "b"])
    assert RankingsIn(user_id=" u ", items=[{"item_id": " i"}]).items[0].item_id == "i"


def test_ids_of_any_script_are_accepted(desk):
    event = accept(desk, item_id="日本 \"'🙂", event_id="e" * 512)
    assert event.item_id == "日本 \"'🙂"
