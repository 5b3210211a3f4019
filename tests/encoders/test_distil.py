"""Where distilled token vectors are kept, and what of an earlier run is thrown away."""

import pytest

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


@pytest.mark.parametrize("missing", ["vectors.npy", "tokenizer.json"])
def test_an_entry_that_lacks_a_file_is_replaced(kept, missing):
    base, entry = kept
    (entry / missing).unlink()
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
