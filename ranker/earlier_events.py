"""What had been done with items before the catalogue knew them? Events that a bundle's history had left out."""

from collections.abc import Sequence
from datetime import datetime

import polars as pl

from ingest import columns as c
from ingest.outbox import Outbox
from ingest.store import Store
from ingest.workspace import Workspace
from ranker.catalogue import Catalogue
from ranker.counter import AsOfCounter
from ranker.live_events import LiveEvents
from ranker.log_arrays import exposure_of


def read_earlier(
    workspace: Workspace, store: Store, catalogue: Catalogue, known: Catalogue, *, before: datetime, seq: int
) -> tuple[LiveEvents, AsOfCounter, AsOfCounter]:
    """Read what was done before the cutoff with items that `known` lacks, and when they were shown and clicked.

    Left out are events that arrived over HTTP after number `seq`, the last one that the training read: a service counts
    them on top of the bundle.
    """
    new = catalogue.items[c.ITEM_ID].filter(known.rows(catalogue.ids) < 0)
    log = _interactions(store, new, _ids_after(workspace, seq), before)
    events = LiveEvents(
        user_ids=log[c.USER_ID].to_list(),
        items=catalogue.rows(log[c.ITEM_ID]),
        times=log[c.OCCURRED_AT].dt.epoch("us").to_numpy(),
        weights=log[c.WEIGHT].to_numpy(),
        kinds=log[c.KIND].to_list(),
        sessions=log[c.SESSION_ID].to_list(),
    )
    return events, *exposure_of(
        catalogue, store.impressions(before=before).filter(pl.col(c.ITEM_ID).is_in(new.implode()))
    )


def _ids_after(workspace: Workspace, seq: int) -> list[str]:
    if not workspace.outbox_path.exists():
        return []
    with Outbox.open(workspace.outbox_path) as outbox:
        return [event.event_id for event in outbox.events_after(seq)[0]]


def _interactions(store: Store, items: pl.Series, but_for: Sequence[str], before: datetime) -> pl.DataFrame:
    """Return what was done with these items before the moment, in the order of `Store.interactions`."""
    asked = """
        SELECT user_id, item_id, kind, weight, occurred_at, session_id
        FROM interactions
        WHERE occurred_at < $before
            AND item_id IN (SELECT unnest(CAST($items AS VARCHAR[])))
            AND event_id NOT IN (SELECT unnest(CAST($but_for AS VARCHAR[])))
        ORDER BY occurred_at, arrival
    """
    parameters = {"before": before, "items": items.to_list(), "but_for": but_for}
    return pl.DataFrame(store.connection.sql(asked, params=parameters).to_arrow_table())
