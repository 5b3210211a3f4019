"""What does one training step see? Windows of histories, what was taken next, and items that could have been."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from encoders.buckets import age_bucket, weight_bucket
from encoders.negatives import Negatives
from encoders.sequences import Sequences
from encoders.skips import Skips

Ints = NDArray[np.int64]
_MICRO = 1_000_000
FEWEST_PAIRS = 32
"""No step of a small log is smaller, so that an epoch of a very small one has fewer steps."""


@dataclass(frozen=True, kw_only=True)
class Histories:
    """Left-aligned windows of events: what the tower reads."""

    items: Ints
    """Catalogue rows [b, L], 0 where `mask` is False."""
    mask: NDArray[np.bool_]
    weights: NDArray[np.float32]
    """What each event weighs [b, L], 1 where `mask` is False."""
    buckets: Ints
    """Buckets of these weights [b, L]."""
    kinds: Ints
    """Codes of what each event was [b, L], 0 where `mask` is False."""
    between: Ints
    """Age buckets [b, L, L] of the time from the second place to the first."""
    times: Ints

    def __len__(self) -> int:
        return len(self.items)


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Windows, (window, place) -> target pairs, and the candidates they choose among."""

    histories: Histories
    row: Ints
    place: Ints
    gap: Ints
    """Age bucket of the last event seen, at the moment of the target [p]."""
    target: Ints
    """Column of the target among the candidates [p]."""
    importance: NDArray[np.float32]
    """How much each pair counts [p]: the later, the more."""
    candidates: Ints
    """Distinct catalogue rows [c]."""
    log_odds: NDArray[np.float32]
    """Log of each candidate's chance to be in a batch [c]."""
    moment: Ints
    """When each target was taken [p]: what is first seen later is no negative of it."""
    first_seen: Ints
    """When each candidate was first seen [c]."""
    user: Ints
    """Which of the batch's users each pair is of [p]."""
    taken: Ints
    """What each user took at any time, as user * c + column of the candidate: no negative of that user's pairs."""
    drawn_skips: Ints
    """Which candidates are the pair's own skips, as pair * c + column: each skip counts once."""
    skips: Ints
    """Catalogue rows that were shown to the pair's user and skipped [p, k], 0 where `skipped` is False."""
    skipped: NDArray[np.bool_]


