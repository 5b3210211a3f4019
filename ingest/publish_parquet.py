"""How do engines that are not DuckDB read the store? As Parquet, one folder a table, large ones by month.

    analytics/latest -> 20240501T020000123456            a link, replaced in one step
    analytics/20240501T020000123456/items/20240501T020000123456.parquet
    analytics/20240501T020000123456/interactions/month=2024-04/20240501T020000123456.parquet

No file system lets a reader see a folder of many files at one instant: it lists them, then opens them one by one. So a
version, once it has its name, never changes, and the one before `latest` is kept. A reader that resolves the link first
reads one version whole. One that does not, and is overtaken between listing and opening, is told that a file is not
there: the names of two versions differ, so it can never mix them.
"""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ingest import columns as c
from ingest.errors import StoreError
from ingest.held import held
from ingest.moments import utc_now
from ingest.progress import Progress, silent
from ingest.store import Store
from ingest.whole_file import make_durable
from ingest.workspace import Workspace

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa

BY_MONTH = ("interactions", "impressions", "requests")
"""Tables that grow with time, each with `occurred_at`."""

LEFT_OUT = {("interactions", "event_key")}
"""DuckDB's own hash: of no use elsewhere, and few engines know its type."""

LATEST = "latest"
PARQUET_ROW_GROUP = 245_760
"""Rows held in memory at a time, and compressed together."""
COPYING_MEMORY_LIMIT = "500MB"
"""What DuckDB may keep of what it has read: each row is read once, so more of it is of no use."""


def publish_parquet(workspace: Workspace, *, keep_previous: bool = True, progress: Progress = silent) -> Path:
    """Write `analytics.duckdb` as Parquet and let `analytics/latest` name it; returns the new version's folder.

    Reads the published copy, so jobs may write meanwhile; memory stays flat however long the log. `keep_previous=False`
    removes all earlier versions at once, as an erasure must. StoreError: nothing is published yet, another process is
    writing Parquet here, or the disk is full; what `latest` names stays in each case.
    """
    folder = workspace.parquet_path
    folder.mkdir(exist_ok=True)
    with _alone(folder):
        for unfinished in folder.glob(".*.new"):
            _remove(unfinished)
        version = f"{utc_now():%Y%m%dT%H%M%S%f}"
        growing = folder / f".{version}.new"
        try:
            with Store.open(workspace.analytics_path, read_only=True) as store, store.transaction() as connection:
                _write_tables(connection, growing, version, progress)
            growing.rename(folder / version)
            make_durable(folder)
            previous = _point_to(folder, version)
        except OSError as error:
            raise StoreError(
                f"{folder}: Parquet could not be written: {error.strerror or error}; {LATEST} stays as it was: "
                "mend that, then run `readrank publish --parquet`"
            ) from error
        finally:
            shutil.rmtree(growing, ignore_errors=True)
        kept = {version, previous} if keep_previous else {version}
        for old in folder.iterdir():
            if old.is_dir() and not old.is_symlink() and old.name not in kept:
                _remove(old)
    return folder / version


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Own the folder; StoreError when another process does."""
    with held(folder) as mine:
        if not mine:
            raise StoreError(f"{folder}: another process is writing Parquet here; wait for it to end")
        yield


def _write_tables(connection: "duckdb.DuckDBPyConnection", folder: Path, version: str, progress: Progress) -> None:
    connection.execute(f"SET memory_limit = '{COPYING_MEMORY_LIMIT}'")
    tables = connection.execute(
        """
        SELECT table_name, coalesce(comment, ''), estimated_size
        FROM duckdb_tables()
        WHERE NOT internal AND NOT temporary
        ORDER BY table_name
        """
    ).fetchall()
    total = sum(size for _, _, size in tables)
    done = 0
    for table, comment, size in tables:
        progress("writing Parquet", done, total, table)
        columns, schema = _described(connection, table, comment)
        for part, condition, bounds in _parts(connection, table):
            path = folder / table / part / f"{version}.parquet"
            path.parent.mkdir(parents=True, exist_ok=True)
            _write(connection, f"SELECT {columns} FROM {table} {condition}", bounds, schema, path)
        done += size
    progress("writing Parquet", total, total)
    for path, _, _ in os.walk(folder):
        make_durable(Path(path))


def _described(connection: "duckdb.DuckDBPyConnection", table: str, comment: str) -> tuple[str, "pa.Schema"]:
    """Return the columns to select and their Arrow schema, comments as its metadata."""
    found = connection.execute(
        "SELECT column_name, data_type, coalesce(comment, '') FROM duckdb_columns() WHERE table_name = ? "
        "ORDER BY column_index",
        [table],
    ).fetchall()
    found = [(name, kind, said) for name, kind, said in found if (table, name) not in LEFT_OUT]
    # JSON is text elsewhere.
    columns = ", ".join(f"CAST({name} AS VARCHAR) AS {name}" if kind == "JSON" else name for name, kind, _ in found)
    schema: pa.Schema = connection.sql(f"SELECT {columns} FROM {table} LIMIT 0").to_arrow_table().schema
    for number, (_, _, said) in enumerate(found):
        schema = schema.set(number, schema.field(number).with_metadata({"comment": said}))
    return columns, schema.with_metadata({"comment": comment})


def _parts(connection: "duckdb.DuckDBPyConnection", table: str) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Name the sub-folders of a table, each with the condition on its rows."""
    if table not in BY_MONTH:
        yield "", "", {}
        return
    months = connection.execute(
        f"SELECT DISTINCT date_trunc('month', {c.OCCURRED_AT}) AS month FROM {table} ORDER BY month"
    ).fetchall()
    # Readers should find the columns of a table that is still empty.
    for (month,) in months or [(datetime(1970, 1, 1),)]:
        after = datetime(month.year + month.month // 12, month.month % 12 + 1, 1)
        condition = f"WHERE {c.OCCURRED_AT} >= $start AND {c.OCCURRED_AT} < $after"
        yield f"month={month:%Y-%m}", condition, {"start": datetime(month.year, month.month, 1), "after": after}


def _write(
    connection: "duckdb.DuckDBPyConnection", query: str, bounds: dict[str, Any], schema: "pa.Schema", path: Path
) -> None:
    import pyarrow.parquet as pq

    batches = connection.sql(query, params=bounds).to_arrow_reader(PARQUET_ROW_GROUP)
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        for batch in batches:
            writer.write_batch(batch.cast(schema), row_group_size=PARQUET_ROW_GROUP)
    make_durable(path)


def _point_to(folder: Path, version: str) -> str | None:
    """Let `latest` name the version, in one step; return what it named before."""
    latest, new = folder / LATEST, folder / f".{LATEST}.new"
    previous = os.readlink(latest) if latest.is_symlink() else None
    new.symlink_to(version)
    new.replace(latest)
    make_durable(folder)
    return previous


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()
