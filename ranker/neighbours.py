"""Which items go together? Item-item weights from what the same users took, near in time and in which order."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import sparse

from encoders.past import past_shares
from ingest.bounds import Amount, Positive, PositiveAmount, check_bounds
from ranker.arrays import Floats, Ints, Rows, Times
from ranker.moments import Recent
from ranker.sessions import in_one_session

_AT_ONCE = 3_000_000


@dataclass(frozen=True, kw_only=True)
class NeighboursConfig:
    """How item-item weights are made."""

    size: Positive = 200
    """Neighbours kept for each item."""
    max_history: Positive = 300
    """Only this many of a user's latest items count, so that a few very busy users do not decide."""
    half_life: PositiveAmount = 0.25
    """An interaction counts half when it lies this share of the log's span before its end."""
    max_lag: Positive = 10
    """For the order: most steps between two interactions of a user."""
    lag_decay: Amount = 0.7
    """For the order: each further step apart counts this much of the one before it."""
    session_weight: Amount = 1.0
    """For the order: two interactions of one session (without a session_id, within half an hour) count this many
    times. More than 1 found less of what came next on the logs tried."""
    shrinkage: Amount = 5.0
    """Added to the norm, so that pairs seen only once or twice do not come first."""

    def __post_init__(self) -> None:
        check_bounds(self)


def fit_together(users: Ints, items: Rows, times: Times, n_items: int, config: NeighboursConfig) -> sparse.csr_matrix:
    """Weigh pairs of items that the same users took, whatever the order.

    A cosine over users, where old interactions count less and users with many items count less for each pair
    (Deshpande and Karypis, Item-Based Top-N Recommendation Algorithms, 2004, section 4.2).
    Events must be ordered by user and time. Returns [n_items, n_items], at most `size` weights a row.
    """
    matrix = _interaction_matrix(users, items, times, n_items, config)
    if not matrix.nnz:
        return sparse.csr_matrix((n_items, n_items), dtype=np.float32)
    busy = np.sqrt(np.maximum(np.diff(matrix.indptr), 1)).astype(np.float32)
    weighted = sparse.diags_array(1 / busy) @ matrix
    norm = np.sqrt(np.asarray(weighted.multiply(matrix).sum(axis=0)).ravel())
    columns = matrix.T.tocsr()
    least = config.shrinkage * np.median(1 / busy)
    parts = []
    # By what there is to multiply, not by how many cells it might fill: each product costs a look at every column.
    held = np.diff(matrix.indptr)
    for start, end in _blocks(np.bincount(matrix.indices, np.repeat(held, held), n_items)):
        product = (columns[start:end] @ weighted).tocsr()
        row = start + np.repeat(np.arange(product.shape[0]), np.diff(product.indptr))
        product.data = product.data / (norm[row] * norm[product.indices] + least)
        product.data[row == product.indices] = 0  # an item is not its own neighbour
        parts.append(_strongest(product, config.size))
    return sparse.vstack(parts, format="csr")


def fit_following(
    users: Ints,
    items: Rows,
    times: Times,
    n_items: int,
    config: NeighboursConfig,
    sessions: Rows | None = None,
) -> sparse.csr_matrix:
    """Weigh pairs of items by how often the second followed the first within a few steps of the same user.

    Interactions of the same instant have no order and count half in each direction. Events must be ordered by user and
    time. `sessions` are numbers of the sessions that they name, 0 for none. Returns [n_items, n_items]: row = the
    earlier item.
    """
    steps = _Steps(users, items, times, config, sessions)
    total, popular = np.full((2, n_items), config.shrinkage)
    for earlier, later, weight in steps:
        total += np.bincount(earlier, weight, n_items)
        popular += np.bincount(later, weight, n_items)
    return _weigh(steps, np.sqrt(total), np.sqrt(popular), config.size)


