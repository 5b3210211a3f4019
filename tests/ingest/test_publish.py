import errno
import json
import os
import shutil
import subprocess
import sys
import time
from contextlib import ExitStack, nullcontext
from datetime import datetime, timedelta
from pathlib import Path

import duckdb
import pytest

import readrank
from ingest import copy_apart, publish
from ingest.errors import StoreError
from ingest.load import load_files
from ingest.store import Store
from ingest.workspace import Workspace
from tests.conftest import held_store

ROOT = Path(__file__).parents[2]
READERS = 100


@pytest.fixture
def workspace(tmp_path):
    return Workspace.create(tmp_path / "w", "")


def log_of(path, n, first=0):
    """Write a log of n events, each with an id of its own."""
    start = datetime(2024, 1, 1)
    rows = [
        f"e{number},u{number % 7},i{number % 5},{start + timedelta(seconds=number)}"
        for number in range(first, first + n)
    ]
    path.write_text("\n".join(["event_id,user_id,item_id,occurred_at", *rows]) + "\n")
    return path


def load(workspace, path):
    with publish.publishing(workspace), Store.open(workspace.store_path) as store:
        load_files(store, [path])


def n_published(workspace):
    with duckdb.connect(str(workspace.analytics_path), read_only=True) as analyst:
        return analyst.execute("SELECT count(*) FROM interactions").fetchone()[0]


def beside(workspace):
    """Return the names beside the copy that hold its name."""
    name = workspace.analytics_path.name
    return sorted(path.name for path in workspace.root.iterdir() if name in path.name and path.name != name)


def test_a_hundred_readers_see_whole_snapshots_while_a_job_writes(workspace, tmp_path):
    sizes = [1_000 + 17 * number for number in range(8)]
    logs = [log_of(tmp_path / f"log{n}.csv", size, first=10_000 * n) for n, size in enumerate(sizes)]
    load(workspace, logs[0])
    stop = tmp_path / "stop"
    program = str(Path(__file__).with_name("hundred_readers.py"))
    readers = subprocess.Popen(
        [sys.executable, program, str(workspace.analytics_path), str(stop)], stdout=subprocess.PIPE, text=True
    )
    assert readers.stdout is not None
    try:
        firsts = [json.loads(readers.stdout.readline()) for _ in range(READERS)]  # all are at it
        for log in logs[1:4]:
            load(workspace, log)
        between = json.loads(readers.stdout.readline())  # however fast the job is, somebody has looked meanwhile
        for log in logs[4:]:
            load(workspace, log)
            time.sleep(0.2)
    finally:
        stop.touch()
        told = [json.loads(line) for line in readers.communicate(timeout=60)[0].splitlines()]
    ends = [end for end in told if "later" not in end]
    assert firsts == [{"first": 1}] * READERS
    assert [end["error"] for end in ends if "error" in end] == []
    assert len(ends) == READERS
    assert n_published(workspace) == sum(sizes)
    assert {end["seen"][-1] for end in ends} == {len(logs)}
    assert 1 < between["later"] < len(logs)
    assert beside(workspace) == []


def test_a_publish_killed_half_way_leaves_the_old_copy_and_the_next_one_clears_up(workspace, tmp_path):
    load(workspace, log_of(tmp_path / "one.csv", 10))
    with Store.open(workspace.store_path) as store:
        load_files(store, [log_of(tmp_path / "two.csv", 5, first=10)])
    dying = """
import os, signal, sys
from ingest import publish
from ingest.workspace import Workspace
def copy_half(source, target):
    target.write_bytes(source.read_bytes()[:5000])
    os.kill(os.getpid(), signal.SIGKILL)
publish.copy_apart = copy_half
publish.publish(Workspace.open(sys.argv[1]))
"""
    killed = subprocess.run([sys.executable, "-c", dying, str(workspace.root)], cwd=ROOT, check=False)
    assert killed.returncode == -9
    assert len(beside(workspace)) == 1
    assert n_published(workspace) == 10
    publish.publish(workspace)
    assert beside(workspace) == []
    assert n_published(workspace) == 15


def test_a_log_that_a_killed_client_left_beside_the_copy_locks_nobody_out(workspace, tmp_path):
    load(workspace, log_of(tmp_path / "one.csv", 10))
    workspace.analytics_path.chmod(0o644)
    careless = """
import duckdb, os, signal, sys
connection = duckdb.connect(sys.argv[1])
connection.execute("CREATE TABLE mine (i INTEGER)")
os.kill(os.getpid(), signal.SIGKILL)
"""
    subprocess.run([sys.executable, "-c", careless, str(workspace.analytics_path)], check=False)
    assert beside(workspace) == ["analytics.duckdb.wal"]
    load(workspace, log_of(tmp_path / "two.csv", 5, first=10))
    assert beside(workspace) == []
    assert n_published(workspace) == 15


def test_the_copy_is_for_reading_only(workspace, tmp_path):
    load(workspace, log_of(tmp_path / "one.csv", 10))
    assert workspace.analytics_path.stat().st_mode & 0o222 == 0


