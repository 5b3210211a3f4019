"""How do checked interactions become part of the store? Each event once, in slabs, in the order of the file."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from typing import TYPE_CHECKING, Literal

import numpy as np
import polars as pl

from ingest import columns as c
from ingest.shown_frame import ROW_GROUP, FrameSlot

if TYPE_CHECKING:
    import duckdb

SLAB_ROWS = 4 * ROW_GROUP
"""Rows held in memory, looked up and written at once: few, so that DuckDB writes while the next ones are read."""

LARGE_STORE = 16 * ROW_GROUP
"""With so many events stored a slab is twice as large: each is looked up among all of them."""

# Ids hold no control characters: the unit separator keeps neighbours apart, the record separator stands for NULL.
# The hash takes the log's own weight: settings of kinds may change without making old events new ones.
_HASHED_IDS = """
    SELECT
        md5(concat_ws(
            chr(31), user_id, item_id, kind, CAST(epoch_us(occurred_at) AS VARCHAR),
            coalesce(CAST(given_weight AS VARCHAR), chr(30)), coalesce(request_id, chr(30)),
            coalesce(session_id, chr(30)), coalesce(context, chr(30))
        )) AS event_id
    FROM anonymous
    ORDER BY number
"""

# A narrow column of numbers is scanned many times faster than ids; only events that share one are compared in full.
_PERHAPS_KNOWN = """
    SELECT known.event_id
    FROM interactions AS known
    SEMI JOIN (SELECT hash(event_id) AS event_key FROM arriving_ids) AS arriving
        ON arriving.event_key = known.event_key
"""

_INSERT = """
    INSERT INTO interactions (
        event_id, user_id, item_id, kind, weight, occurred_at, request_id, session_id, context, load_id, ingested_at,
        arrival, event_key
    )
    SELECT
        event_id, user_id, item_id, kind, weight, occurred_at, request_id, session_id, context, $load_id, $moment,
        arrival, hash(event_id)
    FROM arriving
"""

_STORED = (c.EVENT_ID, c.USER_ID, c.ITEM_ID, c.KIND, c.WEIGHT, c.OCCURRED_AT, c.REQUEST_ID, c.SESSION_ID, c.CONTEXT)


class InteractionWriter:
    """Writes the events of one load; what it has written is seen by the next slab of the same transaction."""

    table: Literal["interactions"] = "interactions"

    def __init__(self, connection: "duckdb.DuckDBPyConnection", *, load_id: str, moment: datetime) -> None:
        self.connection = connection
        self.load_id = load_id
        self.moment = moment
        ((first,),) = connection.execute("SELECT coalesce(max(arrival), -1) + 1 FROM interactions").fetchall()
        self.first_arrival = int(first)
        self.n_written = 0
        self._anonymous = FrameSlot(connection, "anonymous")
        self._arriving_ids = FrameSlot(connection, "arriving_ids")
        self._arriving = FrameSlot(connection, "arriving")
        self._waiting: list[pl.DataFrame] = []
        self._n_waiting = 0

    def add(self, events: pl.DataFrame) -> None:
        """Take checked rows (the columns of `Checker.check`, and `given_weight`); they may wait for a full slab."""
        self._waiting.append(self._with_ids(events))
        self._n_waiting += events.height
        slab_rows = SLAB_ROWS if self._next_arrival < LARGE_STORE else 2 * SLAB_ROWS
        if self._n_waiting >= slab_rows:
            self._write()

    def finish(self) -> int:
        """Write what waits; return how many events were new."""
        if self._n_waiting:
            self._write()
        return self.n_written

    @property
    def _next_arrival(self) -> int:
        """The arrival of the next event: about how many are stored."""
        return self.first_arrival + self.n_written

    def _write(self) -> None:
        slab = pl.concat(self._waiting, rechunk=False)
        self._waiting, self._n_waiting = [], 0
        slab = self._not_known(_each_once(slab))
        first = self._next_arrival
        slab = slab.with_columns(pl.int_range(first, first + pl.len(), dtype=pl.Int64).alias("arrival"))
        with self._arriving.showing(slab), _any_order(self.connection):
            self.connection.execute(_INSERT, {"load_id": self.load_id, "moment": self.moment})
        self.n_written += slab.height

    def _with_ids(self, events: pl.DataFrame) -> pl.DataFrame:
        """Give events without an id the MD5 of their content."""
        unnamed = events[c.EVENT_ID].is_null()
        if unnamed.any():
            anonymous = events.filter(unnamed).with_row_index("number")
            with self._anonymous.showing(anonymous):
                hashed = pl.DataFrame(self.connection.sql(_HASHED_IDS).to_arrow_table()).to_series().cast(pl.String)
            ids = hashed if unnamed.all() else events[c.EVENT_ID].scatter(unnamed.arg_true(), hashed)
            events = events.with_columns(ids.alias(c.EVENT_ID))
        return events.select(_STORED)

    def _not_known(self, slab: pl.DataFrame) -> pl.DataFrame:
        if self._next_arrival == 0:
            return slab
        with self._arriving_ids.showing(slab.select(c.EVENT_ID)):
            known = pl.DataFrame(self.connection.sql(_PERHAPS_KNOWN).to_arrow_table())
        if known.is_empty():
            return slab
        return slab.join(known.cast(pl.String), on=c.EVENT_ID, how="anti", maintain_order="left")


def _each_once(slab: pl.DataFrame) -> pl.DataFrame:
    """Keep the first of events with one id; only ids whose hashes meet are compared in full."""
    hashes = slab[c.EVENT_ID].hash()
    in_order = np.sort(hashes.to_numpy())
    meeting = in_order[1:][in_order[1:] == in_order[:-1]]
    if not meeting.size:
        return slab
    suspected = hashes.is_in(pl.Series(np.unique(meeting)).implode())
    repeated = slab[c.EVENT_ID].filter(suspected).is_first_distinct().not_()
    return slab.filter(~suspected.scatter(suspected.arg_true(), repeated))


@contextmanager
def _any_order(connection: "duckdb.DuckDBPyConnection") -> Iterator[None]:
    """Let DuckDB write rows in any order, so on all cores: `arrival` keeps the order of events."""
    import duckdb

    connection.execute("SET preserve_insertion_order = false")
    try:
        yield
    finally:
        with suppress(duckdb.Error):  # the error that ended the transaction is the one to tell
            connection.execute("SET preserve_insertion_order = true")
