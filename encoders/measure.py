"""How good is interest alone? Recall and NDCG of the next item that users took, among the whole catalogue."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from torch import Tensor

from encoders.batches import histories_at, tower_inputs
from encoders.newcomer_bonus import NO_BONUS, NewcomerBonus
from encoders.past import past_rows, past_shares
from encoders.report import Figures
from encoders.sequences import Sequences
from encoders.to_device import sent
from encoders.tower import UserTower
from ingest.moments import NEVER, to_microseconds

Ints = NDArray[np.int64]

K = 10
_AT_ONCE = 512
_SCORES_AT_ONCE = 50_000_000


@dataclass(frozen=True, kw_only=True)
class HeldOut:
    """Questions from a later window: who, when, and what they took."""

    users: Ints
    times: Ints
    targets: Ints
    cold: NDArray[np.bool_]
    """Whether the target was first touched in the window: no training before the window has met it."""
    since: int
    """Where the window begins, in microseconds."""
    left_out: NDArray[np.bool_]
    """Items [n_items] that are not ranked, so that no more untouched ones stand in the way than will in service."""


def held_out_from(data: Sequences, validate_from: datetime | None, *, hold_out: bool) -> int | None:
    """Return the moment (microseconds) from which events are held out, or None to train on everything.

    Without `validate_from` 90 % of the events precede it; where `hold_out` is false, or events are few, there is none.
    """
    if validate_from is not None:
        return to_microseconds(validate_from)
    if not hold_out or len(data.times) < 20:
        return None
    return int(np.quantile(data.times, 0.9, method="nearest"))


def held_out(data: Sequences, since: int, *, most: int, seed: int) -> HeldOut:
    """Draw at most `most` first takes at or after `since` (microseconds) by users with some history before them.

    What a user had seen before, or refused, and then takes is nothing to ask for: a service without repeats does not
    rank it any more.

    A catalogue may list what is yet to come and what nobody will ever take. Before the window it has as many untouched
    items more than at its end as the window sees for the first time: so many of those still unseen are left out, drawn
    at random, or all where there are fewer.
    """
    users = data.users
    first_event = data.times[data.starts[users]] if len(users) else data.times
    some_past = (data.times >= since) & (first_event < data.times)
    asked = np.flatnonzero(data.takes() & data.meets() & some_past & data.has_text[data.items])
    if len(asked) > most:
        asked = np.sort(np.random.default_rng(seed).choice(asked, most, replace=False))
    return HeldOut(
        users=users[asked],
        times=data.times[asked],
        targets=data.items[asked],
        cold=data.first_touch()[data.items[asked]] >= since,
        since=since,
        left_out=_left_out(data.first_seen(), since, seed),
    )


def _left_out(first_seen: Ints, since: int, seed: int) -> NDArray[np.bool_]:
    unseen = np.flatnonzero(first_seen == NEVER)
    came = int(((first_seen >= since) & (first_seen < NEVER)).sum())
    out = np.zeros(len(first_seen), dtype=bool)
    out[np.random.default_rng(seed).choice(unseen, min(came, len(unseen)), replace=False)] = True
    return out


def measure(
    data: Sequences,
    asked: HeldOut,
    vectors: Tensor,
    tower: UserTower,
    length: int,
    *,
    words: csr_matrix | None = None,
    newcomers: NewcomerBonus = NO_BONUS,
) -> Figures | None:
    """Rank the catalogue for each question with the history strictly before it; None without questions."""
    return figures_of(asked, interest_ranks(data, asked, vectors, tower, length, words=words, newcomers=newcomers))


def interest_ranks(
    data: Sequences,
    asked: HeldOut,
    vectors: Tensor,
    tower: UserTower,
    length: int,
    *,
    words: csr_matrix | None = None,
    newcomers: NewcomerBonus = NO_BONUS,
) -> Ints:
    """Return the 1-based rank of each question's target by interest.

    `newcomers` is added to the interest in items that nobody had touched before the window began, for which it reads
    the catalogue's `words` [n_items, n_words], where given.
    """
    ranks = np.zeros(len(asked.users), dtype=np.int64)
    new = np.flatnonzero(data.first_touch() >= asked.since)
    for part, users, interest in asked_interest(data, asked, vectors, tower, length):
        if newcomers:
            shared = shared_words(data, asked, part, length, words, new)
            interest[:, torch.from_numpy(new)] += torch.from_numpy(newcomers.of(users, shared)).to(interest.device)
        ranks[part] = target_ranks(interest, asked.targets[part])
    return ranks


def figures_of(asked: HeldOut, ranks: Ints) -> Figures | None:
    """Return the means over all questions, by their targets' ranks; None without questions."""
    if not len(ranks):
        return None
    found = ranks <= K
    return Figures(
        recall_at_10=float(found.mean()),
        ndcg_at_10=float(gains(ranks).mean()),
        recall_at_50=float((ranks <= 50).mean()),
        cold_recall_at_10=float(found[asked.cold].mean()) if asked.cold.any() else None,
        queries=len(ranks),
        cold_queries=int(asked.cold.sum()),
    )


