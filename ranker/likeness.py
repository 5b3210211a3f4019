"""How like is an item to each of the user's last items, and how like are these among themselves?"""

from typing import Final

import numpy as np

from ranker.arrays import Floats
from ranker.candidates import Candidates
from ranker.situation import ItemSet, Situation

SIMILAR_TO: Final = 10
"""Similarity is taken to this many of the user's latest items."""
ONE_BY_ONE: Final = ("similar_last", "similar_2nd", "similar_3rd")


def likeness(situation: Situation, items: ItemSet, candidates: Candidates) -> dict[str, Floats]:
    """Return cosines of text vectors with the user's last items, and how diverse these are; NaN without a past."""
    names = (*ONE_BY_ONE, "similar_max", "similar_mean", "similar_session", "user_diversity")
    out = np.full((len(names), len(candidates)), np.nan, np.float32)
    recent = situation.recent
    bounds = np.searchsorted(candidates.query, np.arange(len(situation) + 1))
    for number in range(len(situation)):
        start, end = bounds[number], bounds[number + 1]
        held = np.flatnonzero(recent.mask[number])[-SIMILAR_TO:]
        if end == start or not len(held):
            continue
        past = situation.past_vectors(recent.items[number, held])
        # In double precision, so that it is the same number for one item as among many.
        cosine = items.vectors[candidates.item[start:end]].astype(np.float64) @ past.T.astype(np.float64)
        for back in range(min(len(ONE_BY_ONE), len(held))):
            out[back, start:end] = cosine[:, -1 - back]
        out[-4, start:end], out[-3, start:end] = cosine.max(axis=1), cosine.mean(axis=1)
        now = situation.in_session[number, held]
        if now.any():
            out[-2, start:end] = cosine[:, now].mean(axis=1)
        out[-1, start:end] = 1 - np.linalg.norm(past.mean(axis=0))
    return dict(zip(names, out, strict=True))
