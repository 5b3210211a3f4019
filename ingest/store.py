"""What is known, and when was it known? The DuckDB store: jobs alone open it, and every read asks for `before`."""

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

from ingest import columns as c
from ingest.errors import HeldStoreError, StoreError
from ingest.migrate import bring_up_to_date, is_of_an_earlier_version
from ingest.moments import naive_utc
from ingest.progress import Progress, silent
from ingest.store_errors import translated

if TYPE_CHECKING:
    import duckdb
    import polars as pl

log = logging.getLogger(__name__)

END_OF_TIME = datetime.max
"""A `before` later than everything."""

MEMORY_LIMIT = "2GB"
"""What DuckDB may hold; sorts and joins beyond it spill to disk beside the store."""

STREAMING_MEMORY_LIMIT = "384MB"
"""What it may hold while files stream through it, whose own batches need the rest."""

PATIENCE_S = 600
"""How long the end of a long job waits for another one that has the store open."""

LOOK_AGAIN_S = 1.0
"""How often it looks meanwhile."""


class Store:
    """The store of one workspace, open for one job; one writing process at a time."""

    def __init__(self, connection: "duckdb.DuckDBPyConnection", path: Path) -> None:
        self.connection = connection
        self.path = path

    @classmethod
    def open(cls, path: Path | str, *, read_only: bool = False) -> "Store":
        """Open the store, making it when it is not there; StoreError when it is locked or damaged."""
        import duckdb

        path = Path(path)
        if read_only and not path.exists():
            raise StoreError(f"{path}: no store here yet; load data first with `readrank ingest FILE...`")
        with translated(path):
            connection = duckdb.connect(
                str(path),
                read_only=read_only,
                config={"memory_limit": MEMORY_LIMIT, "temp_directory": f"{path}.tmp"},
            )
        store = cls(connection, path)
        try:
            with translated(path):
                # Comparing TIMESTAMP with an aware parameter would use the session's zone.
                connection.execute("SET TimeZone = 'UTC'")
                connection.execute("SET enable_progress_bar = false")
                if not read_only:
                    store._lay_schema()
                elif is_of_an_earlier_version(connection):
                    raise StoreError(
                        f"{path}: wanted a store of this version, got an earlier one; run `readrank publish` once, "
                        "which brings it up to date"
                    )
        except BaseException:
            connection.close()
            raise
        return store

    @classmethod
    def open_when_free(cls, path: Path | str, progress: Progress = silent) -> "Store":
        """Open the store as soon as no other job has it: the end of long work should not fail for that.

        HeldStoreError after `PATIENCE_S`.
        """
        step, began, has_waited = "wait for another job", time.monotonic(), False
        while True:
            try:
                store = cls.open(path)
            except HeldStoreError as error:
                waited = time.monotonic() - began
                if waited >= PATIENCE_S:
                    raise
                log.info("waits seconds=%.0f of=%d problem=%s", waited, PATIENCE_S, error)
                progress(step, int(waited), PATIENCE_S, note=str(error).partition(": ")[2])
                has_waited = True
                time.sleep(LOOK_AGAIN_S)
            else:
                if has_waited:
                    progress(step, PATIENCE_S, PATIENCE_S)
                return store

    def __enter__(self) -> "Store":
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def close(self) -> None:
        """Write the log into the file and let the next job in."""
        with translated(self.path):
            self.connection.close()

    @contextmanager
    def transaction(self) -> Iterator["duckdb.DuckDBPyConnection"]:
        """Run the block whole or not at all; DuckDB's errors become StoreError."""
        with translated(self.path):
            self.connection.execute("BEGIN")
            try:
                yield self.connection
                self.connection.execute("COMMIT")
            except BaseException:
                self._roll_back()
                raise

    def items(self, before: datetime) -> "pl.DataFrame":
        """Return the catalogue as it was strictly before the moment, sorted by item_id.

        Every item is there, also one that appeared later: the earliest version known holds from 1970 on, and
        `published_at` alone tells when an item appeared. What a later version says is not seen.
        Columns: item_id, title, description (String, null when absent), categories (List(String), never null),
        attributes (String of JSON or null), published_at (Datetime or null), available (Boolean), updated_at (the date
        of the version; of the earliest known it may lie at or after `before`).
        """
        return self._frame(
            """
            WITH in_force AS (
                SELECT item_id, max(valid_from) AS valid_from
                FROM item_versions
                WHERE valid_from < $before
                GROUP BY item_id
            )
            SELECT
                item_id, title, description, coalesce(categories, []) AS categories,
                CAST(attributes AS VARCHAR) AS attributes, published_at, available, updated_at
            FROM item_versions
            JOIN in_force USING (item_id, valid_from)
            ORDER BY item_id
            """,
            {"before": naive_utc(before)},
        )

    def absences(self, before: datetime, *, settled: datetime | None = None) -> "pl.DataFrame":
        """Return when items whose availability changed could not be had, as `items` tells it for each moment.

        At moments in `gone_after < moment <= gone_until` the catalogue strictly before them called the item
        unavailable; null: from the beginning, or still at `before`. An item that was always or never available is not
        named. From `settled` on (default: `before`) all is as it stands at `before`, whatever changed between the two.
        Columns: item_id, gone_after, gone_until (Datetime us), sorted.
        """
        return self._frame(
            """
            WITH changing AS (
                SELECT item_id
                FROM item_versions
                WHERE valid_from < $before
                GROUP BY item_id
                HAVING bool_or(available) AND NOT bool_and(available)
            ),
            states AS (
                SELECT
                    item_id, least(valid_from, $settled - INTERVAL 1 MICROSECOND) AS moment,
                    arg_max(available, valid_from) AS available
                FROM item_versions
                SEMI JOIN changing USING (item_id)
                WHERE valid_from < $before
                GROUP BY ALL
            ),
            turned AS (
                SELECT *, lag(available) OVER each_item AS earlier
                FROM states
                WINDOW each_item AS (PARTITION BY item_id ORDER BY moment)
                QUALIFY available IS DISTINCT FROM earlier
            )
            SELECT
                item_id,
                CASE WHEN earlier IS NOT NULL THEN moment END AS gone_after,
                lead(moment) OVER (PARTITION BY item_id ORDER BY moment) AS gone_until
            FROM turned
            QUALIFY NOT available
            ORDER BY item_id, moment
            """,
            {"before": naive_utc(before), "settled": naive_utc(settled or before)},
        )

    def items_changed(self, since: datetime) -> int:
        """Count the items that a version from this moment on (inclusive) has changed."""
        frame = self._frame(
            "SELECT count(DISTINCT item_id) AS n FROM item_versions WHERE valid_from >= $since",
            {"since": naive_utc(since)},
        )
        return int(frame["n"][0])

    def interactions(self, before: datetime) -> "pl.DataFrame":
        """Return interactions with `occurred_at < before`, sorted by occurred_at, then by arrival.

        Arrival decides between equal times because logs with coarse times still come in the order of events.
        Columns: user_id, item_id, kind, weight (Float64), occurred_at (Datetime us), session_id, request_id.
        """
        return self._frame(
            """
            SELECT user_id, item_id, kind, weight, occurred_at, session_id, request_id
            FROM interactions
            WHERE occurred_at < $before
            ORDER BY occurred_at, arrival
            """,
            {"before": naive_utc(before)},
        )

    def impressions(self, before: datetime) -> "pl.DataFrame":
        """Return impressions with `occurred_at < before`, sorted by occurred_at, request_id, position, item_id.

        `clicked` is the log's own word where it has one, else whether an interaction of positive weight names the same
        request and item; `clicked_at` is when the first such one came, if later than the impression, else the moment of
        the impression. A click that came at or after `before` is none yet: false and null. `strongest_weight` is the
        greatest weight of such interactions before `before`; null without any.
        Columns: request_id, user_id, item_id, occurred_at, clicked (Boolean), clicked_at (Datetime us),
        strongest_weight (Float64), position (Int32), propensity (Float64).
        """
        return self._frame(
            """
            WITH outcomes AS (
                SELECT
                    request_id, item_id, min(occurred_at) AS taken_at,
                    max(weight) FILTER (occurred_at < $before) AS weight
                FROM interactions
                WHERE request_id IS NOT NULL AND weight > 0
                GROUP BY request_id, item_id
            ),
            with_outcome AS (
                SELECT
                    shown.* EXCLUDE (clicked),
                    coalesce(shown.clicked, outcome.item_id IS NOT NULL) AS followed,
                    greatest(shown.occurred_at, outcome.taken_at) AS followed_at,  -- NULLs are left out
                    outcome.weight AS strongest_weight
                FROM impressions AS shown
                LEFT JOIN outcomes AS outcome
                    ON outcome.request_id = shown.request_id AND outcome.item_id = shown.item_id
                WHERE shown.occurred_at < $before
            )
            SELECT
                request_id, user_id, item_id, occurred_at,
                followed AND followed_at < $before AS clicked,
                CASE WHEN followed AND followed_at < $before THEN followed_at END AS clicked_at,
                strongest_weight, position, propensity
            FROM with_outcome
            ORDER BY occurred_at, request_id, position, item_id
            """,
            {"before": naive_utc(before)},
        )

    def _frame(self, query: str, parameters: dict[str, object]) -> "pl.DataFrame":
        import polars as pl

        with translated(self.path):
            frame = pl.DataFrame(self.connection.sql(query, params=parameters).to_arrow_table())
        moments = [
            name
            for name in (c.OCCURRED_AT, c.CLICKED_AT, c.PUBLISHED_AT, c.UPDATED_AT, c.GONE_AFTER, c.GONE_UNTIL)
            if name in frame.columns
        ]
        return frame.with_columns(pl.col(moments).cast(pl.Datetime("us")))

    def _lay_schema(self) -> None:
        filling = bring_up_to_date(self.connection)
        for text in (_script("schema.sql") + filling, _script("views.sql")):
            with self.transaction() as connection:
                connection.execute(text)

    def _roll_back(self) -> None:
        import duckdb

        with suppress(duckdb.Error):  # a fatal error has already ended the transaction
            self.connection.execute("ROLLBACK")


@contextmanager
def memory(connection: "duckdb.DuckDBPyConnection", limit: str, *, then: str) -> Iterator[None]:
    """Set DuckDB's memory limit for this block, and to `then` afterwards.

    The old value cannot be read back exactly, because DuckDB rounds it.
    """
    import duckdb

    connection.execute(f"SET memory_limit = '{limit}'")
    try:
        yield
    finally:
        with suppress(duckdb.Error):  # after a fatal error that one is to be told
            connection.execute(f"SET memory_limit = '{then}'")


def _script(name: str) -> str:
    return resources.files("ingest").joinpath(name).read_text(encoding="utf-8")
