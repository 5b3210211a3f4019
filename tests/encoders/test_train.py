import hashlib
import json
import os
import platform
import subprocess
import sys
from dataclasses import replace
from datetime import datetime, timedelta
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest
import torch

from encoders import trainer as trainer_module
from encoders.card import _machine, read_report
from encoders.errors import EncoderError, TrainingDataError
from encoders.export import export_frames
from encoders.interest import InterestModel
from encoders.journal import Journal
from encoders.sequences import read_sequences
from encoders.train import train
from encoders.trainer import Trainer, build, seed_torch
from ingest.progress import silent

AT = datetime(2024, 1, 1)


def _vectors(folder, shop):
    return InterestModel.load(folder).encode(pl.read_parquet(shop.folder / "items.parquet")["text"].to_list())


def test_training_finds_the_taste(shop, small, tmp_path):
    report = train(shop.folder, tmp_path / "m", replace(small, epochs=6))
    assert report.tuned.recall_at_10 > report.untuned.recall_at_10
    assert report.best_epoch > 0
    # chance is 10 of 120; knowing the topic alone is 10 of 30
    assert report.tuned.recall_at_10 > 1.5 * 10 / 120


def test_same_seed_gives_the_same_vectors(shop, small, tmp_path):
    for name in ("a", "b"):
        train(shop.folder, tmp_path / name, small)
    np.testing.assert_allclose(_vectors(tmp_path / "a", shop), _vectors(tmp_path / "b", shop), atol=1e-6)
    with np.load(tmp_path / "a" / "tower.npz") as one, np.load(tmp_path / "b" / "tower.npz") as other:
        assert one.files == other.files
        for name in one.files:
            np.testing.assert_allclose(other[name], one[name], atol=1e-6, err_msg=name)


def test_a_killed_run_resumes_to_the_same_result(shop, small, tmp_path):
    train(shop.folder, tmp_path / "whole", small)

    class KilledError(Exception):
        pass

    def kill(step, done, total=None, note=""):
        if step == "tune encoder" and done == 2:
            raise KilledError

    with pytest.raises(KilledError):
        train(shop.folder, tmp_path / "killed", small, progress=kill)
    assert not (tmp_path / "killed").exists()
    report = train(shop.folder, tmp_path / "killed", small)
    assert [epoch.number for epoch in report.epochs] == [1, 2, 3]
    np.testing.assert_allclose(_vectors(tmp_path / "killed", shop), _vectors(tmp_path / "whole", shop), atol=1e-6)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["killed", "whole"]


def test_nothing_after_fit_before_changes_the_model(shop, small, tmp_path):
    middle = shop.interactions["occurred_at"].quantile(0.6, "nearest")
    past = shop.interactions.filter(pl.col("occurred_at") < middle)
    shown = shop.impressions.filter(pl.col("occurred_at") < middle)
    export_frames(shop.items, past, tmp_path / "past", before=middle, impressions=shown)
    train(tmp_path / "past", tmp_path / "a", small)
    train(shop.folder, tmp_path / "b", small, fit_before=middle)
    np.testing.assert_allclose(_vectors(tmp_path / "a", shop), _vectors(tmp_path / "b", shop), atol=1e-6)


def test_continuing_starts_from_the_earlier_model(shop, small, tmp_path):
    train(shop.folder, tmp_path / "first", small)
    train(shop.folder, tmp_path / "same", small, init_from=tmp_path / "first", epochs=0)
    np.testing.assert_allclose(_vectors(tmp_path / "same", shop), _vectors(tmp_path / "first", shop), atol=2e-3)
    report = train(shop.folder, tmp_path / "more", small, init_from=tmp_path / "first", epochs=1)
    assert report.events == shop.interactions.height
    assert np.abs(_vectors(tmp_path / "more", shop) - _vectors(tmp_path / "first", shop)).max() > 3e-3


def _export(tmp_path, items, events):
    frame = pl.DataFrame(
        events,
        schema={"user_id": str, "item_id": str, "kind": str, "weight": float, "occurred_at": pl.Datetime("us")},
        orient="row",
    )
    export_frames(items, frame, tmp_path / "data", before=AT + timedelta(days=900))
    return tmp_path / "data"


@pytest.mark.parametrize("titles", [["only"], [None, None, None], ["a b", "c d", None], []])
@pytest.mark.parametrize("users", [0, 1, 3])
def test_little_or_nothing_to_learn_from_still_gives_a_model(tmp_path, small, titles, users):
    items = pl.DataFrame(
        {"item_id": [f"i{n}" for n in range(len(titles))], "title": titles}, schema_overrides={"title": pl.String}
    )
    events = [
        (f"u{u}", f"i{n}", "click", 1.0, AT + timedelta(days=30 * n + u))
        for u in range(users)
        for n in range(len(titles))
    ]
    data = _export(tmp_path, items, events)
    report = train(data, tmp_path / "m", small)
    assert report.items == len(titles)
    vectors = InterestModel.load(tmp_path / "m").encode([title or "" for title in titles])
    assert np.isfinite(vectors).all()


def test_items_without_text_are_said_to_teach_nothing(tmp_path, small):
    items = pl.DataFrame({"item_id": ["a", "b"], "title": [None, None]}, schema_overrides={"title": pl.String})
    events = [("u", item, "click", 1.0, AT + timedelta(days=n)) for n, item in enumerate("ab")]
    assert "nothing to tune on" in train(_export(tmp_path, items, events), tmp_path / "m", small).note


