import copy
import shutil
import threading

import pytest

from api.errors import NoBundleError
from api.live import Live
from ingest.errors import OutboxError
from ranker.bundle import promote
from tests.api.conftest import event, shown, until


def test_live_takes_a_new_bundle_and_keeps_serving_meanwhile(workspace, outbox, ranker):
    live = Live(workspace.bundles_path, outbox, check_every_s=0)
    live.start()
    old = live.now().ranker
    assert old.version == ranker.version
    outbox.append([event(1, shown(live.now())[0])])
    shutil.copytree(workspace.bundles_path / old.version, workspace.bundles_path / "second")
    promote(workspace.bundles_path, "second")
    assert live.now().ranker is old
    assert until(lambda: live.now().ranker is not old)
    assert live.n_events == 1, "live events count in the new bundle too"
    live.stop()


def test_the_first_answer_after_a_quiet_time_is_from_the_new_bundle(make_client, workspace, ranker):
    def load(folder):
        same = copy.copy(ranker)
        same.version = folder.name
        loaded.append(folder.name)
        return same

    loaded = []
    client = make_client(load=load, reload_seconds=0.2)
    shutil.copytree(workspace.bundles_path / ranker.version, workspace.bundles_path / "second")
    promote(workspace.bundles_path, "second")
    assert until(lambda: loaded == [ranker.version, "second"])
    assert until(lambda: not any(thread.name == "bundle-loader" for thread in threading.enumerate()))
    assert client.post("/v1/recommendations", json={"user_id": "u"}).json()["model"] == "second"


def test_a_text_is_read_before_anybody_asks_for_one(workspace, outbox, ranker, monkeypatch):
    ranked = []
    same = copy.copy(ranker)
    monkeypatch.setattr(same, "rank", lambda query, items: ranked.append([item.title for item in items]))
    live = Live(workspace.bundles_path, outbox, load=lambda folder: same)
    live.start()
    assert live.now().ranker is same
    assert until(lambda: len(ranked) == 2)
    assert any(ranked[1])
    assert not any(ranked[0]), "what is in the catalogue needs no text"
    live.stop()


def test_live_keeps_the_old_bundle_when_the_new_one_is_damaged(live, workspace, outbox, ranker):
    live = Live(workspace.bundles_path, outbox, check_every_s=0)
    live.start()
    old = live.now().ranker
    shutil.copytree(workspace.bundles_path / old.version, workspace.bundles_path / "second")
    (workspace.bundles_path / "second" / "items.parquet").write_bytes(b"PAR1")
    (workspace.bundles_path / "live").write_text("second\n")
    live.now()
    assert until(lambda: live.problems)
    assert live.problems == [
        f"{workspace.bundles_path / 'second'}: items.parquet is not what was written; "
        "the bundle is damaged: train again or roll back"
    ]
    assert live.now().ranker is old
    promote(workspace.bundles_path, old.version)
    live.now()
    assert until(lambda: not live.problems)
    live.stop()


def test_a_bundle_that_did_not_load_for_a_passing_reason_is_tried_again(workspace, outbox, ranker):
    tries = []

    def load(folder):
        tries.append(folder)
        if len(tries) < 3:
            raise OSError("too many open files")
        return ranker

    live = Live(workspace.bundles_path, outbox, load=load, check_every_s=0)
    live.start()
    assert live.problems == [f"{tries[0]}: does not load: OSError('too many open files')"]
    assert until(lambda: not _missing(live), 60)
    assert (len(tries), live.problems) == (3, [])
    live.stop()


def test_pauses_before_another_try_grow(workspace, outbox, monkeypatch):
    clock, tries = [0.0], []

    def load(folder):
        tries.append(clock[0])
        raise OSError("too many open files")

    monkeypatch.setattr("api.live.time.monotonic", lambda: clock[0])
    monkeypatch.setattr("api.live.threading.Thread", _AtOnce)
    live = Live(workspace.bundles_path, outbox, load=load)
    live.start()
    for clock[0] in range(1, 1_000):
        assert _missing(live)
    assert tries == [0, 1, 3, 7, 15, 31, 63, 127, 255, 511, 811]
    live.stop()


class _AtOnce:
    """A thread that has done its work when it has been started."""

    def __init__(self, target, args, **ignored):
        self.start = lambda: target(*args)


def test_a_pointer_that_is_back_is_no_problem_any_more(live, workspace):
    pointer = workspace.bundles_path / "live"
    named = pointer.read_text()
    pointer.unlink()
    serving = live.now().ranker
    assert "readrank train" in live.problems[0]
    pointer.write_text(named)
    assert live.now().ranker is serving
    assert live.problems == []


