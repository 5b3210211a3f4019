import shutil
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from api.app import create_app
from api.live import Live
from api.settings import ServiceSettings
from ingest.moments import utc_now
from ingest.outbox import OnlineEvent, Outbox
from ingest.workspace import Workspace
from ranker.query import Query
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


@pytest.fixture
def outbox(workspace):
    with Outbox.open(workspace.outbox_path) as outbox:
        yield outbox


@pytest.fixture
def live(workspace, outbox, ranker):
    live = Live(workspace.bundles_path, outbox, load=lambda folder: ranker, check_every_s=0)
    live.start()
    yield live
    live.stop()


def event(number, item, *, user="u", at=None, weight=2.0):
    return OnlineEvent(
        event_id=f"e{number}", user_id=user, item_id=item, kind="click", weight=weight, occurred_at=at or utc_now()
    )


def ids(answer):
    """The items of an answer, best first."""
    return [item["item_id"] for item in answer["items"]]


def shown(serving, user="u", k=30):
    query = Query(user_id=user, as_of=utc_now() + timedelta(microseconds=1), k=k)
    return [item.item_id for item in serving.ranker.recommend(query, serving.history).items]


def until(condition, seconds=30.0):
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.02)
    return condition()