def fit_straight(users: Ints, items: Rows, times: Times, n_items: int, config: NeighboursConfig) -> sparse.csr_matrix:
    """Tell which share of the steps from an item led straight to another one, later steps counting more.

    `fit_following` says what goes with an item, near by and whatever its popularity. This says how likely each item is
    to come next, which decides where many users take the same path step by step. Next are all items of the user's next
    instant, as parts of one step, and half as much those of the same instant, in whatever order the log has them, up to
    `max_lag` places away. `shrinkage` is added to the steps. Arguments and rows are those of `fit_following`; sessions
    do not matter.
    """
    steps = _StraightSteps(users, items, times, config)
    total = np.full(n_items, config.shrinkage)
    for earlier, _, weight in steps:
        total += np.bincount(earlier, weight, n_items)
    return _weigh(steps, total, np.ones(n_items), config.size)


def _weigh(
    steps: "_Steps", by_earlier: npt.NDArray[np.floating[Any]], by_later: npt.NDArray[np.floating[Any]], size: int
) -> sparse.csr_matrix:
    """Add up the steps between each two items, and divide by what is given of the earlier and of the later one."""
    n_items, parts = len(by_earlier), []
    for start, end in _blocks(np.bincount(steps.items, minlength=n_items)):
        inside = [
            (earlier[here] - start, later[here], weight[here])
            for earlier, later, weight in steps
            for here in [(earlier >= start) & (earlier < end)]
        ]
        row, column, weight = (np.concatenate(arrays) for arrays in zip(*inside, strict=True))
        counts = sparse.coo_matrix((weight, (row, column)), shape=(end - start, n_items)).tocsr()
        row = start + np.repeat(np.arange(end - start), np.diff(counts.indptr))
        counts.data = counts.data / (by_earlier[row] * by_later[counts.indices])
        parts.append(_strongest(counts, size))
    return sparse.vstack(parts, format="csr") if parts else sparse.csr_matrix((n_items, n_items), dtype=np.float32)


class _Steps:
    """Pairs of items that the same user took within a few steps: earlier item, later item, weight; a part for each lag.

    Made anew each time they are gone through: all of them together are many times the log.
    """

    def __init__(
        self, users: Ints, items: Rows, times: Times, config: NeighboursConfig, sessions: Rows | None = None
    ) -> None:
        self.users, self.items, self.times, self.config = users, items, times, config
        self.sessions = np.broadcast_to(np.int32(0), len(users)) if sessions is None else sessions
        self.age = _age_weights(times, config.half_life)

    def __iter__(self) -> Iterator[tuple[Rows, Rows, Floats]]:
        users, items, times, sessions, config = self.users, self.items, self.times, self.sessions, self.config
        for lag in range(1, config.max_lag + 1):
            same = (users[lag:] == users[:-lag]) & (items[lag:] != items[:-lag])
            earlier, later = items[:-lag][same], items[lag:][same]
            weight = config.lag_decay ** (lag - 1) * self.age[lag:][same]
            apart = (times[lag:] - times[:-lag])[same]
            if config.session_weight != 1:
                together = in_one_session(sessions[:-lag][same], sessions[lag:][same], apart)
                weight = np.where(together, weight * config.session_weight, weight)
            instant = apart == 0
            weight = np.where(instant, weight / 2, weight).astype(np.float32)
            yield earlier, later, weight
            yield later[instant], earlier[instant], weight[instant]


class _StraightSteps(_Steps):
    """Pairs of items of one instant of a user, and of two instants next to each other."""

    def __iter__(self) -> Iterator[tuple[Rows, Rows, Floats]]:
        users, items, times = self.users, self.items, self.times
        instant = np.cumsum(np.append(True, (np.diff(users) != 0) | (np.diff(times) != 0))[: len(users)])
        size = np.bincount(instant)[instant] if len(instant) else instant
        for lag in range(1, self.config.max_lag + 1):
            near = (users[lag:] == users[:-lag]) & (instant[lag:] - instant[:-lag] <= 1)
            if lag > 1 and not near.any():  # nor is there any further away
                return
            near &= items[lag:] != items[:-lag]
            earlier, later = items[:-lag][near], items[lag:][near]
            at_once = (instant[lag:] == instant[:-lag])[near]
            parts = np.where(at_once, 2 * (size[lag:][near] - 1), size[lag:][near])
            weight = (self.age[lag:][near] / np.maximum(parts, 1)).astype(np.float32)
            yield earlier, later, weight
            yield later[at_once], earlier[at_once], weight[at_once]


