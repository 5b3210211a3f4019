"""How does a Parquet file come in batches?"""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import BinaryIO

import polars as pl

from ingest.as_read import AsRead, frame_as_read
from ingest.batches import Batch, with_names
from ingest.binary_columns import utf8_rows
from ingest.errors import InputFileError, first_line
from ingest.mapping import ColumnsConfig, layout
from ingest.shown_frame import ROW_GROUP

ROWS_PER_BATCH = 2 * ROW_GROUP

_FAR_DAYS = 366 * 8_000
_A_DAY = {"d": 1, "ms": 86_400_000, "us": 86_400_000_000, "ns": 86_400_000_000_000}


def read_parquet(file: BinaryIO, path: Path, config: ColumnsConfig) -> Iterator[Batch]:
    """Yield the rows of an open Parquet file that has a name; `line` is the row number, from 1.

    Binary columns are text without the mark that says so; a row in which one of ours is not UTF-8 is no row.
    """
    unreadable = (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError)
    try:
        rows_of_file = pl.scan_parquet(file.name, glob=False)
        names = rows_of_file.collect_schema().names()
        total = int(rows_of_file.select(pl.len()).collect().item())
        batches = iter(rows_of_file.collect_batches(chunk_size=ROWS_PER_BATCH))
    except unreadable as error:
        raise InputFileError(_not_parquet(path, error)) from error
    here = layout(names, config, path=path)
    size, done = path.stat().st_size, 0
    while True:
        try:
            frame = next(batches, None)
        except unreadable as error:
            raise InputFileError(_not_parquet(path, error)) from error
        if frame is None:
            return
        lines = pl.int_range(done + 1, done + frame.height + 1, eager=True)
        done += frame.height
        readable, lines, broken = utf8_rows(_with_near_moments(frame), here, lines)
        rows, present = with_names(readable, here, lines)
        texts = partial(frame_as_read, readable, mapped=here.columns.values())
        as_read = AsRead(texts, here.user_columns, layout=here)
        yield Batch(here.table, present, rows, broken, size * done // max(total, 1), as_read)


def _with_near_moments(frame: pl.DataFrame) -> pl.DataFrame:
    """Write moments as text where one of their column is too far away for Polars to write: it would panic later."""
    return frame.with_columns(
        _near(column) for column in frame if column.dtype.is_temporal() and _is_far(column.dtype, column.to_physical())
    )


def _is_far(dtype: pl.DataType, numbers: pl.Series) -> bool:
    if not isinstance(dtype, pl.Datetime | pl.Date) or numbers.null_count() == len(numbers):
        return False
    limit = _FAR_DAYS * _A_DAY[dtype.time_unit if isinstance(dtype, pl.Datetime) else "d"]
    return int(numbers.max()) > limit or int(numbers.min()) < -limit  # type: ignore[arg-type]


def _near(column: pl.Series) -> pl.Series:
    """Leave those far away as the numbers that they are: the checks find them before 1970 or in the future."""
    numbers = column.to_physical()
    limit = _FAR_DAYS * _A_DAY[column.dtype.time_unit if isinstance(column.dtype, pl.Datetime) else "d"]
    near = numbers.is_between(-limit, limit)
    written = column.set((~near).fill_null(False), None).dt.to_string("iso:strict")
    return written.zip_with(near.fill_null(True), numbers.cast(pl.String))


def _not_parquet(path: Path, error: BaseException) -> str:
    said = first_line(error).rstrip(".")
    return f"{path}: wanted a Parquet file, got one that cannot be read ({said}); write it again"
