"""Which values are the greatest? Found exactly, without sorting all or computing all exactly."""

from collections.abc import Callable
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from ranker.arrays import Floats

_SAMPLE: Final = 2_048


def best(
    values: npt.NDArray[np.floating[Any]], size: int, among: npt.NDArray[np.bool_] | None = None
) -> npt.NDArray[np.int64]:
    """Return the places of the `size` greatest values in no order, of equal ones the first.

    Values of -inf are never among them, nor places that `among` does not mark, so that there may be fewer.

    >>> sorted(best(np.array([1.0, 3.0, -np.inf, 2.0, 3.0, 1.0]), 4).tolist())
    [0, 1, 3, 4]
    >>> best(np.array([1.0, -np.inf]), 2).tolist()
    [0]
    >>> best(np.array([1.0, 3.0, 2.0]), 1, np.array([True, False, True])).tolist()
    [2]
    """
    hopeful = _hopeful(values, size, among)
    if hopeful is None and among is not None:
        hopeful = np.flatnonzero(among)
    inside = values if hopeful is None else values[hopeful]
    found = _best_of_all(inside, size)
    return found if hopeful is None else hopeful[found]


def best_from_approximate(
    approximate: Floats,
    error: float,
    size: int,
    exact: Callable[[npt.NDArray[np.int64]], Floats],
    among: npt.NDArray[np.bool_],
) -> tuple[npt.NDArray[np.int64], Floats]:
    """Return places among which are the `size` greatest by `exact`, ties included, and their exact values.

    `approximate` [n] lies within `error` of the exact values; only places that `among` marks are looked at. At least
    `size` places reach the least exact value of those that are approximately best, so whatever lies further than
    `error` below it is not among the greatest.

    >>> exact, all_of_them = np.array([3.0, 1.0, 2.0, 2.5], np.float32), np.ones(4, bool)
    >>> about = np.float32([2.8, 1.1, 2.2, 2.3])
    >>> places, values = best_from_approximate(about, 0.2, 2, lambda places: exact[places], all_of_them)
    >>> places.tolist(), values.tolist()
    ([0, 3], [3.0, 2.5])
    """
    first = best(approximate, size, among)
    values = exact(first)
    if len(first) < size:
        return first, values
    near = np.flatnonzero((approximate >= values.min() - error) & among)
    return near, exact(near)


def nth_greatest(values: npt.NDArray[np.floating[Any]], n: int) -> float:
    """Return the n-th greatest of values, of which there are at least `n`; equal ones count each; 1 is the greatest.

    >>> nth_greatest(np.array([1.0, 3.0, 3.0, 2.0]), 3)
    2.0
    """
    hopeful = _hopeful(values, n, None)
    return _greatest(values if hopeful is None else values[hopeful], n)


def _best_of_all(values: npt.NDArray[np.floating[Any]], size: int) -> npt.NDArray[np.int64]:
    if len(values) <= size:
        return np.flatnonzero(values > -np.inf)
    least = _greatest(values, size)
    if least == -np.inf:
        return np.flatnonzero(values > -np.inf)
    above, level = np.flatnonzero(values > least), np.flatnonzero(values == least)
    return np.concatenate([above, level[: size - len(above)]])


def _hopeful(
    values: npt.NDArray[np.floating[Any]], n: int, among: npt.NDArray[np.bool_] | None
) -> npt.NDArray[np.int64] | None:
    """Return marked places, in order, that hold the `n` greatest values; None where a look at all would not pay.

    A sample tells below which value none of them can be expected. The mark is looked at only where a value lies above:
    a copy with all others taken out would cost ten times as much.
    """
    step = len(values) // _SAMPLE
    if not n or step <= 1:
        return None
    sample = values[::step] if among is None else values[::step][among[::step]]
    rank = 2 * n // step + 8
    if rank >= len(sample):
        return None
    above = values >= np.partition(sample, len(sample) - rank)[len(sample) - rank]
    hopeful = np.flatnonzero(above if among is None else above & among)
    return hopeful if len(hopeful) >= n else None


def _greatest(values: npt.NDArray[np.floating[Any]], n: int) -> float:
    return float(np.partition(values, len(values) - n)[len(values) - n]) if n else np.inf
