"""From which past queries does the ranker learn? Moments of a later slice than the one the sources were fitted on."""

from dataclasses import dataclass
from typing import Final, Self

import numpy as np
import numpy.typing as npt

from ingest.bounds import Part, Seed, Size, check_bounds
from ingest.moments import NEVER
from ranker.arrays import Floats, Ints, Rows, Times
from ranker.candidates import Candidates, CandidatesConfig, blocks, propose
from ranker.catalogue import UNDATED, Catalogue
from ranker.features import compute
from ranker.history import History
from ranker.moments import Moments
from ranker.rules import RulesConfig, allowed_items
from ranker.sources import Sources

EVERY_ITEM: Final = NEVER
"""A bound before which even what was never touched counts as on offer."""


@dataclass(frozen=True, kw_only=True)
class ExamplesConfig:
    """Which moments become queries, and how many candidates of each are learned from."""

    share: Part = 0.1
    """Examples come from this latest share of the log; the sources that make them are fitted on what lies before it."""
    max_queries: Size = 8_000
    """Most queries of each kind, drawn at random: at later interactions (what came next?), and at one moment for
    every user active later (what came at all?)."""
    max_requests: Size = 20_000
    """Most shown requests from which the blend for given items learns, drawn at random."""
    negatives: Size = 100
    """Candidates that the user did not take kept for each query, drawn at random."""
    seed: Seed = 0
    """Seed of the draws."""

    def __post_init__(self) -> None:
        check_bounds(self)


@dataclass(frozen=True, kw_only=True)
class Truth:
    """Queries with what followed: flat pairs of query number and item row, with the event weight."""

    moments: Moments
    query: Rows
    item: Rows
    weight: Floats
    known_by: Times
    """By when an item must have been touched to count as on offer, where its publication is not known [q];
    `EVERY_ITEM`: all count."""

    def sample(self, size: int, rng: np.random.Generator) -> "Truth":
        """Return `size` of the queries at most, drawn at random."""
        if len(self.moments) <= size:
            return self
        return self._of(np.sort(rng.choice(len(self.moments), size, replace=False)))

    def and_also(self, other: "Truth") -> "Truth":
        """Return the queries of both."""
        return Truth(
            moments=Moments(
                users=np.concatenate([self.moments.users, other.moments.users]),
                as_of=np.concatenate([self.moments.as_of, other.moments.as_of]),
            ),
            query=np.concatenate([self.query, other.query + np.int32(len(self.moments))]),
            item=np.concatenate([self.item, other.item]),
            weight=np.concatenate([self.weight, other.weight]),
            known_by=np.concatenate([self.known_by, other.known_by]),
        )

    def _of(self, chosen: npt.NDArray[np.int64]) -> "Truth":
        number = np.full(len(self.moments), -1, np.int32)
        number[chosen] = np.arange(len(chosen))
        kept = number[self.query] >= 0
        return Truth(
            moments=self.moments.take(chosen),
            query=number[self.query[kept]],
            item=self.item[kept],
            weight=self.weight[kept],
            known_by=self.known_by[chosen],
        )


@dataclass(frozen=True, kw_only=True)
class Examples:
    """Rows for the ranker, ordered by query."""

    features: Floats
    labels: npt.NDArray[np.int32]
    """0 = nothing followed; otherwise the rounded log2 of 1 + event weight, at least 1."""
    positions: npt.NDArray[np.int32]
    """At which place each row was shown, 1 first; 0 where none is known, as of what sources proposed."""
    groups: npt.NDArray[np.int64]
    """Rows of each query."""
    as_of: Times
    """Moment of each query."""
    users: Ints
    """A number that tells each query's user from the others'."""
    negative_weight: Floats
    """How many candidates that nobody took each of the kept ones stands for, by query."""
    retrieved: float
    """Share of what followed that the candidates held."""
    followed: int = 0
    """How many items followed, proposed or not: what `retrieved` is a share of."""

    def split(self, queries: npt.NDArray[np.bool_]) -> "tuple[Examples, Examples]":
        """Return the examples of the marked queries, and those of the others."""
        return self._of(queries), self._of(~queries)

    def _of(self, queries: npt.NDArray[np.bool_]) -> "Examples":
        rows = np.repeat(queries, self.groups)
        return Examples(
            features=self.features[rows],
            labels=self.labels[rows],
            positions=self.positions[rows],
            groups=self.groups[queries],
            as_of=self.as_of[queries],
            users=self.users[queries],
            negative_weight=self.negative_weight[queries],
            retrieved=self.retrieved,
            followed=self.followed,
        )

    @classmethod
    def concatenate(cls, parts: "list[Examples]") -> Self:
        """Put several sets of examples into one."""
        followed = [part.followed for part in parts]
        return cls(
            features=np.concatenate([part.features for part in parts]),
            labels=np.concatenate([part.labels for part in parts]),
            positions=np.concatenate([part.positions for part in parts]),
            groups=np.concatenate([part.groups for part in parts]),
            as_of=np.concatenate([part.as_of for part in parts]),
            users=np.concatenate([part.users for part in parts]),
            negative_weight=np.concatenate([part.negative_weight for part in parts]),
            retrieved=sum(part.retrieved * part.followed for part in parts) / max(sum(followed), 1),
            followed=sum(followed),
        )


