"""What is a moment here? Naive UTC, always; in arrays and in SQLite, microseconds since 1970."""

from datetime import UTC, datetime, timedelta
from typing import Final

EPOCH: Final = datetime(1970, 1, 1)
NEVER: Final = 2**63 - 1
"""Microseconds that lie after any moment: of what has not happened."""

# Unix times are told apart by size: 1e11 seconds is the year 5138, 1e11 milliseconds is 1973.
MILLISECONDS_FROM: Final = 1e11
MICROSECONDS_FROM: Final = 1e14
NANOSECONDS_FROM: Final = 1e17
FIRST_DAY: Final = 19_000_000
LAST_DAY: Final = 20_999_999
"""Numbers between these are dates, written as eight digits; as seconds they would be a moment of 1970."""
NUMBER: Final = r"-?\d{1,19}(\.\d+)?([eE][+-]?\d{1,3})?"
"""Pattern of a text that is a Unix time, or a date of eight digits."""


def naive_utc(moment: datetime) -> datetime:
    """Drop the zone of an aware moment after turning it to UTC; naive ones are UTC already."""
    return moment.astimezone(UTC).replace(tzinfo=None) if moment.tzinfo else moment


def utc_now() -> datetime:
    """Return the present moment as naive UTC."""
    return datetime.now(UTC).replace(tzinfo=None)


def to_microseconds(moment: datetime) -> int:
    """Return microseconds since 1970; a moment without a zone is UTC.

    >>> to_microseconds(datetime(1970, 1, 2))
    86400000000
    """
    return (naive_utc(moment) - EPOCH) // timedelta(microseconds=1)


def to_moment(microseconds: int) -> datetime:
    """Return the moment, naive UTC, so many microseconds after 1970.

    >>> to_moment(86_400_000_000)
    datetime.datetime(1970, 1, 2, 0, 0)
    """
    return EPOCH + timedelta(microseconds=microseconds)
