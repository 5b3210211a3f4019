"""How does a file become part of the store? One transaction a file: all of it, or nothing of it."""

import hashlib
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from ingest.batches import Batch, Reading
from ingest.checks import Checker, ChecksConfig, KindsConfig
from ingest.find_files import find_files
from ingest.load_reading import LoadReport, Users, load_reading
from ingest.mapping import ColumnsConfig
from ingest.moments import utc_now
from ingest.progress import Progress, silent
from ingest.quality import QualityConfig
from ingest.quarantine import FileQuarantine
from ingest.readers import readings
from ingest.sources import format_of
from ingest.store import MEMORY_LIMIT, STREAMING_MEMORY_LIMIT, Store, memory

if TYPE_CHECKING:
    import duckdb


def load_files(
    store: Store,
    paths: Sequence[Path | str],
    *,
    columns: ColumnsConfig = ColumnsConfig(),  # noqa: B008  frozen
    checks: ChecksConfig = ChecksConfig(),  # noqa: B008
    kinds: KindsConfig = KindsConfig(),  # noqa: B008
    quality: QualityConfig = QualityConfig(),  # noqa: B008
    preset: str | None = None,
    users: Users | None = None,
    on_load: Callable[[LoadReport], None] = lambda report: None,
    progress: Progress = silent,
) -> list[LoadReport]:
    """Load files, folders and patterns one file after another; each is whole in the store or not at all.

    `on_load` is called with each report as soon as the store has what it tells, so also when a later file fails.
    InputFileError: a file cannot be read, lacks columns, or has too many bad rows; files before it stay loaded.
    """
    files = find_files(paths, preset)
    for path in files:  # a mistyped name should not be found after an hour
        readings(path, columns, preset)
    checker = Checker(checks, kinds, now=utc_now())
    reports = []
    for path in files:
        read_as = preset or format_of(path).name
        loaded = _load_file(store, path, readings(path, columns, preset), read_as, checker, quality, users, progress)
        for report in loaded:
            on_load(report)
        reports += loaded
    return reports


def record_load(
    connection: "duckdb.DuckDBPyConnection", report: LoadReport, *, sha256: str | None, started: datetime
) -> None:
    """Write the report's row of `loads`."""
    connection.execute(
        "INSERT INTO loads VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        [
            report.load_id,
            report.path,
            report.table,
            sha256,
            report.rows_read,
            report.rows_loaded,
            report.rows_duplicate,
            report.rows_rejected,
            started,
            utc_now(),
        ],
    )


def _load_file(
    store: Store,
    path: Path,
    parts: list[Reading],
    read_as: str,
    checker: Checker,
    quality: QualityConfig,
    users: Users | None,
    progress: Progress,
) -> list[LoadReport]:
    # A name need not be text; what the store and people are told must be.
    name = str(path).encode("utf-8", "backslashreplace").decode()
    if not parts:
        return [LoadReport(path=name, table=None)]
    started = utc_now()
    size = path.stat().st_size
    step = f"loading {Path(name).name}"
    progress(step, 0, size)

    def tell(batch: Batch, n_read: int) -> None:
        progress(step, batch.bytes_done, size, f"{n_read:,} rows")

    streaming = memory(store.connection, STREAMING_MEMORY_LIMIT, then=MEMORY_LIMIT)
    with _hashing(path) as sha256, streaming, store.transaction() as connection:
        quarantine = FileQuarantine(connection, name, checker.checks, read_as=read_as)
        reports = [
            load_reading(
                connection,
                part,
                path=name,
                checker=checker,
                quarantine=quarantine,
                quality=quality,
                users=users,
                on_batch=tell,
                started=started,
            )
            for part in parts
        ]
        quarantine.verdict()
        before = quarantine.take_over_earlier(sha256.result())
        for at, report in enumerate(reports):
            if report.load_id is not None:
                reports[at] = replace(report, rejected_before=before.get(report.load_id, 0))
                record_load(connection, report, sha256=sha256.result(), started=started)
    progress(step, size, size, f"{sum(report.rows_read for report in reports):,} rows")
    return reports


@contextmanager
def _hashing(path: Path) -> "Iterator[Future[str]]":
    """Compute the SHA-256 of the file beside the block; a block that ends early does not wait for it."""
    stopped = threading.Event()
    with ThreadPoolExecutor(1) as pool:
        try:
            yield pool.submit(_sha256, path, stopped)
        finally:
            stopped.set()


def _sha256(path: Path, stopped: threading.Event) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while not stopped.is_set() and (block := file.read(1 << 20)):
            digest.update(block)
    return digest.hexdigest()
