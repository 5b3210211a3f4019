"""What is the user's way: how often, how long ago, when in the day, the same things again or new ones?"""

from typing import Any

import numpy as np
import numpy.typing as npt

from ranker.arrays import Columns, Rows
from ranker.moments import Moments, Recent
from ranker.own_items import OwnItems
from ranker.registry import DAY
from ranker.situation import Situation

_HOUR_S = 3600.0
_DAY_S = DAY / 1e6


def habits(situation: Situation, rows: Rows, query: Rows) -> Columns:
    """Describe each query's user, as one number a pair; NaN for what a user without a past has none of."""
    recent, moments = situation.recent, situation.moments
    mask = recent.mask
    length = mask.sum(axis=1)
    warm = length > 0
    newest = np.where(warm, np.where(mask, recent.ages, np.inf).min(axis=1, initial=np.inf), np.nan)
    oldest = np.where(warm, recent.ages.max(axis=1, initial=0), np.nan)
    counts = np.log1p(situation.history.item_counts(recent.items, before=moments.as_of[:, None]))
    own = situation.own
    of_user = {
        "user_count": np.log1p(situation.history.user_counts(moments)),
        "user_idle": np.log1p(newest),
        "user_span": np.log1p(oldest - newest),
        "user_pace": np.log1p((oldest - newest) / np.maximum(length - 1, 1)),
        "user_repeats": own.again,
        "user_popular": _mean(counts, mask),
        "user_newness": _mean(_ages_when_taken(situation), mask),
        "user_weight": _mean(np.log1p(recent.weights), mask),
        "user_hour": _hours_from_usual(recent, moments),
    }
    return {**_own(own, rows, query), **{name: values[query] for name, values in of_user.items()}}


def context(situation: Situation, query: Rows) -> Columns:
    """Say when each query is asked, and in which session."""
    seconds = situation.moments.as_of / 1e6
    session = situation.in_session
    begun = np.where(session, situation.recent.ages, 0).max(axis=1, initial=0)
    of_query = {
        "hour": seconds % _DAY_S / _HOUR_S,
        "weekday": np.floor(seconds / _DAY_S + 3) % 7,  # the first of January 1970 was a Thursday
        "session_length": session.sum(axis=1),
        "session_age": np.where(session.any(axis=1), np.log1p(begun), np.nan),
    }
    return {name: values[query] for name, values in of_query.items()}


def _own(own: OwnItems, rows: Rows, query: Rows) -> Columns:
    """Say how the user stands to the item itself."""
    if not len(own.item):
        never = np.full(len(rows), np.nan)
        return {"taken_before": np.zeros(len(rows)), "taken_last": never, "activation": np.zeros(len(rows))}
    place = own.places(query, rows)
    known = place >= 0
    return {
        "taken_before": np.where(known, own.n_events[place], 0).astype(np.float64),
        "taken_last": np.where(known, np.log1p(own.age[place]), np.nan),
        "activation": np.where(known, np.log1p(own.activation[place]), 0),
    }


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
