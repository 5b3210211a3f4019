"""How does a Parquet file come in batches?"""

from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import polars as pl

from ingest.batches import Batch, named
from ingest.binary_columns import told_apart
from ingest.errors import InputFileError
from ingest.mapping import ColumnsConfig, layout

ROWS_PER_BATCH = 245_760
"""Two of DuckDB's row groups."""


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
    table = layout(names, config, path=path)
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
        readable, lines, broken = told_apart(frame, table, lines)
        rows, present = named(readable, table, lines)
        yield Batch(table.table, present, rows, broken, size * done // max(total, 1))


def _not_parquet(path: Path, error: BaseException) -> str:
    first_line = next(iter(str(error).splitlines()), "").rstrip(".")
    return f"{path}: wanted a Parquet file, got one that cannot be read ({first_line}); write it again"
