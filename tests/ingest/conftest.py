from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ingest.load import load_files
from ingest.load_reading import LoadReport
from ingest.store import Store


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / "store.duckdb") as opened:
        yield opened


@pytest.fixture
def load(store: Store, tmp_path: Path) -> Callable[..., LoadReport]:
    """Write a file and load it."""

    def write_and_load(name: str, content: str | bytes, **settings: object) -> LoadReport:
        path = tmp_path / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return load_files(store, [path], **settings)[0]  # type: ignore[arg-type]

    return write_and_load
