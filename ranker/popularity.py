"""How much is an item taken, how lately, and what of the items that its text is like?"""

from typing import Any, Final

import numpy as np
import numpy.typing as npt

from ranker.arrays import Columns, Rows, Times
from ranker.catalogue import UNDATED
from ranker.history import History
from ranker.registry import DAY, SHARES, WINDOWS
from ranker.situation import Situation
from ranker.sources import Sources

CTR_PRIOR: Final = 10.0
"""Impressions' worth of the average click rate that every item starts with."""


def popularity(situation: Situation, rows: Rows, query: Rows, sources: Sources) -> Columns:
    """Count what happened with each pair's item before its query's moment; rows of -1 were never touched."""
    history, as_of = situation.history, situation.moments.as_of
    alone = len(as_of) == 1  # one moment, looked up once, is the same for all pairs
    before = as_of if alone else as_of[query]
    since = [as_of - window for window in WINDOWS.values()]
    since += list(history.since_share(np.array(list(SHARES.values()))[:, None], as_of))
    year_ago = as_of - 365 * DAY
    moments = [as_of, year_ago + 30 * DAY, year_ago, *since]
    everything, season_end, season_start, *starts = history.item_counts_at(
        rows, moments if alone else [moment[query] for moment in moments]
    )
    counts = everything - np.stack(starts)
    out: Columns = {f"count_{name}": np.log1p(count) for name, count in zip(WINDOWS, counts, strict=False)}
    total = history.log_counts(as_of)
    for (name, share), count in zip(SHARES.items(), counts[len(WINDOWS) :], strict=True):
        worth = np.maximum(total * share, 1)
        out[f"share_{name}"] = 1e4 * count / (worth if alone else worth[query])
    out["count_all"] = np.log1p(everything)
    out["trend"] = np.log((out["share_1%"] + 1) / (out["share_25%"] + 1))
    out["season"] = np.log1p(season_end - season_start)
    out |= _clicks(history, rows, before, query, as_of)
    out["alike_popular"] = _alike_popular(situation, rows, query, sources)
    out |= _ages(history, rows, before, everything)
    return out


def published(rows: Rows, before: Times, published_at: Times) -> npt.NDArray[np.floating[Any]]:
    """Return the signed log of seconds since publication; NaN where it is not known (the smallest int64)."""
    if not len(published_at):
        return np.full(len(rows), np.nan)
    known = (rows >= 0) & (published_at[rows] > UNDATED)
    seconds = np.where(known, (before - np.where(known, published_at[rows], 0)) / 1e6, np.nan)
    return np.asarray(np.sign(seconds) * np.log1p(np.abs(seconds)))


def _clicks(history: History, rows: Rows, before: Times, query: Rows, as_of: Times) -> Columns:
    shown, clicked = history.exposure(rows, before=before)
    all_shown, all_clicked = history.exposure_total(as_of)
    average = (all_clicked / np.maximum(all_shown, 1))[query]
    rate = (clicked + CTR_PRIOR * average) / (shown + CTR_PRIOR)
    return {"click_rate": np.where(all_shown[query] > 0, rate, np.nan), "shown": np.log1p(shown)}


def _alike_popular(situation: Situation, rows: Rows, query: Rows, sources: Sources) -> npt.NDArray[np.floating[Any]]:
    alike = sources.alike[rows]
    known = (rows >= 0) & (alike[:, 0] >= 0)
    hours, hour = situation.hours
    taken = np.zeros(alike.shape)
    for number, each in enumerate(hours):
        of_hour = slice(None) if len(hours) == 1 else hour[query] == number
        taken[of_hour] = each.log_popular[alike[of_hour]]
    there = alike >= 0
    mean = np.where(there, taken, 0).sum(axis=1) / np.maximum(there.sum(axis=1), 1)
    return np.where(known, mean, np.nan)


def _ages(history: History, rows: Rows, before: Times, everything: npt.NDArray[np.integer[Any]]) -> Columns:
    first, last = history.item_ages(rows, before=before)
    return {
        "age_first": np.log1p(first),
        "age_last": np.log1p(last),
        "life_rate": np.log((everything + 1) / (first / (DAY / 1e6) + 1)),
        "item_pace": np.log1p((first - last) / np.maximum(everything - 1, 1)),
    }
