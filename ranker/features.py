"""What is known of a query and an item, in numbers? The one function behind training, evaluation and service."""

from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import numpy as np
import numpy.typing as npt

from ranker.candidates import Candidates
from ranker.counter import Rows, Times
from ranker.history import HOUR, Floats, History
from ranker.sources import SOURCES, ItemSet, Situation

DAY: Final = 24 * HOUR
SIMILAR_TO: Final = 10
"""Similarity is taken to this many of the user's latest items."""
CTR_PRIOR: Final = 10.0
"""Impressions' worth of the average click rate that every item starts with."""


@dataclass(frozen=True, kw_only=True)
class Feature:
    """What one column means."""

    name: str
    family: str
    meaning: str


_WINDOWS: Final = {"1h": HOUR, "1d": DAY, "7d": 7 * DAY, "30d": 30 * DAY, "365d": 365 * DAY}
_SHARES: Final = {"0.2%": 0.002, "1%": 0.01, "5%": 0.05, "25%": 0.25}

FEATURES: Final = (
    Feature(name="interest", family="text interest", meaning="dot product of user and item by the tuned encoder"),
    Feature(name="words", family="text interest", meaning="TF-IDF similarity of the item to the user's past, decayed"),
    Feature(name="similar_last", family="similarity", meaning="cosine of text vectors with the user's last item"),
    Feature(name="similar_max", family="similarity", meaning="largest cosine with the user's last 10 items"),
    Feature(name="similar_mean", family="similarity", meaning="mean cosine with the user's last 10 items"),
    Feature(name="together", family="collaborative", meaning="item-item weights from the user's past, decayed"),
    Feature(name="following", family="collaborative", meaning="weights of what follows the user's past, decayed"),
    Feature(name="factors", family="collaborative", meaning="dot product of collaborative factors"),
    Feature(
        name="category", family="category affinity", meaning="the user's share in the item's categories x popularity"
    ),
    *(
        Feature(name=f"rank_{s}", family="sources", meaning=f"log of the rank among what `{s}` proposed")
        for s in SOURCES
    ),
    Feature(name="n_sources", family="sources", meaning="how many sources proposed the item"),
    *(Feature(name=f"count_{w}", family="popularity", meaning=f"log interactions of the last {w}") for w in _WINDOWS),
    *(
        Feature(name=f"share_{s}", family="popularity", meaning=f"interactions per 10,000 in the latest {s} of the log")
        for s in _SHARES
    ),
    Feature(name="count_all", family="popularity", meaning="log of all interactions"),
    Feature(
        name="trend", family="popularity", meaning="log ratio of the share in the latest 1 % to that in the latest 25 %"
    ),
    Feature(name="season", family="popularity", meaning="log interactions in the 30 days after this day a year ago"),
    Feature(name="click_rate", family="popularity", meaning="clicks per impression, smoothed to the average"),
    Feature(name="shown", family="popularity", meaning="log of impressions"),
    Feature(name="age_first", family="recency", meaning="log seconds since the item's first interaction"),
    Feature(name="age_last", family="recency", meaning="log seconds since the item's last interaction"),
    Feature(name="age_published", family="recency", meaning="log seconds since publication"),
    Feature(name="taken_before", family="user habits", meaning="how often the user took this item"),
    Feature(name="user_count", family="user habits", meaning="log of the user's interactions"),
    Feature(name="user_idle", family="user habits", meaning="log seconds since the user's last interaction"),
    Feature(
        name="user_pace", family="user habits", meaning="log of mean seconds between the user's recent interactions"
    ),
    Feature(name="user_popular", family="user habits", meaning="mean log count of the user's recent items"),
    Feature(name="popular_gap", family="user habits", meaning="log count of the item minus that of the user's items"),
    Feature(name="given", family="context", meaning="1 when the caller gave the items, 0 when sources proposed them"),
)
FEATURE_NAMES: Final = tuple(feature.name for feature in FEATURES)
FAMILIES: Final = tuple(dict.fromkeys(feature.family for feature in FEATURES))


def compute(
    situation: Situation, items: ItemSet, scores: dict[str, Floats], candidates: Candidates, published_at: Times
) -> Floats:
    """Return features [n_candidates, n_features] in the order of `FEATURES`; NaN = not defined for this pair.

    Everything is as of each query's moment: nothing at or after it can change a value. `published_at` has one entry for
    each catalogue row, in microseconds; the smallest int64 says unknown.
    """
    query, place = candidates.query, candidates.item
    rows = items.rows[place]
    columns = {name: scores[name][query, place] for name in ("words", "together", "following", "category")}
    columns |= _products(situation, items, candidates)
    columns |= _similarity(situation, items, candidates)
    columns |= {f"rank_{name}": np.log(candidates.ranks[:, n]) for n, name in enumerate(SOURCES)}
    proposed = np.isfinite(candidates.ranks).sum(axis=1)
    columns |= {"n_sources": proposed, "given": proposed == 0}
    columns |= _popularity(situation.history, rows, situation.moments.as_of, query)
    columns |= _recency(situation.history, rows, situation.moments.as_of[query], published_at)
    columns |= _habits(situation, rows, query)
    columns["popular_gap"] = columns["count_all"] - columns["user_popular"]
    return np.stack([np.asarray(columns[name], np.float32) for name in FEATURE_NAMES], axis=1)


