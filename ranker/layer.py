"""What does one log say by user, by item and by time? That of a bundle, or a small one of live events on top of it."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import numpy.typing as npt
import polars as pl

from encoders.kinds import Codes
from ingest import columns as c
from ranker.arrays import Rows, mapped
from ranker.counter import AsOfCounter
from ranker.timeline import Timeline
from ranker.user_events import UserEvents


@dataclass(frozen=True, kw_only=True)
class Layer:
    """Interactions of one log, sorted three ways. Nothing in it changes; a history lays layers on each other."""

    users: dict[str, int]
    """The row of each user that no layer below has."""
    by_user: UserEvents
    """All interactions, also of users of the layers below."""
    by_item: AsOfCounter
    """Interactions of positive weight."""
    timeline: Timeline
    """The same as `by_item`, in order of time."""

    @classmethod
    def of_events(
        cls,
        users: dict[str, int],
        user_rows: npt.NDArray[np.integer],
        items: npt.NDArray[np.integer],
        times: npt.NDArray[np.integer],
        weights: npt.NDArray[np.floating],
        *,
        asked: npt.NDArray[np.integer] | None = None,
        kinds: Codes | None = None,
        sessions: Rows | None = None,
    ) -> Self:
        """Sort events given in any order; those of items outside the catalogue, row -1, are left out."""
        known = items >= 0
        user_rows, items, times, weights = user_rows[known], items[known], times[known], weights[known]
        liked = np.flatnonzero(weights > 0)
        log = liked[np.argsort(times[liked], kind="stable")]
        return cls(
            users=users,
            by_user=UserEvents.from_events(
                user_rows,
                items,
                times,
                weights,
                asked=None if asked is None else asked[known],
                kinds=None if kinds is None else kinds[known],
                sessions=None if sessions is None else sessions[known],
            ),
            by_item=AsOfCounter.from_events(items[liked], times[liked]),
            timeline=Timeline(times[log].astype(np.int64), items[log].astype(np.int32)),
        )

    @classmethod
    def stacked(cls, layers: Sequence[Self]) -> Self:
        """Return one layer of the events of several, each of which was laid on those before it.

        Of one user and one instant the events of an earlier layer come first.
        """
        logs = [layer.by_user for layer in layers]
        users, items, times, weights, kinds = (
            np.concatenate([getattr(log, name) for log in logs])
            for name in ("users", "items", "times", "weights", "kinds")
        )
        sessions = np.concatenate([_sessions(log) for log in logs])
        bottom, *above = (layer.by_item for layer in layers)
        by_item = bottom.joined(*above)
        return cls(
            users={user: row for layer in layers for user, row in layer.users.items()},
            by_user=UserEvents.from_events(
                users, items, times, weights, kinds=kinds, sessions=sessions if sessions.any() else None
            ),
            by_item=by_item,
            timeline=_by_time(by_item),
        )

    def save(self, folder: Path) -> None:
        """Write the arrays as `.npy` files and the users as Parquet."""
        names = pl.DataFrame({c.USER_ID: list(self.users)}, schema={c.USER_ID: pl.String})
        names.write_parquet(folder / "users.parquet")
        self.by_user.save(folder)
        self.by_item.save(folder, "by_item")
        np.save(folder / "log_times.npy", self.timeline.times)
        np.save(folder / "log_items.npy", self.timeline.items)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Memory-map what `save` wrote; an earlier bundle has no log in order of time."""
        names = pl.read_parquet(folder / "users.parquet")[c.USER_ID].to_list()
        by_item, log_items = AsOfCounter.load(folder, "by_item"), folder / "log_items.npy"
        return cls(
            users={name: row for row, name in enumerate(names)},
            by_user=UserEvents.load(folder),
            by_item=by_item,
            timeline=Timeline(mapped(folder / "log_times.npy"), mapped(log_items))
            if log_items.is_file()
            else _by_time(by_item),
        )


def _sessions(events: UserEvents) -> Rows:
    return np.zeros(len(events.items), np.int32) if events.sessions is None else events.sessions


def _by_time(by_item: AsOfCounter) -> Timeline:
    """Return all events in order of time."""
    times = by_item.time_at(np.arange(len(by_item)))
    order = np.argsort(times, kind="stable")
    return Timeline(times[order], by_item.rows()[order])
