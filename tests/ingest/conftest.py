import io
from collections.abc import Callable, Iterator
from pathlib import Path

import polars as pl
import pytest

import readrank
from ingest.load import load_files
from ingest.load_reading import LoadReport
from ingest.outbox import Outbox
from ingest.store import Store
from ingest.workspace import Workspace


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / "store.duckdb") as opened:
        yield opened


@pytest.fixture
def outbox(tmp_path: Path) -> Iterator[Outbox]:
    with Outbox.open(tmp_path / "online.sqlite") as opened:
        yield opened


@pytest.fixture
def space(tmp_path: Path) -> Workspace:
    return Workspace.create(tmp_path / "shop", "")


@pytest.fixture
def load(store: Store, tmp_path: Path) -> Callable[..., LoadReport]:
    """Write a file and load it."""

    def write_and_load(name: str, content: str | bytes, **settings: object) -> LoadReport:
        path = tmp_path / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return load_files(store, [path], **settings)[0]  # type: ignore[arg-type]

    return write_and_load


def as_parquet(frame: pl.DataFrame) -> bytes:
    buffer = io.BytesIO()
    frame.write_parquet(buffer)
    return buffer.getvalue()


def run(space: Workspace, *arguments: object) -> int:
    """Run a command on a workspace, in this process."""
    return readrank.run([*map(str, arguments), "-w", str(space.root)])


def files_that_hold(space: Workspace, text: str) -> list[str]:
    """Name the files of a workspace whose bytes hold a text."""
    return [path.name for path in space.root.rglob("*") if path.is_file() and text.encode() in path.read_bytes()]
