"""How does any file become batches of rows? The name tells the format, the columns tell the table."""

from collections.abc import Iterator
from pathlib import Path

from ingest.batches import Batch
from ingest.mapping import ColumnsConfig
from ingest.read_csv import read_csv
from ingest.read_jsonl import read_jsonl
from ingest.read_parquet import read_parquet
from ingest.sources import Source


def read_batches(path: Path, config: ColumnsConfig) -> Iterator[Batch]:
    """Yield the rows of a file, at most some megabytes at once; nothing for an empty file.

    InputFileError: the file is not what its name says, or lacks columns.
    """
    with Source(path) as source:
        if path.stat().st_size == 0:
            return
        if source.kind.format == "parquet":
            with source.seekable() as file:
                yield from read_parquet(file, path, config)
        elif source.kind.format == "jsonl":
            yield from read_jsonl(source, config)
        else:
            yield from read_csv(source, config)
