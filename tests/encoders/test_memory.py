from dataclasses import replace

import numpy as np
import pytest
import torch

from encoders import trainer
from encoders.errors import OutOfMemoryError
from encoders.memory import memory_is_full, step_advice, vectors_advice
from encoders.sequences import read_sequences
from encoders.static import StaticEncoder
from encoders.train import EncoderConfig, train

CPU_FULL = RuntimeError(
    "[enforce fail at alloc_cpu.cpp:124] err == 0. DefaultCPUAllocator: can't allocate memory: you tried to allocate "
    "400000000000 bytes. Error code 12 (Cannot allocate memory)"
)
FULL = [torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."), CPU_FULL, MemoryError()]


@pytest.mark.parametrize("error", FULL)
def test_a_step_that_does_not_fit_names_the_next_setting(shop, small, tmp_path, monkeypatch, error):
    asked = []

    def full(self, rows, *, cold=None):
        if not self.training:
            return inner(self, rows, cold=cold)
        asked.append(len(rows))
        raise error

    inner = StaticEncoder.vectors
    monkeypatch.setattr(StaticEncoder, "vectors", full)
    with pytest.raises(OutOfMemoryError) as told:
        train(shop.folder, tmp_path / "m", small)
    assert f"a step over {asked[0]} texts" in str(told.value)
    assert f"set texts_at_once = {asked[0] // 2} in [encoder]" in str(told.value)


@pytest.mark.parametrize("error", FULL)
def test_vectors_that_do_not_fit_when_measured_are_told_so(shop, small, tmp_path, monkeypatch, error):
    def full(self, rows, *, cold=None):
        raise error

    monkeypatch.setattr(StaticEncoder, "vectors", full)
    with pytest.raises(OutOfMemoryError, match=r"vectors of 120 items .* set dim = 8 in \[encoder\]"):
        train(shop.folder, tmp_path / "m", small)


def test_other_errors_stay_what_they_are(shop, small, tmp_path, monkeypatch):
    monkeypatch.setattr(trainer, "next_item_loss", lambda *a, **k: (_ for _ in ()).throw(RuntimeError("shape")))
    with pytest.raises(RuntimeError, match="shape"):
        train(shop.folder, tmp_path / "m", small)
    assert not memory_is_full(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))


def test_advice_goes_down_to_what_always_fits():
    """Following the advice again and again ends, and each time something is lowered."""
    config, told = EncoderConfig(kind="transformer", max_tokens=256, pairs_at_once=2048), []
    while config.pairs_at_once > 1:
        name, value = step_advice(config, 3000).split(" in ")[0].removeprefix("set ").split(" = ")
        now = getattr(config, name)
        assert int(value) < (now or np.inf)
        config = replace(config, **{name: int(value)})
        told.append(name)
    # 3000 -> 1500 ... 23 -> 16; 256 -> 128 -> 64; 2048 -> 1
    assert told == ["texts_at_once"] * 8 + ["max_tokens"] * 2 + ["pairs_at_once"] * 11


def test_advice_for_the_catalogue_depends_on_what_holds_the_memory():
    assert "max_tokens = 128" in vectors_advice(EncoderConfig(kind="transformer"))
    assert "dim = 128" in vectors_advice(EncoderConfig(dim=256))


def test_the_message_names_the_pairs_and_negatives_of_the_step_itself(shop, small, tiny_transformer):
    """On a CPU a transformer's step has an eighth of what the settings say."""
    config = replace(small, kind="transformer", base=str(tiny_transformer), pairs_at_once=800, least_steps=0)
    data = read_sequences(shop.folder)
    encoder, tower, _ = trainer.build(config, data.texts)
    made = trainer.Trainer(config, encoder, tower, data, continued=False)
    assert "(100 pairs, 8 negatives) on cpu" in made._wanted()
