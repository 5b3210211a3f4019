from datetime import UTC, datetime, timedelta, timezone

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.iso_times import plain_iso
from ingest.times import parse_times

ZONES = st.one_of(
    st.just(UTC), st.integers(-23 * 60, 23 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))
)


@settings(deadline=None)
@given(moments=st.lists(st.datetimes(timezones=ZONES, min_value=datetime(1, 1, 3), max_value=datetime(9999, 12, 29))))
def test_plain_iso_reads_what_python_writes(moments):
    for form in ("seconds", "milliseconds", "microseconds"):
        texts = [moment.isoformat(timespec=form) for moment in moments]
        wanted = [datetime.fromisoformat(text).astimezone(UTC).replace(tzinfo=None) for text in texts]
        assert plain_iso(pl.Series(texts, dtype=pl.String)).to_list() == wanted


@settings(deadline=None)
@given(text=st.from_regex(r"\A[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,6})?Z?\Z"))
def test_plain_iso_knows_the_calendar(text):
    try:
        wanted = datetime.fromisoformat(text).replace(tzinfo=None)
    except ValueError:
        wanted = None
    assert plain_iso(pl.Series([text])).to_list() == [wanted]


@pytest.mark.parametrize(
    "text", ["2024-01-01", "2024-01-01T00:00", "2024-01-01T00:00:00.1234567Z", "2024-01-01T00:00:00+0100", "", "ä" * 10]
)
def test_plain_iso_leaves_the_rest_to_others(text):
    assert plain_iso(pl.Series([text, None])).to_list() == [None, None]


@pytest.mark.parametrize(
    ("good", "others"),
    [
        (
            "2024-01-01T00:00:00",
            "2024/01-01T00:00:00 2024-01/01T00:00:00 2024-01-01x00:00:00 2024-01-01T00.00:00 2024-01-01T00:00.00 "
            "2024-01-01T24:00:00 2024-01-01T00:60:00 2024-01-01T00:00:60 2024-00-01T00:00:00 2024-13-01T00:00:00 "
            "2024-01-00T00:00:00 2024-01-32T00:00:00 2023-02-29T00:00:00 0000-01-01T00:00:00",
        ),
        ("2024-01-01T00:00:00Z", "2024-01-01T00:00:00z 2024-01-01T00:00:001"),
        ("2024-01-01T00:00:00.5Z", "2024-01-01T00:00:00,5Z 2024-01-01T00:00:00.xZ"),
        (
            "2024-01-01T01:00:00+01:00",
            "2024-01-01T01:00:00~01:00 2024-01-01T01:00:00+01.00 2024-01-01T01:00:00+24:00 2024-01-01T01:00:00+00:60",
        ),
    ],
)
def test_plain_iso_reads_no_moment_into_what_only_looks_like_one(good, others):
    found = plain_iso(pl.Series([good, *others.split()]))
    assert found.is_not_null().to_list() == [True] + [False] * len(others.split())


def test_plain_iso_reads_the_commonest_length_and_slower_readers_the_others():
    texts = [
        "2024-01-01T00:00:00.500Z",
        "2024-01-01T00:00:00.250Z",
        "2024-01-01",
        None,
        "soon",
        "2024-01-01T00:00:00+02",
    ]
    assert plain_iso(pl.Series(texts)).null_count() == 4
    assert [moment and moment.isoformat() for moment in parse_times(pl.Series(texts))] == [
        "2024-01-01T00:00:00.500000",
        "2024-01-01T00:00:00.250000",
        "2024-01-01T00:00:00",
        None,
        None,
        "2023-12-31T22:00:00",
    ]
