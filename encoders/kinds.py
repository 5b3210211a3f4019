"""Which number does an event's kind have? A vocabulary of kinds, the same in training, history and service."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np
from numpy.typing import NDArray

Codes = NDArray[np.uint8]

MOST_KINDS: Final = 255
"""So many kinds have a number of their own, so that a code is one byte an event; a log has a dozen."""


@dataclass(frozen=True)
class Kinds:
    """Names of kinds: the first has the code 1, the next 2; 0 is any that is not among them.

    >>> kinds = Kinds(("view", "like"))
    >>> kinds.codes(["like", "wave", "view"]).tolist()
    [2, 0, 1]
    >>> kinds.codes_of(Kinds(("wave", "like"))).tolist()
    [0, 0, 2]
    """

    names: tuple[str, ...] = ()

    @classmethod
    def of_counts(cls, counts: Iterable[tuple[str, int]]) -> Kinds:
        """Return those that occur most often, the most frequent first; of equals the first by name."""
        most = sorted(counts, key=lambda counted: (-counted[1], counted[0]))
        return cls(tuple(name for name, _ in most[:MOST_KINDS]))

    def __len__(self) -> int:
        return len(self.names)

    @cached_property
    def by_name(self) -> dict[str, int]:
        """The code of each name."""
        return {name: code for code, name in enumerate(self.names, start=1)}

    def codes(self, kinds: Sequence[str]) -> Codes:
        """Return the code of each event's kind [n]."""
        return np.fromiter((self.by_name.get(kind, 0) for kind in kinds), np.uint8, len(kinds))

    def codes_of(self, other: Kinds) -> Codes:
        """Return which code here each code of another vocabulary has [its kinds + 1]."""
        return np.concatenate([np.zeros(1, np.uint8), self.codes(other.names)])

    def and_also(self, kinds: Iterable[str]) -> Kinds:
        """Return these, whose codes stay, and behind them new ones, as far as there is room."""
        new = [kind for kind in dict.fromkeys(kinds) if kind not in self.by_name]
        return Kinds((*self.names, *new)[:MOST_KINDS]) if new else self


NO_KINDS: Final = Kinds()
"""Nothing is known of kinds: all have the code 0."""
