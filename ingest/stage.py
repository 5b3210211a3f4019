"""Where do checked items and impressions wait until their whole file has been read? In a temporary table."""

from typing import TYPE_CHECKING, Literal

import polars as pl

from ingest.window import Window

if TYPE_CHECKING:
    import duckdb

_COLUMNS = {
    "items": {
        "line": "BIGINT",
        "item_id": "VARCHAR",
        "title": "VARCHAR",
        "description": "VARCHAR",
        "categories": "VARCHAR[]",
        "attributes": "VARCHAR",
        "published_at": "TIMESTAMP",
        "available": "BOOLEAN",
        "updated_at": "TIMESTAMP",
    },
    "impressions": {
        "line": "BIGINT",
        "request_id": "VARCHAR",
        "user_id": "VARCHAR",
        "item_id": "VARCHAR",
        "position": "INTEGER",
        "score": "DOUBLE",
        "propensity": "DOUBLE",
        "occurred_at": "TIMESTAMP",
        "clicked": "BOOLEAN",
    },
}


class Stage:
    """The table `staged` of one load; it spills to disk when it outgrows memory."""

    def __init__(self, connection: "duckdb.DuckDBPyConnection", table: Literal["items", "impressions"]) -> None:
        self.connection = connection
        self.table = table
        columns = _COLUMNS[table]
        connection.execute("DROP TABLE IF EXISTS staged")
        connection.execute(
            f"CREATE TEMP TABLE staged ({', '.join(f'{name} {kind}' for name, kind in columns.items())})"
        )
        self._checked = Window(connection, "checked")
        self._names = ", ".join(columns)

    def add(self, checked: pl.DataFrame) -> None:
        """Put a batch of checked rows on the stage."""
        with self._checked.showing(checked):
            self.connection.execute(f"INSERT INTO staged SELECT {self._names} FROM checked")

    def clear(self) -> None:
        """Drop the table; a transaction that fails drops it as well."""
        self.connection.execute("DROP TABLE staged")
