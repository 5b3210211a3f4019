"""How does a simulated log reach the disk? By chunks, as JSON lines, CSV or Parquet, ill-formed rows in between."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ingest import columns as c

Format = Literal["jsonl", "csv", "parquet"]
_TIME_FORMAT = "%Y-%m-%dT%H:%M:%S%.3fZ"


class LogFile:
    """One log that grows by chunks; counts what it wrote. Use as a context manager.

    Ill-formed rows and repeated rows are *added* between the true ones, so a careful reader that refuses the former and
    drops the latter ends with exactly the true rows. Parquet cannot hold text where a number should be: there an
    ill-formed row lacks its id or its time.
    """

    def __init__(self, path: Path, rng: np.random.Generator, *, ill_formed: float = 0.0, repeated: float = 0.0) -> None:
        self.path = path
        self.n_rows = self.n_ill_formed = self.n_repeated = 0
        self._rng = rng
        self._shares = (ill_formed, repeated)
        self._format = path.suffix.lstrip(".")
        self._file = path.open("wb")
        self._parquet: Any = None

    def __enter__(self) -> "LogFile":
        return self

    def __exit__(self, *_: object) -> None:
        if self._parquet is not None:
            self._parquet.close()
        self._file.close()

    def write(self, rows: pl.DataFrame) -> None:
        """Append a chunk; rows keep their order. Damages what it adds according to the columns present."""
        n = rows.height
        if self._format == "parquet" and self._parquet is None:
            self._begin_parquet(rows)  # also without rows: a file of no bytes is no Parquet file
        if not n:
            return
        n_bad, n_twice = self._rng.poisson(self._shares[0] * n), self._rng.poisson(self._shares[1] * n)
        bad, twice = self._rng.integers(0, n, n_bad), self._rng.integers(0, n, n_twice)
        source = np.concatenate([np.arange(n), bad, twice])
        damage = np.concatenate(
            [np.zeros(n, np.int64), 1 + self._rng.integers(0, 6, n_bad), np.zeros(n_twice, np.int64)]
        )
        order = np.argsort(source, kind="stable")
        self._append(rows, source[order], damage[order], first=self.n_rows == 0)
        self.n_rows, self.n_ill_formed, self.n_repeated = (
            self.n_rows + n,
            self.n_ill_formed + n_bad,
            self.n_repeated + n_twice,
        )

    def _append(self, rows: pl.DataFrame, source: NDArray[np.int64], damage: NDArray[np.int64], first: bool) -> None:
        if self._format == "parquet":
            if len(source) != rows.height:
                rows = _damage_typed(rows[source], damage)
            self._parquet.write_table(_table(rows))
            return
        rows = rows.with_columns(pl.col(pl.Datetime).dt.strftime(_TIME_FORMAT))
        as_line = _json_line if self._format == "jsonl" else _csv_line
        lines: list[str | None] = as_line(rows).gather(source).to_list()
        hurt = np.flatnonzero(damage)
        if len(hurt):
            mend = _damaged_json if self._format == "jsonl" else _damaged_csv
            for place, row in zip(hurt.tolist(), rows[source[hurt]].to_dicts(), strict=True):
                lines[place] = mend(row, int(damage[place]))
        head = ",".join(rows.columns) + "\n" if first and self._format == "csv" else ""
        self._file.write((head + "\n".join(map(str, lines)) + "\n").encode())

    def _begin_parquet(self, rows: pl.DataFrame) -> None:
        import pyarrow.parquet as pq

        self._parquet = pq.ParquetWriter(self._file, _table(rows).schema, compression="zstd")


def _table(rows: pl.DataFrame) -> Any:
    return rows.to_arrow(compat_level=pl.CompatLevel.oldest())


def _json_line(rows: pl.DataFrame) -> pl.Series:
    return rows.select(line=pl.struct(pl.all()).struct.json_encode())["line"]


def _csv_line(rows: pl.DataFrame) -> pl.Series:
    return rows.select(line=pl.concat_str(pl.all().cast(pl.String).fill_null(""), separator=","))["line"]


_WOUNDS: dict[int, Callable[[dict[str, Any]], dict[str, Any]]] = {
    1: lambda row: row | {_time_of(row): "31/02/2024 25:61"},
    2: lambda row: row | {_time_of(row): "yesterday"},
    3: lambda row: row | {_id_of(row): None},
    4: lambda row: row | {c.ITEM_ID: None},
    5: lambda row: row | {_number_of(row): "a lot"},
}


def _damaged_json(row: dict[str, Any], damage: int) -> str:
    line = json.dumps(_WOUNDS[damage](row) if damage in _WOUNDS else row, separators=(",", ":"))
    return line if damage in _WOUNDS else line[: len(line) // 2]


def _damaged_csv(row: dict[str, Any], damage: int) -> str:
    hurt = _WOUNDS[damage](row) if damage in _WOUNDS else dict(list(row.items())[:2])
    return ",".join("" if value is None else str(value) for value in hurt.values())


def _damage_typed(rows: pl.DataFrame, damage: NDArray[np.int64]) -> pl.DataFrame:
    kind = pl.Series(damage)
    hits = {_time_of(rows.row(0, named=True)): (kind > 0) & (kind <= 2), c.ITEM_ID: kind > 2}
    return rows.with_columns(pl.when(~hit).then(pl.col(name)).alias(name) for name, hit in hits.items())


def _time_of(row: dict[str, Any]) -> str:
    return c.OCCURRED_AT if c.OCCURRED_AT in row else c.PUBLISHED_AT


def _id_of(row: dict[str, Any]) -> str:
    return c.USER_ID if c.USER_ID in row else c.ITEM_ID


def _number_of(row: dict[str, Any]) -> str:
    return next(name for name in (c.WEIGHT, c.POSITION, c.PUBLISHED_AT) if name in row)
