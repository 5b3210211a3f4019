"""How does DuckDB read one frame after another inside a long transaction? Under one name that shows the present one."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import polars as pl

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa

ROW_GROUP = 122_880
"""Rows that DuckDB compresses together."""


class FrameSlot:
    """A name in DuckDB under which frames of one schema are shown, each for the length of a block.

    What is registered inside a transaction stays in memory until the transaction ends. So only this object is
    registered, once, and DuckDB asks it for rows at each statement (Arrow PyCapsule interface).
    """

    def __init__(self, connection: "duckdb.DuckDBPyConnection", name: str) -> None:
        self.connection = connection
        self.name = name
        self._table: pa.Table | None = None
        self._registered = False

    @contextmanager
    def showing(self, frame: pl.DataFrame) -> Iterator[None]:
        """Show a frame; batches of one row group, so that several threads can share the work."""
        import pyarrow as pa

        table = frame.to_arrow()
        self._table = pa.Table.from_batches(table.to_batches(max_chunksize=ROW_GROUP), schema=table.schema)
        if not self._registered:
            self.connection.register(self.name, self)
            self._registered = True
        try:
            yield
        finally:
            self._table = None

    def __arrow_c_stream__(self, requested_schema: object = None) -> Any:
        if self._table is None:
            raise RuntimeError(f"'{self.name}' shows nothing now")
        return self._table.__arrow_c_stream__(requested_schema)
