"""How does a Parquet file come in batches?"""

from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import polars as pl

from ingest.batches import Batch, named, none_broken
from ingest.errors import InputFileError
from ingest.mapping import ColumnsConfig, layout

ROWS_PER_BATCH = 262_144


def read_parquet(file: BinaryIO, path: Path, config: ColumnsConfig) -> Iterator[Batch]:
    """Yield the rows of an open Parquet file; `line` is the row number, from 1."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        parquet = pq.ParquetFile(file)
    except (pa.ArrowException, OSError) as error:
        raise InputFileError(_not_parquet(path, error)) from error
    table = layout(parquet.schema_arrow.names, config, path=path)
    size, total, done = path.stat().st_size, parquet.metadata.num_rows, 0
    batches = parquet.iter_batches(batch_size=ROWS_PER_BATCH)
    while True:
        try:
            batch = next(batches, None)
        except (pa.ArrowException, OSError) as error:
            raise InputFileError(_not_parquet(path, error)) from error
        if batch is None:
            return
        frame = pl.DataFrame(pa.Table.from_batches([batch]))
        rows, present = named(frame, table, pl.int_range(done + 1, done + frame.height + 1, eager=True))
        done += frame.height
        yield Batch(table.table, present, rows, none_broken(), size * done // max(total, 1))


def _not_parquet(path: Path, error: Exception) -> str:
    first_line = str(error).splitlines()[0].rstrip(".")
    return f"{path}: wanted a Parquet file, got one that cannot be read ({first_line}); write it again"
