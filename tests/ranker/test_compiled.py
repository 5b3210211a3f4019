"""Machine code scores as LightGBM does, and where there is none LightGBM scores."""

import sys

import lightgbm
import numpy as np
import pytest

from ranker.blend import Trees
from ranker.compiled import COMPILED, compile_trees, load_compiled
from ranker.initial_score import NO_INITIAL


@pytest.fixture
def model(tmp_path, rng):
    """Thirty trees over three features, some of them missing."""
    rows = rng.normal(size=(500, 3))
    rows[rng.random(rows.shape) < 0.1] = np.nan
    data = lightgbm.Dataset(rows, np.nan_to_num(rows[:, 0]) > 0.3, group=np.full(50, 10))
    booster = lightgbm.train({"objective": "lambdarank", "verbosity": -1, "num_threads": 1}, data, 30)
    booster.save_model(str(tmp_path / "ranker.txt"))
    return tmp_path / "ranker.txt"


def test_machine_code_gives_the_scores_of_lightgbm(model, rng):
    pytest.importorskip("lleaves")
    written = compile_trees(model)
    assert written in set(model.parent.glob(COMPILED))
    rows = rng.normal(size=(1000, 3)).astype(np.float32)
    rows[::7, 1] = np.nan
    fast, slow = Trees.load(model, initial=NO_INITIAL), Trees(lightgbm.Booster(model_file=str(model)))
    assert load_compiled(model, slow.booster) is not None
    np.testing.assert_allclose(fast.score(rows), slow.score(rows), atol=1e-9)
    assert fast.score(rows[:0]).tolist() == []


def test_code_for_another_machine_is_not_loaded(model, monkeypatch, rng):
    pytest.importorskip("lleaves")
    compile_trees(model)
    monkeypatch.setattr("ranker.compiled.platform.machine", lambda: "other")
    assert load_compiled(model, lightgbm.Booster(model_file=str(model))) is None
    assert len(Trees.load(model, initial=NO_INITIAL).score(rng.normal(size=(4, 3)).astype(np.float32))) == 4


def test_without_the_library_lightgbm_scores(model, monkeypatch):
    monkeypatch.setitem(sys.modules, "lleaves", None)
    assert compile_trees(model) is None
    assert load_compiled(model, lightgbm.Booster(model_file=str(model))) is None
    assert Trees.load(model, initial=NO_INITIAL).score(np.zeros((1, 3), np.float32)).shape == (1,)


def test_model_that_cannot_be_compiled_leaves_no_file(model, monkeypatch):
    lleaves = pytest.importorskip("lleaves")

    def fail(*_, **__):
        raise RuntimeError("no such instruction")

    monkeypatch.setattr(lleaves.Model, "compile", fail)
    assert compile_trees(model) is None
    assert list(model.parent.glob(COMPILED)) == []