def tower_inputs(found: Histories) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return what the tower reads beside the item vectors: weight buckets, kinds, intervals, mask."""
    return (
        torch.from_numpy(found.buckets),
        torch.from_numpy(found.kinds),
        torch.from_numpy(found.between),
        torch.from_numpy(found.mask),
    )


def gather(data: Sequences, begins: Ints, ends: Ints, length: int) -> Histories:
    """Return events `begins[r] : ends[r]` of the flat log as windows of `length` places."""
    index = begins[:, None] + np.arange(length)[None, :]
    mask = index < ends[:, None]
    index = np.where(mask, index, 0)
    if not len(data.items):
        raise ValueError("no events to gather")
    times = np.where(mask, data.times[index], 0)
    seconds = times / _MICRO
    weights = np.where(mask, data.weights[index], np.float32(1))
    return Histories(
        items=np.where(mask, data.items[index], 0),
        mask=mask,
        weights=weights,
        buckets=weight_bucket(weights),
        kinds=np.where(mask, data.codes[index], 0).astype(np.int64),
        between=age_bucket(seconds[:, :, None] - seconds[:, None, :]),
        times=times,
    )


def histories_at(data: Sequences, users: Ints, times: Ints, length: int) -> tuple[Histories, Ints, Ints]:
    """Return each user's last `length` events strictly before a moment, their number, and the gap's bucket."""
    ends = np.array(
        [
            data.starts[user] + np.searchsorted(data.times[data.starts[user] : data.starts[user + 1]], time)
            for user, time in zip(users, times, strict=True)
        ],
        dtype=np.int64,
    )
    begins = np.maximum(data.starts[users], ends - length)
    counts = ends - begins
    found = gather(data, begins, ends, max(int(counts.max(initial=1)), 1))
    last = found.times[np.arange(len(users)), np.maximum(counts - 1, 0)]
    return found, counts, age_bucket((times - last) / _MICRO)


class Batches:
    """Cuts a log into training batches; each epoch draws its own windows, order and negatives."""

    def __init__(
        self,
        data: Sequences,
        *,
        length: int,
        pairs_at_once: int,
        pairs_per_epoch: int,
        negatives: int,
        negatives_power: float,
        hard_negatives: int = 0,
        skipped_negatives: int = 0,
        recent_half: float = 0.0,
        least_steps: int = 0,
    ) -> None:
        self.data = data
        self.length = length
        self.pairs_at_once = _pairs_at_once(data, pairs_at_once, pairs_per_epoch, least_steps)
        self.pairs_per_epoch = pairs_per_epoch
        self.target = data.takes() & data.has_text[data.items] if len(data.items) else np.zeros(0, bool)
        self.negatives = Negatives(data, self.target, n=negatives, power=negatives_power, n_near=hard_negatives)
        self.skips = Skips(data, n=skipped_negatives)
        self.first_seen = data.first_seen()
        self.importance = _importance(data.times, recent_half)
        self._column = np.full(data.n_items, -1, dtype=np.int64)

    @property
    def has_pairs(self) -> bool:
        """Whether there is anything to learn: a user with two events whose second item has text."""
        return bool((self.target & (np.arange(len(self.target)) > self.data.starts[self.data.users])).any())

    @property
    def steps(self) -> int:
        """About how many batches an epoch has."""
        return max(round(_pairs(self.data, self.pairs_per_epoch) / self.pairs_at_once), 1)

    def epoch(self, rng: np.random.Generator) -> Iterator[Batch]:
        """Yield the batches of one epoch, of windows alike in length so that little is padded."""
        begins, ends = self._windows(rng)
        order = rng.permutation(len(begins))
        pairs = (ends - begins - 1)[order]
        order = order[: int(np.searchsorted(np.cumsum(pairs), self.pairs_per_epoch)) + 1]
        # a little noise, or each batch would hold the very same lengths, and so the same kind of user, each epoch
        order = order[np.argsort((ends - begins)[order] + rng.normal(scale=0.5, size=len(order)), kind="stable")]
        sizes = np.cumsum((ends - begins - 1)[order])
        cuts = np.flatnonzero(np.diff(sizes // self.pairs_at_once)) + 1
        parts = np.split(order, cuts)
        for part in rng.permutation(len(parts)):
            batch = self._batch(begins[parts[part]], ends[parts[part]], rng)
            if batch is not None:
                yield batch

    def _windows(self, rng: np.random.Generator) -> tuple[Ints, Ints]:
        """Cut each user's events into runs of at most `length + 1`, the last of each also the first of the next."""
        starts, sizes = self.data.starts[:-1], np.diff(self.data.starts)
        users = np.flatnonzero(sizes > 1)
        starts, sizes = starts[users], sizes[users]
        phase = np.where(sizes > self.length + 1, rng.integers(0, self.length, len(users)), 0)
        runs = np.ceil((sizes - 1 + phase) / self.length).astype(np.int64)
        run = np.arange(runs.sum()) - np.repeat(np.cumsum(runs) - runs, runs)
        base = np.repeat(starts - phase, runs)
        begins = np.maximum(base + run * self.length, np.repeat(starts, runs))
        ends = np.minimum(base + (run + 1) * self.length + 1, np.repeat(starts + sizes, runs))
        wide = ends - begins > 1
        return begins[wide], ends[wide]

    def _batch(self, begins: Ints, ends: Ints, rng: np.random.Generator) -> Batch | None:
        data, length = self.data, int((ends - begins).max())
        found = gather(data, begins, ends, length)
        index = np.minimum(begins[:, None] + np.arange(length)[None, :], len(data.items) - 1)
        wanted = found.mask & self.target[index]
        wanted[:, 0] = False
        row, at = np.nonzero(wanted)
        if not len(row):
            return None
        # the state that may be known: the last event strictly before the target's instant; within the first instant
        # of a window, the event just before, so that things taken together still teach that they go together
        fresh = np.ones_like(found.times, dtype=bool)
        fresh[:, 1:] = found.times[:, 1:] != found.times[:, :-1]
        instant = np.maximum.accumulate(np.where(fresh, np.arange(length)[None, :], 0), axis=1)[row, at]
        place = np.where(instant > 0, instant - 1, at - 1)
        moment = found.times[row, at]
        gap = age_bucket((moment - found.times[row, place]) / _MICRO)
        targets = found.items[row, at]
        candidates = np.union1d(targets, self.negatives.draw(targets, rng))
        self._column[candidates] = np.arange(len(candidates))
        users, user = np.unique(np.searchsorted(data.starts, begins[row], side="right") - 1, return_inverse=True)
        taken = self._taken(users, len(candidates))
        target = self._column[targets]
        skips, skipped = self.skips.draw(index[row, at], rng)
        pair, _ = np.nonzero(skipped)
        column = self._column[skips[skipped]]
        self._column[candidates] = -1
        return Batch(
            histories=found,
            row=row,
            place=place,
            gap=gap,
            target=target,
            importance=self.importance[index[row, at]],
            candidates=candidates,
            log_odds=self.negatives.log_odds(candidates, len(row)),
            moment=moment,
            first_seen=self.first_seen[candidates],
            user=user,
            taken=taken,
            drawn_skips=(pair * len(candidates) + column)[column >= 0],
            skips=skips,
            skipped=skipped,
        )

    def _taken(self, users: Ints, n: int) -> Ints:
        """Return which of the `n` candidates each user took at any time, as place among `users` * n + column."""
        starts = self.data.starts[users]
        sizes = self.data.starts[users + 1] - starts
        event = np.arange(sizes.sum()) + np.repeat(starts - (np.cumsum(sizes) - sizes), sizes)
        column = self._column[self.data.items[event]]
        taken: Ints = (np.repeat(np.arange(len(users)) * n, sizes) + column)[column >= 0]
        return taken


def _pairs(data: Sequences, most: int) -> int:
    """Return about how many pairs an epoch has; users of whom nothing is known yet make none less."""
    return min(len(data.items) - int(np.count_nonzero(np.diff(data.starts))), most)


def _pairs_at_once(data: Sequences, most: int, per_epoch: int, least_steps: int) -> int:
    """Return how many pairs a step has: `most`, or as few as make `least_steps` of an epoch, but not too few."""
    if not least_steps:
        return most
    return min(most, max(_pairs(data, per_epoch) // least_steps, FEWEST_PAIRS))


def _importance(times: Ints, recent_half: float) -> NDArray[np.float32]:
    """Return each event's weight: halved for every `recent_half` of the log's events that came after it; mean one."""
    if not recent_half or not len(times):
        return np.ones(len(times), np.float32)
    place = np.empty(len(times), np.int64)
    place[np.argsort(times, kind="stable")] = np.arange(len(times))
    later = 1 - place / len(times)
    weight = 0.5 ** (later / recent_half)
    out: NDArray[np.float32] = (weight / weight.mean()).astype(np.float32)
    return out
