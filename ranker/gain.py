"""Which of two models orders the same questions better, and how sure is that?"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from encoders.intervals import paired_interval
from ranker.examples import Examples, rows_by_query


@dataclass(frozen=True, kw_only=True)
class Gain:
    """NDCG@10 of one model beside that of another, over the same questions."""

    value: float
    """Mean NDCG@10 of ours."""
    baseline: float
    """Mean NDCG@10 of the other."""
    low: float
    high: float
    """Bounds of the mean difference, ours minus the other: a paired 95 % bootstrap interval over users, NaN for one."""
    queries: int

    @property
    def is_better(self) -> bool:
        """Whether the whole interval lies above zero."""
        return self.low > 0

    @property
    def is_worse(self) -> bool:
        """Whether the whole interval lies below zero."""
        return self.high < 0


def ndcg_of_queries(
    labels: npt.NDArray[np.integer], scores: npt.NDArray[np.floating], groups: npt.NDArray[np.integer], k: int = 10
) -> npt.NDArray[np.float64]:
    """Return the NDCG@k of each query, gains being labels, as the ranker is trained; rows stand query by query.

    Järvelin and Kekäläinen, Cumulated gain-based evaluation of IR techniques, 2002. Of equal scores the earlier row
    comes first. A query without anything relevant has 1, as in LightGBM.

    >>> ndcg_of_queries(np.array([0, 1]), np.array([0.9, 0.1]), np.array([2])) == 1 / np.log2(3)
    array([ True])
    """
    query = rows_by_query(groups)
    gained = dcg_of_queries(labels, query, np.lexsort((-scores, query)), len(groups), k)
    best = dcg_of_queries(labels, query, np.lexsort((-labels, query)), len(groups), k)
    return np.where(best > 0, gained / np.where(best > 0, best, 1), 1.0)


def dcg_of_queries(
    labels: npt.NDArray[np.integer],
    query: npt.NDArray[np.integer],
    order: npt.NDArray[np.integer],
    n_queries: int,
    k: int = 10,
) -> npt.NDArray[np.float64]:
    """Return the DCG@k of each query's rows in an order that goes query by query [n_queries]; gains are labels.

    >>> dcg_of_queries(np.array([0, 2, 1]), np.array([0, 0, 1]), np.array([0, 1, 2]), 2).tolist() == [2 / np.log2(3), 1]
    True
    """
    of = query[order]
    place = np.arange(len(order)) - np.searchsorted(of, of)
    gains = np.where(place < k, labels[order] / np.log2(place + 2), 0.0)
    return np.asarray(np.bincount(of, gains, n_queries), np.float64)


def compare(judge: Examples, ours: npt.NDArray[np.float64], theirs: npt.NDArray[np.float64], seed: int) -> Gain:
    """Compare two models' scores of the examples, question by question."""
    mine, others = (ndcg_of_queries(judge.labels, scores, judge.groups) for scores in (ours, theirs))
    found = paired_interval(mine, others, users=judge.users, seed=seed)
    return Gain(
        value=float(mine.mean()), baseline=float(others.mean()), low=found.low, high=found.high, queries=found.n
    )
