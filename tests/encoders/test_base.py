import json
from pathlib import Path

import pytest
from huggingface_hub import constants

from encoders import base
from encoders.errors import BaseModelError


def test_a_folder_is_found_by_its_path(tiny_transformer):
    found = base.find_base(str(tiny_transformer))
    assert (found.source, found.folder) == ("folder", tiny_transformer)


def test_a_folder_without_a_model_says_so(tmp_path):
    with pytest.raises(BaseModelError, match=r"neither modules\.json nor config\.json"):
        base.find_base(str(tmp_path))


def test_auto_without_any_base_reads_the_catalogue(monkeypatch, caplog):
    monkeypatch.setattr(base, "_package_folder", lambda name: None)
    monkeypatch.setattr(base, "_from_cache", lambda name: None)
    assert base.find_base("auto").source == "catalogue"
    assert "made from the catalogue" in caplog.text


def test_an_unknown_name_offline_says_what_to_do(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(BaseModelError, match="install the extra `offline`"):
        base.find_base("no-such-owner/no-such-model")


def test_a_package_with_other_weights_is_refused(monkeypatch, tmp_path):
    (tmp_path / "model.safetensors").write_bytes(b"other")
    monkeypatch.setattr(base, "_package_folder", lambda name: tmp_path)
    with pytest.raises(BaseModelError, match="wanted SHA-256 53aa51172d14"):
        base.find_base(base.PACKAGE)


def _cached(hub: Path, files: list[str], listed: list[str]) -> Path:
    """Leave files of a base in a Hub cache, with a list of what the Hub has of it, as a download does."""
    store, commit = hub / "models--owner--name", "a" * 40
    folder = store / "snapshots" / commit
    for path in (store / "refs" / "main", *(folder / file for file in files)):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(commit)
    if listed:
        (store / "trees").mkdir()
        told = {"format_version": 1, "files": {file: {"size": 1, "blob_id": "b"} for file in listed}}
        (store / "trees" / f"{commit}.json").write_text(json.dumps(told))
    return folder


def test_a_base_that_was_downloaded_is_found_again_offline(monkeypatch, tmp_path):
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    files = ["config.json", "model.safetensors"]
    folder = _cached(tmp_path, files, [*files, "README.md", "onnx/model.onnx"])  # of which a download takes two
    assert base.find_base("owner/name") == base.Base(name="owner/name", source="hub", folder=folder)


@pytest.mark.parametrize("listed", [[], ["config.json", "model.safetensors"]])
def test_a_base_without_its_weights_in_the_cache_is_not_there(monkeypatch, tmp_path, listed):
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    _cached(tmp_path, ["config.json"], listed)
    with pytest.raises(BaseModelError, match="none could be had"):
        base.find_base("owner/name")
