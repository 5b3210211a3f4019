"""How does any file become batches of rows? The name tells the format, the columns tell the table."""

import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from ingest.batches import Batch, Reading
from ingest.mapping import ColumnsConfig
from ingest.read_csv import read_csv
from ingest.read_jsonl import read_jsonl
from ingest.read_parquet import read_parquet
from ingest.sources import Source, format_of


def readings(path: Path, config: ColumnsConfig, preset: str | None = None) -> list[Reading]:
    """Say how to read a file: once, as its columns tell, or as the preset does; empty when the preset passes it over.

    InputFileError: neither name nor preset know the file.
    """
    if preset is not None:
        from ingest import presets

        return presets.readings(path, preset, config)
    format_of(path)
    return [Reading(None, partial(read_batches, path, config))]


def read_batches(path: Path, config: ColumnsConfig) -> Iterator[Batch]:
    """Yield the rows of a file, at most some megabytes at once; nothing for an empty file.

    InputFileError: the file is not what its name says, or lacks columns.
    """
    with Source(path) as source:
        if path.stat().st_size == 0:
            return
        if source.format.name == "parquet":
            with source.seekable() as file:
                if not file.seek(0, os.SEEK_END):
                    return
                file.seek(0)
                yield from read_parquet(file, path, config)
        elif source.format.name == "jsonl":
            yield from read_jsonl(source, config)
        else:
            yield from read_csv(source, config)
