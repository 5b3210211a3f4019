"""Where do checked items and impressions wait until their whole file has been read? In a temporary table."""

from typing import TYPE_CHECKING, Final, Literal

import polars as pl

from ingest import columns as c
from ingest.shown_frame import FrameSlot

if TYPE_CHECKING:
    import duckdb

COLUMN_TYPES: Final = {
    "items": {
        c.LINE: "BIGINT",
        c.ITEM_ID: "VARCHAR",
        c.TITLE: "VARCHAR",
        c.DESCRIPTION: "VARCHAR",
        c.CATEGORIES: "VARCHAR[]",
        c.ATTRIBUTES: "VARCHAR",
        c.PUBLISHED_AT: "TIMESTAMP",
        c.AVAILABLE: "BOOLEAN",
        c.UPDATED_AT: "TIMESTAMP",
    },
    "impressions": {
        c.LINE: "BIGINT",
        c.REQUEST_ID: "VARCHAR",
        c.USER_ID: "VARCHAR",
        c.ITEM_ID: "VARCHAR",
        c.POSITION: "INTEGER",
        c.SCORE: "DOUBLE",
        c.PROPENSITY: "DOUBLE",
        c.OCCURRED_AT: "TIMESTAMP",
        c.CLICKED: "BOOLEAN",
    },
}
"""The columns of `staged` by what waits there, with their types in DuckDB."""


class Stage:
    """The table `staged` of one load; it spills to disk when it outgrows memory."""

    def __init__(self, connection: "duckdb.DuckDBPyConnection", table: Literal["items", "impressions"]) -> None:
        self.connection = connection
        self.table = table
        columns = COLUMN_TYPES[table]
        connection.execute("DROP TABLE IF EXISTS staged")
        connection.execute(
            f"CREATE TEMP TABLE staged ({', '.join(f'{name} {kind}' for name, kind in columns.items())})"
        )
        self._checked = FrameSlot(connection, "checked")
        self._names = ", ".join(columns)

    def add(self, checked: pl.DataFrame) -> None:
        """Put a batch of checked rows on the stage."""
        with self._checked.showing(checked):
            self.connection.execute(f"INSERT INTO staged SELECT {self._names} FROM checked")

    def clear(self) -> None:
        """Drop the table; a transaction that fails drops it as well."""
        self.connection.execute("DROP TABLE staged")
