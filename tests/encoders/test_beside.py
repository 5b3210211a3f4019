"""A training in a process of its own writes what it would have written here, and ends with who began it."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil
import pytest

from encoders.beside import training
from encoders.errors import EncoderError
from encoders.train import EncoderConfig

CONFIG = EncoderConfig(base="catalogue", dim=16, width=16, heads=2, epochs=1, pairs_per_epoch=500)


def test_beside_gives_the_same_model_and_tells_how_far_it_is(shop, tmp_path):
    told: dict[bool, set[str]] = {False: set(), True: set()}
    for beside, steps in told.items():

        def tell(step: str, *_: object, to: set[str] = steps, **__: object) -> None:
            to.add(step)

        out = tmp_path / str(beside)
        with training(shop.folder, out, CONFIG, beside=beside, progress=tell) as begun:
            assert begun.result() == out
    here, there = (np.load(tmp_path / str(beside) / "token_vectors.npy") for beside in (False, True))
    np.testing.assert_array_equal(here, there)
    assert told[True] == told[False] != set()


def test_a_mistake_is_told_as_it_would_have_been_here(tmp_path):
    with training(tmp_path, tmp_path / "out", CONFIG, beside=True) as begun, pytest.raises(EncoderError) as told:
        begun.result()
    assert "export the training data first" in str(told.value)


def test_a_block_that_ends_early_ends_the_training(shop, tmp_path):
    begun = training(shop.folder, tmp_path / "out", CONFIG, beside=True)
    process = begun.__enter__()._process
    begun.__exit__(None, None, None)
    assert process is not None
    assert process.returncode == -signal.SIGKILL
    assert not (tmp_path / "out").exists()


def test_it_ends_with_a_process_that_is_killed(shop, tmp_path):
    program = f"""
import sys, time
from pathlib import Path
from encoders.beside import training
from encoders.train import EncoderConfig
config = EncoderConfig(base="catalogue", dim=16, epochs=10_000, patience=10_000)
with training(Path({str(shop.folder)!r}), Path({str(tmp_path / "out")!r}), config, beside=True) as begun:
    print(begun._process.pid, flush=True)
    time.sleep(600)
"""
    root = str(Path(__file__).resolve().parents[2])
    parent = subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": root}
    )
    assert parent.stdout is not None
    child = psutil.Process(json.loads(parent.stdout.readline()))
    assert child.is_running()
    parent.kill()
    parent.wait()
    parent.stdout.close()
    until = time.monotonic() + 60
    while child.is_running() and child.status() != psutil.STATUS_ZOMBIE and time.monotonic() < until:
        time.sleep(0.1)
    assert not child.is_running() or child.status() == psutil.STATUS_ZOMBIE


def test_what_a_training_did_not_expect_is_an_error_too(shop, tmp_path, capfd):
    """A setting of the wrong type: the traceback goes where errors go, and the status is told."""
    wanted = pytest.raises(EncoderError, match="ended with status 1: see what it wrote")
    odd = replace(CONFIG, dim="many")
    with training(shop.folder, tmp_path / "model", odd, beside=True) as begun, wanted:
        begun.result()
    assert "Traceback" in capfd.readouterr().err
