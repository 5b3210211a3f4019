import importlib.util
import os
import subprocess
import sys
import time
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch

from encoders.distributed import Ranks
from encoders.interest import InterestModel
from encoders.sequences import read_sequences
from encoders.train import EncoderConfig
from encoders.vectors import CatalogueVectors

HERE = Path(__file__).parent
ROOT = HERE.parents[1]


def _torchrun(*command: str) -> subprocess.Popen:
    env = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": ""}
    return subprocess.Popen(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", *command],
        cwd=ROOT, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def _kill(process: subprocess.Popen) -> None:
    """Kill torchrun and its processes at once, as a machine that loses power would."""
    for one in [process, *psutil.Process(process.pid).children(recursive=True)]:
        one.kill()
    process.communicate()


def _ended(process: subprocess.Popen) -> str:
    try:
        out, err = process.communicate(timeout=120)
    finally:
        if process.poll() is None:
            _kill(process)
    assert process.returncode == 0, err
    return out


def _settings(config: EncoderConfig) -> list[str]:
    default = EncoderConfig()
    return [
        f"{field.name}={getattr(config, field.name)}"
        for field in fields(config)
        if getattr(config, field.name) != getattr(default, field.name)
    ]


@pytest.fixture(scope="module")
def many(small) -> EncoderConfig:
    """So many epochs that a process can be met between two of them."""
    return replace(small, epochs=12, patience=12)


@pytest.fixture(scope="module")
def ended(shop, many, tmp_path_factory) -> Path:
    """Two processes have run `two_ranks.py`."""
    out = tmp_path_factory.mktemp("two")
    _ended(_torchrun(str(HERE / "two_ranks.py"), str(shop.folder), str(out), *_settings(many)))
    return out


def test_two_processes_average_the_gradients_of_their_batches(ended, shop, small):
    spec = importlib.util.spec_from_file_location("two_ranks", HERE / "two_ranks.py")
    program = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(program)
    trainer, batches = program.trainer_and_batches(shop.folder, small)
    alone = []
    for batch in batches:
        trainer.optimizer.zero_grad(set_to_none=True)
        program.gradients(trainer, batch)
        alone.append([value.grad.clone() for value in trainer.parameters])
    one, other = (torch.load(ended / f"rank{rank}.pt", weights_only=True)["averaged"] for rank in (0, 1))
    gate = next(n for n, value in enumerate(trainer.parameters) if value is trainer.tower.gate)
    assert one[gate] is None  # what no process has stays none
    assert other[gate] is None
    expected = [(first + second) / 2 for first, second in zip(*alone, strict=True)]
    expected[0] = alone[0][0] / 2  # which the second process did not have
    for n, value in enumerate(expected):
        if n != gate:
            torch.testing.assert_close(one[n], value, atol=1e-6, rtol=1e-5)
            torch.testing.assert_close(other[n], value, atol=1e-6, rtol=1e-5)
    assert max(float(value.abs().max()) for value in expected) > 1e-3


def test_two_processes_end_an_epoch_with_the_same_weights(ended):
    one, other = (torch.load(ended / f"rank{rank}.pt", weights_only=True)["weights"] for rank in (0, 1))
    for a, b in zip(one, other, strict=True):
        torch.testing.assert_close(a, b, atol=0, rtol=0)


def test_two_processes_give_one_model_and_the_same_report(ended):
    assert (ended / "report0.txt").read_text() == (ended / "report1.txt").read_text()
    assert InterestModel.load(ended / "whole").kind == "static"
    assert sorted(path.name for path in ended.iterdir() if path.is_dir()) == ["whole"]


def test_a_killed_torchrun_resumes_to_the_same_result(ended, shop, many, tmp_path):
    command = ["-m", "encoders.train", str(shop.folder), str(tmp_path / "m"), "--set", *_settings(many)]
    state = tmp_path / "m.training" / "state.pt"
    process = _torchrun(*command)
    try:
        while not state.is_file():
            assert process.poll() is None, process.communicate()[1]
            time.sleep(0.005)
    finally:
        _kill(process)
    assert not (tmp_path / "m").exists()
    printed = _ended(_torchrun(*command))
    assert printed.count("untuned   ") == printed.count("\ntuned   ") == 1  # by one process
    for name in ("token_vectors.npy", "tower.npz"):
        assert (tmp_path / "m" / name).read_bytes() == (ended / "whole" / name).read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["m"]


def test_batches_are_shared_out_evenly():
    shares = [list(Ranks(rank=rank, world=3).share(range(7))) for rank in range(3)]
    # 7 batches are two full rounds of 3; in the third, who has none takes the round's first again
    assert shares == [[0, 3, 6], [1, 4, 6], [2, 5, 6]]
    assert list(Ranks().share(range(4))) == [0, 1, 2, 3]


def test_a_pair_is_written_once(shop, small, tiny_transformer, tmp_path):
    config = replace(small, kind="transformer", base=str(tiny_transformer), epochs=1, pairs_per_epoch=100)
    out = tmp_path / "pair"
    told = _ended(_torchrun("-m", "encoders.train", str(shop.folder), str(out), "--pair", "--set", *_settings(config)))
    assert told.count("\ntuned   ") == 1
    texts = read_sequences(shop.folder).texts
    for name in ("early", "final"):
        assert len(CatalogueVectors.load(out / name / "item_vectors")) == len(texts)
        assert np.linalg.norm(InterestModel.load(out / name).encode(texts[:1])) == pytest.approx(1, abs=2e-3)
