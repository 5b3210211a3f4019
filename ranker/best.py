"""Which values are the greatest? Found exactly without sorting, or looking twice at, what cannot be among them."""

from typing import Any, Final

import numpy as np
import numpy.typing as npt

_SAMPLE: Final = 2_048


def best(values: npt.NDArray[np.floating[Any]], size: int, slack: float = 0) -> npt.NDArray[np.int64]:
    """Return the places of the `size` greatest values in no order, of equal ones the first.

    With `slack`, also of all that come so close to the least of them. Values of -inf are never among them, so that
    there may be fewer.

    >>> sorted(best(np.array([1.0, 3.0, -np.inf, 2.0, 3.0, 1.0]), 4).tolist())
    [0, 1, 3, 4]
    >>> best(np.array([1.0, -np.inf]), 2).tolist()
    [0]
    """
    if len(values) <= size:
        return np.flatnonzero(values > -np.inf)
    least = _greatest(values, size)
    if least == -np.inf:
        return np.flatnonzero(values > -np.inf)
    if slack:
        return np.flatnonzero(values >= least - slack)
    above, level = np.flatnonzero(values > least), np.flatnonzero(values == least)
    return np.concatenate([above, level[: size - len(above)]])


def _greatest(values: npt.NDArray[np.floating[Any]], n: int) -> float:
    """Return the n-th greatest value; a sample tells below which value none of them can be expected."""
    step = len(values) // _SAMPLE
    if n and step > 1:
        sample = values[::step]
        rank = 2 * n // step + 8
        if rank < len(sample):
            bound = np.partition(sample, len(sample) - rank)[len(sample) - rank]
            kept = values[values >= bound]
            if len(kept) >= n:
                values = kept
    return float(np.partition(values, len(values) - n)[len(values) - n]) if n else np.inf
