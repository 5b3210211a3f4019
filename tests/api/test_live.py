import shutil
import time
from datetime import datetime, timedelta

import pytest

from api.errors import NoBundleError
from api.events import utc_now
from api.live import Live, uncovered
from ingest.errors import OutboxError
from ingest.outbox import OnlineEvent, Outbox
from ranker.bundle import promote
from ranker.query import Query


@pytest.fixture
def outbox(workspace):
    with Outbox.open(workspace.outbox_path) as outbox:
        yield outbox


@pytest.fixture
def live(workspace, outbox, ranker):
    live = Live(workspace.bundles_path, outbox, load=lambda folder: ranker, check_every_s=0)
    live.start()
    yield live
    live.stop()


def event(number, item, *, user="u", at=None, weight=2.0):
    return OnlineEvent(
        event_id=f"e{number}", user_id=user, item_id=item, kind="click", weight=weight, occurred_at=at or utc_now()
    )


def shown(moment, user="u", k=30):
    query = Query(user_id=user, as_of=utc_now() + timedelta(microseconds=1), k=k)
    return [item.item_id for item in moment.ranker.recommend(query, moment.history).items]


def until(condition, seconds=10.0):
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.02)
    return condition()


def test_live_knows_an_event_of_another_process_at_once(live, workspace):
    first = shown(live.now())
    with Outbox.open(workspace.outbox_path) as elsewhere:
        elsewhere.append([event(1, first[0])])
    moment = live.now()
    assert first[0] not in shown(moment)
    assert live.n_events == 1
    assert live.now() is moment, "without news nothing is built anew"


def test_live_delays_costly_rebuilds_but_less_than_a_second(live, outbox, ranker, monkeypatch):
    first = shown(live.now())
    build = type(ranker).history_with
    clock = [time.monotonic()]
    monkeypatch.setattr("api.live.time.monotonic", lambda: clock[0])

    def slow(self, events):
        clock[0] += 0.2
        return build(self, events)

    monkeypatch.setattr(type(ranker), "history_with", slow)
    outbox.append([event(1, first[0])])
    assert first[0] not in shown(live.now())
    second = shown(live.now())[0]
    outbox.append([event(2, second)])
    assert second in shown(live.now()), "the last rebuild is too fresh"
    clock[0] += 0.7
    assert second not in shown(live.now())


def test_uncovered_leaves_out_what_the_bundle_knows(outbox, ranker, monkeypatch):
    day = timedelta(days=1)
    item = ranker.catalogue.ids[0]
    outbox.append([event(1, item, at=ranker.cutoff - day), event(2, item, at=ranker.cutoff)])
    monkeypatch.setattr(ranker, "outbox_seq", 2)
    outbox.append([event(3, item, at=ranker.cutoff - day), event(4, item, at=ranker.cutoff + day)])
    events, seq = uncovered(outbox, ranker)
    assert [found.event_id for found in events] == ["e2", "e3", "e4"]
    assert seq == 4


def test_uncovered_goes_on_in_an_outbox_begun_anew(outbox, ranker, monkeypatch):
    monkeypatch.setattr(ranker, "outbox_seq", 1_000)
    outbox.append([event(1, ranker.catalogue.ids[0])])
    events, seq = uncovered(outbox, ranker)
    assert ([found.event_id for found in events], seq) == (["e1"], 1)


def test_live_answers_while_the_outbox_cannot_be_read(live, outbox, monkeypatch):
    first = shown(live.now())
    outbox.append([event(1, first[0])])
    live.now()

    def unreadable(seq):
        raise OutboxError("online.sqlite: wanted an SQLite database, got a damaged file")

    monkeypatch.setattr(outbox, "events_after", unreadable)
    moment = live.now()
    assert moment.stale
    assert first[0] not in shown(moment), "what was known stays known"
    assert live.problems == ["online.sqlite: wanted an SQLite database, got a damaged file"]
    monkeypatch.undo()
    outbox.append([event(2, first[1])])
    moment = live.now()
    assert not moment.stale
    assert not {first[0], first[1]} & set(shown(moment))
    assert live.problems == []


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


def test_live_waits_for_the_first_bundle(workspace, outbox, ranker):
    (workspace.bundles_path / "live").unlink()
    live = Live(workspace.bundles_path, outbox, load=lambda folder: ranker, check_every_s=0)
    live.start()
    with pytest.raises(NoBundleError, match="readrank train"):
        live.now()
    promote(workspace.bundles_path, ranker.version)
    assert until(lambda: not _missing(live))
    assert live.problems == []
    live.stop()


def _missing(live):
    try:
        live.now()
    except NoBundleError:
        return True
    return False


def test_live_looks_for_bundles_no_more_often_than_asked(workspace, outbox, ranker, monkeypatch):
    live = Live(workspace.bundles_path, outbox, load=lambda folder: ranker, check_every_s=3600)
    live.start()
    (workspace.bundles_path / "live").write_text("nowhere\n")
    live.now()
    assert live.problems == []
    live.stop()


def test_an_event_from_before_the_cutoff_counts_too(live, outbox):
    first = shown(live.now())
    outbox.append([event(1, first[0], at=datetime(2020, 1, 1))])
    assert first[0] not in shown(live.now())
