"""A training that is killed and begun again on the same log trains no finished encoder again, and comes to the same."""

import json
import os
import shutil
import signal
import subprocess
import sys
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

import readrank
from ingest.erase import forget
from ingest.held import held, is_held
from ingest.leftovers import RESUMED_WITHIN
from ingest.load import load_files
from ingest.mentions import Person
from ingest.moments import utc_now
from ingest.retention import RetentionConfig, retain
from ingest.store import Store
from ingest.workspace import Workspace
from offline_eval.simulate import SimulationConfig, simulate
from ranker.bundle import live_folder, read_manifest
from ranker.resumable_folder import resumable_folder
from ranker.train import train
from ranker.train_config import TrainConfig

ROOT = Path(__file__).parents[2]
SETTINGS = """
[encoder]
base = "catalogue"
dim = 32
epochs = 2
pairs_per_epoch = 2000

[examples]
share = 0.25

[blend]
trees = 20
patience = 5
learning_rate = 0.2
compiled = false
"""
KILLED = """
import os, signal, sys
import readrank
from ranker import tuned_encoder
def die(self):
    os.kill(os.getpid(), signal.SIGKILL)
tuned_encoder.BESIDE_FROM = int(sys.argv[2])
tuned_encoder.TwoEncoders.final = die
readrank.run(["train", "-w", sys.argv[1]])
"""


@pytest.fixture(scope="module")
def loaded(tmp_path_factory) -> Workspace:
    files = simulate(SimulationConfig(n_events=6_000, n_users=200, n_items=200), tmp_path_factory.mktemp("log")).files
    space = Workspace.create(tmp_path_factory.mktemp("loaded") / "shop", SETTINGS)
    with Store.open(space.store_path) as store:
        load_files(store, files)
    return space


def copy_of(space: Workspace, folder: Path) -> Workspace:
    return Workspace(shutil.copytree(space.root, folder / "shop"))


def run_train(space: Workspace) -> Path:
    assert readrank.run(["train", "-w", str(space.root)]) == 0
    return live_folder(space.bundles_path)


def kill_after_the_first_encoder(space: Workspace, beside_from: int) -> Path:
    """Return the folder in which the first encoder lies."""
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(space.root), str(beside_from)], cwd=ROOT, capture_output=True, check=False
    )
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()
    (folder,) = [path for path in space.training_path.iterdir() if path.is_dir()]
    return folder


@pytest.fixture(scope="module")
def undisturbed(loaded, tmp_path_factory) -> Path:
    return run_train(copy_of(loaded, tmp_path_factory.mktemp("whole")))


@pytest.fixture(scope="module")
def killed(loaded, tmp_path_factory) -> Workspace:
    space = copy_of(loaded, tmp_path_factory.mktemp("killed"))
    kill_after_the_first_encoder(space, 50_000)
    return space


def vectors(bundle: Path) -> dict[str, np.ndarray]:
    found = {
        f"{path.relative_to(bundle)}": np.load(path)
        for path in (*bundle.glob("encoder/*.npy"), *bundle.glob("item_vectors/*.npy"))
    }
    with np.load(bundle / "encoder/tower.npz") as tower:
        return found | {name: tower[name] for name in tower.files}


@pytest.mark.parametrize("beside_from", [50_000, 0], ids=["here", "beside"])
def test_killed_after_its_first_encoder_it_goes_on_and_comes_to_the_same(loaded, undisturbed, tmp_path, beside_from):
    space = copy_of(loaded, tmp_path)
    folder = kill_after_the_first_encoder(space, beside_from)
    assert not is_held(folder)
    seconds = json.loads((folder / "early/card.json").read_text())["seconds"]
    bundle = run_train(space)
    # It measures how long the encoder was trained: no two trainings take the same time to the microsecond.
    assert read_manifest(bundle).measured["encoder"]["seconds"] == seconds
    for (name, one), other in zip(vectors(bundle).items(), vectors(undisturbed).values(), strict=True):
        if one.dtype.kind == "f":
            np.testing.assert_allclose(one.astype(np.float64), other.astype(np.float64), atol=1e-6, err_msg=name)
    for name in ("ranker.txt", "encoder/token_vectors.npy"):
        assert (bundle / name).read_bytes() == (undisturbed / name).read_bytes()
    assert list(space.training_path.iterdir()) == []


