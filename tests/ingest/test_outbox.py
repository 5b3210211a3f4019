import json
import re
import sqlite3
import subprocess
import sys
import tracemalloc
from contextlib import closing
from datetime import datetime, timedelta
from math import isnan, nan
from pathlib import Path

import pytest

from ingest.drain import Drained, drain
from ingest.errors import OutboxError
from ingest.outbox import Appended, OnlineEvent, Outbox, translated
from ingest.store import END_OF_TIME, Store

START = datetime(2024, 1, 1)


def event(number, **changes):
    values = {
        "event_id": f"e{number}",
        "user_id": "u",
        "item_id": f"i{number}",
        "kind": "view",
        "weight": 1.0,
        "occurred_at": START + timedelta(seconds=number, microseconds=number),
        "request_id": None,
        "session_id": "s",
    }
    return OnlineEvent(**{**values, **changes})


def answer(request_id):
    request = {"request_id": request_id, "user_id": "u", "occurred_at": START, "k": 2, "degraded": False}
    request |= {"endpoint": "recommendations", "bundle_version": "b1", "variant": None, "latency_ms": 2.5}
    request |= {"comparison": {"first": "a", "second": "b", "difference": 0.5, "families": []}}
    request |= {"asked": {"exclude": ["c"], "max_price": 5.5}}
    row = {"request_id": request_id, "user_id": "u", "occurred_at": START, "score": 0.5, "propensity": None}
    return request, [
        {
            **row,
            "item_id": "a",
            "position": 1,
            "propensity": 0.25,
            "sources": ["popular"],
            "features": [1.0, nan],
            "reasons": [{"family": "popularity", "weight": 0.5}],
            "placed_by": "score",
        },
        {**row, "item_id": "b", "position": 2, "sources": [], "features": []},
    ]


def test_append_keeps_each_event_id_once_and_order_of_arrival(outbox):
    assert outbox.append([event(2), event(1), event(2)]) == Appended(2, 1)
    assert outbox.append([event(1), event(3)]) == Appended(1, 1)
    events, seq = outbox.events_after(0)
    assert events == [event(2), event(1), event(3)]
    assert outbox.events_after(seq) == ([], seq)
    outbox.append([event(4)])
    assert outbox.events_after(seq)[0] == [event(4)]


def test_events_that_a_bundle_knows_are_passed_over(outbox):
    """Known are the first three numbers, as far as they lie before the third event's moment."""
    outbox.append([event(n) for n in (1, 2, 3, 4, 0)])
    known = {"known_seq": 3, "known_until": event(3).occurred_at}
    assert outbox.unknown_events(0, 10, **known) == ([event(3), event(4), event(0)], 5)
    assert outbox.unknown_events(0, 2, **known) == ([event(3), event(4)], 4)
    assert outbox.unknown_events(4, 2, **known) == ([event(0)], 5)


def test_an_outbox_begun_anew_is_followed_from_its_own_last_number(outbox):
    known = {"known_seq": 500, "known_until": event(3).occurred_at}
    assert outbox.unknown_events(0, 10, **known) == ([], 0)
    outbox.append([event(1), event(4), event(2)])
    assert outbox.unknown_events(0, 10, **known) == ([event(4)], 3)
    assert outbox.unknown_events(0, 1, **known) == ([event(4)], 2)
    assert outbox.unknown_events(2, 1, **known) == ([], 3)


def test_events_are_seen_at_once_in_another_process_and_survive_its_kill(outbox):
    program = (
        "import os, sys; from datetime import datetime; from ingest.outbox import *\n"
        "o = Outbox.open(sys.argv[1])\n"
        "o.append([OnlineEvent(event_id=f'{sys.argv[2]}-{n}', user_id='u', item_id='i', kind='view', weight=1.0,"
        " occurred_at=datetime(2024, 1, 1)) for n in range(50)])\n"
        "os._exit(9)"
    )
    root = Path(__file__).parents[2]
    workers = [
        subprocess.Popen([sys.executable, "-c", program, str(outbox.path), name], cwd=root) for name in ("a", "b")
    ]
    assert [worker.wait() for worker in workers] == [9, 9]
    assert len(outbox.events_after(0)[0]) == 100


