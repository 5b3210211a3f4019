"""How does a sparse matrix lie in a bundle? As its plain arrays, mapped on loading: workers share what they read."""

from pathlib import Path
from typing import Final

import numpy as np
from scipy import sparse

from ranker.arrays import mapped

_PARTS: Final = ("data", "indices", "indptr")
_SHAPE: Final = "shape"


def save_matrix(matrix: sparse.csr_matrix, folder: Path, name: str) -> None:
    """Write the arrays of a matrix as `<name>_data.npy` and the like, not compressed."""
    by_row = matrix.tocsr()
    for part in _PARTS:
        np.save(_path(folder, name, part), getattr(by_row, part))
    np.save(_path(folder, name, _SHAPE), np.array(matrix.shape))


def load_matrix(folder: Path, name: str) -> sparse.csr_matrix:
    """Map what `save_matrix` wrote, which cannot be written to; of an earlier bundle read `<name>.npz`."""
    compressed = folder / f"{name}.npz"
    if compressed.is_file():
        return sparse.load_npz(compressed).tocsr()
    data, indices, indptr = (mapped(_path(folder, name, part)) for part in _PARTS)
    n_rows, n_columns = np.load(_path(folder, name, _SHAPE), allow_pickle=False).tolist()
    return sparse.csr_matrix((data, indices, indptr), shape=(n_rows, n_columns))


def is_saved(folder: Path, name: str) -> bool:
    """Tell whether `load_matrix` finds the matrix: earlier bundles had fewer."""
    return _path(folder, name, _SHAPE).is_file() or (folder / f"{name}.npz").is_file()


def _path(folder: Path, name: str, part: str) -> Path:
    return folder / f"{name}_{part}.npy"
