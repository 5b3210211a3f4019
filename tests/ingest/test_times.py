from datetime import datetime, timedelta

import polars as pl
import pytest

from ingest.moments import EPOCH
from ingest.times import parse_times

SECOND = timedelta(seconds=1)


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize(
    ("number", "since"),
    [
        (10**11 - 1, (10**11 - 1) * SECOND),
        (10**11, 10**8 * SECOND),
        (10**14 - 1, 10**11 * SECOND - SECOND / 1_000),
        (10**14, 10**8 * SECOND),
        (10**17 - 1_000, 10**11 * SECOND - SECOND / 1_000),
        (10**17, 10**8 * SECOND),
    ],
)
def test_unix_times_are_told_apart_by_their_size(sign, number, since):
    # Polars shows no moment before the year 1, which (1e11 - 1) seconds before 1970 is: microseconds are compared.
    found = parse_times(pl.Series([sign * number])).dt.epoch("us").item()
    assert found == sign * (since // timedelta(microseconds=1))


@pytest.mark.parametrize(
    ("number", "moment"),
    [
        (18_999_999, EPOCH + 18_999_999 * SECOND),
        (19_000_000, None),  # eight digits that are no date
        (19_000_101, datetime(1900, 1, 1)),
        (20_991_231, datetime(2099, 12, 31)),
        (20_999_999, None),
        (21_000_000, EPOCH + 21_000_000 * SECOND),
    ],
)
def test_eight_digits_are_a_date_of_two_centuries(number, moment):
    later = 1_700_000_000
    assert parse_times(pl.Series([number, later])).to_list() == [moment, EPOCH + later * SECOND]
    assert parse_times(pl.Series([str(number)])).to_list() == [moment]


def test_a_column_of_numbers_without_any_has_no_times():
    assert parse_times(pl.Series([None, None], dtype=pl.Int64)).to_list() == [None, None]


def test_the_number_whose_size_is_no_number_is_no_time():
    assert parse_times(pl.Series([-(2**63), None, 86_400])).to_list() == [None, None, EPOCH + 86_400 * SECOND]


@pytest.mark.parametrize("unit", ["ms", "us", "ns"])
def test_moments_of_a_typed_column_with_a_zone_are_turned_to_utc(unit):
    nine_in_tokyo = pl.Series([datetime(2024, 1, 1, 9)]).dt.replace_time_zone("Asia/Tokyo").dt.cast_time_unit(unit)
    assert parse_times(nine_in_tokyo).to_list() == [datetime(2024, 1, 1)]
    assert parse_times(nine_in_tokyo.dt.replace_time_zone(None)).to_list() == [datetime(2024, 1, 1, 9)]
