"""Folders of killed jobs go, those of living ones stay: the lock tells which is which."""

import os
import shutil
import signal
import subprocess
import sys
import threading
from contextlib import contextmanager
from pathlib import Path

import pytest

import readrank
from ingest.held import held, is_held, lock_of, scratch
from ingest.leftovers import EVALUATION, TRAINING, clear_leftovers
from ingest.search_tables import SEARCHING
from ingest.whole_file import WRITING, written_whole

ROOT = Path(__file__).parents[2]
OWNER = """
import sys
from pathlib import Path
from ingest.held import scratch
with scratch(Path(sys.argv[1]), sys.argv[2]) as folder:
    (folder / "data").write_text("somebody")
    print(folder.name, flush=True)
    sys.stdin.read()
"""


@contextmanager
def owner(space, prefix):
    """A real process that has a scratch folder until it is told to end; yields it and the folder."""
    with subprocess.Popen(
        [sys.executable, "-c", OWNER, str(space.root), prefix],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        yield process, space.root / process.stdout.readline().strip()
        process.stdin.close()


@pytest.mark.parametrize("prefix", [TRAINING, EVALUATION, SEARCHING, WRITING])
def test_a_living_process_keeps_its_folder_and_that_of_a_killed_one_goes(space, prefix):
    with owner(space, prefix) as (process, folder):
        os.utime(folder, (0, 0))
        assert clear_leftovers(space) == ()
        assert (folder / "data").read_text() == "somebody"
        assert is_held(folder)
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert (folder / "data").exists()
        assert not is_held(folder)
        assert clear_leftovers(space) == (folder.name,)
    assert [path.name for path in space.root.iterdir() if path.name.startswith(prefix)] == []


def test_a_folder_is_gone_at_the_end_of_its_owner_and_so_is_its_lock(space):
    with owner(space, TRAINING) as (_, folder):
        assert lock_of(folder).exists()
    assert not folder.exists()
    assert not lock_of(folder).exists()


def test_a_lock_alone_goes_and_nothing_else(space):
    before = sorted(space.root.rglob("*"))
    lock_of(space.root / f"{TRAINING}abc").touch()
    lock_of(space.bundles_path / ".20240101T000000000.tmp").touch()
    for path in (space.bundles_path / ".live.tmp", space.root / f"{TRAINING}notes.txt"):
        path.write_text("no folder")
    assert clear_leftovers(space) == ()
    assert sorted(set(space.root.rglob("*")) - set(before)) == [
        space.root / f"{TRAINING}notes.txt",
        space.bundles_path / ".live.tmp",
    ]


@pytest.mark.parametrize("place", [".", "bundles", "tuning"])
def test_an_unfinished_file_goes_once_nobody_writes_it_any_more(space, place):
    path = space.root / place / "file"
    path.parent.mkdir(exist_ok=True)
    with written_whole(path) as unfinished:
        unfinished.write_text("half")
        assert clear_leftovers(space) == ()
        shutil.copytree(unfinished.parent, path.with_name(f"{WRITING}killed"))
    assert clear_leftovers(space) == (str(Path(place, f"{WRITING}killed")),)
    assert path.read_text() == "half"


def test_a_link_is_not_followed(space, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (space.root / f"{TRAINING}abc").symlink_to(tmp_path / "elsewhere")
    assert clear_leftovers(space) == ()
    assert (tmp_path / "elsewhere").is_dir()


def test_what_cannot_be_removed_stays_and_hinders_no_job(space, monkeypatch, caplog):
    folder = space.root / f"{TRAINING}abc"
    folder.mkdir()

    def refuse(path):
        raise PermissionError("not yours")

    monkeypatch.setattr("ingest.leftovers.shutil.rmtree", refuse)
    assert clear_leftovers(space) == ()
    assert folder.exists()
    assert "not yours" in caplog.text


def test_a_folder_has_one_owner(tmp_path):
    folder = tmp_path / "folder"
    with held(folder) as first, held(folder) as second:
        assert (first, second) == (True, False)
    with held(folder) as again:
        assert again
    assert list(tmp_path.iterdir()) == []


def test_who_waits_for_a_lock_that_is_removed_holds_the_one_that_others_see(tmp_path):
    folder, begun, may_end, seen = tmp_path / "folder", threading.Event(), threading.Event(), []

    def wait():
        begun.set()
        with held(folder, wait=True) as mine:
            seen.append((mine, is_held(folder)))
            may_end.wait(10)

    waiting = threading.Thread(target=wait)
    with held(folder):
        waiting.start()
        begun.wait(10)
        waiting.join(0.2)  # it should wait by now
        assert seen == []
    while waiting.is_alive() and not seen:
        waiting.join(0.01)
    with held(folder) as other:
        assert not other
    may_end.set()
    waiting.join(10)
    assert seen == [(True, True)]


def test_an_error_leaves_no_folder(tmp_path):
    with pytest.raises(IsADirectoryError), scratch(tmp_path, TRAINING) as folder:
        folder.write_text("")
    assert list(tmp_path.iterdir()) == []


def test_a_job_that_writes_clears_and_says_so(space, tmp_path, capsys):
    (space.root / f"{TRAINING}abc").mkdir()
    log = tmp_path / "log.csv"
    log.write_text("user_id,item_id,occurred_at\nu,i,2024-01-01\n")
    assert readrank.run(["ingest", str(log), "-w", str(space.root)]) == 0
    assert f"removed {TRAINING}abc, which a killed job had left" in capsys.readouterr().out


def test_what_an_earlier_version_left_of_a_key_goes(space):
    for name in (".pseudonym.key.4711.new", ".pseudonym.check.4711.new"):
        (space.root / name).write_text("secret")
    clear_leftovers(space)
    assert not list(space.root.glob(".pseudonym*"))
