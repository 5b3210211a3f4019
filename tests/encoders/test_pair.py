"""Encoders tuned elsewhere for a ranker: what each of the two knows, and what they bring along."""

import re
import shutil
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from encoders.errors import ModelFolderError
from encoders.interest import InterestModel
from encoders.pair import train_pair
from encoders.sequences import read_sequences
from encoders.vectors import encoder_fingerprint
from ingest.progress import silent


@pytest.fixture(scope="module")
def pair(shop, small, tiny_transformer, tmp_path_factory):
    """Early and final transformers of the shop."""
    out = tmp_path_factory.mktemp("pair")
    config = replace(small, kind="transformer", base=str(tiny_transformer), epochs=1, pairs_per_epoch=200)
    config = replace(config, validation_queries=0)  # whatever an epoch has learned is kept
    return out, *train_pair(shop.folder, out, config)


def test_the_early_one_knows_what_the_ranker_does_not_learn_from_and_the_final_one_everything(pair, shop):
    out, early, final = pair
    times = np.sort(read_sequences(shop.folder).times)
    assert InterestModel.load(out / "early").trained_before <= np.quantile(times, 0.9, method="nearest")
    assert InterestModel.load(out / "final").trained_before == times[-1] + 1
    assert early.best_epoch == 1
    assert early.events < final.events == len(times)


def test_texts_of_the_catalogue_go_through_no_model_again(pair, shop, monkeypatch):
    texts = pl.read_parquet(shop.folder / "items.parquet")["text"].to_list()
    for name in ("early", "final"):
        model = InterestModel.load(pair[0] / name)
        encoded = model._encode_new(texts)
        with monkeypatch.context() as patch:
            patch.setattr("encoders.served_transformer.encode_served", None)  # whoever calls it fails
            kept = model.encode(texts[::-1])[::-1]
        np.testing.assert_allclose(kept, encoded, atol=1e-3)
        mixed = model.encode([texts[5], "rose guitar", ""])
        np.testing.assert_array_equal(mixed[0], kept[5])
        np.testing.assert_allclose(mixed[1], model._encode_new(["rose guitar"])[0], atol=1e-6)
        assert not mixed[2].any()


def test_vectors_alone_tell_encoders_apart_and_cannot_read_anything_new(pair, tmp_path):
    prints = []
    for name in ("early", "final"):
        for file in ("config.json", "tower.npz", "item_vectors"):
            target = tmp_path / name / file
            target.parent.mkdir(exist_ok=True)
            target.symlink_to(pair[0] / name / file)
        model = InterestModel.load(tmp_path / name)
        prints.append(encoder_fingerprint(model))
        with pytest.raises(ModelFolderError, match="1 texts that it has no vectors of"):
            model.encode(["rose guitar"])
    assert prints[0] != prints[1]


def test_static_encoders_bring_no_vectors(shop, small, tmp_path):
    train_pair(shop.folder, tmp_path, replace(small, epochs=1))
    assert not list(tmp_path.glob("*/item_vectors"))
    assert len(InterestModel.load(tmp_path / "final").encode(["rose"])) == 1


def test_the_page_tells_what_the_folder_of_each_kind_holds(pair, shop, small, tmp_path):
    page = (Path(__file__).parents[2] / "docs" / "encoders.md").read_text(encoding="utf-8")
    rows = re.findall(r"(?m)^\| (`.*?) \| (.*) \|$", page.split("## The folder")[1].split("##")[0])
    train_pair(shop.folder, tmp_path, replace(small, epochs=1))
    for kind, other, out in (("static", "transformer", tmp_path), ("transformer", "static", pair[0])):
        told = {name for names, what in rows for name in re.findall("`(.*?)/?`", names) if f"{other} kind" not in what}
        for name in ("early", "final"):
            assert {path.name for path in (out / name).iterdir()} == told, (kind, name)


