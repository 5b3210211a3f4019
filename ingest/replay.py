"""How do rejected rows get a second chance, once settings are mended? Read again; the good ones leave quarantine."""

from collections import Counter
from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING, cast

import polars as pl

from ingest import columns as c
from ingest.batches import Batch, Reading
from ingest.checks import Checker, ChecksConfig, KindsConfig
from ingest.json_lines import IS_OBJECT
from ingest.load import record_load
from ingest.load_reading import LoadReport, Users, load_reading
from ingest.mapping import ColumnsConfig, Table
from ingest.moments import utc_now
from ingest.progress import Progress, silent
from ingest.quality import QualityConfig
from ingest.quarantine import REJECTED, insert_rejected
from ingest.read_again import Kept, read_again
from ingest.shown_frame import FrameSlot
from ingest.store import MEMORY_LIMIT, STREAMING_MEMORY_LIMIT, Store, memory

if TYPE_CHECKING:
    import duckdb

_NOT_ROWS = ("invalid_json", "invalid_utf8", "bad_quoting", "field_count", "other_table")
"""Reasons of lines that never became rows of their table: no setting mends them."""

_IS_ROW = f"""
    reason_code NOT IN {_NOT_ROWS}
    AND {IS_OBJECT}
"""

# Of one line several rows may have been rejected; it is read once.
_RECORDS = f"""
    SELECT line, raw, max(user_id) AS user_id, max(layout) AS layout, list(rowid) AS places
    FROM rejected_rows
    WHERE load_id = $load_id AND table_name = $table AND {_IS_ROW}
    GROUP BY line, raw, CASE WHEN read_as IS NULL THEN rowid END
    ORDER BY line, min(rowid)
"""


def replay_rejected(
    store: Store,
    *,
    columns: ColumnsConfig = ColumnsConfig(),  # noqa: B008  frozen
    checks: ChecksConfig = ChecksConfig(),  # noqa: B008
    kinds: KindsConfig = KindsConfig(),  # noqa: B008
    quality: QualityConfig = QualityConfig(),  # noqa: B008
    users: Users | None = None,
    progress: Progress = silent,
) -> list[LoadReport]:
    """Read and check all rejected rows again under today's settings, in one transaction; one report for each load.

    Rows that pass now are merged as if their file held them today, and leave `rejected_rows`; the others stay where
    they are, under the reason found now. Lines that are no rows at all (broken JSON, broken quotes) are left alone.
    Rows kept as pseudonyms stay pseudonyms. Of a line that holds several rows all are read, also those loaded before.
    """
    checker = Checker(checks, kinds, now=utc_now())
    reports = []
    streaming = memory(store.connection, STREAMING_MEMORY_LIMIT, then=MEMORY_LIMIT)
    with streaming, store.transaction() as connection:
        loads = connection.execute(
            f"""
            SELECT DISTINCT load_id, source, table_name, read_as
            FROM rejected_rows
            WHERE {_IS_ROW}
            ORDER BY load_id, table_name
            """
        ).fetchall()
        for number, (load_id, source, table, read_as) in enumerate(loads, 1):
            started = utc_now()
            records = _records(connection, load_id, table)
            kept = Kept(source, table, read_as, records[c.RAW], records[c.USER_ID], records[c.LAYOUT])
            chance = _SecondChance(connection, load_id, kept, records)
            report = load_reading(
                connection,
                Reading(table, partial(chance.watched, read_again(kept, columns, users))),
                path=f"{source} (rejected rows)",
                checker=checker,
                quarantine=chance,
                quality=quality,
                again=True,
                started=started,
            )
            if report.load_id is not None:
                record_load(connection, report, sha256=None, started=started)
                reports.append(report)
            progress("trying rejected rows again", number, len(loads))
    return reports


class _SecondChance:
    """What is rejected again stays in `rejected_rows` under its load; the rest of what was read again goes."""

    def __init__(
        self, connection: "duckdb.DuckDBPyConnection", load_id: str, kept: Kept, records: pl.DataFrame
    ) -> None:
        self.connection = connection
        self.load_id = load_id
        self.kept = kept
        self.records = records
        self._found = FrameSlot(connection, "found_again")
        self._again: list[pl.DataFrame] = [pl.DataFrame(schema=REJECTED)]
        self._read: list[pl.Series] = [pl.Series(c.LINE, dtype=pl.Int64)]

    def watched(self, batches: Iterator[Batch]) -> Iterator[Batch]:
        """Pass batches on and remember which records are in them: one that is in none stays as it is."""
        for batch in batches:
            self._read += [batch.rows[c.LINE], batch.broken[c.LINE]]
            yield batch

    def keep(self, rejected: pl.DataFrame, load_id: str, table: Table) -> None:
        self._again.append(rejected)

    def finish_reading(self, n_read: int, reasons: Counter[str]) -> None:
        """Replace what was read again by what is rejected now: the number of a record gives way to its line."""
        read = self.records[pl.concat(self._read).unique()]
        again = pl.concat(self._again)
        known = self.records[again[c.LINE]]
        again = again.with_columns(
            known[c.LINE],
            pl.coalesce(c.RAW, known[c.RAW]).alias(c.RAW),
            pl.coalesce(c.USER_ID, known[c.USER_ID]).alias(c.USER_ID),
            pl.coalesce(c.LAYOUT, known[c.LAYOUT]).alias(c.LAYOUT),
        )
        with self._found.showing(read.select(pl.col("places").explode())):
            self.connection.execute("DELETE FROM rejected_rows WHERE rowid IN (SELECT places FROM found_again)")
        still = FrameSlot(self.connection, "rejected_again")
        with still.showing(again):
            insert_rejected(
                self.connection,
                still.name,
                load_id=self.load_id,
                source=self.kept.source,
                table=self.kept.table,
                read_as=self.kept.read_as,
            )


def _records(connection: "duckdb.DuckDBPyConnection", load_id: str, table: Table) -> pl.DataFrame:
    """Fetch the kept rows of one load now: batches are made in another thread, which may not use the connection."""
    waiting = connection.sql(_RECORDS, params={"load_id": load_id, "table": table}).to_arrow_table()
    return cast(pl.DataFrame, pl.from_arrow(waiting)).cast(
        {c.RAW: pl.String, c.USER_ID: pl.String, c.LAYOUT: pl.String}
    )
