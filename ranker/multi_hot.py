"""How do lists of what each item has become a sparse matrix?"""

from collections.abc import Sequence

import numpy as np
from scipy import sparse


def multi_hot(rows: Sequence[Sequence[int]], n_columns: int) -> sparse.csr_matrix:
    """Return a matrix [len(rows), n_columns] with 1 in the columns that each row lists.

    >>> multi_hot([[0, 2], [], [1]], 3).toarray().tolist()
    [[1.0, 0.0, 1.0], [0.0, 0.0, 0.0], [0.0, 1.0, 0.0]]
    """
    indptr = np.cumsum([0] + [len(row) for row in rows])
    indices = np.fromiter((column for row in rows for column in row), np.int32, int(indptr[-1]))
    return sparse.csr_matrix((np.ones(len(indices), np.float32), indices, indptr), shape=(len(rows), n_columns))