def test_drain_moves_events_and_answers_once_and_keeps_events_until_purge(outbox, store):
    outbox.append([event(1), event(2, request_id="r", item_id="a")])
    outbox.log_answer(*answer("r"))
    assert drain(outbox, store) == Drained(events=2, duplicates=0, requests=1, impressions=2)
    assert drain(outbox, store) == Drained(0, 0, 0, 0)
    assert outbox.drained_seq() == 2
    assert len(outbox.events_after(0)[0]) == 2
    rows = store.interactions(before=END_OF_TIME)
    assert rows["occurred_at"].to_list() == [event(1).occurred_at, event(2).occurred_at]
    shown = store.connection.sql(
        "SELECT item_id, clicked, features, bundle_version FROM decisions ORDER BY position"
    ).fetchall()
    assert [(item_id, clicked, version) for item_id, clicked, _, version in shown] == [
        ("a", True, "b1"),
        ("b", False, "b1"),
    ]
    told = store.connection.sql("SELECT propensity, reasons FROM decisions ORDER BY position").fetchall()
    assert [(propensity, json.loads(reasons or "null")) for propensity, reasons in told] == [
        (0.25, [{"family": "popularity", "weight": 0.5}]),
        (None, None),
    ]
    compared = store.connection.sql(
        "SELECT comparison ->> 'first', comparison -> 'difference' FROM requests"
    ).fetchall()
    assert compared == [("a", "0.5")]
    asked = store.connection.sql("SELECT asked -> 'exclude', asked -> 'max_price' FROM requests").fetchall()
    assert asked == [('["c"]', "5.5")]
    assert shown[0][2][0] == 1.0
    assert isnan(shown[0][2][1])
    outbox.append([event(3)])
    assert outbox.purge(event(2).occurred_at) == 1
    assert outbox.purge(datetime(2030, 1, 1)) == 1
    # Not drained, so not forgotten.
    assert outbox.events_after(0)[0] == [event(3)]


def test_an_outbox_of_an_earlier_version_opens_with_what_it_held(tmp_path, store):
    path = tmp_path / "earlier.sqlite"
    Outbox.open(path).close()
    with closing(sqlite3.connect(path)) as earlier:
        earlier.execute("ALTER TABLE impressions DROP COLUMN reasons")
        earlier.execute("ALTER TABLE impressions DROP COLUMN placed_by")
        earlier.execute("ALTER TABLE requests DROP COLUMN comparison")
        earlier.execute("ALTER TABLE requests DROP COLUMN asked")
        earlier.execute("INSERT INTO requests (request_id, user_id, occurred_at) VALUES ('r0', 'u', 0)")
        earlier.execute(
            "INSERT INTO impressions (request_id, user_id, item_id, occurred_at) VALUES ('r0', 'u', 'i', 0)"
        )
        earlier.commit()
    for _ in range(2):
        Outbox.open(path).close()
    with Outbox.open(path) as outbox:
        outbox.log_answer(*answer("r1"))
        assert drain(outbox, store) == Drained(events=0, duplicates=0, requests=2, impressions=3)
    told = store.connection.sql("SELECT item_id, placed_by FROM impressions WHERE reasons IS NOT NULL").fetchall()
    assert told == [("a", "score")]
    for name in ("comparison", "asked"):
        told = store.connection.sql(f"SELECT request_id FROM requests WHERE {name} IS NOT NULL").fetchall()
        assert told == [("r1",)]


@pytest.mark.parametrize("dies_in", ["events_drained", "answers_drained"])
def test_drain_is_exactly_once_when_it_dies_between_the_two_databases(outbox, store, monkeypatch, dies_in):
    outbox.append([event(1), event(2)])
    outbox.log_answer(*answer("r"))

    def die(self, seq):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(Outbox, dies_in, die)
        with pytest.raises(KeyboardInterrupt):
            drain(outbox, store)
    outbox.append([event(3)])
    drained = drain(outbox, store)
    assert drained.duplicates == (2 if dies_in == "events_drained" else 0)
    counts = """
        SELECT
            (SELECT count(*) FROM interactions),
            (SELECT count(*) FROM requests),
            (SELECT count(*) FROM impressions)
    """
    assert store.connection.sql(counts).fetchall() == [(3, 1, 2)]


@pytest.mark.parametrize("moved", ["events", "answers"])
def test_drain_ends_also_where_something_arrives_all_the_while(outbox, store, monkeypatch, moved):
    arriving = iter(range(3))

    def arrive():
        for number in arriving:
            outbox.append([event(number)]) if moved == "events" else outbox.log_answer(*answer(f"r{number}"))
            return

    drained = getattr(Outbox, f"{moved}_drained")
    monkeypatch.setattr(Outbox, f"{moved}_drained", lambda self, seq: (drained(self, seq), arrive()))
    arrive()
    once = Drained(1, 0, 0, 0) if moved == "events" else Drained(0, 0, 1, 2)
    assert [drain(outbox, store) for _ in range(4)] == [once, once, once, Drained(0, 0, 0, 0)]


