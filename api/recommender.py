"""What does the service need of a model, and how is one loaded from its bundle?"""

import logging
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from ingest.outbox import OnlineEvent
from ranker.query import Answer, GivenItem, Query

if TYPE_CHECKING:
    from ranker.history import History

log = logging.getLogger(__name__)


class Recommender(Protocol):
    """What the service needs of a loaded bundle: `ranker.rank.Ranker` as seen from here."""

    version: str
    outbox_seq: int

    @property
    def cutoff(self) -> datetime:
        """All that was learned happened before it."""

    @property
    def known_until(self) -> datetime:
        """The history holds what happened before it."""

    @property
    def history(self) -> "History":
        """Return everything before `known_until`."""

    def history_with(self, events: Sequence[OnlineEvent], under: "History | None" = None) -> "History":
        """Return the bundle's history, or `under`, which holds more, with events on top."""

    def recommend(self, query: Query, history: "History | None" = None) -> Answer:
        """Choose and order items of the whole catalogue."""

    def rank(self, query: Query, items: Sequence[GivenItem], history: "History | None" = None) -> Answer:
        """Order the given items."""

    def popular(self, query: Query, history: "History | None" = None) -> Answer:
        """Answer without the models, hard rules kept."""

    def item(self, item_id: str) -> dict[str, Any] | None:
        """Return what the catalogue says of an item."""


def load_ranker(folder: Path) -> Recommender:
    """Load a bundle; LightGBM and NumPy are imported here, not with the service's own modules."""
    from threadpoolctl import threadpool_limits

    from ranker.rank import Ranker

    threadpool_limits(1)  # workers share the cores: threads of BLAS that wait for each other by spinning only cost
    return Ranker.load(folder)


def warm_up(ranker: Recommender) -> None:
    """Answer once for nobody, so that no user waits for what libraries set up at their first call."""
    query = Query(user_id="", as_of=ranker.cutoff, k=10, explain=True)
    try:
        answer = ranker.recommend(query)
        ranker.rank(query, [GivenItem(item_id=item.item_id) for item in answer.items])
    except Exception:
        log.exception("warm-up failed version=%s", ranker.version)


def read_a_text(ranker: Recommender) -> None:
    """Rank an item of whose text no bundle has a vector: the first one opens a transformer, which takes seconds."""
    try:
        ranker.rank(Query(user_id="", as_of=ranker.cutoff), [GivenItem(item_id="", title=f"warm-up {ranker.version}")])
    except Exception:
        log.exception("warm-up failed version=%s", ranker.version)
