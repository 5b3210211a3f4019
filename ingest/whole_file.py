"""How is a file written so that it is there whole or not at all? Under another name first, which is then renamed."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def written_whole(path: Path, *, durable: bool = False) -> Iterator[Path]:
    """Give a path to write to, beside `path`; the file there takes its place at the end of the block.

    A block that fails leaves `path` as it was and nothing beside it; what a killed process leaves there, the next one
    writes over. With `durable`, file and name outlive a power cut once the block is over.
    """
    unfinished = path.with_name(f".{path.name}.new")
    try:
        yield unfinished
        if durable:
            make_durable(unfinished)
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)
    if durable:
        make_durable(path.parent)


def make_durable(path: Path) -> None:
    """Wait until a file, or the names in a folder, would outlive a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
