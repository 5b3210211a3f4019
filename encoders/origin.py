"""Was an encoder tuned on this log? Some of what was touched on which day is remembered, by hashes that name nobody."""

import hashlib
from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

Hashes = NDArray[np.uint64]

KEPT: Final = 256
"""So many pairs of item and day are remembered, drawn by their hashes (bottom-k; Cohen and Kaplan, PODC 2007)."""
_AT_ONCE: Final = 1 << 20
_DAY: Final = 86_400_000_000


def remembered(ids: Sequence[str], items: NDArray[np.integer], times: NDArray[np.int64]) -> list[str]:
    """Return what is remembered of a log: at most `KEPT` hashes of an item's id and a day on which it was touched.

    `items` are rows of `ids`, `times` microseconds since 1970.
    """
    kept, of_item = np.zeros(0, np.uint64), _hashes(ids)
    for start in range(0, len(items), _AT_ONCE):
        part = slice(start, start + _AT_ONCE)
        kept = np.union1d(kept, _pairs(of_item, items[part], times[part]))[:KEPT]
    return [f"{value:016x}" for value in kept.tolist()]


def share_found(told: Sequence[str], ids: Sequence[str], items: NDArray[np.integer], times: NDArray[np.int64]) -> float:
    """Return which share of what is remembered of one log is found in another; 1 where nothing is remembered.

    >>> ids, days = ["a", "b"], np.array([0, 1]) * 86_400_000_000
    >>> told = remembered(ids, np.array([0, 1]), days)
    >>> share_found(told, ["b", "new"], np.array([0, 1]), days[::-1] + 5)
    0.5
    """
    if not told:
        return 1.0
    wanted = np.array([int(value, 16) for value in told], np.uint64)
    found, of_item = np.zeros(len(wanted), bool), _hashes(ids)
    for start in range(0, len(items), _AT_ONCE):
        part = slice(start, start + _AT_ONCE)
        found |= np.isin(wanted, _pairs(of_item, items[part], times[part]))
    return float(found.mean())


def _hashes(ids: Sequence[str]) -> Hashes:
    digests = b"".join(
        hashlib.blake2b(str(one).encode("utf-8", "surrogatepass"), digest_size=8).digest() for one in ids
    )
    return np.frombuffer(digests, np.uint64)


def _pairs(of_item: Hashes, items: NDArray[np.integer], times: NDArray[np.int64]) -> Hashes:
    """Mix the hashes of items and days; the steps are those of SplitMix64 (Steele et al., OOPSLA 2014)."""
    mixed = of_item[items] + (times // _DAY).astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray(mixed ^ (mixed >> np.uint64(31)), np.uint64)
