"""What had been done with items before the catalogue knew them? Events that a bundle's history had left out."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import numpy.typing as npt
import polars as pl

from ingest import columns as c
from ingest.outbox import Outbox
from ingest.store import Store
from ingest.workspace import Workspace
from ranker.catalogue import Catalogue
from ranker.counter import AsOfCounter
from ranker.live_events import LiveEvents
from ranker.log_arrays import exposure_of


@dataclass(frozen=True, kw_only=True)
class EarlierEvents:
    """Events with items that a history's catalogue lacked, in the order of the log, and when these were shown."""

    events: LiveEvents
    ahead: npt.NDArray[np.int64]
    """How many events of the same user and instant with other items stand before each: coarse times are common."""
    shown: AsOfCounter
    clicked: AsOfCounter


def read_earlier(
    workspace: Workspace, store: Store, catalogue: Catalogue, known: Catalogue, *, before: datetime, seq: int
) -> EarlierEvents:
    """Read what was done before the cutoff with items that `known` lacks, and when they were shown and clicked.

    Left out are events that arrived over HTTP after number `seq`, the last one that the training read: a service counts
    them on top of the bundle.
    """
    new = catalogue.items[c.ITEM_ID].filter(known.rows(catalogue.ids) < 0)
    log = _interactions(store, new, _ids_after(workspace, seq), before)
    impressions = store.impressions(before=before).filter(pl.col(c.ITEM_ID).is_in(new.implode()))
    shown, clicked = exposure_of(catalogue, impressions)
    events = LiveEvents(
        user_ids=log[c.USER_ID].to_list(),
        items=catalogue.rows(log[c.ITEM_ID]),
        times=log[c.OCCURRED_AT].dt.epoch("us").to_numpy(),
        weights=log[c.WEIGHT].to_numpy(),
        kinds=log[c.KIND].to_list(),
        sessions=log[c.SESSION_ID].to_list(),
    )
    return EarlierEvents(events=events, ahead=log["ahead"].to_numpy(), shown=shown, clicked=clicked)


def _ids_after(workspace: Workspace, seq: int) -> list[str]:
    if not workspace.outbox_path.exists():
        return []
    with Outbox.open(workspace.outbox_path) as outbox:
        return [event.event_id for event in outbox.events_after(seq)[0]]


def _interactions(store: Store, items: pl.Series, but_for: Sequence[str], before: datetime) -> pl.DataFrame:
    """Return what was done with these items before the moment, in the order of `Store.interactions`."""
    asked = """
        WITH new AS (SELECT unnest(CAST($items AS VARCHAR[])) AS item_id),
        told AS (
            SELECT *
            FROM interactions
            SEMI JOIN new USING (item_id)
            WHERE occurred_at < $before
                AND event_id NOT IN (SELECT unnest(CAST($but_for AS VARCHAR[])))
        ),
        beside AS (
            SELECT told.arrival, count(*) AS ahead
            FROM told
            JOIN (FROM interactions ANTI JOIN new USING (item_id)) AS other
                ON other.user_id = told.user_id
                AND other.occurred_at = told.occurred_at
                AND other.arrival < told.arrival
            GROUP BY told.arrival
        )
        SELECT user_id, item_id, kind, weight, occurred_at, session_id, coalesce(ahead, 0) AS ahead
        FROM told
        LEFT JOIN beside USING (arrival)
        ORDER BY occurred_at, arrival
    """
    parameters = {"before": before, "items": items.to_list(), "but_for": but_for}
    return pl.DataFrame(store.connection.sql(asked, params=parameters).to_arrow_table())
