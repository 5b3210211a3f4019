"""Lines of several tables in one file of JSON lines: none counts as what it is not."""

import json

import pytest

from ingest import sources
from ingest.checks import ChecksConfig
from ingest.erase import forget
from ingest.load import load_files
from ingest.mentions import Person
from ingest.pseudonyms import KEY_VARIABLE, Pseudonyms
from ingest.replay import replay_rejected
from ingest.retention import RetentionConfig
from ingest.store import END_OF_TIME, Store
from ingest.workspace import Workspace

N_TOLD_BY = 1_000
EVENTS = [{"user_id": f"u{n}", "item_id": "i", "ts": n + 1} for n in range(N_TOLD_BY)]
ITEMS = [{"item_id": f"i{n}", "title": "Ink"} for n in range(N_TOLD_BY)]
SHOWN = {"request_id": "r", "visitorid": 4711, "item_id": "i", "ts": 5, "clicked": False}


def lines(objects):
    return "".join(json.dumps(each) + "\n" for each in objects)


def rejected(store):
    return store.connection.sql("SELECT line, reason_code, user_id, raw FROM rejected_rows ORDER BY line").fetchall()


def test_impressions_after_events_are_no_clicks(store, load):
    report = load("log.jsonl", lines([*EVENTS, SHOWN, {"user_id": "late", "item_id": "i", "ts": 9, "request_id": "r"}]))
    assert (report.rows_read, report.rows_loaded, report.rows_rejected) == (N_TOLD_BY + 2, N_TOLD_BY + 1, 1)
    assert "late" in store.interactions(before=END_OF_TIME)["user_id"].to_list()
    assert rejected(store) == [(N_TOLD_BY + 1, "other_table", "4711", json.dumps(SHOWN))]
    assert replay_rejected(store) == []


def test_events_after_items_are_no_items_and_items_may_have_users_and_times(store, load):
    item = {"item_id": "mine", "title": "Oak", "user": "seller", "time": "noon"}
    report = load("log.jsonl", lines([*ITEMS, EVENTS[0], item, {**SHOWN, "item_id": "i1"}]))
    assert (report.table, report.rows_loaded, report.rows_duplicate) == ("items", N_TOLD_BY + 1, 0)
    assert report.reasons == {"other_table": 2}
    assert store.connection.sql("SELECT count(*) FROM items WHERE title IS NULL").fetchall() == [(0,)]


def test_a_piece_of_the_file_may_hold_nothing_else(store, load, monkeypatch):
    monkeypatch.setattr(sources, "CHUNK_BYTES", 1 << 12)
    later = [{**SHOWN, "ts": n} for n in range(200)]
    report = load("log.jsonl", lines(EVENTS) + lines(later[:100]) + "broken\n" + lines(later[100:]) + lines(EVENTS[:5]))
    assert (report.rows_read, report.rows_loaded, report.rows_duplicate) == (N_TOLD_BY + 206, N_TOLD_BY, 5)
    assert report.reasons == {"other_table": 200, "invalid_json": 1}


def test_empty_objects_among_such_lines_are_rows_without_a_user(store, load, monkeypatch):
    monkeypatch.setattr(sources, "CHUNK_BYTES", 1 << 12)
    later = [{**SHOWN, "ts": n} for n in range(100)]
    report = load(
        "log.jsonl", lines(EVENTS) + "".join(line + "{}\n" for line in lines(later).splitlines(keepends=True))
    )
    assert (report.rows_read, report.rows_loaded) == (N_TOLD_BY + 200, N_TOLD_BY)
    assert report.reasons == {"other_table": 100, "missing_user_id": 100}


def test_a_file_of_two_halves_is_refused_whole(store, tmp_path):
    path = tmp_path / "log.jsonl"
    path.write_text(lines([*EVENTS, *({**SHOWN, "ts": n} for n in range(300))]))
    with pytest.raises(Exception, match=r"300 of 1,300 rows are bad \(other_table 300\)"):
        load_files(store, [path], checks=ChecksConfig(max_rejected_share=0.2))
    assert rejected(store) == []


def test_such_a_line_goes_with_its_user(tmp_path):
    space = Workspace.create(tmp_path / "shop", "")
    log = tmp_path / "log.jsonl"
    log.write_text(lines([*EVENTS, SHOWN]))
    with Store.open(space.store_path) as store:
        load_files(store, [log])
    assert forget(space, Person(("4711",)), RetentionConfig()).rows == {"rejected_rows": 1}


def test_under_pseudonyms_no_text_of_such_a_line_is_kept(tmp_path, monkeypatch):
    monkeypatch.delenv(KEY_VARIABLE, raising=False)
    space = Workspace.create(tmp_path / "shop", "[privacy]\npseudonyms = true\n")
    log = tmp_path / "log.jsonl"
    log.write_text(lines([*ITEMS, {**EVENTS[0], "user_id": "ann@example.org"}]))
    users = Pseudonyms.of_workspace(space).column
    with Store.open(space.store_path) as store:
        load_files(store, [log], users=users)
        assert rejected(store) == [(N_TOLD_BY + 1, "other_table", None, None)]
    held = [path.name for path in space.root.rglob("*") if path.is_file() and b"example.org" in path.read_bytes()]
    assert held == []
