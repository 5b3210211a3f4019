"""What is added to the interest in an item that nobody has touched? Its words have learned little, but are there."""

from dataclasses import dataclass
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class NewcomerBonus:
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
        added = np.float32(self.always) + np.float32(self.words) * shared
        known = np.asarray(users.any(axis=1))[:, None]
        return np.where(known, added, np.float32(0))

    def __bool__(self) -> bool:
        return bool(self.always or self.words)

    def __str__(self) -> str:
        by_words = f" and {self.words:g} times the similarity of their words to the user's past" if self.words else ""
        return f"{self.always:g}{by_words}"


NO_BONUS: Final = NewcomerBonus()
