import time
from dataclasses import replace
from datetime import datetime, timedelta

import numpy as np

from api.live_history import LiveHistory
from ingest.errors import OutboxError
from ingest.moments import to_microseconds
from ingest.outbox import Outbox
from tests.api.conftest import event, shown


def test_live_knows_an_event_of_another_process_at_once(live, workspace):
    first = shown(live.now())
    with Outbox.open(workspace.outbox_path) as elsewhere:
        elsewhere.append([event(1, first[0])])
    serving = live.now()
    assert first[0] not in shown(serving)
    assert live.n_events == 1
    assert live.now() is serving, "without news nothing is built anew"


def test_catching_up_counts_events_for_those_who_only_peek(live, outbox):
    first = shown(live.peek())
    outbox.append([event(1, first[0])])
    assert shown(live.peek()) == first
    live.catch_up()
    assert first[0] not in shown(live.peek())


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


def test_what_the_bundle_knows_is_no_live_event(outbox, ranker, monkeypatch):
    day = timedelta(days=1)
    item = ranker.catalogue.ids[0]
    outbox.append([event(1, item, at=ranker.cutoff - day), event(2, item, at=ranker.cutoff)])
    monkeypatch.setattr(ranker, "outbox_seq", 2)
    outbox.append([event(3, item, at=ranker.cutoff - day), event(4, item, at=ranker.cutoff + day)])
    history = LiveHistory(ranker, outbox)
    assert history.n_events == 3
    before = np.array([to_microseconds(ranker.cutoff + 2 * day)])
    counts = [told.item_counts(np.array([0]), before=before)[0] for told in (history.serving.history, ranker.history)]
    assert counts[0] - counts[1] == 3
    outbox.append([event(5, item, at=ranker.cutoff)])
    history.now()
    assert history.n_events == 4, "and none a second time"
    monkeypatch.setattr(ranker, "model", replace(ranker.model, known_until=ranker.cutoff + day))  # a refreshed bundle
    assert LiveHistory(ranker, outbox).n_events == 3, "the second lies in its history"


def test_an_outbox_begun_anew_is_read_from_its_own_beginning(outbox, ranker, monkeypatch):
    monkeypatch.setattr(ranker, "outbox_seq", 1_000)
    outbox.append([event(1, ranker.catalogue.ids[0])])
    history = LiveHistory(ranker, outbox)
    outbox.append([event(2, ranker.catalogue.ids[0])])
    history.now()
    assert history.n_events == 2


def test_live_answers_while_the_outbox_cannot_be_read(live, outbox, monkeypatch):
    first = shown(live.now())
    outbox.append([event(1, first[0])])
    live.now()

    def unreadable(*ignored):
        raise OutboxError("online.sqlite: wanted an SQLite database, got a damaged file")

    monkeypatch.setattr(outbox, "events_after", unreadable)
    serving = live.now()
    assert serving.stale
    assert first[0] not in shown(serving), "what was known stays known"
    assert live.problems == ["online.sqlite: wanted an SQLite database, got a damaged file"]
    monkeypatch.undo()
    outbox.append([event(2, first[1])])
    serving = live.now()
    assert not serving.stale
    assert not {first[0], first[1]} & set(shown(serving))
    assert live.problems == []


def test_an_event_from_before_the_cutoff_counts_too(live, outbox):
    first = shown(live.now())
    outbox.append([event(1, first[0], at=datetime(2020, 1, 1))])
    assert first[0] not in shown(live.now())
