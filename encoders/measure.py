"""How good is interest alone? Recall and NDCG of the next item that users took, among the whole catalogue."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from encoders.batches import Histories, histories_at
from encoders.report import Figures
from encoders.sequences import NEVER, Sequences
from encoders.tower import UserTower

Ints = NDArray[np.int64]


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


def held_out(data: Sequences, since: int, *, most: int, seed: int) -> HeldOut:
    """Draw at most `most` first takes at or after `since` (microseconds) by users with some history before them.

    A catalogue may list what is yet to come and what nobody will ever take. Before the window it has as many untouched
    items more than at its end as the window sees for the first time: so many of those still unseen are left out, drawn
    at random, or all where there are fewer.
    """
    has_text = data.has_text
    users = data.users
    first_event = data.times[data.starts[users]] if len(users) else data.times
    asked = np.flatnonzero(data.takes() & (data.times >= since) & (first_event < data.times) & has_text[data.items])
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
    data: Sequences, asked: HeldOut, vectors: Tensor, tower: UserTower, length: int, *, newcomers: float = 0.0
) -> Figures | None:
    """Rank the catalogue for each question with the history strictly before it; None without questions.

    `newcomers` is added to the interest in items that nobody had touched before the window began.
    """
    if not len(asked.users):
        return None
    (ranks,) = rank_targets(data, asked, vectors, tower, length, newcomers=[newcomers])
    found = ranks <= 10
    return Figures(
        recall_at_10=float(found.mean()),
        ndcg_at_10=float(np.where(found, 1 / np.log2(ranks + 1), 0).mean()),
        recall_at_50=float((ranks <= 50).mean()),
        cold_recall_at_10=float(found[asked.cold].mean()) if asked.cold.any() else None,
        queries=len(ranks),
        cold_queries=int(asked.cold.sum()),
    )


def rank_targets(
    data: Sequences, asked: HeldOut, vectors: Tensor, tower: UserTower, length: int, *, newcomers: list[float]
) -> Ints:
    """Return the 1-based rank of each target [len(newcomers), n], once for each addition to items new in the window.

    Among equals a target stands in the middle: a user of whom nothing can be said finds nothing.
    """
    device = vectors.device
    ranks = np.zeros((len(newcomers), len(asked.users)), dtype=np.int64)
    new = torch.from_numpy(data.first_touch() >= asked.since).to(device)
    left_out = torch.from_numpy(~data.has_text | asked.left_out).to(device)
    was_training = tower.training
    tower.eval()
    for start in range(0, len(asked.users), 512):
        part = slice(start, start + 512)
        users, times, targets = asked.users[part], asked.times[part], asked.targets[part]
        with torch.no_grad():
            interest = user_states(tower, data, vectors, users, times, length) @ vectors.T
            interest.masked_fill_(left_out, -torch.inf)
            for row, (user, time) in enumerate(zip(users, times, strict=True)):
                begin = data.starts[user]
                end = begin + np.searchsorted(data.times[begin : data.starts[user + 1]], time)
                interest[row, torch.from_numpy(data.items[begin:end]).to(device)] = -torch.inf
            column = torch.from_numpy(targets).to(device)[:, None]
            for step, addition in enumerate(newcomers):
                scores = interest + addition * new if addition else interest
                own = scores.gather(1, column)
                equals = (scores == own).sum(dim=1) - 1
                ranks[step, part] = ((scores > own).sum(dim=1) + equals // 2 + 1).cpu().numpy()
    tower.train(was_training)
    return ranks


def user_states(tower: UserTower, data: Sequences, vectors: Tensor, users: Ints, times: Ints, length: int) -> Tensor:
    """Return user vectors [n, dim] at moments, from each history strictly before; zeros without any."""
    found, counts, gap = histories_at(data, users, times, length)
    device = vectors.device
    events = vectors[torch.from_numpy(found.items).to(device)]
    last = torch.from_numpy(np.maximum(counts - 1, 0)).to(device)
    mean, state = tower.states(events, *tower_inputs(found, device), last)
    out = tower.users(mean[:, 0], state[:, 0], torch.from_numpy(gap).to(device))
    return out * torch.from_numpy(counts > 0).to(device)[:, None]


def tower_inputs(found: Histories, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """Return what the tower reads beside the item vectors: weight buckets, intervals, mask."""
    return (
        torch.from_numpy(found.kinds).to(device),
        torch.from_numpy(found.between).to(device),
        torch.from_numpy(found.mask).to(device),
    )