def test_a_log_that_is_held_out_as_a_whole_is_said_to_be(shop, small, tmp_path):
    first = shop.interactions["occurred_at"].min()
    note = train(shop.folder, tmp_path / "m", small, validate_from=first).note
    told = f"no user took two items with text before {first}, from when on all is held out: nothing to tune on"
    assert note == told


def test_card_tells_base_window_and_figures(shop, small, tmp_path):
    report = train(shop.folder, tmp_path / "m", small)
    card = json.loads((tmp_path / "m" / "card.json").read_text())
    assert card["base"] == "catalogue"
    assert card["counts"]["users"] == 90
    assert card["tuned"]["recall_at_10"] == report.tuned.recall_at_10
    assert card["window"][0] == str(shop.interactions["occurred_at"].min())
    assert "| recall_at_10 |" in (tmp_path / "m" / "README.md").read_text()


def test_card_tells_the_machine_and_the_weights_that_it_began_with(shop, small, tiny_transformer, tmp_path):
    train(shop.folder, tmp_path / "m", replace(small, base=str(tiny_transformer), dim=8, epochs=0))
    card = json.loads((tmp_path / "m" / "card.json").read_text())
    weights = (tiny_transformer / "model.safetensors").read_bytes()
    assert card["base_sha256"] == hashlib.sha256(weights).hexdigest()
    assert card["environment"]["processors"] == str(os.cpu_count())
    assert card["environment"]["system"].startswith(platform.system())
    readable = (tmp_path / "m" / "README.md").read_text()
    assert card["base_sha256"] in readable
    assert f"processors {os.cpu_count()}" in readable
    assert read_report(tmp_path / "m").base_sha256 == card["base_sha256"]


def test_a_card_names_the_gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "a large one")
    assert _machine()["GPU"] == "a large one"


def test_command_runs_without_polars_and_duckdb(shop, tmp_path):
    code = (
        "import sys, runpy\n"
        "class Absent:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.split('.')[0] in ('polars', 'duckdb'): raise ModuleNotFoundError(name)\n"
        "sys.meta_path.insert(0, Absent())\n"
        f"sys.argv = ['train', {str(shop.folder)!r}, {str(tmp_path / 'm')!r}, '--base', 'catalogue', '--epochs', '1']\n"
        "runpy.run_module('encoders.train', run_name='__main__', alter_sys=True)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert "untuned" in done.stdout
    assert InterestModel.load(tmp_path / "m").dim == 256


def test_missing_folder_and_wrong_settings_are_one_sentence(shop, small, tmp_path):
    with pytest.raises(TrainingDataError, match="export the training data first"):
        train(tmp_path, tmp_path / "m", small)
    with pytest.raises(EncoderError, match=r"wanted one of static, transformer, got 'magic'"):
        train(shop.folder, tmp_path / "m", replace(small, kind="magic"))
    (tmp_path / "items.parquet").write_text("not parquet")
    with pytest.raises(TrainingDataError, match="wanted a Parquet file"):
        train(tmp_path, tmp_path / "m", small)


@pytest.mark.parametrize("tuning", ["full", "lora", "none"])
def test_transformer_goes_through_the_same_training(shop, small, tiny_transformer, tmp_path, tuning):
    config = replace(small, kind="transformer", base=str(tiny_transformer), tuning=tuning, epochs=1, learning_rate=3e-3)
    report = train(shop.folder, tmp_path / "m", config)
    assert report.kind == "transformer"
    model = InterestModel.load(tmp_path / "m")
    texts = pl.read_parquet(shop.folder / "items.parquet")["text"].to_list()
    vectors = model.encode([*texts, ""])
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), [1] * 120 + [0], atol=1e-5)
    untuned = build(config, texts)[0]
    from encoders.encoder import all_vectors

    moved = np.abs(all_vectors(untuned, 120).numpy() - vectors[:120]).max()
    assert (moved < 1e-5) == (tuning == "none" or report.best_epoch == 0)


def test_static_vectors_are_distilled_from_a_transformer_and_kept(shop, small, tiny_transformer, tmp_path):
    config = replace(small, base=str(tiny_transformer), epochs=1)
    steps = []
    for name in ("a", "b"):
        train(shop.folder, tmp_path / name, config, progress=lambda step, *rest: steps.append(step))
    assert steps.count("distil") == 1
    np.testing.assert_allclose(_vectors(tmp_path / "a", shop), _vectors(tmp_path / "b", shop), atol=1e-6)


def test_settings_are_read_without_torch():
    code = "import sys, encoders.train; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_batches_cut_ahead_for_a_gpu_train_the_same(shop, small, monkeypatch):
    """A GPU is a stub here: what it changes in this place is that a second thread cuts the batches."""
    for copying in ("pinned", "sent"):
        monkeypatch.setattr(trainer_module, copying, lambda held, device: held)
    weights = []
    for device in ("cpu", "cuda"):
        data = read_sequences(shop.folder)
        seed_torch(0)
        encoder, tower, _ = build(small, data.texts)
        trainer = Trainer(small, encoder, tower, data, continued=False)
        trainer.device = SimpleNamespace(type=device)
        trainer.epoch(0, 1, Journal(silent))
        weights.append([value.detach().clone() for value in trainer.parameters])
    for one, other in zip(*weights, strict=True):
        assert torch.equal(one, other)