def test_other_settings_train_both_anew(killed, tmp_path):
    space = copy_of(killed, tmp_path)
    space.settings_path.write_text(SETTINGS.replace("epochs = 2", "epochs = 1"))
    (card,) = space.training_path.glob("*/early/card.json")
    seconds = json.loads(card.read_text())["seconds"]
    assert read_manifest(run_train(space)).measured["encoder"]["seconds"] != seconds


def test_another_log_clears_what_can_never_be_gone_on_with(killed, tmp_path):
    space = copy_of(killed, tmp_path)
    log = tmp_path / "more.csv"
    with Store.open(space.store_path) as store:
        ((item,),) = store.connection.execute("SELECT min(item_id) FROM items").fetchall()
        log.write_text(f"user_id,item_id,occurred_at\nu,{item},2024-01-01\n")
        load_files(store, [log])
    (left,) = [path for path in space.training_path.iterdir() if path.is_dir()]
    seen = []
    train(space, TrainConfig.of(space), progress=lambda step, *_: seen.append((step, left.exists())))
    assert ("tune encoder", False) in seen
    assert ("tune encoder", True) not in seen
    assert list(space.training_path.iterdir()) == []


def test_a_second_training_of_the_same_data_leaves_the_first_ones_folder_alone(killed, tmp_path):
    space = copy_of(killed, tmp_path)
    (folder,) = [path for path in space.training_path.iterdir() if path.is_dir()]
    before = sorted(folder.rglob("*"))
    with held(folder):
        run_train(space)
        assert sorted(folder.rglob("*")) == before
        assert retain(space, RetentionConfig(), utc_now() + 2 * RESUMED_WITHIN).leftovers == ()


@pytest.mark.parametrize(("after", "goes"), [(timedelta(0), False), (timedelta(seconds=1), True)])
def test_what_was_learned_waits_for_a_day(killed, tmp_path, after, goes):
    space = copy_of(killed, tmp_path)
    (folder,) = [path for path in space.training_path.iterdir() if path.is_dir()]
    last = utc_now().replace(microsecond=0)
    for number, path in enumerate((folder, *folder.rglob("*"))):
        moment = (last - timedelta(days=number) - datetime(1970, 1, 1)).total_seconds()
        os.utime(path, (moment, moment))
    left = retain(space, RetentionConfig(), last + RESUMED_WITHIN + after).leftovers
    assert (f"training/{folder.name}" in left) == goes
    assert folder.exists() != goes


def test_it_names_nobody_and_goes_with_a_person_who_is_forgotten(killed, tmp_path):
    space = copy_of(killed, tmp_path)
    (folder,) = [path for path in space.training_path.iterdir() if path.is_dir()]
    with Store.open(space.store_path, read_only=True) as store:
        ((user,),) = store.connection.execute("SELECT max(user_id) FROM interactions").fetchall()
    assert not [path for path in folder.rglob("*") if path.is_file() and user.encode() in path.read_bytes()]
    forgotten = forget(space, Person((user,)), RetentionConfig())
    assert f"training/{folder.name}" in forgotten.leftovers
    assert [name for name in forgotten.leftovers if name.startswith(".training-")]
    assert not folder.exists()


@pytest.mark.parametrize("changed", ["data", "libraries", "code"])
def test_other_data_libraries_or_code_find_another_folder(tmp_path, monkeypatch, changed):
    space = Workspace.create(tmp_path / "shop", "")
    data, code = tmp_path / "data", tmp_path / "encoders"
    for folder, name in ((data, "sequences.parquet"), (code, "train.py")):
        folder.mkdir()
        (folder / name).write_text("as it was")
    monkeypatch.setattr("encoders.__file__", str(code / "__init__.py"))

    def found() -> Path:
        with resumable_folder(space, data, tmp_path) as folder:
            assert folder.is_dir()
        assert not folder.exists()
        return folder

    before = found()
    assert found() == before
    if changed == "libraries":
        monkeypatch.setattr("ranker.resumable_folder.library_versions", lambda names: {"torch": "99"})
    else:
        ({"data": data, "code": code}[changed] / "train.py").write_text("changed")
    assert found() != before
