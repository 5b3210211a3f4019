"""Where distilled token vectors are kept, and what of an earlier run is thrown away."""

import shutil

import numpy as np
import pytest
import torch

from encoders import distil
from encoders.base import find_base
from encoders.lexical import catalogue_tokens


@pytest.fixture
def kept(tiny_transformer, tmp_path, monkeypatch):
    """Distil into a cache of its own and return the entry."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    base = find_base(str(tiny_transformer))
    distil.distil(base, [], 8)
    (entry,) = (tmp_path / "readrank" / "tokens").iterdir()
    return base, entry


@pytest.mark.parametrize("left", [None, 0, 100])
@pytest.mark.parametrize("name", ["vectors.npy", "tokenizer.json"])
def test_an_entry_that_lacks_a_file_or_holds_a_damaged_one_is_replaced(kept, name, left):
    """Of the file nothing is left, not even its name, or so many bytes."""
    base, entry = kept
    begun = (entry / name).read_bytes()[:left]
    (entry / name).unlink()
    if left is not None:
        (entry / name).write_bytes(begun)
    steps = []
    for _ in range(2):
        distil.distil(base, [], 8, progress=lambda step, *rest: steps.append(step))
    assert steps == ["distil"]
    assert [path.name for path in entry.parent.iterdir()] == [entry.name]


def test_of_two_runs_the_first_keeps_its_entry_and_the_second_leaves_nothing(kept):
    _, entry = kept
    before = (entry / "vectors.npy").read_bytes()
    tokenizer, vectors = catalogue_tokens(["other words"], 8)
    distil._keep(entry, tokenizer, vectors)
    assert (entry / "vectors.npy").read_bytes() == before
    assert [path.name for path in entry.parent.iterdir()] == [entry.name]


def test_a_base_whose_weights_are_kept_in_another_form_is_known_by_them(tiny_transformer, tmp_path, monkeypatch):
    """Two bases of the same shape and tokenizer, with weights as torch saves them."""
    from safetensors.torch import load_file

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    found = []
    for name, scale in (("one", 1.0), ("other", -2.0)):
        folder = tmp_path / name
        shutil.copytree(tiny_transformer, folder)
        weights = load_file(folder / "model.safetensors")
        (folder / "model.safetensors").unlink()
        torch.save({key: value * scale for key, value in weights.items()}, folder / "pytorch_model.bin")
        found.append(distil.distil(find_base(str(folder)), [], 8)[1])
    assert not np.array_equal(*found)
