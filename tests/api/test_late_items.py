"""What was told of an item before the catalogue had it: a refreshed bundle, its service and files of queries agree."""

import json
from dataclasses import asdict, replace
from datetime import timedelta

import numpy as np
import polars as pl
import pytest

from api.live import Live
from api.recommender import load_ranker
from ingest import columns as c
from ingest.load import load_files
from ingest.moments import to_microseconds
from ingest.store import Store
from ingest.take_in import drain_outbox
from ranker import bundle
from ranker.batch import history_of, recommend_file
from ranker.moments import Moments
from ranker.refresh import refresh
from tests.api.conftest import event

LATE = "0-late"
TAKER, HIDER = "took it", "hid it"


@pytest.fixture
def refreshed(workspace, outbox, ranker, tmp_path):
    """One event arrived before the training, one after it; both are in the store when the item comes."""
    before = ranker.cutoff - timedelta(days=1)
    outbox.append([event(-1, LATE, user=TAKER, at=before)])
    with Store.open(workspace.store_path) as store:
        _, seq = drain_outbox(workspace, store)
        folder = bundle.live_folder(workspace.bundles_path)
        manifest = replace(bundle.read_manifest(folder), outbox_seq=seq)
        (folder / bundle.MANIFEST).write_text(json.dumps(asdict(manifest)))
        outbox.append([event(-2, LATE, user=HIDER, at=before, weight=-1.0)])
        drain_outbox(workspace, store)
        pl.DataFrame({c.ITEM_ID: [LATE], c.TITLE: ["just in"]}).write_csv(tmp_path / "items.csv")
        load_files(store, [tmp_path / "items.csv"])
    written, changes = refresh(workspace)
    assert changes.new == 1
    bundle.promote(workspace.bundles_path, written.name)
    return workspace


@pytest.mark.parametrize("user", [TAKER, HIDER])
def test_what_a_user_took_or_hid_comes_neither_over_http_nor_in_a_file(refreshed, make_client, tmp_path, user):
    client = make_client(load=load_ranker)
    for asked, comes in (("nobody", True), (user, False)):
        answer = client.post("/v1/recommendations", json={"user_id": asked, "k": 1_000}).json()
        assert (LATE in {item["item_id"] for item in answer["items"]}) == comes
        assert not answer["degraded"]
    (tmp_path / "queries.csv").write_text(f"query_id,user_id\nq,{user}\n")
    recommend_file(refreshed, tmp_path / "queries.csv", tmp_path / "answers.csv", 1_000)
    assert LATE not in pl.read_csv(tmp_path / "answers.csv")[c.ITEM_ID]


def test_each_event_counts_once(refreshed, outbox):
    live = Live(refreshed.bundles_path, outbox)
    live.start()
    served = live.now()
    rows, end = served.ranker.catalogue.rows([LATE]), np.array([to_microseconds(served.ranker.cutoff)] * 2)
    for history in (served.history, history_of(refreshed, served.ranker)):
        moments = Moments(users=history.user_rows([TAKER, HIDER]), as_of=end)
        assert history.user_counts(moments).tolist() == [1, 1]
        assert history.item_counts(rows, before=end[:1]).tolist() == [1]
    live.stop()
