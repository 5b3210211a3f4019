"""Live events count at once, and what takes long is done beside the answers; here a history is the ids it holds."""

import asyncio
import threading
from datetime import datetime
from types import SimpleNamespace

import pytest

from api import live_history
from api.live_history import LiveHistory
from api.service import Service
from ingest.errors import OutboxError
from ingest.outbox import OnlineEvent
from ranker.query import Answer, Query, RankedItem
from tests.api.conftest import until

CUTOFF = datetime(2024, 1, 2)


class Gate:
    """Where a thread stops until it is let through, once it has been closed."""

    def __init__(self):
        self._open = threading.Event()
        self._open.set()
        self.reached = threading.Event()

    def close(self):
        self._open.clear()
        self.reached.clear()

    def open(self):
        self._open.set()

    def __call__(self):
        self.reached.set()
        assert self._open.wait(60)


class Outbox:
    """Events that are there; reading may fail or be stopped."""

    def __init__(self):
        self.events = []
        self.n_erasures = 0
        self.broken = False
        self.reading_all = Gate()
        self.reading_new = Gate()

    def accept(self, *ids, day=3):
        moment = datetime(2024, 1, day)
        self.events += [
            OnlineEvent(event_id=each, user_id="u", item_id="i", kind="click", weight=1, occurred_at=moment)
            for each in ids
        ]

    def erasures(self):
        if self.broken:
            raise OutboxError("locked")
        return self.n_erasures

    def events_after(self, seq, limit=-1):
        self.reading_new()
        if self.broken:
            raise OutboxError("locked")
        found = self.events[seq : seq + limit]
        return found, seq + len(found)

    def unknown_events(self, seq, limit, *, known_seq, known_until):
        self.reading_all()
        if self.broken:
            raise OutboxError("locked")
        places = [
            n for n in range(seq, len(self.events)) if n >= known_seq or self.events[n].occurred_at >= known_until
        ]
        found = places[:limit]
        return [self.events[n] for n in found], found[-1] + 1 if len(found) == limit else len(self.events)


class Told(tuple):
    """A history of live events: how many layers it has."""

    layers: tuple = ()

    def settled(self):
        return layered(self, (len(self),) if self else ())


def layered(ids, layers):
    told = Told(ids)
    told.layers = layers
    return told


class Model:
    """Builds a history beside the answers only when it is let; its history ends on the second day."""

    version, cutoff, known_until, outbox_seq = "v", CUTOFF, CUTOFF, 0
    history = Told()

    def __init__(self):
        self.settling = Gate()
        self.built = []

    def history_with(self, events, under):
        if threading.current_thread().name == "live-history":
            self.settling()
        self.built.append(len(events))
        return layered((*under, *(event.event_id for event in events)), (*under.layers, len(events)))

    def recommend(self, query, history=None):
        return Answer(items=(RankedItem(item_id="full", rank=1, score=1.0),))

    def popular(self, query, history=None):
        return Answer(items=(RankedItem(item_id="popular", rank=1, score=1.0),), degraded=True)


@pytest.fixture
def outbox():
    outbox = Outbox()
    yield outbox
    outbox.reading_all.open()
    outbox.reading_new.open()


@pytest.fixture
def model():
    model = Model()
    yield model
    model.settling.open()


def layers(history):
    return history.serving.history.layers


def known(history):
    return "".join(history.now().history)


def test_answers_go_on_with_the_newest_events_while_all_are_settled(outbox, model, monkeypatch):
    monkeypatch.setattr(live_history, "SETTLE_FROM", 2)
    history = LiveHistory(model, outbox)
    model.settling.close()
    outbox.accept("a", "b", "c")
    assert known(history) == "abc"
    assert model.settling.reached.wait(30), "three events are enough to settle them"
    outbox.accept("d")
    assert until(lambda: known(history) == "abcd")
    assert history.n_events == 4
    model.settling.open()
    assert until(lambda: layers(history) == (3, 1)), "the lower layer has three events, the upper one what came since"
    outbox.accept("e")
    assert until(lambda: known(history) == "abcde")
    assert layers(history) == (3, 2)


