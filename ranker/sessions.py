"""Which events belong to one session? Those of one `session_id`; without one, those with no long pause between them."""

import zlib
from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt
import polars as pl

from ranker.arrays import Rows, Times
from ranker.moments import Recent

SESSION_US: Final = 1_800_000_000
"""Half an hour without an interaction ends a session that has no id, as web analytics have it."""


def code_of(session_id: str | None) -> int:
    """Return a session's number, the same in every history; 0 for none.

    It tells the sessions of one user apart, of which two have the same number once in four billion.
    """
    return (zlib.crc32(session_id.encode()) or 1) if session_id else 0


def session_codes(session_ids: pl.Series | Sequence[str | None]) -> Rows | None:
    """Return the number of each event's session, four bytes each; None where no event has a session."""
    if isinstance(session_ids, pl.Series) and session_ids.null_count() == len(session_ids):
        return None
    codes = np.fromiter(map(code_of, session_ids), np.uint32, len(session_ids))
    return codes.view(np.int32) if codes.any() else None


def in_one_session(earlier: Rows, later: Rows, apart: Times) -> npt.NDArray[np.bool_]:
    """Tell of pairs of a user's events, by their sessions' numbers and microseconds between, whether both are of one.

    >>> in_one_session(np.array([7, 7, 7, 0]), np.array([7, 8, 0, 0]), np.array([9 * SESSION_US, 1, 1, SESSION_US + 1]))
    array([ True, False,  True, False])
    """
    return np.where((earlier != 0) & (later != 0), earlier == later, apart <= SESSION_US)


def session_mask(recent: Recent) -> npt.NDArray[np.bool_]:
    """Mark the interactions of the present session [q, length]: no pause longer than `SESSION_US` until the moment.

    Where the session has an id, all that has it belongs to it, whatever the pauses; of another id nothing does, nor
    what lies before that without an id. The question itself has none: long after the latest interaction no session is
    present.

    >>> from dataclasses import replace
    >>> recent = Recent(
    ...     items=np.array([[5, 6, 7]], np.int32),
    ...     weights=np.ones((1, 3), np.float32),
    ...     ages=np.array([[4000.0, 2000.0, 300.0]]),
    ...     kinds=np.zeros((1, 3), np.uint8),
    ... )
    >>> session_mask(recent).tolist()
    [[False, True, True]]
    >>> session_mask(replace(recent, sessions=np.array([[1, 2, 1]], np.int32))).tolist()
    [[True, False, True]]
    """
    mask = recent.mask[:, ::-1]
    age = np.maximum.accumulate(np.where(mask, recent.ages[:, ::-1], 0), axis=1)
    # In whole microseconds: a difference of seconds could be a little more than half an hour that is just that.
    linked = np.diff(np.rint(age * 1e6), axis=1, prepend=0) <= SESSION_US
    if recent.sessions is None or not recent.sessions.any():
        return np.asarray((np.logical_and.accumulate(linked, axis=1) & mask)[:, ::-1])
    code = np.where(mask, recent.sessions[:, ::-1], 0)
    # Between two interactions there may be places without any: each looks back at the last one that is newer.
    newest = np.maximum.accumulate(np.where(mask, np.arange(mask.shape[1]), 0), axis=1)
    held = np.take_along_axis(code, newest, axis=1)
    linked[:, 1:] |= (held[:, 1:] == held[:, :-1]) & (held[:, 1:] != 0)
    reached = np.logical_and.accumulate(linked, axis=1)
    first = (code != 0).argmax(axis=1)[:, None]
    present = np.take_along_axis(np.where(reached, code, 0), first, axis=1)
    chain = np.logical_and.accumulate(linked & ((code == 0) | (code == present)), axis=1)
    found = mask & (chain | ((code == present) & (present != 0)))
    return np.asarray(found[:, ::-1])
