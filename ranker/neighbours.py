"""Which items go together? Item-item weights from what the same users took, near in time and in which order."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import sparse

from ranker.counter import Rows, Times
from ranker.history import Floats, Recent

SESSION_US = 1_800_000_000
"""Half an hour without an interaction ends a session, as web analytics have it."""


@dataclass(frozen=True, kw_only=True)
class NeighboursConfig:
    """How item-item weights are made."""

    size: int = 200
    """Neighbours kept for each item."""
    max_history: int = 300
    """Only this many of a user's latest items count; keeps a few very busy users from deciding."""
    half_life: float = 0.25
    """An interaction this share of the log's span before its end counts half."""
    max_lag: int = 10
    """For the order: how many steps apart two interactions of a user may lie."""
    lag_decay: float = 0.7
    """For the order: each further step apart counts this much of the one before."""
    session_weight: float = 1.0
    """For the order: two interactions within half an hour count this many times. More than 1 found less of what came
    next on the logs tried."""
    shrinkage: float = 5.0
    """Added to the norm, so that pairs seen once or twice do not come first."""


def fit_together(users: Times, items: Rows, times: Times, n_items: int, config: NeighboursConfig) -> sparse.csr_matrix:
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
    block = max(1, int(2e7 // max(n_items, 1)))
    parts = []
    for start in range(0, n_items, block):
        product = (columns[start : start + block] @ weighted).tocoo()
        rows = product.row + start
        keep = rows != product.col
        shrunk = norm[rows] * norm[product.col] + config.shrinkage * np.median(1 / busy)
        parts.append((rows[keep], product.col[keep], (product.data / shrunk)[keep]))
    return _strongest(parts, n_items, config.size)


def fit_following(users: Times, items: Rows, times: Times, n_items: int, config: NeighboursConfig) -> sparse.csr_matrix:
    """Weigh pairs of items by how often the second followed the first within a few steps of the same user.

    Interactions of the same instant have no order and count half in each direction. Events must be ordered by user and
    time. Returns [n_items, n_items]: row = the earlier item.
    """
    age = _age_weights(times, config.half_life)
    parts = []
    for lag in range(1, config.max_lag + 1):
        same = (users[lag:] == users[:-lag]) & (items[lag:] != items[:-lag])
        earlier, later = items[:-lag][same], items[lag:][same]
        weight = config.lag_decay ** (lag - 1) * age[lag:][same]
        apart = (times[lag:] - times[:-lag])[same]
        weight = np.where(apart <= SESSION_US, weight * config.session_weight, weight)
        instant = apart == 0
        weight = np.where(instant, weight / 2, weight).astype(np.float32)
        parts.append((earlier, later, weight))
        parts.append((later[instant], earlier[instant], weight[instant]))
    counts = _sum(parts, n_items)
    total = np.asarray(counts.sum(axis=1)).ravel() + config.shrinkage
    popular = np.sqrt(np.asarray(counts.sum(axis=0)).ravel() + config.shrinkage)
    coo = counts.tocoo()
    return _strongest(
        [(coo.row, coo.col, coo.data / (np.sqrt(total)[coo.row] * popular[coo.col]))], n_items, config.size
    )


def history_weights(recent: Recent, n_items: int, decay: float) -> sparse.csr_matrix:
    """Return how much each item of a query's past counts [q, n_items]: each `decay` times the next newer, sum 1."""
    mask = recent.mask
    back = mask[:, ::-1].cumsum(axis=1)[:, ::-1] - 1
    weights = np.where(mask, decay**back * np.log1p(recent.weights), 0).astype(np.float32)
    query, _ = np.nonzero(mask)
    matrix = sparse.csr_matrix((weights[mask], (query, recent.items[mask])), shape=(len(mask), n_items))
    total = np.asarray(matrix.sum(axis=1)).ravel()
    return sparse.diags_array(1 / np.where(total > 0, total, 1)).astype(np.float32) @ matrix


def last_items(recent: Recent, n_items: int) -> sparse.csr_matrix:
    """Return 1 for the latest item of each query's past [q, n_items]."""
    length = recent.mask.shape[1]
    latest = length - 1 - recent.mask[:, ::-1].argmax(axis=1) if length else np.zeros(len(recent.mask), np.int64)
    query = np.flatnonzero(recent.mask.any(axis=1))
    columns = recent.items[query, latest[query]]
    return sparse.csr_matrix((np.ones(len(query), np.float32), (query, columns)), shape=(len(recent.mask), n_items))


def _age_weights(times: Times, half_life: float) -> Floats:
    if not len(times):
        return np.ones(0, np.float32)
    span = max(int(times.max() - times.min()), 1)
    weights: Floats = (0.5 ** ((times.max() - times) / (span * half_life))).astype(np.float32)
    return weights


def _interaction_matrix(
    users: Times, items: Rows, times: Times, n_items: int, config: NeighboursConfig
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


def _sum(parts: list[tuple[Rows, Rows, Floats]], n_items: int) -> sparse.csr_matrix:
    rows, columns, weights = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    return sparse.coo_matrix((weights, (rows, columns)), shape=(n_items, n_items)).tocsr()


def _strongest(parts: list[tuple[Rows, Rows, Floats]], n_items: int, size: int) -> sparse.csr_matrix:
    picked = list(_strongest_of_each_row(parts, size))
    return (
        _sum(picked, n_items).astype(np.float32) if picked else sparse.csr_matrix((n_items, n_items), dtype=np.float32)
    )


def _strongest_of_each_row(
    parts: list[tuple[Rows, Rows, Floats]], size: int
) -> Iterator[tuple[Rows, Rows, npt.NDArray[np.float32]]]:
    for part in parts:
        order = np.lexsort((part[1], -part[2], part[0]))
        rows, columns, weights = part[0][order], part[1][order], part[2][order]
        within = np.arange(len(rows)) - np.searchsorted(rows, rows, side="left")
        yield rows[within < size], columns[within < size], weights[within < size]
