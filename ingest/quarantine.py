"""What becomes of rows that cannot be believed? They are kept whole, with why; too many of them refuse their file."""

from collections import Counter
from typing import TYPE_CHECKING, Protocol

import polars as pl

from ingest.checks import ChecksConfig
from ingest.errors import InputFileError
from ingest.mapping import Table
from ingest.window import Window

if TYPE_CHECKING:
    import duckdb


class Quarantine(Protocol):
    """Where a load puts rejected rows, inside its transaction."""

    def keep(self, rejected: pl.DataFrame, load_id: str, table: Table) -> None:
        """Take some rejected rows: line, reason_code, detail, raw."""

    def judge(self, n_read: int, reasons: Counter[str]) -> None:
        """Learn, when all rows of a reading have been read, how many there were and why some were rejected."""


class FileQuarantine:
    """Rejected rows of a file go to `rejected_rows`; a file with too many of them, over all readings, is refused."""

    def __init__(self, connection: "duckdb.DuckDBPyConnection", source: str, checks: ChecksConfig) -> None:
        self.connection = connection
        self.source = source
        self.checks = checks
        self._rejected = Window(connection, "rejected")
        self._n_read = 0
        self._reasons: Counter[str] = Counter()

    def keep(self, rejected: pl.DataFrame, load_id: str, table: Table) -> None:
        """Write the rows down."""
        if rejected.is_empty():
            return
        with self._rejected.showing(rejected):
            self.connection.execute(
                """
                INSERT INTO rejected_rows (load_id, source, line, reason_code, detail, raw, table_name)
                SELECT $load_id, $source, line, reason_code, detail, raw, $table FROM rejected
                """,
                {"load_id": load_id, "source": self.source, "table": table},
            )

    def judge(self, n_read: int, reasons: Counter[str]) -> None:
        """Add up what the readings of the file found."""
        self._n_read += n_read
        self._reasons += reasons

    def verdict(self) -> None:
        """Refuse a file without any good row, or with a larger share of bad ones than the settings allow."""
        n_read, n_rejected = self._n_read, self._reasons.total()
        if n_rejected == 0 or (n_rejected < n_read and n_rejected <= self.checks.max_rejected_share * n_read):
            return
        counts = ", ".join(f"{code} {n:,}" for code, n in self._reasons.most_common())
        raise InputFileError(
            f"{self.source}: {n_rejected:,} of {n_read:,} rows are bad ({counts}), so nothing of it was loaded; mend "
            "the file, map its columns under [columns], or raise max_rejected_share under [checks] in readrank.toml"
        )