@pytest.mark.parametrize(("when", "epochs_left"), [("in the final encoder", [1, 2, 3]), ("beside the vectors", [])])
def test_a_killed_pair_trains_no_finished_encoder_again(shop, small, tmp_path, monkeypatch, when, epochs_left):
    undisturbed = train_pair(shop.folder, tmp_path / "whole", small)
    out, trainings = tmp_path / "killed", []

    def dies(step, done, total=None, note=""):
        if (step, done) == ("tune encoder", 0):
            trainings.append(step)
        elif (step, done) == ("tune encoder", 1) and len(trainings) == 2:
            raise KeyboardInterrupt

    def out_of_power(folder, data):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        if not epochs_left:
            patch.setattr("encoders.pair.keep_vectors", out_of_power)
        with pytest.raises(KeyboardInterrupt):
            train_pair(shop.folder, out, small, progress=dies if epochs_left else silent)
    begun = []
    resumed = train_pair(shop.folder, out, small, progress=lambda step, done, *rest: begun.append((step, done)))
    assert [done for step, done in begun if step == "tune encoder"] == epochs_left
    for one, other in zip(resumed, undisturbed, strict=True):
        assert [epoch.figures for epoch in one.epochs] == [epoch.figures for epoch in other.epochs]
        assert (one.untuned, one.tuned, one.best_epoch) == (other.untuned, other.tuned, other.best_epoch)
        counts = [(report.items, report.users, report.events, report.requests) for report in (one, other)]
        assert counts[0] == counts[1]
        for name in ("token_vectors.npy", "tower.npz"):
            assert (one.folder / name).read_bytes() == (other.folder / name).read_bytes()
    assert sorted(path.name for path in out.iterdir()) == ["early", "final"]


@pytest.fixture(scope="module")
def killed_at_the_end(shop, small, tmp_path_factory):
    """Both encoders are done, the vectors of the catalogue are not beside them, nor is the end told."""

    def out_of_power(folder, data):
        raise KeyboardInterrupt

    out = tmp_path_factory.mktemp("killed") / "pair"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("encoders.pair.keep_vectors", out_of_power)
        with pytest.raises(KeyboardInterrupt):
            train_pair(shop.folder, out, small)
    return out


@pytest.mark.parametrize(
    ("changes", "told", "trained"),
    [
        ({}, {}, 0),
        ({}, {"resume": False}, 2),
        ({"learning_rate": 3e-3}, {}, 2),
        ({"max_minutes": 9.0}, {}, 2),
        ({}, {"validate_from": datetime(2024, 1, 20)}, 2),
    ],
)
def test_a_finished_encoder_is_taken_as_it_is_only_for_the_same_training(
    killed_at_the_end, shop, small, tmp_path, changes, told, trained
):
    out, begun = tmp_path / "pair", []
    shutil.copytree(killed_at_the_end, out)
    config = replace(small, **changes)
    train_pair(shop.folder, out, config, progress=lambda step, done, *rest: begun.append((step, done)), **told)
    assert begun.count(("tune encoder", 0)) == trained


@pytest.mark.parametrize("lost", ["card.json", "tower.npz"])
def test_a_mark_beside_a_damaged_model_does_not_stop_the_pair(killed_at_the_end, shop, small, tmp_path, lost):
    out = tmp_path / "pair"
    shutil.copytree(killed_at_the_end, out)
    (out / "early" / lost).unlink()
    train_pair(shop.folder, out, small)
    assert InterestModel.load(out / "early").dim == small.dim


def test_a_final_encoder_stays_done_when_the_early_one_has_its_vectors(killed_at_the_end, shop, small, tmp_path):
    """What is put beside the early one does not make it another training that the final one repeats."""
    out, begun = tmp_path / "pair", []
    shutil.copytree(killed_at_the_end, out)
    (out / "early" / "item_vectors").mkdir()
    (out / "early" / "item_vectors" / "rest").write_bytes(b"of a killed run")
    resumed = train_pair(shop.folder, out, small, progress=lambda step, done, *rest: begun.append((step, done)))
    assert ("tune encoder", 0) not in begun
    whole = train_pair(shop.folder, tmp_path / "whole", small)
    for one, other in zip(resumed, whole, strict=True):
        assert replace(one, folder=other.folder, seconds=other.seconds, epochs=()) == replace(other, epochs=())


def test_a_pair_that_ended_is_trained_anew(shop, small, tmp_path):
    """New code may make another one of the same settings and data."""
    begun = []
    for _ in range(2):
        train_pair(shop.folder, tmp_path, small, progress=lambda step, done, *rest: begun.append((step, done)))
    assert begun.count(("tune encoder", 0)) == 4
