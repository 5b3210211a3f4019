"""What the catalogue says from the cutoff on changes nothing in a bundle: no text, no vector, no availability."""

import os
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from threadpoolctl import threadpool_limits

from encoders.train import EncoderConfig
from ingest.load import load_files
from ingest.store import Store
from ingest.workspace import Workspace
from ranker.bundle import read_manifest
from ranker.query import Query
from ranker.rank import Ranker
from ranker.train import train
from ranker.train_config import TrainConfig

TINY = TrainConfig(encoder=EncoderConfig(base="catalogue", dim=8, width=8, heads=2, epochs=1, continue_epochs=1))
CUTOFF = datetime(2024, 5, 4)
INSTANT = timedelta(microseconds=1)

CATALOGUE = [
    ("a", "oak table", datetime(2024, 4, 1), True),
    ("b", "pine chair", datetime(2024, 4, 1), True),
    ("c", "brass lamp", datetime(2024, 4, 1), True),
    ("c", "tall brass lamp", CUTOFF - INSTANT, True),
]
EDITED_LATER = [
    ("a", "walnut table", CUTOFF, True),
    ("b", "pine chair", CUTOFF, False),
    ("c", "glass lamp", CUTOFF + INSTANT, True),
]
LOG = [("ann", "a", 1), ("bob", "a", 1), ("bob", "b", 2), ("eve", "b", 2), ("eve", "c", 3), ("ann", "c", 5)]


def shop(root: Path, versions: list[tuple[str, str, datetime, bool]]) -> Workspace:
    root.mkdir()
    items = pl.DataFrame(versions, schema=["item_id", "title", "updated_at", "available"], orient="row")
    items.write_parquet(root / "items.parquet")
    log = [(user, item, datetime(2024, 5, day)) for user, item, day in LOG]
    pl.DataFrame(log, schema=["user_id", "item_id", "occurred_at"], orient="row").write_parquet(root / "log.parquet")
    workspace = Workspace.create(root / "shop", "")
    with Store.open(workspace.store_path) as store:
        load_files(store, [root / "items.parquet", root / "log.parquet"])
    return workspace


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two bundles with one cutoff; the second's store also knows what was edited later."""
    root = tmp_path_factory.mktemp("shops")
    with threadpool_limits(1):
        known = train(shop(root / "known", CATALOGUE), TINY, until=CUTOFF).folder
        edited = train(shop(root / "edited", CATALOGUE + EDITED_LATER), TINY, until=CUTOFF).folder
    return known, edited


def test_texts_of_the_bundle_are_those_before_the_cutoff(bundles):
    for folder in bundles:
        items = Ranker.load(folder).catalogue.items
        assert items["title"].to_list() == ["oak table", "pine chair", "tall brass lamp"]
        assert items["available"].to_list() == [True, True, True]


def test_vectors_and_answers_are_the_same_without_the_later_texts(bundles):
    known, edited = bundles
    arrays = sorted(path.relative_to(known) for path in known.rglob("*.npy"))
    assert any("item_vectors" in path.parts for path in arrays)
    for path in arrays:
        np.testing.assert_array_equal(np.load(known / path), np.load(edited / path), err_msg=os.fspath(path))
    answers = [Ranker.load(folder).recommend(Query(user_id="new", as_of=CUTOFF)).items for folder in bundles]
    assert [item.item_id for item in answers[0]] == [item.item_id for item in answers[1]]
    assert [item.score for item in answers[0]] == [item.score for item in answers[1]]


def test_the_manifest_tells_how_many_items_changed_later(bundles):
    told = [read_manifest(folder).measured["catalogue"] for folder in bundles]
    assert told == [{"items": 3, "changed_later": 0}, {"items": 3, "changed_later": 3}]


def test_without_a_cutoff_the_bundle_says_what_the_catalogue_says_now(tmp_path):
    workspace = shop(tmp_path / "now", CATALOGUE + EDITED_LATER)
    with threadpool_limits(1):
        ranker = Ranker.load(train(workspace, TINY).folder)
    assert ranker.catalogue.items["title"].to_list() == ["walnut table", "pine chair", "glass lamp"]
    answer = ranker.recommend(Query(user_id="new", as_of=datetime(2024, 6, 1)))
    assert sorted(item.item_id for item in answer.items) == ["a", "c"]


def test_items_that_appear_later_are_no_candidates_before(tmp_path):
    """All items are in the catalogue at any moment; what is published later is not on offer yet."""
    workspace = shop(tmp_path / "later", CATALOGUE)
    path = tmp_path / "new.csv"
    path.write_text(f"item_id,title,published_at\nd,new sofa,{CUTOFF + INSTANT}\n")
    with Store.open(workspace.store_path) as store:
        load_files(store, [path])
    with threadpool_limits(1):
        ranker = Ranker.load(train(workspace, TINY, until=CUTOFF).folder)
    for moment, offered in ((CUTOFF, False), (CUTOFF + INSTANT, True)):
        answer = ranker.recommend(Query(user_id="new", as_of=moment))
        assert ("d" in {item.item_id for item in answer.items}) is offered
