"""What does each simpler system say of every item? Scores to order by, NaN where it has nothing to say."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np
from numpy.typing import NDArray

from ingest.bounds import Amount, Positive, Share, Size, check_bounds
from ingest.moments import to_microseconds
from ranker.catalogue import Catalogue
from ranker.factors import Factors, FactorsConfig
from ranker.history import History
from ranker.moments import Moments, Recent
from ranker.neighbours import NeighboursConfig, fit_together, history_weights
from ranker.rules import RulesConfig

Floats = NDArray[np.float32]
Scores = Callable[[Moments, Recent], Floats]

_DAY = 86_400_000_000


@dataclass(frozen=True, kw_only=True)
class BaselinesConfig:
    """How the baselines are fitted."""

    factors: Positive = 64
    """Factors of implicit ALS."""
    neighbours: Positive = 100
    """Neighbours of each item."""
    history_length: Size = 50
    """How many of a user's last interactions count."""
    decay: Amount = 0.8
    """Each older item of a user's history counts this much of the next newer one."""
    shares: tuple[Share, ...] = (0.01, 0.03, 0.1, 0.3, 1.0)
    """Windows tried for popularity: the latest share of the log; the best one inside the training time is taken."""

    def __post_init__(self) -> None:
        check_bounds(self)
        if not self.shares:
            raise ValueError("shares: wanted one share or more, got none")


@dataclass(frozen=True, kw_only=True)
class BaselineData:
    """What all baselines stand on."""

    catalogue: Catalogue
    history: History
    """The whole log; it is only ever asked about moments."""
    cutoff: datetime
    config: BaselinesConfig
    rules: RulesConfig


def popular(data: BaselineData, share: float) -> Scores:
    """Count interactions in the latest share of the log, anew each day after the cutoff."""
    rows = np.arange(len(data.catalogue))
    first = to_microseconds(data.cutoff)
    counted: dict[int, Floats] = {}

    def count(moment: int) -> Floats:
        if moment not in counted:
            before = np.asarray([moment])
            since = data.history.since_share(share, before)
            counted[moment] = data.history.item_counts(rows, before=before, since=since).astype(np.float32)
        return counted[moment]

    def scores(moments: Moments, recent: Recent) -> Floats:
        day = np.maximum(moments.as_of // _DAY * _DAY, first)
        days, place = np.unique(np.minimum(day, moments.as_of), return_inverse=True)
        return np.stack([count(int(day)) for day in days])[place]

    return scores


def item_item(data: BaselineData) -> Scores:
    """Cosine of co-occurrence, old interactions counting less; see `ranker.neighbours`."""
    users, items, times = _liked(data)
    n_items, config = len(data.catalogue), data.config
    together = fit_together(users, items, times, n_items, NeighboursConfig(size=config.neighbours))

    def scores(moments: Moments, recent: Recent) -> Floats:
        return _silent_at_zero((history_weights(recent, n_items, config.decay) @ together).toarray())

    return scores


def text_only(texts: Sequence[str]) -> Callable[[BaselineData], Scores]:
    """Cosine to the TF-IDF profile of the recent items; knows nothing of other users."""

    def make(data: BaselineData) -> Scores:
        from encoders.lexical import Words

        matrix = Words.fit(texts).matrix(texts)
        turned = matrix.T.tocsr()

        def scores(moments: Moments, recent: Recent) -> Floats:
            profile = history_weights(recent, len(data.catalogue), data.config.decay) @ matrix
            return _silent_at_zero((profile @ turned).toarray())

        return scores

    return make


def behaviour_only(data: BaselineData) -> Scores:
    """Implicit ALS, the user folded in from the recent history."""
    users, items, _ = _liked(data)
    factors = Factors.fit(users, items, len(data.catalogue), FactorsConfig(size=data.config.factors))
    touched = factors.items.any(axis=1)

    def scores(moments: Moments, recent: Recent) -> Floats:
        product = factors.user_vectors(recent) @ factors.items.T
        return np.where(touched, product, np.float32(np.nan))

    return scores


def own_items(data: BaselineData) -> Scores:
    """What the user took most often, of equals what they took last: P-TopFreq of Li et al., TOIS 2023."""
    n_items = len(data.catalogue)

    def scores(moments: Moments, recent: Recent) -> Floats:
        past = data.history.taken(moments)
        liked = past.weight > 0
        pair, place, often = np.unique(
            past.query[liked] * n_items + past.item[liked], return_inverse=True, return_counts=True
        )
        last = np.zeros(len(pair), np.int64)
        np.maximum.at(last, place, past.time[liked])
        order = np.lexsort((last, often))
        found = np.full((len(moments), n_items), np.nan, np.float32)
        found.flat[pair[order]] = np.arange(1, len(pair) + 1)
        return found

    return scores


def _liked(data: BaselineData) -> tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.int64]]:
    users, items, weights, times = data.history.events(before=to_microseconds(data.cutoff))
    liked = weights > 0
    return users[liked], items[liked], times[liked]


def _silent_at_zero(scores: Floats) -> Floats:
    return np.where(scores > 0, scores, np.float32(np.nan))
