"""What is the user's way: how often, how long ago, when in the day, the same things again or new ones?"""

from typing import Any

import numpy as np
import numpy.typing as npt

from ranker.arrays import Rows
from ranker.history import History
from ranker.moments import Moments, Recent
from ranker.sessions import session_mask
from ranker.situation import Situation

Columns = dict[str, npt.NDArray[np.floating[Any]]]

_HOUR_S = 3600.0
_DAY_S = 86_400.0


def habits(situation: Situation, rows: Rows, query: Rows) -> Columns:
    """Describe each query's user, as one number a pair; NaN for what a user without a past has none of."""
    recent, moments = situation.recent, situation.moments
    mask = recent.mask
    length = mask.sum(axis=1)
    warm = length > 0
    newest = np.where(warm, np.where(mask, recent.ages, np.inf).min(axis=1, initial=np.inf), np.nan)
    oldest = np.where(warm, recent.ages.max(axis=1, initial=0), np.nan)
    counts = np.log1p(situation.history.item_counts(recent.items, before=moments.as_of[:, None]))
    again, repeats = _repeats(situation.history, moments, rows, query)
    of_user = {
        "user_count": np.log1p(situation.history.user_counts(moments)),
        "user_idle": np.log1p(newest),
        "user_span": np.log1p(oldest - newest),
        "user_pace": np.log1p((oldest - newest) / np.maximum(length - 1, 1)),
        "user_repeats": repeats,
        "user_popular": _mean(counts, mask),
        "user_newness": _mean(_ages_when_taken(situation), mask),
        "user_weight": _mean(np.log1p(recent.weights), mask),
        "user_hour": _hours_from_usual(recent, moments),
    }
    return {"taken_before": again, **{name: values[query] for name, values in of_user.items()}}


def context(situation: Situation, query: Rows) -> Columns:
    """Say when each query is asked, and in which session."""
    seconds = situation.moments.as_of / 1e6
    session = session_mask(situation.recent)
    begun = np.where(session, situation.recent.ages, 0).max(axis=1, initial=0)
    of_query = {
        "hour": seconds % _DAY_S / _HOUR_S,
        "weekday": np.floor(seconds / _DAY_S + 3) % 7,  # the first of January 1970 was a Thursday
        "session_length": session.sum(axis=1),
        "session_age": np.where(session.any(axis=1), np.log1p(begun), np.nan),
    }
    return {name: values[query] for name, values in of_query.items()}


def _ages_when_taken(situation: Situation) -> npt.NDArray[np.floating[Any]]:
    """Return the log of seconds from an item's first interaction to that of the user [q, length]; 0 for the first one.

    Whoever took young items before tends to take young ones again. No first interaction lies after the user's own.
    """
    recent = situation.recent
    first = situation.history.first_events(len(situation.vectors))[recent.items] / 1e6
    taken = situation.moments.as_of[:, None] / 1e6 - recent.ages
    return np.log1p(np.where(recent.mask, np.maximum(taken - first, 0), 0))


def _mean(values: npt.NDArray[np.floating[Any]], mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.floating[Any]]:
    length = mask.sum(axis=1)
    return np.where(length > 0, np.where(mask, values, 0).sum(axis=1) / np.maximum(length, 1), np.nan)


def _hours_from_usual(recent: Recent, moments: Moments) -> npt.NDArray[np.floating[Any]]:
    """Return hours, 0 to 12, between the query's time of day and the circular mean of the user's."""
    now = (moments.as_of / 1e6 % _DAY_S)[:, None]
    angle = 2 * np.pi * (now - recent.ages) / _DAY_S
    east, north = (np.where(recent.mask, part, 0).sum(axis=1) for part in (np.cos(angle), np.sin(angle)))
    apart = np.abs((2 * np.pi * now[:, 0] / _DAY_S - np.arctan2(north, east) + np.pi) % (2 * np.pi) - np.pi)
    return np.where(recent.mask.any(axis=1), apart * 12 / np.pi, np.nan)


def _repeats(
    history: History, moments: Moments, rows: Rows, query: Rows
) -> tuple[npt.NDArray[np.floating[Any]], npt.NDArray[np.floating[Any]]]:
    """Count how often each pair's user took its item before, and say which share of the user's past was repetition."""
    asked, taken, _ = history.taken(moments)
    n_rows = int(max(rows.max(initial=0), taken.max(initial=0))) + 1
    pairs, times = np.unique(asked.astype(np.int64) * n_rows + taken, return_counts=True)
    events, distinct = (np.bincount(numbers, minlength=len(moments)) for numbers in (asked, pairs // n_rows))
    repeats = np.where(events > 0, 1 - distinct / np.maximum(events, 1), np.nan)
    if not len(pairs):
        return np.zeros(len(rows)), repeats
    wanted = query.astype(np.int64) * n_rows + rows
    at = np.minimum(np.searchsorted(pairs, wanted), len(pairs) - 1)
    return np.where((pairs[at] == wanted) & (rows >= 0), times[at], 0).astype(float), repeats