def history_weights(recent: Recent, n_items: int, decay: float) -> sparse.csr_matrix:
    """Return how much each item of a query's past counts [q, n_items]: each `decay` times the next newer, sum 1.

    An item that was taken again has an entry for each time.
    """
    mask = recent.mask
    shares = past_shares(recent.weights, mask, decay)
    ends = np.concatenate([[0], mask.sum(axis=1).cumsum()])
    return sparse.csr_matrix((shares[mask], recent.items[mask], ends), shape=(len(mask), n_items))


def last_items(recent: Recent) -> Rows:
    """Return the latest item of each query's past [q]; -1 without one."""
    mask = recent.mask
    if not mask.shape[1]:
        return np.full(len(mask), -1, np.int32)
    latest = mask.shape[1] - 1 - mask[:, ::-1].argmax(axis=1)
    found: Rows = recent.items[np.arange(len(mask)), latest]  # -1 where padded
    return found


def _age_weights(times: Times, half_life: float) -> Floats:
    if not len(times):
        return np.ones(0, np.float32)
    span = max(int(times.max() - times.min()), 1)
    weights: Floats = (0.5 ** ((times.max() - times) / (span * half_life))).astype(np.float32)
    return weights


def _interaction_matrix(
    users: Ints, items: Rows, times: Times, n_items: int, config: NeighboursConfig
) -> sparse.csr_matrix:
    last = np.searchsorted(users, users, side="right")
    kept = last - np.arange(len(users)) <= config.max_history
    names, rows = np.unique(users[kept], return_inverse=True)
    weights = np.sqrt(_age_weights(times, config.half_life))[kept]
    pair = rows.astype(np.int64) * n_items + items[kept]
    order = np.lexsort((weights, pair))
    newest = np.append(np.diff(pair[order]) != 0, True) if len(order) else order
    chosen = order[newest]
    return sparse.csr_matrix((weights[chosen], (rows[chosen], items[kept][chosen])), shape=(len(names), n_items))


def _blocks(cost: npt.NDArray[Any]) -> Iterator[tuple[int, int]]:
    """Cut items, given what each costs (its events, or its products), into runs of about three million."""
    block = np.cumsum(cost) // _AT_ONCE
    bounds = [0, *(np.flatnonzero(np.diff(block)) + 1).tolist(), len(cost)]
    return pairwise(bounds) if len(cost) else iter(())


def _strongest(weights: sparse.csr_matrix, size: int) -> sparse.csr_matrix:
    """Leave each row its `size` greatest weights over 0, of equals those of the first columns."""
    kept = weights.data > 0
    so_far = np.concatenate([[0], np.cumsum(kept)])
    for row in np.flatnonzero(np.diff(so_far[weights.indptr]) > size).tolist():
        start, end = weights.indptr[row], weights.indptr[row + 1]
        values = weights.data[start:end]
        least = np.partition(values, len(values) - size)[len(values) - size]
        above, level = np.flatnonzero(values > least), np.flatnonzero(values == least)
        level = level[np.argsort(weights.indices[start:end][level])]
        kept[start:end] = False
        kept[start + np.concatenate([above, level[: size - len(above)]])] = True
    ends = np.concatenate([[0], np.cumsum(kept)])[weights.indptr].astype(np.int32)
    found = weights.data[kept].astype(np.float32), weights.indices[kept].astype(np.int32), ends
    strongest = sparse.csr_matrix(found, shape=weights.shape)
    strongest.sort_indices()
    return strongest
