"""How much is an item taken, how lately, and what of the items that its text is like?"""

from typing import Any, Final

import numpy as np
import numpy.typing as npt

from ranker.counter import Rows, Times
from ranker.history import History
from ranker.registry import DAY, SHARES, WINDOWS
from ranker.sources import POPULAR_SHARES, Situation, Sources

Columns = dict[str, npt.NDArray[np.floating[Any]]]

CTR_PRIOR: Final = 10.0
"""Impressions' worth of the average click rate that every item starts with."""


def popularity(situation: Situation, rows: Rows, query: Rows, sources: Sources) -> Columns:
    """Count what happened with each pair's item before its query's moment; rows of -1 were never touched."""
    history, as_of = situation.history, situation.moments.as_of
    before = as_of[query]
    since = [before - window for window in WINDOWS.values()]
    since += [history.since_share(share, as_of)[query] for share in SHARES.values()]
    counts = history.item_counts(rows, before=before, since=np.stack(since))
    out: Columns = {f"count_{name}": np.log1p(count) for name, count in zip(WINDOWS, counts, strict=False)}
    total = history.log_counts(as_of)
    for (name, share), count in zip(SHARES.items(), counts[len(WINDOWS) :], strict=True):
        out[f"share_{name}"] = 1e4 * count / np.maximum(total * share, 1)[query]
    everything = history.item_counts(rows, before=before)
    out["count_all"] = np.log1p(everything)
    out["trend"] = np.log((out["share_1%"] + 1) / (out["share_25%"] + 1))
    year_ago = before - 365 * DAY
    out["season"] = np.log1p(history.item_counts(rows, before=year_ago + 30 * DAY, since=year_ago))
    out |= _clicks(history, rows, as_of, query)
    out["alike_popular"] = _alike_popular(situation, rows, query, sources)
    out |= _ages(history, rows, before, everything)
    return out


def published(rows: Rows, before: Times, published_at: Times) -> npt.NDArray[np.floating[Any]]:
    """Return the signed log of seconds since publication; NaN where it is not known (the smallest int64)."""
    if not len(published_at):
        return np.full(len(rows), np.nan)
    known = (rows >= 0) & (published_at[rows] > np.iinfo(np.int64).min)
    seconds = np.where(known, (before - np.where(known, published_at[rows], 0)) / 1e6, np.nan)
    return np.asarray(np.sign(seconds) * np.log1p(np.abs(seconds)))


def _clicks(history: History, rows: Rows, as_of: Times, query: Rows) -> Columns:
    shown, clicked = history.exposure(rows, before=as_of[query])
    all_shown, all_clicked = history.exposure_total(as_of)
    average = (all_clicked / np.maximum(all_shown, 1))[query]
    rate = (clicked + CTR_PRIOR * average) / (shown + CTR_PRIOR)
    return {"click_rate": np.where(all_shown[query] > 0, rate, np.nan), "shown": np.log1p(shown)}


def _alike_popular(situation: Situation, rows: Rows, query: Rows, sources: Sources) -> npt.NDArray[np.floating[Any]]:
    counts, hour = situation.history.popular(
        list(POPULAR_SHARES.values()), len(sources.catalogue), situation.moments.as_of
    )
    taken = np.log1p(counts[:, list(POPULAR_SHARES).index("popular")])
    alike = sources.alike[rows]
    known = (rows >= 0) & (alike[:, 0] >= 0)
    mean = np.where(alike >= 0, taken[hour[query][:, None], alike], 0).sum(axis=1) / np.maximum(
        (alike >= 0).sum(axis=1), 1
    )
    return np.where(known, mean, np.nan)


def _ages(history: History, rows: Rows, before: Times, everything: npt.NDArray[np.integer[Any]]) -> Columns:
    first, last = history.item_ages(rows, before=before)
    return {
        "age_first": np.log1p(first),
        "age_last": np.log1p(last),
        "life_rate": np.log((everything + 1) / (first / 86_400 + 1)),
        "item_pace": np.log1p((first - last) / np.maximum(everything - 1, 1)),
    }
