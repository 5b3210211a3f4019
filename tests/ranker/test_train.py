"""Training ends in a bundle that answers, also on the smallest and strangest of stores."""

import importlib.util
import shutil
from dataclasses import replace
from datetime import datetime, timedelta

import numpy as np
import polars as pl
import pytest
from threadpoolctl import threadpool_limits

from encoders.errors import EncoderError
from encoders.interest import InterestModel
from encoders.train import EncoderConfig
from ingest.load import load_files
from ingest.moments import to_microseconds
from ingest.store import Store
from ingest.workspace import Workspace
from ranker import tuned_encoder
from ranker.compiled import COMPILED
from ranker.errors import NothingToLearnError
from ranker.moments import Moments
from ranker.query import Query
from ranker.rank import Ranker
from ranker.refresh import refresh
from ranker.train import train
from ranker.train_config import TrainConfig
from tests.conftest import SHOP

TINY = TrainConfig(encoder=EncoderConfig(base="catalogue", dim=8, width=8, heads=2, epochs=1, continue_epochs=1))
NOON = datetime(2024, 5, 1, 12)


@pytest.fixture
def trained(tmp_path):
    """Make a workspace of frames, train it and load the bundle."""

    def make(until=None, **frames: pl.DataFrame) -> Ranker:
        workspace = Workspace.create(tmp_path / "shop", "")
        for name, frame in frames.items():
            frame.write_parquet(tmp_path / f"{name}.parquet")
        with Store.open(workspace.store_path) as store:
            load_files(store, [tmp_path / f"{name}.parquet" for name in frames])
        with threadpool_limits(1):
            return Ranker.load(train(workspace, TINY, until=until).folder)

    return make


def log(*rows: tuple[str, str, int]) -> pl.DataFrame:
    return pl.DataFrame(
        [(user, item, datetime(2024, 5, day)) for user, item, day in rows],
        schema=["user_id", "item_id", "occurred_at"],
        orient="row",
    )


def recommended(ranker: Ranker, user: str = "ann") -> list[str]:
    return [item.item_id for item in ranker.recommend(Query(user_id=user, as_of=NOON)).items]


def test_one_user_one_item(trained):
    ranker = trained(items=pl.DataFrame({"item_id": ["a"], "title": ["oak table"]}), log=log(("ann", "a", 1)))
    assert recommended(ranker) == []
    assert recommended(ranker, "bob") == ["a"]


def test_catalogue_without_any_interaction(trained):
    ranker = trained(items=pl.DataFrame({"item_id": ["a", "b"], "title": ["oak table", "pine chair"]}))
    assert sorted(recommended(ranker)) == ["a", "b"]


def test_interactions_without_a_catalogue(trained):
    ranker = trained(log=log(("ann", "a", 1), ("bob", "a", 2), ("bob", "b", 3)))
    assert recommended(ranker) == ["b"]


def test_items_without_text(trained):
    items = pl.DataFrame({"item_id": ["a", "b"], "title": [None, None]}, schema_overrides={"title": pl.String})
    ranker = trained(items=items, log=log(("ann", "a", 1), ("bob", "a", 2), ("bob", "b", 3)))
    assert recommended(ranker) == ["b"]


def test_unavailable_items_are_never_shown(trained):
    items = pl.DataFrame({"item_id": ["a", "b"], "title": ["oak", "pine"], "available": [True, False]})
    assert recommended(trained(items=items), "bob") == ["a"]


def test_nothing_from_the_cutoff_on_is_used(trained):
    items = pl.DataFrame({"item_id": ["a", "b"], "title": ["oak table", "pine chair"]})
    ranker = trained(until=datetime(2024, 5, 2), items=items, log=log(("ann", "a", 1), ("bob", "b", 2)))
    assert ranker.cutoff == datetime(2024, 5, 2)
    assert ranker.history.user_ids == ["ann"]


def test_cutoff_is_after_all_that_was_shown_too(trained):
    """What was shown after the last interaction is counted by the bundle, so it must lie before its cutoff."""
    items = pl.DataFrame({"item_id": ["a", "b"], "title": ["oak table", "pine chair"]})
    shown = log(("ann", "a", 3), ("ann", "b", 3)).with_columns(
        pl.lit("r1").alias("request_id"), pl.lit(False).alias("clicked")
    )
    ranker = trained(items=items, log=log(("ann", "a", 1), ("bob", "b", 2)), shown=shown)
    assert ranker.cutoff == datetime(2024, 5, 3) + timedelta(microseconds=1)
    until = np.array([to_microseconds(ranker.cutoff)])
    assert ranker.history.exposure(np.array([0, 1]), before=until)[0].tolist() == [1, 1]


def test_empty_store_says_what_to_do(trained):
    with pytest.raises(NothingToLearnError, match="run `readrank ingest` first"):
        trained()


