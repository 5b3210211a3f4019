"""What holds when a job gets SIGKILL at any moment: all or nothing, nothing lost, nothing doubled."""

import json
import random
from datetime import datetime, timedelta
from itertools import count
from statistics import median

import duckdb
import pytest

from benchmarks.killing import Victims
from benchmarks.load_kills import kill_loads
from ingest.load import load_files
from ingest.outbox import OnlineEvent
from ingest.store import Store
from ingest.workspace import Workspace

START = datetime(2024, 1, 1)


def lines(numbers):
    """Events as JSON lines; every 50th is ill-formed, every 70th stands there twice, every 10th has no id."""
    for number in numbers:
        row = {"user_id": f"u{number % 97}", "item_id": f"i{number % 89}", "occurred_at": 1704067200 + number // 3}
        row |= {"seat": number} if number % 10 == 0 else {"event_id": f"e{number}"}
        line = json.dumps(row) if number % 50 else '{"user_id":'
        yield from [line + "\n"] * (2 if number % 70 == 0 else 1)


def events(numbers):
    return [
        OnlineEvent(
            event_id=f"e{number}",
            user_id=f"u{number % 7}",
            item_id=f"i{number % 5}",
            kind="view",
            weight=1.0,
            occurred_at=START + timedelta(seconds=number),
        )
        for number in numbers
    ]


def answer(number):
    request = {"request_id": f"r{number}", "user_id": "u", "occurred_at": START, "endpoint": "rankings", "k": 2}
    shown = {"request_id": f"r{number}", "user_id": "u", "occurred_at": START, "sources": [], "features": [1.0]}
    return request, [{**shown, "item_id": item, "position": place} for place, item in enumerate("ab", 1)]


def column(store, query):
    return [value for (value,) in store.connection.sql(query).fetchall()]


@pytest.mark.parametrize(("since", "n"), [("", 12), ("committing", 3)])
def test_load_is_whole_or_nothing_and_the_next_one_completes_it(tmp_path, since, n):
    known, log = tmp_path / "known.jsonl", tmp_path / "log.jsonl"
    known.write_text("".join(lines(range(2_000))))
    log.write_text("".join(lines(range(1_800, 8_000))))
    done = kill_loads(tmp_path, known=known, log=log, n=n, seed=7, since=since)
    assert (done.failures, done.held) == ([], n)


def held(path):
    """Return event ids, request ids, and requests with their items, as the store has them."""
    with Store.open(path) as store:
        return (
            sorted(column(store, "SELECT event_id FROM interactions")),
            sorted(column(store, "SELECT request_id FROM requests")),
            sorted(column(store, "SELECT request_id || item_id FROM impressions")),
        )


def all_of(n_events, n_answers):
    return (
        sorted(f"e{number}" for number in range(n_events)),
        sorted(f"r{number}" for number in range(n_answers)),
        sorted(f"r{number}{item}" for number in range(n_answers) for item in "ab"),
    )


def test_drain_loses_and_doubles_nothing_while_events_go_on_arriving(tmp_path, outbox):
    rng = random.Random(7)
    n_events = n_answers = 0

    def arrive():
        nonlocal n_events, n_answers
        outbox.append(events(range(n_events, n_events + 300)))
        for number in range(n_answers, n_answers + 30):
            outbox.log_answer(*answer(number))
        n_events, n_answers = n_events + 300, n_answers + 30

    job = {"store": str(tmp_path / "store.duckdb"), "outbox": str(outbox.path), "at_once": "30"}
    with Victims() as victims:
        arrive()
        window = victims.run("drain", **job).seconds
        for _ in range(8):
            arrive()
            victims.run("drain", kill_after=rng.uniform(0, window), **job)
            stored = held(job["store"])
            # What the outbox calls drained is in the store, and no answer is in neither of the two.
            drained = {event.event_id for event in outbox.events_after(0, outbox.drained_seq())[0]}
            waiting = set(outbox.answers(10**6)[0]["request_id"])
            assert drained <= set(stored[0])
            assert waiting | set(stored[1]) == {f"r{number}" for number in range(n_answers)}
        assert not victims.run("drain", **job).killed
    assert held(job["store"]) == all_of(n_events, n_answers)
    assert outbox.answers(1)[2] == 0
    assert outbox.drained_seq() == n_events


@pytest.mark.parametrize("die_at", ["committing", "committed"])
@pytest.mark.parametrize("moved", ["events", "answers"])
def test_drain_that_dies_between_the_two_databases_is_made_good(tmp_path, outbox, moved, die_at):
    n_events, n_answers = (50, 0) if moved == "events" else (0, 50)
    outbox.append(events(range(n_events)))
    for number in range(n_answers):
        outbox.log_answer(*answer(number))
    job = {"store": str(tmp_path / "store.duckdb"), "outbox": str(outbox.path), "at_once": "20"}
    with Victims() as victims:
        ended = victims.run("drain", die_at=die_at, **job)
        assert (ended.killed, ended.phase) == (True, die_at)
        stored = held(job["store"])
        first_portion = 20 if moved == "events" else 7  # seven answers of three rows each are the first to reach 20
        assert len(stored[0]) + len(stored[1]) == (first_portion if die_at == "committed" else 0)
        assert outbox.drained_seq() == 0
        victims.run("drain", **job)
    assert held(job["store"]) == all_of(n_events, n_answers)


def test_publish_leaves_a_whole_copy_for_analysts(tmp_path):
    rng = random.Random(7)
    workspace = Workspace.create(tmp_path / "shop", "")
    counted = count(1)

    def load_more():
        number = next(counted)
        log = tmp_path / f"{number}.jsonl"
        log.write_text(f'{{"event_id":"n{number}","user_id":"u","item_id":"i","occurred_at":1704067200}}\n')
        with Store.open(workspace.store_path) as store:
            load_files(store, [log])
            return column(store, "SELECT count(*) FROM interactions")[0]

    def published():
        with duckdb.connect(workspace.analytics_path, read_only=True) as copy:
            return copy.sql("SELECT count(DISTINCT event_id) FROM interactions").fetchall()[0][0]

    (tmp_path / "log.jsonl").write_text("".join(lines(range(20_000))))
    with Store.open(workspace.store_path) as store:
        load_files(store, [tmp_path / "log.jsonl"])
    job = {"workspace": str(workspace.root)}
    with Victims() as victims:
        window = median(victims.run("publish", **job).seconds for _ in range(3))
        seen = published()
        for _ in range(8):
            n_rows = load_more()
            victims.run("publish", kill_after=rng.uniform(0, window), **job)
            assert seen <= published() <= n_rows
            seen = published()
        victims.run("publish", **job)
    assert published() == n_rows
    assert [path.name for path in workspace.root.iterdir() if ".new" in path.name] == []
