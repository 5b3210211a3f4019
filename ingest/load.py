"""How does a file become part of the store? One transaction a file: all of it, or nothing of it."""

import hashlib
import logging
import secrets
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl

from ingest import columns as c
from ingest.checks import Checker, ChecksConfig, KindsConfig
from ingest.errors import InputFileError
from ingest.mapping import ColumnsConfig, Table
from ingest.merge import add_to_stage, merge, open_stage
from ingest.moments import utc_now
from ingest.progress import Progress, silent
from ingest.readers import read_batches
from ingest.sources import kind_of
from ingest.store import Store

if TYPE_CHECKING:
    import duckdb

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class LoadReport:
    """What became of one file: rows_read = rows_loaded + rows_duplicate + rows_rejected."""

    path: str
    table: Table | None
    """None for an empty file."""
    rows_read: int = 0
    rows_loaded: int = 0
    """New rows; for items new or changed ones."""
    rows_duplicate: int = 0
    """Rows that the store had already, or that stood in the file twice."""
    rows_rejected: int = 0
    reasons: dict[str, int] = field(default_factory=dict)
    """Rejected rows by reason code."""
    unknown_kinds: dict[str, int] = field(default_factory=dict)
    """Rows by kind that the settings do not name; each counted 1."""
    without_text: int = 0
    """Items that have neither title, description nor categories."""


def load_files(
    store: Store,
    paths: Sequence[Path | str],
    *,
    columns: ColumnsConfig = ColumnsConfig(),  # noqa: B008  frozen
    checks: ChecksConfig = ChecksConfig(),  # noqa: B008
    kinds: KindsConfig = KindsConfig(),  # noqa: B008
    progress: Progress = silent,
) -> list[LoadReport]:
    """Load files one after another; each is whole in the store or not at all.

    InputFileError: a file cannot be read, lacks columns, or has too many bad rows; files before it stay loaded.
    """
    files = [Path(path) for path in paths]
    for path in files:  # a mistyped name should not be found after an hour
        kind_of(path)
        if not path.exists():
            raise InputFileError(f"{path}: not found; check the name")
    return [_load(store, path, columns, Checker(checks, kinds, now=utc_now()), progress) for path in files]


def new_load_id(moment: datetime) -> str:
    """Make an id that sorts by time and is shared with no other load."""
    return f"{moment:%Y%m%dT%H%M%S%f}-{secrets.token_hex(4)}"


def record_load(
    connection: "duckdb.DuckDBPyConnection", report: LoadReport, *, load_id: str, sha256: str | None, started: datetime
) -> None:
    """Write the report's row of `loads`."""
    connection.execute(
        "INSERT INTO loads VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        [
            load_id,
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


def _load(store: Store, path: Path, columns: ColumnsConfig, checker: Checker, progress: Progress) -> LoadReport:
    started = utc_now()
    load_id = new_load_id(started)
    size = path.stat().st_size
    step = f"loading {path.name}"
    table: Table | None = None
    present: frozenset[str] = frozenset()
    n_read = n_good = without_text = 0
    reasons: Counter[str] = Counter()
    unknown_kinds: Counter[str] = Counter()
    progress(step, 0, size)
    with store.transaction() as connection:
        for batch in read_batches(path, columns):
            if table is None:
                table = batch.table
                open_stage(connection, table)
            checked = checker.check(table, batch.rows)
            rejected = pl.concat([batch.broken, checked.rejected])
            _keep_rejected(connection, rejected, load_id, path)
            add_to_stage(
                connection, table, _weighted(checked.good, checker.kinds) if table == "interactions" else checked.good
            )
            present |= batch.present
            n_read += batch.rows.height + batch.broken.height
            n_good += checked.good.height
            reasons.update(dict(rejected[c.REASON_CODE].value_counts().iter_rows()))
            unknown_kinds.update(checked.unknown_kinds)
            if table == "items":
                without_text += _count_without_text(checked.good)
            progress(step, batch.bytes_done, size, f"{n_read:,} rows")
        n_rejected = reasons.total()
        _refuse_bad_file(path, n_read, n_rejected, reasons, checker.checks)
        n_loaded = 0
        if table is not None:
            n_loaded = merge(connection, table, load_id=load_id, moment=utc_now(), present=present)
        report = LoadReport(
            path=str(path),
            table=table,
            rows_read=n_read,
            rows_loaded=n_loaded,
            rows_duplicate=n_good - n_loaded,
            rows_rejected=n_rejected,
            reasons=dict(reasons.most_common()),
            unknown_kinds=dict(unknown_kinds.most_common()),
            without_text=without_text,
        )
        if table is not None:
            record_load(connection, report, load_id=load_id, sha256=_sha256(path), started=started)
    progress(step, size, size, f"{n_read:,} rows")
    log.info("loaded path=%s table=%s rows=%d rejected=%d", path, table, n_loaded, n_rejected)
    return report


def _weighted(good: pl.DataFrame, kinds: KindsConfig) -> pl.DataFrame:
    """Give each row its own weight, else its kind's, else 1; keep what the log itself said for the row's identity."""
    of_kind = pl.col(c.KIND).replace_strict(kinds.weights, default=1.0, return_dtype=pl.Float64)
    return good.with_columns(
        pl.col(c.WEIGHT).alias("given_weight"),
        pl.coalesce(c.WEIGHT, of_kind).alias(c.WEIGHT),
    )


def _keep_rejected(connection: "duckdb.DuckDBPyConnection", rejected: pl.DataFrame, load_id: str, path: Path) -> None:
    if rejected.is_empty():
        return
    connection.register("rejected", rejected.to_arrow())
    connection.execute(
        "INSERT INTO rejected_rows SELECT $load_id, $source, line, reason_code, detail, raw FROM rejected",
        {"load_id": load_id, "source": str(path)},
    )
    connection.unregister("rejected")


def _refuse_bad_file(path: Path, n_read: int, n_rejected: int, reasons: Counter[str], checks: ChecksConfig) -> None:
    if n_rejected == 0 or (n_rejected < n_read and n_rejected <= checks.max_rejected_share * n_read):
        return
    counts = ", ".join(f"{code} {n:,}" for code, n in reasons.most_common())
    raise InputFileError(
        f"{path}: {n_rejected:,} of {n_read:,} rows are bad ({counts}), so nothing of it was loaded; "
        "mend the file, map its columns under [columns], or raise max_rejected_share under [checks] in readrank.toml"
    )


def _count_without_text(items: pl.DataFrame) -> int:
    no_text = pl.col(c.TITLE).is_null() & pl.col(c.DESCRIPTION).is_null() & pl.col(c.CATEGORIES).is_null()
    return items.filter(no_text).height


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