def next_items(history: History, since: int, until: int, *, repeats: bool = False) -> Truth:
    """Ask for each later interaction: what did the user take, not having taken it before (or, with `repeats`, at all)?

    The question stands at its instant, or when the answer was given that it followed (`ranker/asked.py`).
    Nothing tells whether an item untouched until then was on offer at the instant, so such items are left out: counted
    only when taken, they would teach that new items are always taken.
    """
    users, items, weights, times = history.events(before=until)
    asked = history.asked(before=until)
    worth = weights if repeats else worth_of_first(users, items, times, weights)
    taken = (worth > 0) & (asked >= since)
    return _as_truth(users[taken], asked[taken], items[taken], worth[taken], known_by=None)


def all_later(history: History, moment: int, until: int, *, repeats: bool = False) -> Truth:
    """Ask at one moment: what new items (with `repeats`: which at all) did each user take in `moment <= time < until`?

    Cold users are asked too, and about items that were first touched within the window.
    """
    users, items, weights, times = history.events(before=until)
    worth = weights if repeats else worth_of_first(users, items, times, weights)
    taken = (worth > 0) & (times >= moment)
    return _as_truth(users[taken], np.full(taken.sum(), moment), items[taken], worth[taken], known_by=until)


def worth_of_first(users: Ints, items: Rows, times: Times, weights: Floats) -> Floats:
    """Return what each event in which a user met an item for the first time led to; 0 for all other events.

    That is the greatest weight of the user's events with the item: who views it now may buy it later. Of several first
    events at once one counts; one of negative weight, which hides the item, leads to nothing.

    >>> worth_of_first(np.array([7, 7, 8]), np.array([1, 1, 1]), np.array([10, 20, 15]), np.array([1.0, 10.0, 1.0]))
    array([10.,  0.,  1.])
    """
    order = np.lexsort((times, items, users))
    begins = np.flatnonzero(np.append(True, (np.diff(users[order]) != 0) | (np.diff(items[order]) != 0)))
    out = np.zeros(len(order), weights.dtype)
    if len(order):
        first, greatest = weights[order[begins]], np.maximum.reduceat(weights[order], begins)
        out[order[begins]] = np.where(first < 0, 0, np.maximum(greatest, 0))
    return out


def known_items(history: History, catalogue: Catalogue, known_by: Times) -> npt.NDArray[np.bool_]:
    """Mark the items known to have been on offer [q, n_items]: taken before `known_by`, or with a publication time.

    `EVERY_ITEM` in `known_by` marks all.

    A catalogue may list what is yet to come. As candidates that nobody could take, such items would teach that new
    items are never taken.
    """
    known = (history.first_takings(len(catalogue))[None] < known_by[:, None]) | (known_by == EVERY_ITEM)[:, None]
    return np.asarray(known | (catalogue.published_at > UNDATED)[None])


