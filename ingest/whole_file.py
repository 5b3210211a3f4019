"""How is a file written so that it is there whole or not at all? In a folder of its own first, then renamed."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from ingest.held import scratch

WRITING: Final = ".writing-"
"""How the folder begins that an unfinished file lies in."""


@contextmanager
def written_whole(path: Path, *, durable: bool = False) -> Iterator[Path]:
    """Give a path to write to, in a new folder beside `path`; the file there takes its place at the end of the block.

    Of several writers at once the last to end is right. A block that fails leaves `path` as it was and nothing beside
    it; what a killed process leaves in a workspace goes with the next job (`ingest.leftovers`). With `durable`, file
    and name outlive a power cut once the block is over.
    """
    with scratch(path.parent, WRITING) as folder:
        unfinished = folder / path.name
        yield unfinished
        if durable:
            make_durable(unfinished)
        unfinished.replace(path)
    if durable:
        make_durable(path.parent)


def make_durable(path: Path) -> None:
    """Wait until a file, or the names in a folder, would outlive a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
