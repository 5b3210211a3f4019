import sqlite3
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest

from ingest.moments import utc_now
from ingest.outbox import Outbox
from ranker.query import Answer
from tests.api.conftest import ids, until


class Broken:
    """The real ranker with parts that fail or dawdle."""

    def __init__(self, ranker, **broken):
        self._ranker = ranker
        self._broken = broken

    def __getattr__(self, name):
        return self._broken.get(name) or getattr(self._ranker, name)


def fail(*ignored):
    raise RuntimeError("a matrix of the wrong shape")


@pytest.fixture
def broken_client(make_client, ranker):
    def make(settings=None, **broken):
        return make_client(load=lambda folder: Broken(ranker, **broken), **(settings or {}))

    return make


def recommend(client, user, **ask):
    answer = client.post("/v1/recommendations", json={"user_id": user, **ask})
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_a_failing_model_gives_popular_items_with_the_hard_rules(broken_client, ranker, user):
    client = broken_client(recommend=fail)
    everything = recommend(client, user, k=1_000)
    assert everything["degraded"] is True
    assert len(everything["items"]) > 50
    first = ids(everything)
    category = ranker.item(first[0])["categories"][0]
    events = [
        {"user_id": user, "item_id": first[1], "kind": "hide"},
        {"user_id": user, "item_id": first[2], "kind": "click"},
    ]
    assert client.post("/v1/events", json={"events": events}).json()["accepted"] == 2
    later = ids(recommend(client, user, k=1_000, exclude=[first[0]]))
    assert set(first) - set(later) == {first[0], first[1], first[2]}
    inside = ids(recommend(client, user, k=1_000, categories=[category]))
    assert inside
    assert all(category in ranker.item(item)["categories"] for item in inside)


def test_a_late_model_gives_popular_items_within_the_budget(broken_client, ranker, user):
    def dawdle(query, history=None):
        time.sleep(1.5 if query.user_id == user else 0)
        return ranker.recommend(query, history)

    client = broken_client(settings={"budget_ms": 300}, recommend=dawdle)
    recommend(client, "somebody else")
    started = time.monotonic()
    answer = recommend(client, user)
    assert 0.8 * 0.3 <= time.monotonic() - started < 1.2
    assert answer["degraded"] is True
    assert answer["items"]
    time.sleep(1.5)
    assert recommend(client, "somebody else")["degraded"] is False


@pytest.mark.parametrize("broken", [{}, {"recommend": fail}], ids=["full", "degraded"])
def test_what_a_user_took_or_hid_stays_away_when_the_clock_is_set_back(broken_client, user, monkeypatch, broken):
    client = broken_client(**broken)
    hidden, bought, *_ = ids(recommend(client, user))
    sent = [
        {"user_id": user, "item_id": hidden, "kind": "hide"},
        {"user_id": user, "item_id": bought, "kind": "purchase"},
    ]
    assert client.post("/v1/events", json={"events": sent}).json()["accepted"] == 2
    assert until(lambda: client.get("/readyz").json()["live_events"] == 2)
    monkeypatch.setattr("api.app.utc_now", lambda: utc_now() - timedelta(hours=1))
    assert not {hidden, bought} & set(ids(recommend(client, user, k=1_000)))


def test_degraded_answers_know_what_was_hidden_while_the_full_one_hangs(broken_client, ranker, user):
    """Nothing but the service itself can count the events: every full answer waits for the one that hangs."""
    go = threading.Event()

    def hang(query, history=None):
        if query.user_id == user:
            go.wait(60)
        return ranker.recommend(query, history)

    client = broken_client(settings={"budget_ms": 500}, recommend=hang)
    try:
        hidden, bought, *_ = ids(recommend(client, user))
        sent = [
            {"user_id": user, "item_id": hidden, "kind": "hide"},
            {"user_id": user, "item_id": bought, "kind": "purchase"},
        ]
        assert client.post("/v1/events", json={"events": sent}).json()["accepted"] == 2
        assert until(lambda: not {hidden, bought} & set(ids(recommend(client, user))), seconds=3)
    finally:
        go.set()


def test_when_everything_fails_the_answer_is_empty_and_no_error(broken_client, user):
    answer = recommend(broken_client(recommend=fail, popular=fail), user)
    assert (answer["items"], answer["degraded"]) == ([], True)