def test_a_flood_of_events_is_settled_before_it_counts(outbox, model, monkeypatch):
    monkeypatch.setattr(live_history, "SETTLE_FROM", 2)
    monkeypatch.setattr(live_history, "MOST_ON_TOP", 3)
    history = LiveHistory(model, outbox)
    outbox.accept(*"abcdefgh")
    assert until(lambda: known(history) == "abcdefgh")
    assert known(history) == "abcdefgh", "read in parts, in order"
    assert history.problem is None


def test_popular_items_come_while_an_answer_waits_for_the_outbox(outbox, model):
    history = LiveHistory(model, outbox)
    outbox.reading_new.close()
    live = SimpleNamespace(now=history.now, peek=lambda: history.serving)
    service = Service(live, SimpleNamespace(put=lambda decision: None), budget_s=1.0)
    served = asyncio.run(service.recommend(Query(user_id="u", as_of=CUTOFF, k=1)))
    assert [item.item_id for item in served.answer.items] == ["popular"]
    outbox.reading_new.open()
    service.stop()


def test_answers_go_on_while_all_events_are_read_anew_after_an_erasure(outbox, model):
    outbox.accept("a", "b")
    history = LiveHistory(model, outbox, patience_s=0)
    outbox.reading_all.close()
    outbox.events, outbox.n_erasures = outbox.events[1:], 1
    assert known(history) == "ab"
    assert outbox.reading_all.reached.wait(30)
    assert known(history) == "ab"
    outbox.reading_all.open()
    assert until(lambda: known(history) == "b")
    assert not history.serving.stale


def test_the_answer_that_finds_an_erasure_waits_for_it_a_while(outbox, model):
    outbox.accept("a", "b")
    history = LiveHistory(model, outbox, patience_s=60)
    outbox.events, outbox.n_erasures = outbox.events[1:], 1
    assert known(history) == "b"


def test_an_answer_waits_for_the_reading_that_another_thread_began(outbox, model):
    outbox.accept("a", "b")
    history = LiveHistory(model, outbox, patience_s=60)
    outbox.reading_all.close()
    outbox.events, outbox.n_erasures = outbox.events[1:], 1
    threading.Thread(target=history.now, daemon=True).start()
    assert outbox.reading_all.reached.wait(30)
    answers = []
    answer = threading.Thread(target=lambda: answers.append(known(history)))
    answer.start()
    answer.join(0.2)
    assert answers == [], "what is held may be of the forgotten"
    outbox.reading_all.open()
    answer.join(30)
    assert answers == ["b"]


def test_a_first_reading_that_fails_is_repeated_and_loses_nothing(outbox, model, monkeypatch):
    """The bundle knows the first two events by number, but the second came after its cutoff."""
    monkeypatch.setattr(model, "outbox_seq", 2, raising=False)
    outbox.accept("a", day=1)
    outbox.accept("b", "c")
    outbox.broken = True
    history = LiveHistory(model, outbox)
    assert history.serving.stale
    assert history.now().stale
    assert history.problem == "locked"
    outbox.broken = False
    assert until(lambda: known(history) == "bc")
    assert not history.serving.stale
    assert history.problem is None


def test_a_first_reading_in_parts_ends_in_one_layer(outbox, model, monkeypatch):
    monkeypatch.setattr(live_history, "READ_AT_ONCE", 2)
    outbox.accept(*"abcde")
    history = LiveHistory(model, outbox)
    assert "".join(history.serving.history) == "abcde"
    assert (model.built, layers(history)) == ([2, 2, 1], (5,))


def test_events_that_cannot_be_settled_leave_a_mark(outbox, model, monkeypatch):
    monkeypatch.setattr(live_history, "SETTLE_FROM", 1)
    build, broken = model.history_with, [True]

    def fails(events, under):
        if broken and threading.current_thread().name == "live-history":
            raise RuntimeError("no memory")
        return build(events, under)

    monkeypatch.setattr(model, "history_with", fails)
    history = LiveHistory(model, outbox)
    outbox.accept("a", "b")
    assert known(history) == "ab"
    assert until(lambda: history.serving.stale)
    assert history.problem == "live events cannot be used: RuntimeError('no memory')"
    broken.clear()
    assert until(lambda: not history.now().stale)
    assert known(history) == "ab"
