"""Encoders that were tuned elsewhere serve as they are, and must know no more than they may."""

import json
import shutil
from dataclasses import replace
from datetime import datetime, timedelta

import numpy as np
import pytest

from encoders.errors import EncoderError
from encoders.export import export_training
from encoders.interest import InterestModel
from encoders.origin import KEPT, remembered, share_found
from encoders.pair import train_pair
from encoders.report import Lead, words_line
from ingest.moments import to_microseconds
from ingest.store import END_OF_TIME, Store
from ingest.workspace import Workspace
from ranker import tuned_encoder
from ranker.query import Query
from ranker.rank import Ranker
from ranker.spoken import training_lines
from ranker.train import train
from tests.conftest import SHOP


@pytest.fixture(scope="module")
def fresh(shop, tmp_path_factory):
    """The shop's store in a workspace without bundles."""
    workspace = Workspace.create(tmp_path_factory.mktemp("fresh") / "workspace", "[kinds]\nwave = 3.0\n")
    shutil.copyfile(shop.store_path, workspace.store_path)
    return workspace


@pytest.fixture(scope="module")
def pair(fresh, tmp_path_factory):
    """Early and final encoder, tuned on an export of the store."""
    folder = tmp_path_factory.mktemp("elsewhere")
    with Store.open(fresh.store_path, read_only=True) as store:
        export_training(store, folder / "data", before=END_OF_TIME)
    train_pair(folder / "data", folder / "pair", SHOP.encoder)
    return folder / "pair"


def test_a_bundle_serves_by_the_final_one_and_tunes_nothing(fresh, pair, monkeypatch):
    monkeypatch.setattr(tuned_encoder, "training", None)  # whoever calls it fails
    trained = train(fresh, SHOP, encoders=pair)
    served = (trained.folder / "encoder" / "token_vectors.npy").read_bytes()
    assert served == (pair / "final" / "token_vectors.npy").read_bytes()
    told = trained.measured["encoder"]
    assert told["tuned_recall@10"] > 0
    lines = list(training_lines(trained, promoted=True))
    assert f"{told['tuned_ndcg@10']:.4f} tuned, {told['words_ndcg@10']:.4f} by words alone (TF-IDF)" in lines[0]
    assert lines[1] == words_line(Lead(**told["over_words_ndcg@10"]))
    difference = told["tuned_ndcg@10"] - told["words_ndcg@10"]
    assert told["over_words_ndcg@10"]["value"] == pytest.approx(difference, abs=2e-4)
    assert trained.measured["blend"]["learned"]
    assert len(Ranker.load(trained.folder).recommend(Query(user_id="u1", as_of=datetime(2030, 1, 1))).items) > 0


def test_what_knows_too_much_is_refused(fresh, pair, tmp_path):
    with Store.open(fresh.store_path, read_only=True) as store:
        last = store.interactions(before=END_OF_TIME)["occurred_at"].max()
    with pytest.raises(EncoderError, match=r"know nothing from .* on, got some that do"):
        train(fresh, SHOP, until=last - timedelta(days=1), encoders=pair)
    for name in ("early", "final"):
        shutil.copytree(pair / "final", tmp_path / name)
    assert InterestModel.load(tmp_path / "early").trained_before == to_microseconds(last) + 1
    for until in (None, last + timedelta(days=1)):  # a day on which nothing happened
        with pytest.raises(EncoderError, match="got one that knows all of it"):
            train(fresh, SHOP, until=until, encoders=tmp_path)


def test_settings_of_another_kind_than_the_pairs_do_not_matter(fresh, pair):
    of_transformers = replace(SHOP, encoder=replace(SHOP.encoder, kind="transformer", tuning="lora"))
    assert train(fresh, of_transformers, encoders=pair).measured["encoder"]["kind"] == "static"


def test_without_text_settings_of_the_encoder_do_not_matter(fresh):
    wide = replace(
        SHOP, encoder=replace(SHOP.encoder, kind="transformer", tuning="lora", cut_dims="300", serve_dim=300)
    )
    assert train(fresh, wide, without_text=True).measured["without_text"]


def test_a_folder_without_a_pair_says_so(fresh, tmp_path):
    with pytest.raises(EncoderError, match=r"wanted a trained encoder, found no config\.json"):
        train(fresh, SHOP, encoders=tmp_path)


def test_a_pair_with_half_a_card_says_so_before_anything_is_learned(fresh, pair, tmp_path, monkeypatch):
    monkeypatch.setattr("ranker.train.learn", None)  # whoever calls it fails
    shutil.copytree(pair, tmp_path / "pair")
    (tmp_path / "pair" / "early" / "card.json").write_text("{}")
    with pytest.raises(EncoderError, match="wanted 'untuned' in its card"):
        train(fresh, SHOP, encoders=tmp_path / "pair")


def test_a_pair_of_another_store_is_refused(fresh, pair, tmp_path, monkeypatch):
    monkeypatch.setattr("ranker.train.learn", None)  # whoever calls it fails
    for name in ("early", "final"):
        folder = shutil.copytree(pair / name, tmp_path / name)
        card = json.loads((folder / "card.json").read_text())
        assert 1 < len(card["log"]) <= KEPT
        card["log"] = remembered(["x", "y"], np.array([0, 1, 0]), np.array([0, 1, 2]) * 86_400_000_000)
        (folder / "card.json").write_text(json.dumps(card))
    with pytest.raises(EncoderError, match=r"tuned on an export of this store, got early, of whose log 0% is found"):
        train(fresh, SHOP, encoders=tmp_path)


def test_a_pair_of_before_logs_were_remembered_is_taken(fresh, pair, tmp_path):
    for name in ("early", "final"):
        folder = shutil.copytree(pair / name, tmp_path / name)
        card = json.loads((folder / "card.json").read_text())
        (folder / "card.json").write_text(json.dumps({key: told for key, told in card.items() if key != "log"}))
    assert train(fresh, SHOP, encoders=tmp_path).folder.is_dir()


def test_a_store_that_has_grown_is_known_again():
    ids = [f"i{n}" for n in range(500)]
    rng = np.random.default_rng(0)
    items, times = rng.integers(0, 500, 2_000), rng.integers(0, 300, 2_000) * 86_400_000_000
    told = remembered(ids, items, times)
    assert len(told) == KEPT
    more = ["new", *ids]
    assert share_found(told, more, np.append(items + 1, 0), np.append(times + 5, 9)) == 1
    assert share_found(told, [f"other {n}" for n in range(500)], items, times) == 0
    assert remembered(ids, np.zeros(0, np.int64), np.zeros(0, np.int64)) == []
