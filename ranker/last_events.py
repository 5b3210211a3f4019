"""What did each user do last? Of one layer of a history, or of several, each told after those before it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from encoders.kinds import Codes
from ranker.arrays import Floats, Rows, Times
from ranker.moments import Recent


@dataclass(frozen=True, kw_only=True)
class LastEvents:
    """The last events of each query's user before its moment, oldest first, padded in front; arrays [q, length]."""

    items: Rows
    """Item rows; -1 where padded."""
    weights: Floats
    times: Times
    kinds: Codes
    """Codes of what was done, in the history's vocabulary."""
    sessions: Rows | None
    """Numbers of the sessions that events name, 0 for none; None where no event of the layer names any."""

    @classmethod
    def of_layers(cls, layers: Sequence[Self]) -> Self:
        """Return as many of the last events of all layers; of equal times those of the later layer come last."""
        if len(layers) == 1:
            return layers[0]
        items, times = _beside(layer.items for layer in layers), _beside(layer.times for layer in layers)
        length = layers[0].items.shape[1]
        order = np.argsort(np.where(items >= 0, times, -1), axis=1, kind="stable")[:, -length:]
        sessions = None
        if any(layer.sessions is not None for layer in layers):
            told = (np.zeros_like(one.items) if one.sessions is None else one.sessions for one in layers)
            sessions = np.take_along_axis(_beside(told), order, axis=1)
        return cls(
            items=np.take_along_axis(items, order, axis=1),
            weights=np.take_along_axis(_beside(layer.weights for layer in layers), order, axis=1),
            times=np.take_along_axis(times, order, axis=1),
            kinds=np.take_along_axis(_beside(layer.kinds for layer in layers), order, axis=1),
            sessions=sessions,
        )

    def positive(self, as_of: Times) -> Recent:
        """Return those of positive weight, as they look from each query's moment [q]."""
        liked = self.weights > 0
        return Recent(
            items=np.where(liked, self.items, -1).astype(np.int32),
            weights=np.where(liked, self.weights, 0),
            ages=np.where(liked, (as_of[:, None] - self.times) / 1e6, 0),
            kinds=np.where(liked, self.kinds, 0).astype(np.uint8),
            sessions=None if self.sessions is None else np.where(liked, self.sessions, 0),
        )


def _beside(parts: Any) -> npt.NDArray[Any]:
    return np.concatenate(list(parts), axis=1)
