import pytest

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
