"""Who resembles whom? Collaborative factors; a user's are folded in from history at the moment asked."""

from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import numpy.typing as npt
from scipy import sparse

from ingest.bounds import Amount, Positive, PositiveAmount, Seed, check_bounds
from ranker.arrays import Floats, Ints, Rows
from ranker.moments import Recent


@dataclass(frozen=True, kw_only=True)
class FactorsConfig:
    """How implicit ALS is fitted."""

    size: Positive = 64
    """Number of factors."""
    alpha: Amount = 10.0
    """Confidence of an interaction is 1 + alpha."""
    regularization: PositiveAmount = 10.0
    """L2 penalty. Without any, more factors than items or users would have no solution."""
    iterations: Positive = 15
    """Alternations."""
    seed: Seed = 0
    """Seed of the start."""

    def __post_init__(self) -> None:
        check_bounds(self)


class Factors:
    """Item factors of implicit ALS (Hu, Koren, Volinsky, Collaborative Filtering for Implicit Feedback, 2008).

    They are kept in single precision and summed in double, so that one query alone and the same in a batch, summed in
    another order, rank items alike.
    """

    def __init__(self, items: npt.NDArray[np.floating], alpha: float, regularization: float):
        self.items: Floats = items.astype(np.float32)
        self._alpha = alpha
        self._regularization = regularization
        whole = self.items.astype(np.float64)
        self._gram = whole.T @ whole + regularization * np.eye(items.shape[1])

    @classmethod
    def fit(cls, users: Ints, items: Rows, n_items: int, config: FactorsConfig) -> Self:
        """Fit on distinct user-item pairs with the `implicit` library; items without interaction get zeros."""
        if not len(users):
            return cls(np.zeros((n_items, config.size), np.float32), config.alpha, config.regularization)
        from implicit.cpu.als import AlternatingLeastSquares
        from threadpoolctl import threadpool_limits

        names, rows = np.unique(users, return_inverse=True)
        matrix = sparse.csr_matrix((np.ones(len(items), np.float32), (rows, items)), shape=(len(names), n_items))
        matrix.data[:] = 1
        with threadpool_limits(1, "blas"):  # its own threads and those of BLAS would wait for each other
            model = AlternatingLeastSquares(
                factors=config.size,
                alpha=config.alpha,
                regularization=config.regularization,
                iterations=config.iterations,
                random_state=config.seed,
                num_threads=1,  # more threads make the result depend on their timing
            )
            model.fit(matrix, show_progress=False)
        return cls(np.asarray(model.item_factors, np.float32), config.alpha, config.regularization)

    def user_vectors(self, recent: Recent) -> npt.NDArray[np.float64]:
        """Solve the user side of ALS for each query's recent items; shape [q, size], zeros without history."""
        counts = np.where(recent.mask[..., None], self.items[recent.items].astype(np.float64), 0)
        left = self._gram + self._alpha * (counts.transpose(0, 2, 1) @ counts)
        right = (1 + self._alpha) * counts.sum(axis=1)
        solved: npt.NDArray[np.float64] = np.linalg.solve(left, right[..., None])[..., 0]
        return solved

    def folded_in(self, items: Rows) -> npt.NDArray[np.float64]:
        """Solve the user side of ALS for one past of distinct items, as in fitting; shape [size], zeros without any."""
        held = self.items[items].astype(np.float64)
        left = self._gram + self._alpha * (held.T @ held)
        solved: npt.NDArray[np.float64] = np.linalg.solve(left, (1 + self._alpha) * held.sum(axis=0))
        return solved

    def moved(self, rows: Rows) -> Self:
        """Return the factors of the items in these rows; zeros, as of an item without interaction, for -1."""
        items = np.where(rows[:, None] >= 0, self.items[rows], 0)
        return type(self)(items, self._alpha, self._regularization)

    def save(self, path: Path) -> None:
        """Write factors and settings as one `.npz` file."""
        np.savez(path, items=self.items, alpha=self._alpha, regularization=self._regularization)

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read what `save` wrote."""
        with np.load(path) as stored:
            return cls(stored["items"], float(stored["alpha"]), float(stored["regularization"]))
