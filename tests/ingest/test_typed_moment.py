"""What a command takes for a moment is what files may hold."""

import polars as pl
import pytest

from ingest.errors import ReadrankError
from ingest.times import parse_times
from ingest.typed_moment import typed_moment


@pytest.mark.parametrize(
    "text",
    [
        "2024-05-01",
        "20240501",
        " 2024-5-1 ",
        "2024-05-01 9:05",
        "2024-05-01  12:00",
        "2024-05-01T12:00:00.5",
        "2024-05-01T12:00:00.123456789",
        "2024-05-01T12:00Z",
        "2024-05-01 12:00+0200",
        "2024-05-01 12:00:00+02",
        "2024-05-01 12:00:00 +02:00",
        "2024-05-01 12:00:00 UTC",
        "20240501T120000",
        "20240501T120000Z",
        "1714521600",
        "1714521600.5",
        "1.7e9",
        "1714521600000",
        "1712110512000",
        "1720090270316",
        "1714521600000000",
        "1714521600000000000",
        "17121105",
        "12345678",
        "-5",
    ],
)
def test_a_moment_is_read_as_in_files(text):
    assert typed_moment("--until", text) == parse_times(pl.Series([text])).item() is not None


@pytest.mark.parametrize("text", ["soon", "", "2024-13-01", "20241301", "nan", "inf", "1e300", "2024-05-01T24:00"])
def test_what_is_no_moment_is_told_with_the_option(text):
    assert parse_times(pl.Series([text])).item() is None
    with pytest.raises(ReadrankError, match="--until: wanted a time such as 2024-05-01 or '2024-05-01 12:00:00', got"):
        typed_moment("--until", text)


def test_an_option_not_given_is_none():
    assert typed_moment("--until", None) is None