def _products(situation: Situation, items: ItemSet, candidates: Candidates) -> dict[str, Floats]:
    interest, factors = np.zeros((2, len(candidates)), np.float32)
    bounds = np.searchsorted(candidates.query, np.arange(len(situation) + 1))
    for number, (start, end) in enumerate(pairwise(bounds.tolist())):
        place = candidates.item[start:end]
        interest[start:end] = situation.interest_in(number, items.rows[place], items.vectors[place])
        factors[start:end] = situation.factors_in(number, items.rows[place])
    return {"interest": interest, "factors": factors}


def _similarity(situation: Situation, items: ItemSet, candidates: Candidates) -> dict[str, npt.NDArray[np.floating]]:
    out = np.full((3, len(candidates)), np.nan, np.float32)
    recent = situation.recent
    bounds = np.searchsorted(candidates.query, np.arange(len(situation) + 1))
    for number in range(len(situation)):
        start, end = bounds[number], bounds[number + 1]
        past = recent.items[number][recent.mask[number]][-SIMILAR_TO:]
        if end > start and len(past):
            cosine = items.vectors[candidates.item[start:end]] @ situation.past_vectors(past).T
            out[:, start:end] = cosine[:, -1], cosine.max(axis=1), cosine.mean(axis=1)
    return {"similar_last": out[0], "similar_max": out[1], "similar_mean": out[2]}


def _popularity(history: History, rows: Rows, as_of: Times, query: Rows) -> dict[str, npt.NDArray[np.floating]]:
    before = as_of[query]
    year_ago = before - 365 * DAY
    since = [*(before - window for window in _WINDOWS.values())]
    since += [history.since_share(share, as_of)[query] for share in _SHARES.values()]
    counts = history.item_counts(rows, before=before, since=np.stack(since))
    out: dict[str, npt.NDArray[np.floating]] = {}
    out |= {f"count_{name}": np.log1p(count) for name, count in zip(_WINDOWS, counts, strict=False)}
    total = history.log_counts(as_of)
    for (name, share), count in zip(_SHARES.items(), counts[len(_WINDOWS) :], strict=True):
        out[f"share_{name}"] = 1e4 * count / np.maximum(total * share, 1)[query]
    everything = history.item_counts(rows, before=before)
    out["count_all"] = np.log1p(everything)
    out["trend"] = np.log((out["share_1%"] + 1) / (out["share_25%"] + 1))
    out["season"] = np.log1p(history.item_counts(rows, before=year_ago + 30 * DAY, since=year_ago))
    shown, clicked = history.exposure(rows, before=before)
    all_shown, all_clicked = history.exposure_total(as_of)
    average = (all_clicked / np.maximum(all_shown, 1))[query]
    out["click_rate"] = np.where(all_shown[query] > 0, (clicked + CTR_PRIOR * average) / (shown + CTR_PRIOR), np.nan)
    out["shown"] = np.log1p(shown)
    return out


def _recency(history: History, rows: Rows, before: Times, published_at: Times) -> dict[str, npt.NDArray[np.floating]]:
    first, last = history.item_ages(rows, before=before)
    if not len(published_at):
        published = np.full(len(rows), np.nan)
    else:
        known = (rows >= 0) & (published_at[rows] > np.iinfo(np.int64).min)
        published = np.where(known, (before - np.where(known, published_at[rows], 0)) / 1e6, np.nan)
    return {
        "age_first": np.log1p(first),
        "age_last": np.log1p(last),
        "age_published": np.sign(published) * np.log1p(np.abs(published)),
    }


def _habits(situation: Situation, rows: Rows, query: Rows) -> dict[str, npt.NDArray[np.floating]]:
    recent, moments, history = situation.recent, situation.moments, situation.history
    mask = recent.mask
    length = mask.sum(axis=1)
    warm = length > 0
    newest = np.where(warm, np.where(mask, recent.ages, np.inf).min(axis=1, initial=np.inf), np.nan)
    oldest = np.where(warm, recent.ages.max(axis=1, initial=0), np.nan)
    counts = np.log1p(history.item_counts(recent.items, before=moments.as_of[:, None]))
    popular = np.where(warm, np.where(mask, counts, 0).sum(axis=1) / np.maximum(length, 1), np.nan)
    asked, taken, _ = history.taken(moments)
    n_rows = int(max(rows.max(initial=0), taken.max(initial=0))) + 1
    pairs, times = np.unique(asked.astype(np.int64) * n_rows + taken, return_counts=True)
    wanted = query.astype(np.int64) * n_rows + rows
    at = np.minimum(np.searchsorted(pairs, wanted), max(len(pairs) - 1, 0))
    again = np.where((pairs[at] == wanted) & (rows >= 0), times[at], 0) if len(pairs) else np.zeros(len(rows))
    return {
        "taken_before": again,
        "user_count": np.log1p(history.user_counts(moments))[query],
        "user_idle": np.log1p(newest)[query],
        "user_pace": np.log1p((oldest - newest) / np.maximum(length - 1, 1))[query],
        "user_popular": popular[query],
    }
