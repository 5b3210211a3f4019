"""How much is to be added for items that nobody has touched? What finds most of them and costs little of the rest."""

from itertools import product
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from torch import Tensor

from encoders.measure import HeldOut, K, asked_interest, gains, shared_words
from encoders.newcomer_bonus import NO_BONUS, NewcomerBonus
from encoders.sequences import Sequences
from encoders.tower import UserTower

FEWEST_COLD: Final = 20
"""Held-out questions answered by a new item, below which nothing is added."""

ALWAYS: Final = sorted((0.25 * step for step in range(-12, 17)), key=abs)
"""What is tried for any new item, in units of interest, the least first."""
WORDS: Final = (0.0, 5.0, 10.0, 20.0)
"""What is tried for similarity of words, in units of interest."""
TRIED: Final = [NewcomerBonus(always=always, words=words) for words, always in product(WORDS, ALWAYS)]


def may_add(asked: HeldOut, cost: float) -> bool:
    """Whether anything may be added: something may be given up, and enough new items were asked for to know."""
    return cost >= 0 and int(asked.cold.sum()) >= FEWEST_COLD


def fit_newcomers(
    data: Sequences,
    asked: HeldOut,
    vectors: Tensor,
    tower: UserTower,
    length: int,
    words: csr_matrix,
    *,
    cost: float,
) -> NewcomerBonus:
    """Return what has the highest NDCG@10 of new items, of all that cost known ones no more than the share `cost`.

    Words of items that were taken have learned from it and those of new items have not, so that at equal liking a new
    item has the lower interest, and the `words` [n_items, n_words] as they stand tell better which of them is meant.
    """
    new = data.first_touch() >= asked.since
    known, cold = np.zeros(len(TRIED)), np.zeros(len(TRIED))
    for part, _, interest in asked_interest(data, asked, vectors, tower, length):
        targets = asked.targets[part]
        shared = torch.from_numpy(shared_words(data, asked, part, length, words, np.flatnonzero(new)))
        ranks = TargetRanks(interest, targets, new, shared.to(interest.device))
        for number, tried in enumerate(TRIED):
            rank = ranks.with_bonus(tried)
            gain = gains(rank)
            known[number] += gain[~asked.cold[part]].sum()
            cold[number] += gain[asked.cold[part]].sum()
    return most_within(known, cold, cost)


def most_within(known: NDArray[np.float64], cold: NDArray[np.float64], cost: float) -> NewcomerBonus:
    """Return what of TRIED gains most by new items while known ones lose at most the share `cost`; of equals the least.

    `known` and `cold` are the discounted gains of held-out questions that known and new items answered, by what was
    added. What new items gain does not make up for what known ones lose: a later window need not ask for as many.
    """
    nothing = TRIED.index(NO_BONUS)
    cheap = known >= known[nothing] * (1 - cost)
    best = int(np.where(cheap, cold, -1).argmax())
    return TRIED[best] if cold[best] > cold[nothing] else NO_BONUS


class TargetRanks:
    """Some questions' targets among the best others, known and new: as many as it takes to tell ranks up to ten."""

    def __init__(self, interest: Tensor, targets: NDArray[np.int64], new: NDArray[np.bool_], shared: Tensor) -> None:
        is_new = torch.from_numpy(new).to(interest.device)
        column = torch.from_numpy(targets).to(interest.device)[:, None]
        self._own = interest.gather(1, column)
        self._own_new = is_new[column]
        place = torch.cumsum(is_new, 0) - 1
        self._own_shared = shared.gather(1, place[column].clamp(min=0)) if shared.shape[1] else self._own * 0
        others = interest.scatter(1, column, -torch.inf)
        self._known = _best(others[:, ~is_new])
        self._others, self._shared = others[:, is_new], shared
        self._rivals: dict[float, Tensor] = {}

    def with_bonus(self, bonus: NewcomerBonus) -> NDArray[np.int64]:
        """Return each target's 1-based rank [n], or more than ten; among equals in their middle, NaN behind all."""
        if bonus.words not in self._rivals:
            self._rivals = {bonus.words: _best(self._others + bonus.words * self._shared)}
        own = self._own + self._own_new * (bonus.always + bonus.words * self._own_shared)
        others = torch.cat([self._known, self._rivals[bonus.words] + bonus.always], dim=1)
        rank = (~(others <= own)).sum(dim=1) + (others == own).sum(dim=1) // 2 + 1
        return np.asarray(rank.cpu().numpy(), np.int64)


def _best(interest: Tensor) -> Tensor:
    """Return each row's highest: twice as many as ranks to be told, as a target stands in the middle of its equals."""
    return interest.topk(min(2 * K, interest.shape[1]), dim=1).values