def test_bundle_serves_vectors_as_short_and_small_as_the_settings_say(trained, monkeypatch):
    encoder = replace(TINY.encoder, cut_dims="4", serve_dim=4, vectors="int8")
    monkeypatch.setattr(f"{__name__}.TINY", TrainConfig(encoder=encoder))
    items = pl.DataFrame({"item_id": ["a", "b", "c"], "title": ["oak table", "pine chair", "oak chair"]})
    ranker = trained(items=items, log=log(("ann", "a", 1), ("bob", "a", 2), ("bob", "b", 3), ("ann", "c", 4)))
    sources = ranker.model.sources
    assert (sources.item_vectors.form, sources.item_vectors.dim) == ("int8", TINY.encoder.dim)
    assert (sources.interest.dim, sources.everything.vectors.shape) == (4, (3, 4))
    # the history is read whole: a user's vector is the beginning of the whole one
    moments = Moments(users=ranker.history.user_rows(["ann", "bob"]), as_of=np.array([2**62] * 2))
    situation = sources.situation(ranker.history, moments)
    recent, model = situation.recent, InterestModel.load(sources.interest.folder)
    whole = model.user_vectors(sources.item_vectors.at(recent.items), recent.weights, recent.ages, recent.mask)
    np.testing.assert_allclose(situation.interest, whole[:, :4], rtol=1e-5)
    # what a user's interest is compared with is the mean of what items are scored by
    interest = situation.interest @ sources.everything.vectors.T
    np.testing.assert_allclose(situation.typical, interest.sum(axis=1) / 3, rtol=1e-4)
    assert sorted(recommended(ranker, "eve")) == ["a", "b", "c"]
    assert sorted(recommended(ranker)) == ["b", "c"]


def test_length_that_is_not_trained_for_is_refused_before_training(trained, monkeypatch):
    monkeypatch.setattr(f"{__name__}.TINY", TrainConfig(encoder=replace(TINY.encoder, serve_dim=4)))
    with pytest.raises(EncoderError, match="serve_dim: wanted one of cut_dims = '', got 4; add it there"):
        trained(items=pl.DataFrame({"item_id": ["a"], "title": ["oak table"]}), log=log(("ann", "a", 1)))


def test_same_seed_gives_the_same_answers(shop, ranker, tmp_path, monkeypatch):
    """Train the shop once more, its encoders in processes of their own: scores agree."""
    monkeypatch.setattr(tuned_encoder, "BESIDE_FROM", 0)
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    shutil.copytree(shop.root, tmp_path / "shop")
    with threadpool_limits(1):
        folder = train(
            Workspace.open(tmp_path / "shop"), replace(SHOP, blend=replace(SHOP.blend, compiled=True))
        ).folder
    if importlib.util.find_spec("lleaves"):
        assert len(list(folder.glob(COMPILED))) == len(list(folder.glob("ranker*.txt"))) == 2
    again = Ranker.load(folder)
    with (tmp_path / "shop" / "readrank.toml").open("a") as settings:
        settings.write("\n[rules]\ndiversity = 0.1\n")
    refreshed, _ = refresh(Workspace.open(tmp_path / "shop"), version=folder.name)
    assert {path.name for path in refreshed.glob(COMPILED)} == {path.name for path in folder.glob(COMPILED)}
    query = Query(user_id=ranker.history.user_ids[0], as_of=ranker.cutoff)
    scores = [[item.score for item in model.recommend(query).items] for model in (ranker, again)]
    assert scores[0] == pytest.approx(scores[1], abs=1e-6)


def test_without_text_nothing_that_items_say_is_read(tmp_path):
    """The same log under two catalogues that say different things: without text both give the same scores."""
    scores = []
    for name, words in (("oak", ["oak table", "pine chair", "lamp"]), ("tea", ["green tea", "black tea", "cup"])):
        workspace = Workspace.create(tmp_path / name, "")
        items = pl.DataFrame({"item_id": ["a", "b", "z"], "title": words, "categories": [[w] for w in words]})
        items.write_parquet(tmp_path / "items.parquet")
        log(("ann", "a", 1), ("bob", "a", 2), ("bob", "b", 3), ("eve", "z", 4)).write_parquet(tmp_path / "log.parquet")
        with Store.open(workspace.store_path) as store:
            load_files(store, [tmp_path / "items.parquet", tmp_path / "log.parquet"])
        with threadpool_limits(1):
            trained = train(workspace, TINY, without_text=True)
        assert trained.measured["without_text"]
        ranker = Ranker.load(trained.folder)
        answer = ranker.recommend(Query(user_id="ann", as_of=NOON))
        scores.append([(item.item_id, item.score) for item in answer.items])
        with pytest.raises(NothingToLearnError, match="trained without"):
            refresh(workspace, version=trained.folder.name)
    assert scores[0] == scores[1]


def test_tensorboard_logs_of_both_encoders_stay_in_the_reports(tmp_path):
    pytest.importorskip("tensorboard")
    items = pl.DataFrame({"item_id": ["a", "b", "c", "d"], "title": ["oak chair", "oak table", "red scarf", "red hat"]})
    items.write_parquet(tmp_path / "items.parquet")
    log(*((f"u{n % 5}", "abcd"[n % 4], n) for n in range(1, 31))).write_parquet(tmp_path / "log.parquet")
    workspace = Workspace.create(tmp_path / "shop", "")
    with Store.open(workspace.store_path) as store:
        load_files(store, [tmp_path / "items.parquet", tmp_path / "log.parquet"])
    with threadpool_limits(1):
        folder = train(workspace, replace(TINY, encoder=replace(TINY.encoder, tensorboard=True))).folder
    logs = workspace.reports_path / "tensorboard" / folder.name
    assert {path.parent.name for path in logs.glob("*/events.*")} == {"early", "final"}
    assert not list(workspace.training_path.iterdir())