def test_an_error_without_a_message_is_told_by_its_kind(workspace, tmp_path, monkeypatch):
    load(workspace, log_of(tmp_path / "one.csv", 10))

    def fail(source, target):
        raise duckdb.IOException("")

    monkeypatch.setattr(publish, "copy_apart", fail)
    with pytest.raises(StoreError, match="the copy could not be written: IOException; the store itself is whole"):
        publish.publish(workspace)


def test_a_full_disk_says_how_much_is_needed_and_keeps_the_old_copy(workspace, tmp_path, monkeypatch):
    load(workspace, log_of(tmp_path / "one.csv", 10))

    def full(source, target):
        target.write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(publish, "copy_apart", full)
    with pytest.raises(StoreError, match=r"the copy needs \d\.\d{3} GB, .* GB are free .* run `readrank publish`"):
        load(workspace, log_of(tmp_path / "two.csv", 5, first=10))
    assert n_published(workspace) == 10
    assert beside(workspace) == []
    monkeypatch.undo()
    publish.publish(workspace)
    assert n_published(workspace) == 15


def test_files_loaded_before_a_bad_one_are_published(workspace, tmp_path, capsys):
    good, bad = log_of(tmp_path / "good.csv", 10), tmp_path / "bad.csv"
    bad.write_text("user_id,item_id,occurred_at\nu,i,never\n")
    assert readrank.run(["ingest", str(good), str(bad), "-w", str(workspace.root)]) == 2
    assert "bad.csv" in capsys.readouterr().err
    assert n_published(workspace) == 10


def test_a_job_that_wrote_nothing_copies_nothing(workspace, tmp_path):
    load(workspace, log_of(tmp_path / "one.csv", 10))
    before = workspace.analytics_path.stat()
    assert readrank.run(["ingest", str(tmp_path / "mistyped.csv"), "-w", str(workspace.root)]) == 2
    assert workspace.analytics_path.stat().st_ino == before.st_ino


def test_the_block_s_own_error_matters_more_than_that_of_publishing(workspace, tmp_path, monkeypatch):
    def fail(workspace):
        raise StoreError("not this one")

    monkeypatch.setattr(publish, "publish", fail)

    def load_and_fail():
        with publish.publishing(workspace):
            with Store.open(workspace.store_path) as store:
                load_files(store, [log_of(tmp_path / "one.csv", 10)])
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        load_and_fail()


def test_a_command_whose_result_is_told_shows_that_it_waits_for_another_job(workspace, tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr("ingest.store.LOOK_AGAIN_S", 0.05)
    monkeypatch.setattr("ingest.store.PATIENCE_S", 5)
    with ExitStack() as job:

        def progress(step, done, total=None, note=""):
            if step == "wait for another job":
                seen.append((done, total))
                job.close()

        monkeypatch.setattr(readrank, "_progress_bars", lambda: nullcontext(progress))
        monkeypatch.setattr(
            readrank, "_print_result", lambda *result: job.enter_context(held_store(workspace.store_path))
        )
        assert readrank.run(["ingest", str(log_of(tmp_path / "one.csv", 10)), "-w", str(workspace.root)]) == 0
    assert seen == [(0, 5), (5, 5)]
    assert n_published(workspace) == 10


@pytest.mark.parametrize("way", ["copy_file_range", "read and write", "no such call"])
def test_copies_are_equal_whatever_the_system_offers(tmp_path, monkeypatch, way):
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_bytes(os.urandom(100_003))
    monkeypatch.setattr(copy_apart, "_shares_blocks", lambda read, write: False)
    monkeypatch.setattr(copy_apart, "_STEP", 1_000)
    if way == "read and write":

        def refuse(*ignored):
            raise OSError(errno.EXDEV, "Invalid cross-device link")

        monkeypatch.setattr(os, "copy_file_range", refuse, raising=False)
    elif way == "no such call":
        monkeypatch.delattr(os, "copy_file_range", raising=False)
    copy_apart._copy(source, target, os.getppid())
    assert target.read_bytes() == source.read_bytes()


def test_a_copy_that_cannot_fit_does_not_begin(tmp_path, monkeypatch):
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_bytes(bytes(1_001))
    monkeypatch.setattr(copy_apart, "_shares_blocks", lambda read, write: False)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(9_000, 8_000, 1_000))
    monkeypatch.setattr(copy_apart, "_copy_some", lambda read, write: pytest.fail("it began"))
    assert copy_apart._main(source, target) == errno.ENOSPC
    assert not target.exists()


def test_a_copy_whose_publisher_was_killed_ends_and_leaves_nothing(tmp_path, monkeypatch):
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_bytes(bytes(1_000))
    monkeypatch.setattr(copy_apart, "_shares_blocks", lambda read, write: False)
    parents = iter([4711, 1])
    monkeypatch.setattr(os, "getppid", lambda: next(parents))
    assert copy_apart._main(source, target) == errno.ESRCH
    assert not target.exists()


def test_a_copy_that_fails_says_why(tmp_path):
    with pytest.raises(FileNotFoundError):
        copy_apart.copy_apart(tmp_path / "absent", tmp_path / "target")
    assert list(tmp_path.iterdir()) == []
