"""What does interest gain in an item that nobody has touched? Its words have learned little, but they are there."""

from dataclasses import dataclass
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

DECAY: Final = 0.8
"""Each older item of a user's past counts this much of the next newer one."""


@dataclass(frozen=True, kw_only=True)
class NewcomerGain:
    """What training found is to be added to the interest in items that it has not met."""

    always: float = 0.0
    """In any such item, in units of interest."""
    words: float = 0.0
    """Times the TF-IDF similarity of the item to the user's past, which is 1 for the same words."""

    @classmethod
    def read(cls, stored: float | dict[str, Any] | None) -> Self:
        """Return what a model's settings say; a lone number is what earlier models always added."""
        if isinstance(stored, dict):
            return cls(always=float(stored["always"]), words=float(stored["words"]))
        return cls(always=float(stored or 0))

    def of(self, users: Floats, shared: Floats) -> Floats:
        """Return what is added [q, n] for user vectors [q, dim] and their similarities to items by words [q, n].

        Users without events have no interest at all, so nothing is added for them.
        """
        gained = np.float32(self.always) + np.float32(self.words) * shared
        known = np.asarray(users.any(axis=1))[:, None]
        return np.where(known, gained, np.float32(0))

    def __bool__(self) -> bool:
        return bool(self.always or self.words)

    def __str__(self) -> str:
        by_words = f" and {self.words:g} times the similarity of their words to the user's past" if self.words else ""
        return f"{self.always:g}{by_words}"


NO_GAIN: Final = NewcomerGain()


def past_shares(weights: NDArray[np.floating], mask: NDArray[np.bool_], decay: float = DECAY) -> Floats:
    """Return how much each event of a past counts [q, L]: each `decay` times the next newer, by log weight, sum 1.

    Events stand oldest first, with padding on any side where `mask` is False; without events all is 0.

    >>> past_shares(np.ones((1, 3)), np.array([[False, True, True]]), decay=0.25).tolist()
    [[0.0, 0.20000000298023224, 0.800000011920929]]
    """
    back = mask[:, ::-1].cumsum(axis=1)[:, ::-1] - 1
    counted = np.where(mask, decay**back * np.log1p(weights), 0)
    total = counted.sum(axis=1, keepdims=True)
    return np.asarray(counted / np.where(total > 0, total, 1), np.float32)