def gains(ranks: Ints) -> NDArray[np.float64]:
    """Return the NDCG@10 of each question by its only target's rank.

    >>> gains(np.array([1, 3, 10, 11])).tolist() == [1, 1 / np.log2(4), 1 / np.log2(11), 0]
    True
    """
    return np.where(ranks <= K, 1 / np.log2(ranks + 1), 0.0)


def asked_interest(
    data: Sequences, asked: HeldOut, vectors: Tensor, tower: UserTower, length: int
) -> Iterator[tuple[slice, NDArray[np.float32], Tensor]]:
    """Yield some questions at a time: which, user vectors [n, dim], and interest [n, n_items] without any addition.

    What is not ranked or was taken before has the interest -inf.
    """
    left_out = torch.from_numpy(not_ranked(data, asked)).to(vectors.device)
    was_training = tower.training
    tower.eval()
    size = at_once(data.n_items, _AT_ONCE)
    for start in range(0, len(asked.users), size):
        part = slice(start, start + size)
        users, times = asked.users[part], asked.times[part]
        with torch.no_grad():
            states = user_states(tower, data, vectors, users, times, length)
            interest = states @ vectors.T
        interest.masked_fill_(left_out, -torch.inf)
        bar_taken(data, users, times, interest)
        yield part, states.cpu().numpy(), interest
    tower.train(was_training)


def at_once(n_items: int, most: int) -> int:
    """Return how many questions are asked of all items at once: of a large catalogue fewer, whose scores are 200 MB.

    >>> at_once(1_000, 512), at_once(1_000_000, 512)
    (512, 50)
    """
    return max(min(most, _SCORES_AT_ONCE // max(n_items, 1)), 1)


def not_ranked(data: Sequences, asked: HeldOut) -> NDArray[np.bool_]:
    """Return which items [n_items] stand in no question's ranking: those without text, and those left out."""
    return ~data.has_text | asked.left_out


def bar_taken(data: Sequences, users: Ints, times: Ints, scores: Tensor) -> None:
    """Give -inf to what each user had taken strictly before the moment, in `scores` [n, n_items]."""
    for row, (user, time) in enumerate(zip(users, times, strict=True)):
        begin = data.starts[user]
        end = begin + np.searchsorted(data.times[begin : data.starts[user + 1]], time)
        scores[row, torch.from_numpy(data.items[begin:end]).to(scores.device)] = -torch.inf


def shared_words(
    data: Sequences, asked: HeldOut, part: slice, length: int, words: csr_matrix | None, items: Ints
) -> NDArray[np.float32]:
    """Return how similar items are by words to what the users had taken before some of the questions [n, n_items].

    Zeros without `words`. Refusals are no part of a past.
    """
    users, times = asked.users[part], asked.times[part]
    if words is None:
        return np.zeros((len(users), len(items)), np.float32)
    found, _, _ = histories_at(data, users, times, length)
    liked = found.mask & (found.weights > 0)
    shares = past_shares(np.where(liked, found.weights, 0), liked)
    past = past_rows(found.items, shares, data.n_items)
    return np.asarray((past @ words @ words[items].T).toarray(), np.float32)


def target_ranks(interest: Tensor, targets: Ints) -> Ints:
    """Return the 1-based rank of each target [n].

    Among equals a target stands in the middle: a user of whom nothing can be said finds nothing. A model that has
    diverged finds nothing either: a target whose interest is NaN ranks last, and rivals of NaN rank above the others.
    """
    own = interest.gather(1, torch.from_numpy(targets).to(interest.device)[:, None])
    equals = (interest == own).sum(dim=1) - 1
    # NaN compares as False, so `interest > own` would put it below
    return ((~(interest <= own)).sum(dim=1) + equals // 2 + 1).cpu().numpy()


def user_states(tower: UserTower, data: Sequences, vectors: Tensor, users: Ints, times: Ints, length: int) -> Tensor:
    """Return user vectors [n, dim] at moments, from each history strictly before; zeros without any."""
    found, counts, gap = histories_at(data, users, times, length)
    device = vectors.device
    events = vectors[torch.from_numpy(found.items).to(device)]
    last = torch.from_numpy(np.maximum(counts - 1, 0)).to(device)
    mean, state = tower.states(events, *sent(tower_inputs(found), device), last)
    out = tower.users(mean[:, 0], state[:, 0], torch.from_numpy(gap).to(device))
    return out * torch.from_numpy(counts > 0).to(device)[:, None]
