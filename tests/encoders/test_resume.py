import hashlib
import json
import signal
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from encoders.checkpoint import fingerprint, folder_fingerprint
from encoders.export import export_frames
from encoders.kinds import Kinds
from encoders.sequences import read_sequences
from encoders.train import train
from ingest.moments import NEVER

ROOT = Path(__file__).parents[2]
WHEN = ("mid-epoch", "best written, state not", "state half written", "model half written")
KILLED = """
import json, os, signal, sys
from pathlib import Path
import encoders.card, encoders.save
import pyarrow.parquet, torch._dynamo  # what a training imports, once for all
from encoders.checkpoint import Checkpoint
from encoders.train import EncoderConfig, train

data, root, settings, *moments = sys.argv[1:]

def die():
    os.kill(os.getpid(), signal.SIGKILL)

def run(when, out):
    seen = {"tune encoder": 0}

    def progress(step, done, total=None, note=""):
        seen[step] = done
        if when == "mid-epoch" and seen["tune encoder"] == 1 and step == "epoch" and done == 3:
            die()

    if when == "best written, state not":
        save = Checkpoint.save
        Checkpoint.save = lambda self, t, epochs, best: die() if len(epochs) == 2 else save(self, t, epochs, best)
    if when == "state half written":
        replace = Path.replace
        Path.replace = lambda self, to: die() if to.name == "state.pt" and to.exists() else replace(self, to)
    if when == "model half written":
        encoders.save.write_card = lambda *given, **named: die()
    train(data, out, EncoderConfig(**json.loads(settings)), progress=progress)

for when in moments:
    child = os.fork()
    if not child:
        try:
            run(when, Path(root, when, "m"))
        finally:
            os._exit(1)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


@pytest.fixture(scope="module")
def undisturbed(shop, small, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("whole") / "m"
    train(shop.folder, folder, small)
    return folder


def _stored(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in ("token_vectors.npy", "tower.npz", "static.npz")}


@pytest.fixture(scope="module")
def killed(shop, small, tmp_path_factory) -> Path:
    """A folder for each moment, as a process killed then leaves it."""
    root = tmp_path_factory.mktemp("killed")
    for when in WHEN:
        (root / when).mkdir()
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(shop.folder), str(root), json.dumps(asdict(small)), *WHEN],
        cwd=ROOT, capture_output=True, text=True, timeout=240, check=True,
    )  # fmt: skip
    assert done.stdout.split() == [str(-signal.SIGKILL)] * len(WHEN), done.stderr
    return root


@pytest.mark.parametrize("when", WHEN)
def test_a_process_killed_at_any_moment_resumes_to_the_same_result(shop, small, undisturbed, killed, when):
    out = killed / when / "m"
    assert not out.exists()
    assert out.with_name("m.training").joinpath("state.pt").is_file()
    begun = []
    report = train(shop.folder, out, small, progress=lambda step, done, *rest: begun.append((step, done)))
    # the first epoch is not run again
    assert next(done for step, done in begun if step == "tune encoder") >= 1
    assert [epoch.number for epoch in report.epochs] == [1, 2, 3]
    assert _stored(out) == _stored(undisturbed)
    assert sorted(path.name for path in out.parent.iterdir()) == ["m"]


def _killed_at(data: Path, out: Path, config, at: tuple[str, int]) -> None:
    class KilledError(Exception):
        pass

    def kill(step, done, total=None, note=""):
        if (step, done) == at:
            raise KilledError

    with pytest.raises(KilledError):
        train(data, out, config, progress=kill)


def _killed_after_the_first_epoch(data: Path, out: Path, config) -> None:
    _killed_at(data, out, config, ("tune encoder", 1))
    assert (out.with_name("m.training") / "state.pt").is_file()


def _begins_at(data: Path, out: Path, config) -> int:
    begun = []
    train(data, out, config, progress=lambda step, done, *rest: begun.append((step, done)))
    return next(done for step, done in begun if step == "tune encoder")


def test_a_checkpoint_of_other_settings_is_not_taken(shop, small, tmp_path):
    _killed_after_the_first_epoch(shop.folder, tmp_path / "m", small)
    assert _begins_at(shop.folder, tmp_path / "m", replace(small, learning_rate=5e-3)) == 0


def test_a_checkpoint_of_other_data_is_not_taken(shop, small, tmp_path):
    """As many events, users and items: one event's item is another."""
    _killed_after_the_first_epoch(shop.folder, tmp_path / "m", small)
    changed = shop.interactions.with_columns(
        item_id=pl.when(pl.int_range(pl.len()) == 5).then(pl.lit("i119")).otherwise("item_id")
    )
    export_frames(shop.items, changed, tmp_path / "data", before=shop.before, impressions=shop.impressions)
    assert _begins_at(tmp_path / "data", tmp_path / "m", small) == 0


def test_settings_that_change_no_result_leave_a_checkpoint_in_use(shop, small, tmp_path):
    _killed_after_the_first_epoch(shop.folder, tmp_path / "m", small)
    assert _begins_at(shop.folder, tmp_path / "m", replace(small, texts_at_once=50, max_minutes=30)) == 1


def test_weights_of_a_killed_training_with_other_settings_are_not_taken_for_the_best(shop, small, tmp_path):
    """The first training's best is what it began with, and so is all that the second one leaves."""
    config = replace(small, learning_rate=1e-9, epochs=2)
    assert train(shop.folder, tmp_path / "undisturbed", config).best_epoch == 0
    _killed_after_the_first_epoch(shop.folder, tmp_path / "m", config)
    _killed_at(shop.folder, tmp_path / "m", replace(config, seed=1), ("epoch", 1))
    train(shop.folder, tmp_path / "m", config)
    assert _stored(tmp_path / "m") == _stored(tmp_path / "undisturbed")


@pytest.mark.parametrize("name", ["state.pt", "best-1.pt"])
def test_a_damaged_checkpoint_is_none(shop, small, undisturbed, tmp_path, name):
    _killed_after_the_first_epoch(shop.folder, tmp_path / "m", small)
    damaged = tmp_path / "m.training" / name
    damaged.write_bytes(damaged.read_bytes()[: damaged.stat().st_size // 2])
    assert _begins_at(shop.folder, tmp_path / "m", small) == 0
    assert _stored(tmp_path / "m") == _stored(undisturbed)


def test_a_model_is_told_by_its_files_which_are_never_in_memory_as_a_whole(tmp_path, monkeypatch):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "weights").write_bytes(b"0101")
    monkeypatch.setattr(Path, "read_bytes", None)
    assert folder_fingerprint(tmp_path) == hashlib.blake2b(b"model/weights\0" + b"0101", digest_size=16).hexdigest()


@pytest.mark.parametrize("name", ["texts", "starts", "items", "weights", "times", "codes", "kinds"])
def test_the_data_fingerprint_sees_every_part(shop, name):
    data = read_sequences(shop.folder)
    held = getattr(data, name)
    if name == "kinds":
        changed = Kinds((*held.names[:-1], "other"))
    else:
        changed = [*held[:-1], "other"] if name == "texts" else np.concatenate([held[:-1], held[-1:] + 1])
    assert fingerprint(replace(data, **{name: changed})) != fingerprint(data)
    assert fingerprint(read_sequences(shop.folder)) == fingerprint(data)
    fewer = replace(data.shown, clicked_at=np.where(data.shown.clicked, NEVER, 0))
    assert fingerprint(replace(data, shown=fewer)) != fingerprint(data)
