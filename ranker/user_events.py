"""What did each user do, in which order? Their events in one array, sorted by user and time."""

from pathlib import Path
from typing import Final, Self

import numpy as np
import numpy.typing as npt

from encoders.kinds import Codes
from ranker.arrays import Floats, Ints, Rows, Times, mapped
from ranker.counter import AsOfCounter
from ranker.last_events import LastEvents
from ranker.moments import Moments, Taken

_KINDS: Final = "user_kinds.npy"
_SESSIONS: Final = "user_sessions.npy"


class UserEvents:
    """All that users did, also what has a negative weight, so that a hidden item is known as hidden."""

    def __init__(
        self,
        counter: AsOfCounter,
        items: Rows,
        weights: Floats,
        asked: Times | None = None,
        *,
        kinds: Codes | None = None,
        sessions: Rows | None = None,
    ) -> None:
        """Hold what is known of each event in the order of `counter`, which knows user and time.

        Kinds are codes of the history's vocabulary, without any they are unknown; `sessions` are numbers of the
        sessions that events name (`ranker.sessions`), 0 for none.
        """
        self._counter = counter
        self._asked = asked
        self.items = items
        self.weights = weights
        self.kinds: Codes = np.zeros(len(items), np.uint8) if kinds is None else kinds
        self.sessions = sessions

    @classmethod
    def from_events(
        cls,
        users: npt.NDArray[np.integer],
        items: npt.NDArray[np.integer],
        times: npt.NDArray[np.integer],
        weights: npt.NDArray[np.floating],
        *,
        asked: npt.NDArray[np.integer] | None = None,
        kinds: Codes | None = None,
        sessions: Rows | None = None,
    ) -> Self:
        """Sort events; those of one instant stay in the order given, that of the log.

        `asked` is when the question was asked that each answers, by default its own time.
        """
        order = np.lexsort((times, users))
        counter = AsOfCounter.from_events(users, times)
        in_order = None if asked is None else asked[order].astype(np.int64)
        return cls(
            counter,
            items[order].astype(np.int32),
            weights[order].astype(np.float32),
            in_order,
            kinds=None if kinds is None else kinds[order],
            sessions=None if sessions is None else sessions[order],
        )

    @property
    def users(self) -> Rows:
        """Return the user of each event."""
        return self._counter.rows()

    @property
    def times(self) -> Times:
        """Return the time of each event."""
        return self._counter.time_at(np.arange(len(self.items)))

    @property
    def asked(self) -> Times:
        """Return when the question was asked that each event answers; after `save` and `load`, the event's own time."""
        return self.times if self._asked is None else self._asked

    def count(self, moments: Moments) -> Ints:
        """Count the events of each query's user before its moment."""
        return self._counter.count(moments.users, before=moments.as_of)

    def last(self, moments: Moments, length: int) -> LastEvents:
        """Return each query's last events before its moment."""
        end = self._counter.position(moments.users, moments.as_of)
        start = self._counter.start(moments.users)
        position = end[:, None] + np.arange(-length, 0)
        inside = position >= start[:, None]
        if not len(self.items):
            return LastEvents(
                items=np.full(position.shape, -1, np.int32),
                weights=np.zeros(position.shape, np.float32),
                times=np.zeros(position.shape, np.int64),
                kinds=np.zeros(position.shape, np.uint8),
                sessions=None,
            )
        position = np.where(inside, position, 0)
        return LastEvents(
            items=np.where(inside, self.items[position], -1).astype(np.int32),
            weights=np.where(inside, self.weights[position], 0).astype(np.float32),
            times=np.where(inside, self._counter.time_at(position), 0),
            kinds=np.where(inside, self.kinds[position], 0).astype(np.uint8),
            sessions=None if self.sessions is None else np.where(inside, self.sessions[position], 0),
        )

    def before(self, moments: Moments) -> Taken:
        """Return all that each query's user did before its moment."""
        start = self._counter.start(moments.users)
        lengths = np.maximum(self._counter.position(moments.users, moments.as_of) - start, 0)
        query = np.repeat(np.arange(len(moments)), lengths)
        begins = np.cumsum(lengths) - lengths
        position = np.arange(lengths.sum()) - np.repeat(begins, lengths) + np.repeat(start, lengths)
        return Taken(
            query=query,
            item=self.items[position],
            weight=self.weights[position],
            time=self._counter.time_at(position),
        )

    def same(self, other: "UserEvents") -> bool:
        """Whether both hold the same events in the same order."""
        arrays = ((each.items, each.weights, each.kinds, each.sessions) for each in (self, other))
        return self._counter.same(other._counter) and all(map(_equal, *arrays))

    def save(self, folder: Path) -> None:
        """Write the arrays as `.npy` files."""
        self._counter.save(folder, "by_user")
        np.save(folder / "user_items.npy", self.items)
        np.save(folder / "user_weights.npy", self.weights)
        np.save(folder / _KINDS, self.kinds)
        if self.sessions is not None:
            np.save(folder / _SESSIONS, self.sessions)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Memory-map what `save` wrote; an earlier bundle knows neither kinds nor sessions."""
        counter = AsOfCounter.load(folder, "by_user")
        kinds = mapped(folder / _KINDS) if (folder / _KINDS).is_file() else None
        sessions = mapped(folder / _SESSIONS) if (folder / _SESSIONS).is_file() else None
        items, weights = mapped(folder / "user_items.npy"), mapped(folder / "user_weights.npy")
        return cls(counter, items, weights, kinds=kinds, sessions=sessions)


def _equal(one: npt.NDArray[np.generic] | None, other: npt.NDArray[np.generic] | None) -> bool:
    return one is other if one is None or other is None else np.array_equal(one, other)
