"""Files of queries know what came over HTTP, whether or not it has been taken into the store."""

import shutil
from datetime import timedelta

import polars as pl
import pytest

from ingest.outbox import OnlineEvent, Outbox
from ingest.store import Store
from ingest.take_in import drain_outbox
from ingest.workspace import Workspace
from ranker.batch import recommend_file
from ranker.rank import Ranker


@pytest.fixture
def workspace(shop: Workspace, tmp_path) -> Workspace:
    shutil.copytree(shop.root, tmp_path / "shop", symlinks=True)
    return Workspace.open(tmp_path / "shop")


def test_an_accepted_event_counts_before_it_is_in_the_store(workspace, ranker: Ranker, tmp_path):
    queries, out = tmp_path / "queries.csv", tmp_path / "answers.csv"
    taken_at = ranker.cutoff + timedelta(days=1)
    queries.write_text(
        f"query_id,user_id,as_of\nq,new here,{taken_at}\nlater,new here,{taken_at + timedelta(hours=1)}\n"
    )

    def answered() -> dict[str, list[str]]:
        recommend_file(workspace, queries, out, 10)
        rows = pl.read_csv(out).sort("query_id", "rank").group_by("query_id", maintain_order=True)
        return {query: part["item_id"].to_list() for (query,), part in rows}

    before = answered()
    first = before["later"][0]
    event = OnlineEvent(
        event_id="over HTTP", user_id="new here", item_id=first, kind="click", weight=2.0, occurred_at=taken_at
    )
    with Outbox.open(workspace.outbox_path) as outbox:
        outbox.append([event])
    waiting = answered()
    assert waiting["q"] == before["q"], "nothing at the question's moment counts"
    assert first not in waiting["later"]
    with Store.open(workspace.store_path) as store:
        drain_outbox(workspace, store)
    assert answered() == waiting
