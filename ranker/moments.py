"""Who asks, and when? Queries as arrays, and what is handed out of each one's latest past."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt

from encoders.kinds import Codes
from ranker.arrays import Floats, Ints, Rows, Times


@dataclass(frozen=True, kw_only=True)
class Moments:
    """Queries as arrays: who asks, and when. `users` may hold rows of users without history."""

    users: Rows
    as_of: Times

    def __len__(self) -> int:
        return len(self.users)

    def take(self, index: npt.NDArray[np.integer] | slice) -> "Moments":
        """Return some of the queries."""
        return Moments(users=self.users[index], as_of=self.as_of[index])


@dataclass(frozen=True, kw_only=True)
class Taken:
    """All interactions of each query's user before its moment, ordered by query; all arrays [n]."""

    query: Ints
    """Number of the query."""
    item: Rows
    weight: Floats
    time: Times

    @classmethod
    def of_layers(cls, layers: Sequence[Self]) -> Self:
        """Return those of all layers of a history; of one query those of a later layer come last."""
        if len(layers) == 1:
            return layers[0]
        query = np.concatenate([layer.query for layer in layers])
        order = np.argsort(query, kind="stable")
        return cls(
            query=query[order],
            item=np.concatenate([layer.item for layer in layers])[order],
            weight=np.concatenate([layer.weight for layer in layers])[order],
            time=np.concatenate([layer.time for layer in layers])[order],
        )


@dataclass(frozen=True, kw_only=True)
class Recent:
    """The last interactions of each query before its moment, oldest first, padded in front; all arrays [q, length]."""

    items: Rows
    """Item rows; -1 where padded."""
    weights: Floats
    """Event weights; 0 where padded."""
    ages: npt.NDArray[np.float64]
    """Seconds from the interaction to the query; 0 where padded. In single precision, seconds between two events of a
    year ago would be lost, which the encoder was trained on."""
    kinds: Codes
    """Codes of what was done, in the vocabulary `kinds` of the history; 0 where unknown or padded."""
    sessions: Rows | None = None
    """Numbers of the sessions that events name, 0 where none or padded; None: no event names any."""

    @property
    def mask(self) -> npt.NDArray[np.bool_]:
        """True where there is an interaction."""
        return self.items >= 0