@pytest.mark.parametrize(("limit", "n_answers"), [(1, 1), (3, 1), (4, 2), (6, 2), (7, 3), (100, 3)])
def test_answers_come_whole_and_end_with_the_one_that_reaches_the_limit(outbox, limit, n_answers):
    for number in range(3):
        outbox.log_answer(*answer(f"r{number}"))  # three rows each: the request and two impressions
    requests, impressions, last = outbox.answers(limit)
    assert requests["request_id"].to_list() == [f"r{number}" for number in range(n_answers)]
    assert sorted(impressions["request_id"]) == sorted(requests["request_id"].to_list() * 2)
    outbox.answers_drained(last)
    assert outbox.answers(100)[0].height == 3 - n_answers


def test_drain_holds_few_impressions_at_once_however_many_an_answer_has(outbox, store, monkeypatch):
    monkeypatch.setattr("ingest.drain.ANSWERS_AT_ONCE", 500)
    n_answers, n_features, n_shown = 20, 100, 400
    request, (shown, _) = answer("")
    shown |= {"features": [0.5 + number for number in range(n_features)], "reasons": None}
    for number in range(n_answers):
        name = {"request_id": f"r{number}"}
        outbox.log_answer(request | name, [shown | name | {"item_id": f"i{at}"} for at in range(n_shown)])
    tracemalloc.start()
    try:
        assert drain(outbox, store) == Drained(
            events=0, duplicates=0, requests=n_answers, impressions=n_answers * n_shown
        )
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    # Less than the features of all answers take in the outbox; as Python's floats those of two would take more.
    assert peak < n_answers * n_shown * n_features * 4
    assert store.connection.sql("SELECT DISTINCT features FROM impressions").fetchall() == [(shown["features"],)]


def test_a_store_put_back_gets_its_later_events_as_the_page_of_operations_says(outbox, store, tmp_path):
    with Store.open(tmp_path / "put_back.duckdb") as put_back:
        outbox.append([event(1)])
        drain(outbox, put_back)
        outbox.append([event(2)])
        drain(outbox, store)
        page = (Path(__file__).parents[2] / "docs/operations.md").read_text(encoding="utf-8")
        (statement,) = re.findall(r'sqlite3 online.sqlite "(UPDATE .*)"', page)
        with closing(sqlite3.connect(outbox.path)) as by_hand:
            by_hand.execute(statement)
            by_hand.commit()
        assert drain(outbox, put_back) == Drained(events=1, duplicates=1, requests=0, impressions=0)
    assert outbox.drained_seq() == 2


def test_drain_knows_events_that_a_log_brought_already(outbox, store, load):
    load("log.jsonl", '{"event_id":"e1","user_id":"u","item_id":"i1","occurred_at":"2024-01-01"}\n')
    outbox.append([event(1), event(2)])
    assert drain(outbox, store).duplicates == 1
    report = store.connection.sql("SELECT path, rows_read, rows_loaded, rows_duplicate FROM loads").fetchall()
    assert report[-1] == (str(outbox.path), 2, 1, 1)


def test_open_of_a_damaged_outbox_is_one_sentence(tmp_path):
    path = tmp_path / "online.sqlite"
    path.write_bytes(b"garbage" * 1000)
    with pytest.raises(OutboxError, match="damaged or foreign"):
        Outbox.open(path)
    with pytest.raises(OutboxError, match="cannot be opened"):
        Outbox.open(tmp_path / "no" / "online.sqlite")


@pytest.mark.parametrize("replaced", [False, True])
def test_a_file_that_is_deleted_or_replaced_while_open_is_used_no_more(tmp_path, replaced):
    """What is written to a deleted file nobody ever drains."""
    path = tmp_path / "online.sqlite"
    with Outbox.open(path) as outbox:
        outbox.append([event(1)])
        path.unlink()
        if replaced:
            Outbox.open(path).close()
        uses = [lambda: outbox.append([event(2)]), outbox.erasures, lambda: outbox.events_after(0)]
        for use in [*uses, lambda: outbox.log_answer(*answer("r"))]:
            with pytest.raises(OutboxError, match="was deleted, moved or replaced while in use"):
                use()


def test_a_disk_that_refuses_is_named_as_full_or_failing(tmp_path):
    with pytest.raises(OutboxError, match="the disk is full or fails"), translated(tmp_path):
        raise sqlite3.OperationalError("disk I/O error")