@pytest.fixture
def taken(workspace, outbox, ranker):
    """A model that serves, and the item that its user has taken since it began."""
    live = Live(workspace.bundles_path, outbox, load=lambda folder: copy.copy(ranker), check_every_s=0)
    live.start()
    first = shown(live.now())[0]
    outbox.append([event(1, first)])
    yield live, first
    live.stop()


def test_the_old_model_serves_on_while_the_new_one_reads_what_it_lacks(taken, workspace, outbox, monkeypatch):
    live, first = taken
    old = live.now().ranker
    assert first not in shown(live.now())
    reading, go_on, read = threading.Event(), threading.Event(), outbox.unknown_events

    def slowly(*asked, **known):
        reading.set()
        assert go_on.wait(60)
        return read(*asked, **known)

    monkeypatch.setattr(outbox, "unknown_events", slowly)
    shutil.copytree(workspace.bundles_path / old.version, workspace.bundles_path / "second")
    promote(workspace.bundles_path, "second")
    live.now()
    assert reading.wait(60)
    second = shown(live.now())[0]
    outbox.append([event(2, second)])
    assert until(lambda: second not in shown(live.now())), "and goes on to learn"
    assert live.now().ranker is old
    go_on.set()
    assert until(lambda: live.now().ranker is not old)
    assert not {first, second} & set(shown(live.now()))


def test_a_bundle_that_is_rolled_back_while_it_loads_never_serves(workspace, outbox, ranker):
    loading, go_on, loaded = threading.Event(), threading.Event(), []

    def load(folder):
        if loaded:
            loading.set()
            assert go_on.wait(60)
        loaded.append(folder.name)
        return copy.copy(ranker)

    live = Live(workspace.bundles_path, outbox, load=load, check_every_s=0)
    live.start()
    old = live.now().ranker
    shutil.copytree(workspace.bundles_path / old.version, workspace.bundles_path / "second")
    promote(workspace.bundles_path, "second")
    live.now()
    assert loading.wait(60)
    promote(workspace.bundles_path, old.version)
    (loader,) = [thread for thread in threading.enumerate() if thread.name == "bundle-loader"]
    go_on.set()
    loader.join(60)
    assert loaded == [old.version, "second"]
    assert live.peek().ranker is old
    assert live.problems == []
    promote(workspace.bundles_path, "second")
    assert until(lambda: live.now().ranker is not old), "but may be tried again"
    live.stop()


def test_a_new_model_waits_until_the_outbox_can_be_read(taken, workspace, outbox, monkeypatch):
    live, first = taken
    old = live.now().ranker

    def unreadable(*ignored, **known):
        raise OutboxError("online.sqlite: the disk is gone")

    monkeypatch.setattr(outbox, "events_after", unreadable)
    monkeypatch.setattr(outbox, "unknown_events", unreadable)
    shutil.copytree(workspace.bundles_path / old.version, workspace.bundles_path / "second")
    promote(workspace.bundles_path, "second")
    assert until(lambda: live.now() and len(live.problems) == 2)
    assert live.now().ranker is old
    assert first not in shown(live.now())
    monkeypatch.undo()
    assert until(lambda: live.now().ranker is not old, 60)
    assert first not in shown(live.now())
    assert live.problems == []


def test_live_waits_for_the_first_bundle(workspace, outbox, ranker):
    (workspace.bundles_path / "live").unlink()
    go = threading.Event()

    def load(folder):
        assert go.wait(60)
        return ranker

    live = Live(workspace.bundles_path, outbox, load=load, check_every_s=0)
    live.start()
    with pytest.raises(NoBundleError, match="readrank train"):
        live.now()
    promote(workspace.bundles_path, ranker.version)
    assert until(lambda: "a bundle is being loaded; ask again in some seconds" in _missing(live))
    go.set()
    assert until(lambda: not _missing(live))
    assert live.problems == []
    live.stop()


def _missing(live):
    """Return why there is no model, nothing when there is one."""
    try:
        live.now()
    except NoBundleError as error:
        return str(error)
    return ""


def test_live_looks_for_bundles_no_more_often_than_asked(workspace, outbox, ranker, monkeypatch):
    live = Live(workspace.bundles_path, outbox, load=lambda folder: ranker, check_every_s=3600)
    live.start()
    (workspace.bundles_path / "live").write_text("nowhere\n")
    live.now()
    assert live.problems == []
    live.stop()
