"""What becomes of rows that cannot be believed? They are kept whole, with why; too many of them refuse their file."""

from collections import Counter
from typing import TYPE_CHECKING, Protocol

import polars as pl

from ingest import columns as c
from ingest.checks import ChecksConfig
from ingest.errors import InputFileError
from ingest.mapping import Table
from ingest.shown_frame import FrameSlot

if TYPE_CHECKING:
    import duckdb


REJECTED = {
    c.LINE: pl.Int64,
    c.REASON_CODE: pl.String,
    c.DETAIL: pl.String,
    c.RAW: pl.String,
    c.USER_ID: pl.String,
    c.LAYOUT: pl.String,
}
"""What is told of a rejected row."""

ROWS_AT_ONCE = 20_000
"""Rows handed to DuckDB at once: several rows of one long line bring that line along each."""


class Quarantine(Protocol):
    """Where a load puts rejected rows, inside its transaction."""

    def keep(self, rejected: pl.DataFrame, load_id: str, table: Table) -> None:
        """Take some rejected rows, with the columns of `REJECTED`."""

    def finish_reading(self, n_read: int, reasons: Counter[str]) -> None:
        """Learn, when all rows of a reading have been read, how many there were and why some were rejected."""


def insert_rejected(
    connection: "duckdb.DuckDBPyConnection", rows: str, *, load_id: str, source: str, table: Table, read_as: str | None
) -> None:
    """Write down the rows that DuckDB knows under the name `rows`, with the columns of `REJECTED`."""
    connection.execute(
        f"""
        INSERT INTO rejected_rows
            (load_id, source, line, reason_code, detail, raw, table_name, user_id, read_as, layout)
        SELECT $load_id, $source, line, reason_code, detail, raw, $table, user_id, $read_as, layout
        FROM {rows}
        """,
        {"load_id": load_id, "source": source, "table": table, "read_as": read_as},
    )


class FileQuarantine:
    """Rejected rows of a file go to `rejected_rows`; a file with too many of them, over all readings, is refused.

    `read_as` is the format or preset by which it is read. A row that an earlier load of the file has kept already, and
    that waits there still, goes over to this load instead of being kept twice.
    """

    def __init__(
        self, connection: "duckdb.DuckDBPyConnection", source: str, checks: ChecksConfig, *, read_as: str
    ) -> None:
        self.connection = connection
        self.source = source
        self.checks = checks
        self.read_as = read_as
        self._rejected = FrameSlot(connection, "rejected")
        self._load_ids: list[str] = []
        self._n_read = 0
        self._reasons: Counter[str] = Counter()
        self._first: dict[str, str] = {}

    def keep(self, rejected: pl.DataFrame, load_id: str, table: Table) -> None:
        """Write the rows down."""
        if rejected.height:
            self._load_ids = list(dict.fromkeys([*self._load_ids, load_id]))
            first = rejected.unique(c.REASON_CODE, keep="first", maintain_order=True)
            for line, code, detail in first.select(c.LINE, c.REASON_CODE, c.DETAIL).iter_rows():
                self._first.setdefault(code, f"Line {line}: {''.join(filter(str.isprintable, detail))}")
        for part in rejected.iter_slices(ROWS_AT_ONCE):
            with self._rejected.showing(part):
                insert_rejected(
                    self.connection,
                    self._rejected.name,
                    load_id=load_id,
                    source=self.source,
                    table=table,
                    read_as=self.read_as,
                )

    def finish_reading(self, n_read: int, reasons: Counter[str]) -> None:
        """Add up what the readings of the file found."""
        self._n_read += n_read
        self._reasons += reasons

    def verdict(self) -> None:
        """Refuse a file without any good row, or with a larger share of bad ones than the settings allow."""
        n_read, n_rejected = self._n_read, self._reasons.total()
        if n_rejected == 0 or (n_rejected < n_read and n_rejected <= self.checks.max_rejected_share * n_read):
            return
        counts = self._reasons.most_common()
        raise InputFileError(
            f"{self.source}: {n_rejected:,} of {n_read:,} rows are bad "
            f"({', '.join(f'{code} {n:,}' for code, n in counts)}), so nothing of it was loaded. "
            f"{self._first[counts[0][0]]}. Mend the file, map its columns under [columns], or raise "
            "max_rejected_share under [checks] in readrank.toml"
        )

    def take_over_earlier(self, sha256: str) -> dict[str, int]:
        """Take rows over from earlier loads of the file, known by its name or content; tell how many, by load.

        A row is matched as often as it occurs in both loads; the copy under the earlier load is deleted. Of a row
        without text only its line is known, which tells something in a file of the same content alone.
        """
        if not self._load_ids:
            return {}
        known = self.connection.execute(
            "SELECT load_id, sha256 = $sha256 FROM loads WHERE path = $source OR sha256 = $sha256",
            {"source": self.source, "sha256": sha256},
        ).fetchall()
        if not known:
            return {}
        taken_over = self.connection.sql(
            """
            WITH waiting AS (
                SELECT
                    rowid AS place, load_id, list_contains($now, load_id) AS is_new, table_name,
                    md5(coalesce(raw, concat_ws(chr(31), line, reason_code, detail, user_id))) AS content, line
                FROM rejected_rows
                WHERE
                    list_contains($now, load_id)
                    OR list_contains($before, load_id) AND (raw IS NOT NULL OR list_contains($alike, load_id))
            ),
            numbered AS (
                SELECT
                    place, load_id, is_new, table_name, content,
                    row_number() OVER (PARTITION BY is_new, table_name, content ORDER BY load_id, line, place) AS nth
                FROM waiting
            )
            SELECT old.place, new.load_id
            FROM numbered AS old
            JOIN numbered AS new
                ON new.table_name = old.table_name AND new.content = old.content AND new.nth = old.nth
            WHERE NOT old.is_new AND new.is_new
            """,
            params={
                "now": self._load_ids,
                "before": [load_id for load_id, _ in known],
                "alike": [load_id for load_id, same in known if same],
            },
        ).to_arrow_table()
        if taken_over.num_rows:
            self.connection.register("taken_over", taken_over)
            self.connection.execute("DELETE FROM rejected_rows WHERE rowid IN (SELECT place FROM taken_over)")
            self.connection.unregister("taken_over")
        return Counter(taken_over["load_id"].to_pylist())
