"""The GPU benchmark end to end on a CPU with a tiny model, and the arithmetic of its figures."""

import json
import subprocess
import sys
import tarfile
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest

from benchmarks import gpu_speed
from benchmarks.gpu_encoder import main
from benchmarks.gpu_speed import flop_a_token
from benchmarks.gpu_travel import package
from encoders.base import load_sentence_transformer
from encoders.errors import ModelFolderError
from encoders.export import export_frames
from encoders.interest import InterestModel
from encoders.sequences import read_sequences

ROOT = Path(__file__).parents[2]
SETTINGS = [
    "width=16", "heads=2", "history=8", "epochs=1", "pairs_per_epoch=100", "pairs_at_once=256", "negatives=64",
    "validation_queries=50", "learning_rate=3e-3",
]  # fmt: skip


def test_operations_of_a_token_are_counted_from_the_configuration():
    config = SimpleNamespace(hidden_size=384, intermediate_size=1536, num_hidden_layers=6)
    lengths = np.array([10, 30])
    # of 40 tokens 10 have 10 in their text and 30 have 30
    of_own_text = (10 * 10 + 30 * 30) / 40
    weights = 6 * (4 * 384 * 384 + 2 * 384 * 1536)
    forward = 2 * weights + 4 * 6 * 384 * of_own_text
    assert flop_a_token(config, lengths, tuning="full") == pytest.approx(3 * forward)
    assert flop_a_token(config, lengths, tuning="none") == pytest.approx(forward)


def test_one_command_measures_trains_and_brings_back(shop, tiny_transformer, tmp_path):
    """In a process that has neither polars nor duckdb nor lightgbm."""
    out = tmp_path / "out"
    command = [
        str(shop.folder), "--base", str(tiny_transformer), "--out", str(out), "--steps", "2", "--warm-up", "1",
        "--speed", "end to end: padded", "--set", *SETTINGS,
    ]  # fmt: skip
    code = (
        "import sys\n"
        "class Absent:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.split('.')[0] in ('polars', 'duckdb', 'lightgbm'): raise ModuleNotFoundError(name)\n"
        "sys.meta_path.insert(0, Absent())\n"
        "from benchmarks.gpu_encoder import main\n"
        f"sys.exit(main(['--data', *{command!r}]))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=300, check=False, cwd=ROOT
    )
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in out.iterdir()) == [
        "RESULTS.json",
        "profile.txt",
        "train.early.tar",
        "train.final.tar",
    ]
    results = json.loads((out / "RESULTS.json").read_text())
    assert [speed["name"] for speed in results["speed"]] == ["train", "end to end"]
    for speed in results["speed"]:
        rate = results["matrix_tflops"] * 1e3
        used = speed["tokens_a_second"] * speed["gflop_a_token"] / rate
        assert speed["share_of_rate"] == pytest.approx(used)
        assert min(speed["share_of_rate"], speed["encoder_share_of_rate"]) > 0
        assert 0 <= speed["padding"] < 0.5
    assert results["training"][0]["tuned"]["queries"] > 0
    assert "2 steps on cpu" in (out / "profile.txt").read_text()
    assert "aten::" in (out / "profile.txt").read_text()

    models = tmp_path / "models"
    for tar in out.glob("*.tar"):
        with tarfile.open(tar) as opened:
            opened.extractall(models, filter="data")
    items = pl.read_parquet(shop.folder / "items.parquet")
    known = []
    for half in ("early", "final"):
        model = InterestModel.load(models / "train" / half)
        vectors = model.encode(items["text"].to_list())
        np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=2e-3)
        assert not (models / "train" / half / "transformer").exists()
        known.append(model.trained_before)
    assert known[0] < known[1]
    with pytest.raises(ModelFolderError, match="1 texts that it has no vectors of"):
        model.encode(["a text of another catalogue"])


def test_the_package_holds_cases_and_a_base_of_half_the_size(tiny_transformer, tmp_path, monkeypatch):
    prepared = tmp_path / "prepared"
    prepared.mkdir()
    (prepared / "items.parquet").write_bytes(b"items")
    monkeypatch.setattr(
        "benchmarks.encoder_parts.cases.prepare", lambda case, **given: SimpleNamespace(training=prepared)
    )
    out = tmp_path / "package"
    (out / "stale").mkdir(parents=True)
    size = package(out, data=tmp_path, judge=tmp_path, cases=["one", "two"], base=str(tiny_transformer))
    assert sorted(path.name for path in out.iterdir()) == ["base", "one", "two"]
    assert size == sum(path.stat().st_size for path in out.rglob("*") if path.is_file())
    texts = ["rose tulip", "guitar"]
    expected = load_sentence_transformer(tiny_transformer).encode(texts, normalize_embeddings=True)
    opened = load_sentence_transformer(out / "base")
    np.testing.assert_allclose(opened.encode(texts, normalize_embeddings=True), expected, atol=5e-3)
    weights = [sum(p.stat().st_size for p in f.rglob("*.safetensors")) for f in (out / "base", tiny_transformer)]
    assert weights[0] < 0.6 * weights[1]


def test_steps_are_timed_with_the_kinds_that_training_reads(shop, small, tiny_transformer, monkeypatch):
    kinds = np.array(["click", "like"])[np.arange(len(shop.interactions)) % 2]
    interactions = shop.interactions.with_columns(kind=pl.Series(kinds))
    folder = shop.folder.with_name("two_kinds")
    export_frames(shop.items, interactions, folder, before=shop.before)
    timed = []

    class StoppedError(Exception):
        """Raised in place of the steps."""

    def trainer(config, encoder, tower, data, **given):
        timed.append((len(tower.kinds["share"]), data.kinds.names))
        raise StoppedError

    monkeypatch.setattr(gpu_speed, "Trainer", trainer)
    config = replace(small, kind="transformer", base=str(tiny_transformer))
    with pytest.raises(StoppedError):
        gpu_speed.measure_steps("two kinds", config, read_sequences(folder), 1.0, steps=1, warm_up=0)
    assert timed == [(2, ("click", "like"))]


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ([], "wanted --data and --out"),
        (["--package", "x"], "wanted --cases-of and --judge"),
        (["--data", *"1234567", "--out", "{tmp}"], "wanted 3 folders at most"),
        (["--data", "{tmp}", "--out", "{tmp}", "--set", "epoch=1"], "wanted NAME=VALUE"),
        (["--data", "{tmp}/none", "--out", "{tmp}"], "export the training data first"),
    ],
)
def test_a_mistake_is_one_sentence(tmp_path, capsys, options, told):
    assert main([option.replace("{tmp}", str(tmp_path)) for option in options]) == 2
    assert told in capsys.readouterr().err
