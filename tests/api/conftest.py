import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from api.app import create_app
from api.settings import ServiceSettings
from ingest.workspace import Workspace
from ranker.rank import Ranker


@pytest.fixture
def workspace(shop: Workspace, tmp_path: Path) -> Workspace:
    """A copy of the shop with an outbox of its own."""
    shutil.copytree(shop.root, tmp_path / "workspace", ignore=shutil.ignore_patterns("online.sqlite*"))
    return Workspace.open(tmp_path / "workspace")


@pytest.fixture
def make_client(workspace: Workspace, ranker: Ranker) -> Iterator[Callable[..., TestClient]]:
    """Start the real app in process, with settings as keywords; `load` replaces how bundles are loaded."""
    opened = []

    def make(load=lambda folder: ranker, **settings) -> TestClient:
        app = create_app(workspace.root, ServiceSettings(**{"budget_ms": 20_000, **settings}), load=load)
        client = TestClient(app, raise_server_exceptions=False)
        client.__enter__()
        opened.append(client)
        return client

    yield make
    for client in opened:
        client.__exit__(None, None, None)


@pytest.fixture
def client(make_client) -> TestClient:
    return make_client()


@pytest.fixture
def user(ranker: Ranker) -> str:
    """A user of the log with a past."""
    return ranker.history.user_ids[3]
