"""How do rejected rows get a second chance, once settings are mended? Checked again; the good ones leave quarantine."""

from collections import Counter
from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING, cast

import numpy as np
import polars as pl

from ingest import columns as c
from ingest.batches import Batch, none_broken
from ingest.checks import Checker, ChecksConfig, KindsConfig
from ingest.json_lines import ObjectLines, object_keys, parsed_objects
from ingest.load import record_load
from ingest.load_reading import LoadReport, load_reading
from ingest.mapping import Table
from ingest.moments import utc_now
from ingest.progress import Progress, silent
from ingest.quality import QualityConfig
from ingest.readings import Reading
from ingest.store import MEMORY_LIMIT, STREAMING_MEMORY_LIMIT, Store, memory
from ingest.window import Window

if TYPE_CHECKING:
    import duckdb

ROWS_AT_ONCE = 100_000

_NOT_ROWS = ("invalid_json", "invalid_utf8", "bad_quoting", "field_count")
"""Reasons of lines that never became rows: no setting mends them."""

_WAITING = f"""
    SELECT rowid AS line, raw
    FROM rejected_rows
    WHERE load_id = $load_id AND table_name = $table
        AND reason_code NOT IN {_NOT_ROWS} AND CASE WHEN json_valid(raw) THEN json_type(raw) = 'OBJECT' ELSE FALSE END
"""


def replay_rejected(
    store: Store,
    *,
    checks: ChecksConfig = ChecksConfig(),  # noqa: B008  frozen
    kinds: KindsConfig = KindsConfig(),  # noqa: B008
    quality: QualityConfig = QualityConfig(),  # noqa: B008
    progress: Progress = silent,
) -> list[LoadReport]:
    """Check all rejected rows again under today's settings, in one transaction; one report for each load they are of.

    Rows that pass now are merged as if their file held them today, and leave `rejected_rows`; the others stay where
    they are, under the reason found now. Lines that are no rows at all (broken JSON, broken quotes) are left alone.
    Rows kept as pseudonyms stay pseudonyms.
    """
    checker = Checker(checks, kinds, now=utc_now())
    reports = []
    streaming = memory(store.connection, STREAMING_MEMORY_LIMIT, then=MEMORY_LIMIT)
    with streaming, store.transaction() as connection:
        loads = connection.execute(
            "SELECT DISTINCT load_id, source, table_name FROM rejected_rows WHERE raw IS NOT NULL ORDER BY load_id"
        ).fetchall()
        for number, (load_id, source, table) in enumerate(loads, 1):
            started = utc_now()
            report = load_reading(
                connection,
                Reading(table, partial(_batches, _waiting(connection, load_id, table), table)),
                source=f"{source} (rejected rows)",
                checker=checker,
                quarantine=_SecondChance(connection, load_id, table),
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
    """Rows rejected again stay in `rejected_rows`; what is not rejected again goes."""

    def __init__(self, connection: "duckdb.DuckDBPyConnection", load_id: str, table: Table) -> None:
        self.connection = connection
        self.load_id = load_id
        self.table = table
        self._found = Window(connection, "found_again")
        self._again: list[pl.DataFrame] = []

    def keep(self, rejected: pl.DataFrame, load_id: str, table: Table) -> None:
        self._again.append(rejected.select(c.LINE, c.REASON_CODE, c.DETAIL))

    def judge(self, n_read: int, reasons: Counter[str]) -> None:
        if not self._again:
            return
        again = pl.concat(self._again)
        self.connection.execute("CREATE OR REPLACE TEMP TABLE again (line BIGINT, reason_code VARCHAR, detail VARCHAR)")
        with self._found.showing(again):
            self.connection.execute("INSERT INTO again SELECT line, reason_code, detail FROM found_again")
        self.connection.execute(
            f"DELETE FROM rejected_rows WHERE rowid IN (SELECT line FROM ({_WAITING}) ANTI JOIN again USING (line))",
            {"load_id": self.load_id, "table": self.table},
        )
        self.connection.execute(
            """
            UPDATE rejected_rows SET reason_code = again.reason_code, detail = again.detail
            FROM again
            WHERE rejected_rows.rowid = again.line
            """
        )
        self.connection.execute("DROP TABLE again")


def _waiting(connection: "duckdb.DuckDBPyConnection", load_id: str, table: Table) -> pl.DataFrame:
    """Fetch the kept rows of one load now: batches are made in another thread, which may not use the connection."""
    waiting = connection.sql(_WAITING, params={"load_id": load_id, "table": table}).to_arrow_table()
    return cast(pl.DataFrame, pl.from_arrow(waiting))


def _batches(rows: pl.DataFrame, table: Table) -> Iterator[Batch]:
    """Read kept rows, whose keys are our own names; `line` is their place in `rejected_rows`."""
    for start in range(0, rows.height, ROWS_AT_ONCE):
        part = rows.slice(start, ROWS_AT_ONCE)
        text = "".join(f"{raw}\n" for raw in part[c.RAW]).encode()
        lines = ObjectLines(text, part[c.LINE].to_numpy().astype(np.int64), none_broken())
        keys, lines = object_keys(lines)
        values, lines = parsed_objects(lines, keys)
        present = frozenset(key for key in keys if key != c.REST or values[c.REST].null_count() < values.height)
        yield Batch(table, present, values.with_columns(pl.Series(c.LINE, lines.numbers)), lines.broken, 0)