def test_a_failing_ranking_keeps_every_item_popular_ones_first(broken_client, ranker):
    client = broken_client(rank=fail)
    popular = ids(recommend(broken_client(recommend=fail), "nobody", k=3))
    given = ["unheard-of", popular[2], popular[0], popular[1]]
    answer = client.post(
        "/v1/rankings", json={"user_id": "nobody", "items": [{"item_id": item} for item in given]}
    ).json()
    assert ids(answer) == [*popular, "unheard-of"]
    assert answer["degraded"] is True
    assert [item["score"] for item in answer["items"]] == [3, 2, 1, 0]


def test_a_ranking_that_fails_altogether_keeps_the_order_given(broken_client):
    client = broken_client(rank=fail, popular=fail)
    given = [{"item_id": item} for item in ("b", "a", "c")]
    answer = client.post("/v1/rankings", json={"user_id": "u", "items": given}).json()
    assert (ids(answer), answer["degraded"]) == (["b", "a", "c"], True)


def test_an_answer_says_when_its_ranker_says_degraded(broken_client, user):
    client = broken_client(recommend=lambda query, history=None: Answer(items=(), degraded=True))
    assert recommend(client, user)["degraded"] is True


def test_answers_go_on_degraded_while_the_outbox_cannot_be_read(client, user, monkeypatch):
    from ingest.errors import OutboxError

    def unreadable(*ignored):
        raise OutboxError("online.sqlite: the disk is gone")

    full = recommend(client, user)
    monkeypatch.setattr(Outbox, "events_after", unreadable)
    answer = recommend(client, user)
    assert answer["degraded"] is True
    assert ids(answer) == ids(full)
    ready = client.get("/readyz")
    assert ready.status_code == 200
    assert ready.json()["problems"] == ["online.sqlite: the disk is gone"]


def test_events_that_cannot_be_written_are_not_accepted(client, user, monkeypatch):
    from ingest.errors import OutboxError

    def full(*ignored):
        raise OutboxError("online.sqlite: the disk is full; free space and send again")

    monkeypatch.setattr(Outbox, "append", full)
    answer = client.post("/v1/events", json={"events": [{"user_id": user, "item_id": "i"}]})
    assert answer.status_code == 503
    assert answer.headers["Retry-After"] == "1"
    assert answer.json() == {"detail": "online.sqlite: the disk is full; free space and send again"}
    assert client.get("/readyz").json()["problems"] == [answer.json()["detail"]]
    monkeypatch.undo()
    assert client.post("/v1/events", json={"events": [{"user_id": user, "item_id": "i"}]}).status_code == 202
    assert client.get("/readyz").json()["problems"] == []


def test_readiness_waits_for_no_outbox_that_hangs(client, ranker, monkeypatch):
    hangs, go, erasures = threading.Event(), threading.Event(), Outbox.erasures

    def hang(outbox):
        hangs.set()
        go.wait(120)
        return erasures(outbox)

    monkeypatch.setattr(Outbox, "erasures", hang)
    assert hangs.wait(30)
    with ThreadPoolExecutor(1) as asking:
        answer = asking.submit(client.get, "/readyz")
        try:
            assert answer.result(30).json()["model"] == ranker.version
        finally:
            go.set()


def test_answers_that_fail_for_long_are_a_problem_and_told_in_the_log_now_and_then(broken_client, ranker, caplog):
    model = {"recommend": fail}
    client = broken_client(recommend=lambda query, history=None: model["recommend"](query, history))
    caplog.clear()
    for _ in range(4):
        recommend(client, "u", k=1)
    assert client.get("/readyz").json()["problems"] == [], "fewer than five may be by chance"
    for _ in range(5):
        recommend(client, "u", k=1)
    (problem,) = client.get("/readyz").json()["problems"]
    assert problem.startswith("full answers: wanted one, got 9 in a row that were late or failed")
    assert caplog.text.count("answer failed") == 5, "after none, 1, 2, 4 and 8 others"
    model["recommend"] = ranker.recommend
    assert recommend(client, "u", k=1)["degraded"] is False
    assert client.get("/readyz").json()["problems"] == []


@pytest.fixture
def foreign_lock(workspace):
    """Another process's transaction on the outbox, which writes nothing."""
    foreign = sqlite3.connect(workspace.outbox_path, isolation_level=None, check_same_thread=False)
    yield foreign
    foreign.close()


