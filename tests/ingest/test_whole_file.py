"""A file is the old one or the new one, never half of it."""

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from ingest.whole_file import written_whole


def test_a_file_is_replaced_at_the_end_of_the_block(tmp_path):
    path = tmp_path / "settings.toml"
    path.write_text("old")
    with written_whole(path) as unfinished:
        unfinished.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


def test_a_block_that_fails_leaves_the_old_file_alone(tmp_path):
    path = tmp_path / "settings.toml"
    path.write_text("old")
    with pytest.raises(OSError, match="full"):
        _write_half(path)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_of_writers_at_once_each_finds_what_it_wrote_and_the_last_to_end_is_right(tmp_path):
    path = tmp_path / "live"
    with ThreadPoolExecutor() as other, written_whole(path, durable=True) as unfinished:
        unfinished.write_text("the first, which is longer")
        other.submit(_write_second, path).result(10)
        assert path.read_text() == "second"
    assert path.read_text() == "the first, which is longer"
    assert list(tmp_path.iterdir()) == [path]


def test_what_is_durable_is_on_the_disk_before_it_has_its_name_and_then_its_name_is(tmp_path, monkeypatch):
    path, synced = tmp_path / "live", []
    monkeypatch.setattr(os, "fsync", lambda descriptor: synced.append((os.fstat(descriptor).st_ino, path.exists())))
    with written_whole(path, durable=True) as unfinished:
        unfinished.write_text("v1")
    assert synced == [(path.stat().st_ino, False), (tmp_path.stat().st_ino, True)]


def _write_second(path: Path) -> None:
    with written_whole(path, durable=True) as unfinished:
        unfinished.write_text("second")


def _write_half(path: Path) -> None:
    with written_whole(path) as unfinished:
        unfinished.write_text("ne")
        raise OSError("full")
