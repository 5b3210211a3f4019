"""Which arrays does this room pass around, and how are those of a bundle read?"""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Rows = npt.NDArray[np.int32]
"""Rows of the catalogue, of users, or numbers of queries; -1 where there is none."""
Ints = npt.NDArray[np.int64]
"""Counts, positions, numbers of users or of queries."""
Times = npt.NDArray[np.int64]
"""Microseconds since 1970, naive UTC."""
Columns = dict[str, npt.NDArray[np.floating[Any]]]
"""Features by name, a value for each pair."""


def mapped(path: Path) -> npt.NDArray[Any]:
    """Memory-map an array, as a plain one: NumPy's own class for mapped arrays makes each look at them slow."""
    array: npt.NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    return array.view(np.ndarray)