def make_examples(
    sources: Sources,
    history: History,
    truth: Truth,
    candidates: CandidatesConfig,
    config: ExamplesConfig,
    rng: np.random.Generator,
    rules: RulesConfig | None = None,
) -> Examples:
    """Propose candidates for each query as service does, compute their features and label them with what followed.

    Only items known to have been on offer are proposed: see `known_items`.
    """
    n_items = len(sources.catalogue)
    truth_key = truth.query.astype(np.int64) * n_items + truth.item
    order = np.argsort(truth_key)
    truth_key, truth_weight = truth_key[order], truth.weight[order]
    parts, drawn, found = [], [], 0
    for block in blocks(len(truth.moments), n_items, pasts=history.user_counts(truth.moments)):
        situation = sources.situation(history, truth.moments.take(block))
        allowed = allowed_items(history, situation.moments, sources.catalogue, rules)
        allowed &= known_items(history, sources.catalogue, truth.known_by[block])
        pairs = propose(sources, situation, allowed, candidates)
        key = (pairs.query.astype(np.int64) + block.start) * n_items + pairs.item
        place = np.minimum(np.searchsorted(truth_key, key), len(truth_key) - 1)
        weight = np.where(truth_key[place] == key, truth_weight[place], 0)
        found += int((weight > 0).sum())
        kept = _keep(pairs, weight > 0, config.negatives, rng)
        drawn.append(_drawn(pairs.query, weight <= 0, kept))
        pairs, weight = pairs.take(kept), weight[kept]
        features = compute(situation, sources.everything, pairs, sources)
        asked, groups = np.unique(pairs.query, return_counts=True)
        parts.append((features, labels_of(weight), groups, block.start + asked))
    features, labels, groups, asked = (np.concatenate(part) for part in zip(*parts, strict=True))
    return Examples(
        features=features,
        labels=labels,
        positions=np.zeros(len(labels), np.int32),
        groups=groups,
        as_of=truth.moments.as_of[asked],
        users=truth.moments.users[asked].astype(np.int64),
        negative_weight=_stand_for(np.concatenate([part[0] for part in drawn]), sum(part[1] for part in drawn)),
        retrieved=found / max(len(truth_key), 1),
        followed=len(truth_key),
    )


def rows_by_query(groups: npt.NDArray[np.integer]) -> npt.NDArray[np.int64]:
    """Return the number of each row's query, where query `q` has `groups[q]` rows, one query after the other."""
    return np.repeat(np.arange(len(groups)), groups)


def labels_of(weights: Floats) -> npt.NDArray[np.int32]:
    """Turn event weights into labels: 0 for none, then 1, 2, 3 ... as the weight doubles, at most 6."""
    return np.where(weights > 0, np.clip(np.round(np.log2(1 + np.maximum(weights, 0))), 1, 6), 0).astype(np.int32)


def _keep(pairs: Candidates, positive: npt.NDArray[np.bool_], negatives: int, rng: np.random.Generator) -> Rows:
    hopeful = np.isin(pairs.query, pairs.query[positive])
    draw = rng.random(len(pairs))
    draw[positive] = -1
    order = np.lexsort((draw, pairs.query))
    within = np.arange(len(order)) - np.searchsorted(pairs.query[order], pairs.query[order])
    n_positive = np.bincount(pairs.query[positive], minlength=int(pairs.query.max(initial=0)) + 1)
    kept = order[(within < negatives + n_positive[pairs.query[order]]) & hopeful[order]]
    return np.sort(kept)


def _drawn(query: Rows, negative: npt.NDArray[np.bool_], kept: Rows) -> tuple[npt.NDArray[np.int64], int]:
    """Count negatives of the queries kept, proposed and kept [q, 2], and those of the queries left out."""
    n_queries = int(query.max(initial=-1)) + 1
    proposed = np.bincount(query[negative], minlength=n_queries)
    asked = np.unique(query[kept])
    held = np.bincount(query[kept][negative[kept]], minlength=n_queries)
    return np.stack([proposed, held], axis=1)[asked], int(proposed.sum() - proposed[asked].sum())


def _stand_for(counts: npt.NDArray[np.int64], left_out: int) -> Floats:
    """Weigh the negatives kept, by query, so that they add up to all: their own query's and, evenly, those left out."""
    proposed, held = counts.T
    of_others = 1 + left_out / max(int(proposed[held > 0].sum()), 1)
    return np.asarray(proposed / np.maximum(held, 1) * of_others, np.float32)


def _as_truth(users: Ints, as_of: Times, items: Rows, weights: Floats, known_by: int | None) -> Truth:
    asked, number = np.unique(np.stack([users, as_of], axis=1), axis=0, return_inverse=True)
    query = number.ravel().astype(np.int32)
    once = _heaviest_once(query, items, weights)
    return Truth(
        moments=Moments(users=asked[:, 0].astype(np.int32), as_of=asked[:, 1]),
        query=query[once],
        item=items[once],
        weight=weights[once],
        known_by=asked[:, 1] if known_by is None else np.full(len(asked), known_by),
    )


def _heaviest_once(query: Rows, items: Rows, weights: Floats) -> npt.NDArray[np.int64]:
    """Choose one taking of each query and item, that of the greatest weight; in the order given."""
    order = np.lexsort((-weights, items, query))
    first = np.ones(len(order), bool)
    first[1:] = (np.diff(query[order]) != 0) | (np.diff(items[order]) != 0)
    return np.sort(order[first])