def test_events_wait_a_limited_time_and_hold_nothing_else_up(client, user, foreign_lock, monkeypatch):
    monkeypatch.setattr("api.accept_events.WRITTEN_WITHIN_S", 2.0)
    item = ids(recommend(client, user, k=1))[0]
    begun, append = threading.Event(), Outbox.append

    def told(outbox, events):
        begun.set()
        return append(outbox, events)

    monkeypatch.setattr(Outbox, "append", told)
    foreign_lock.execute("BEGIN IMMEDIATE")
    # More than the 40 threads that all other requests share.
    events = [{"event_id": f"e{number}", "user_id": user, "item_id": item} for number in range(45)]
    events[0].pop("event_id")
    started = time.monotonic()
    with ThreadPoolExecutor(len(events)) as senders:
        first = senders.submit(client.post, "/v1/events", json={"events": events[:1]})
        assert begun.wait(30)
        others = [senders.submit(client.post, "/v1/events", json={"events": [event]}) for event in events[1:]]
        time.sleep(0.2)
        asked = time.monotonic()
        assert client.get("/readyz").status_code == client.get(f"/v1/items/{item}").status_code == 200
        assert time.monotonic() - asked < 5
        answers = [sent.result() for sent in (first, *others)]
    assert time.monotonic() - started < 8, "each waits two seconds, not one after the other"
    assert {(answer.status_code, answer.headers["Retry-After"]) for answer in answers} == {(503, "1")}
    said = [answer.json()["detail"] for answer in answers]
    assert said[0].endswith(
        "wanted the events on disk within 2 s, got no end of the writing; send them again: "
        "those with an event_id count once, while 1 without one may count twice"
    )
    assert said[-1].endswith("wanted the events on disk within 2 s, got no turn to write them; send them again")
    foreign_lock.execute("ROLLBACK")
    assert until(lambda: client.get("/readyz").json()["live_events"] == 2), "the two whose writing had begun"
    answer = client.post("/v1/events", json={"events": events[1:]}).json()
    assert (answer["accepted"], answer["duplicates"]) == (43, 1)


def test_events_are_accepted_once_and_act_at_once(client, user):
    first = ids(recommend(client, user, k=5))
    sent = {"events": [{"event_id": "e1", "user_id": user, "item_id": first[0], "kind": "wave"}]}
    answer = client.post("/v1/events", json=sent)
    assert answer.status_code == 202
    assert answer.json() == {"accepted": 1, "duplicates": 0, "rejected": []}
    assert first[0] not in ids(recommend(client, user, k=5))
    assert client.post("/v1/events", json=sent).json() == {"accepted": 0, "duplicates": 1, "rejected": []}


def test_events_change_what_a_newcomer_gets(client):
    before = ids(recommend(client, "newcomer", k=10))
    event = {"user_id": "newcomer", "item_id": before[9], "kind": "purchase"}
    client.post("/v1/events", json={"events": [event]})
    after = ids(recommend(client, "newcomer", k=10))
    assert before[9] not in after
    assert after[:9] != before[:9], "the purchase tells of a taste, beyond being taken"


def test_too_many_events_are_refused_whole(client):
    event = {"user_id": "u", "item_id": "i"}
    answer = client.post("/v1/events", json={"events": [event] * 1_001})
    assert answer.status_code == 422
    assert answer.json()["detail"] == "events: wanted at most 1,000 entries, got 1,001; correct it"
    answer = client.post("/v1/events", json={"events": [event] * 999 + ["?"]})
    assert answer.json()["accepted"] == 999
    assert [r["index"] for r in answer.json()["rejected"]] == [999]


def test_readiness_says_what_serves(client, ranker):
    assert client.get("/healthz").json() == {"status": "ok"}
    ready = client.get("/readyz")
    assert ready.status_code == 200
    told = ready.json()
    assert (told["ready"], told["model"], told["problems"]) == (True, ranker.version, [])
    assert told["cutoff"] == ranker.cutoff.isoformat()


def test_without_a_bundle_it_is_alive_but_not_ready(make_client, workspace):
    (workspace.bundles_path / "live").unlink()
    client = make_client()
    assert client.get("/healthz").status_code == 200
    ready = client.get("/readyz")
    assert ready.status_code == 503
    assert "readrank train" in ready.json()["problems"][0]
    answer = client.post("/v1/recommendations", json={"user_id": "u"})
    assert answer.status_code == 503
    assert "readrank train" in answer.json()["detail"]
    assert client.post("/v1/events", json={"events": [{"user_id": "u", "item_id": "i"}]}).status_code == 202
