"""Which moment does somebody mean who types it? One reading for every command, with the standard library alone."""

import re
from datetime import datetime

from ingest.errors import ReadrankError
from ingest.moments import (
    FIRST_DAY,
    LAST_DAY,
    MICROSECONDS_FROM,
    MILLISECONDS_FROM,
    NANOSECONDS_FROM,
    NUMBER,
    naive_utc,
    to_moment,
)

_ONE_DIGIT = re.compile(r"(?<![\d.,])\d(?!\d)")
_NUMBER = re.compile(NUMBER)
_MICROSECONDS_BELOW = {MILLISECONDS_FROM: 1e6, MICROSECONDS_FROM: 1e3, NANOSECONDS_FROM: 1}
"""Size of a Unix time -> how many microseconds one of its units is; of a larger one they are nanoseconds."""


def typed_moment(option: str, text: str | None) -> datetime | None:
    """Return what an option names, as naive UTC: ISO 8601 or a Unix time; None where it is not given.

    A number is a Unix time, but eight digits are a date, as `ingest.times` has it.

    >>> typed_moment("--until", "2024-05-01 12:00:00+02:00"), typed_moment("--until", "1714557600")
    (datetime.datetime(2024, 5, 1, 10, 0), datetime.datetime(2024, 5, 1, 10, 0))
    """
    if text is None:
        return None
    said = " ".join(text.split()).removesuffix(" UTC")
    # First the number: of some Unix times `fromisoformat` makes dates of centuries ago.
    for read in (_from_number, datetime.fromisoformat, _with_all_digits):
        try:
            return naive_utc(read(said))
        except (ValueError, OverflowError):
            continue
    raise ReadrankError(f"{option}: wanted a time such as 2024-05-01 or '2024-05-01 12:00:00', got {text!r}")


def _from_number(said: str) -> datetime:
    if not _NUMBER.fullmatch(said):
        raise ValueError(said)
    number = float(said)
    if FIRST_DAY <= number <= LAST_DAY:
        return datetime.strptime(f"{number:.0f}", "%Y%m%d")
    scale = next((scale for below, scale in _MICROSECONDS_BELOW.items() if abs(number) < below), 1e-3)
    return to_moment(round(number * scale))


def _with_all_digits(said: str) -> datetime:
    return datetime.fromisoformat(_ONE_DIGIT.sub(r"0\g<0>", said))
