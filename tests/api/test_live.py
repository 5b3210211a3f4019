import time
from datetime import datetime, timedelta

from api.live_history import uncovered
from ingest.errors import OutboxError
from ingest.outbox import Outbox
from tests.api.conftest import event, shown


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

    def slow(self, *events):
        clock[0] += 0.2
        return build(self, *events)

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

    def unreadable(*ignored):
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


def test_an_event_from_before_the_cutoff_counts_too(live, outbox):
    first = shown(live.now())
    outbox.append([event(1, first[0], at=datetime(2020, 1, 1))])
    assert first[0] not in shown(live.now())
