"""What was told since a log was read? Events of users, in the order told, as a history takes them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np

from ingest.moments import to_microseconds
from ingest.outbox import OnlineEvent
from ranker.arrays import Floats, Rows, Times
from ranker.catalogue import Catalogue


@dataclass(frozen=True, kw_only=True)
class LiveEvents:
    """Live events, one a place in each of these."""

    user_ids: Sequence[str]
    items: Rows
    """Rows of the catalogue; -1 for an item that it does not have: such events are left out."""
    times: Times
    weights: Floats
    kinds: Sequence[str] | None = None
    """Without them what was done is unknown."""
    sessions: Sequence[str | None] | None = None
    """Ids of sessions, None for an event that names none. Without them pauses part sessions."""

    @classmethod
    def of_outbox(cls, events: Sequence[OnlineEvent], catalogue: Catalogue) -> Self:
        """Return events as they came over HTTP."""
        return cls(
            user_ids=[event.user_id for event in events],
            items=catalogue.rows(event.item_id for event in events),
            times=np.fromiter((to_microseconds(event.occurred_at) for event in events), np.int64, len(events)),
            weights=np.fromiter((event.weight for event in events), np.float32, len(events)),
            kinds=[event.kind for event in events],
            sessions=[event.session_id for event in events],
        )
