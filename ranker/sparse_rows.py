"""How are some rows of a sparse matrix read for one query? Without the price of making another matrix of them.

That price is more than the reading where rows have few entries; with a hundred a row SciPy's own compiled steps are
faster. Sums are in double precision, so that a row's sum is the same number alone as among all rows.
"""

import numpy as np
import numpy.typing as npt
from scipy import sparse

from ranker.arrays import Floats


def dense_row(matrix: sparse.csr_matrix, row: int) -> Floats:
    """Return one row of a matrix of distinct entries with all its zeros."""
    out = np.zeros(matrix.shape[1], np.float32)
    start, end = matrix.indptr[row], matrix.indptr[row + 1]
    out[matrix.indices[start:end]] = matrix.data[start:end]
    return out


def entries_at(matrix: sparse.csr_matrix, row: int, columns: npt.NDArray[np.integer]) -> Floats:
    """Return one row's entries in some columns, 0 where it has none; a column of -1 has none.

    >>> entries_at(sparse.csr_matrix([[0, 2, 3]]), 0, np.array([2, 0, -1])).tolist()
    [3.0, 0.0, 0.0]
    """
    return np.where(columns >= 0, dense_row(matrix, row)[columns], np.float32(0))


def row_lengths(matrix: sparse.csr_matrix, rows: npt.NDArray[np.integer]) -> npt.NDArray[np.integer]:
    """Return how many entries some rows have.

    >>> row_lengths(sparse.csr_matrix([[1, 2], [0, 0], [0, 4]]), np.array([2, 0])).tolist()
    [1, 2]
    """
    lengths: npt.NDArray[np.integer] = matrix.indptr[rows + 1] - matrix.indptr[rows]
    return lengths


def row_products(matrix: sparse.csr_matrix, rows: npt.NDArray[np.integer], vector: npt.NDArray[np.floating]) -> Floats:
    """Multiply some rows of few entries with a vector [n_columns]; returns [n_rows].

    >>> row_products(sparse.csr_matrix([[1, 2], [0, 0], [0, 4]]), np.array([2, 1, 0]), np.array([1, 10])).tolist()
    [40.0, 0.0, 21.0]
    """
    place, lengths = _entries(matrix, rows)
    products = matrix.data[place] * vector[matrix.indices[place]]
    return np.bincount(np.repeat(np.arange(len(rows)), lengths), products, len(rows)).astype(np.float32)


def row_maxima(matrix: sparse.csr_matrix, rows: npt.NDArray[np.integer], vector: npt.NDArray[np.floating]) -> Floats:
    """Return the largest value of a vector [n_columns] where some rows have entries [n_rows]; NaN for rows of none.

    >>> row_maxima(sparse.csr_matrix([[1, 2], [0, 0], [0, 4]]), np.array([2, 1, 0]), np.array([11, 10])).tolist()
    [10.0, nan, 11.0]
    """
    place, lengths = _entries(matrix, rows)
    out = np.full(len(rows), np.nan, np.float32)
    held = lengths > 0
    if held.any():
        starts = np.cumsum(lengths[held]) - lengths[held]
        out[held] = np.maximum.reduceat(vector[matrix.indices[place]], starts)
    return out


def sum_of_rows(
    matrix: sparse.csr_matrix, rows: npt.NDArray[np.integer], weights: npt.NDArray[np.floating]
) -> npt.NDArray[np.float64]:
    """Add up some rows, each by its weight; returns [n_columns].

    >>> sum_of_rows(sparse.csr_matrix([[1, 2], [5, 5], [0, 4]]), np.array([0, 2]), np.array([1, 0.5])).tolist()
    [1.0, 4.0]
    """
    place, lengths = _entries(matrix, rows)
    values = matrix.data[place] * np.repeat(weights, lengths)
    return np.asarray(np.bincount(matrix.indices[place], values, matrix.shape[1]), np.float64)


def _entries(
    matrix: sparse.csr_matrix, rows: npt.NDArray[np.integer]
) -> tuple[npt.NDArray[np.integer], npt.NDArray[np.integer]]:
    """Return where the entries of some rows stand, row after row, and how many each row has."""
    start = matrix.indptr[rows]
    lengths = matrix.indptr[rows + 1] - start
    ends = np.cumsum(lengths)
    return np.arange(ends[-1] if len(ends) else 0) + np.repeat(start - (ends - lengths), lengths), lengths
