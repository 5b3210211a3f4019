"""A rejected row is kept as its file has it, so that a mended mapping reaches it, and nobody's id with it."""

import io
import json
from datetime import datetime

import duckdb
import numpy as np
import polars as pl
import pytest

import readrank
from ingest.batches import none_broken
from ingest.checks import ChecksConfig
from ingest.erase import forget
from ingest.json_members import members
from ingest.lines import Records
from ingest.load import load_files
from ingest.mapping import ColumnsConfig
from ingest.mentions import Person
from ingest.presets.known_files import _records_as_read
from ingest.pseudonyms import KEY_VARIABLE, Pseudonyms
from ingest.replay import replay_rejected
from ingest.retention import RetentionConfig
from ingest.store import END_OF_TIME, Store
from ingest.verify_erasure import search
from ingest.workspace import Workspace
from tests.ingest.conftest import files_that_hold, run

LENIENT = ChecksConfig(max_rejected_share=0.9)
DAYS = ChecksConfig(time_format="%d/%m/%Y")
FORMATS = ("csv", "jsonl", "parquet")


def written(frame, form):
    if form == "csv":
        return frame.write_csv()
    if form == "jsonl":
        return frame.write_ndjson()
    buffer = io.BytesIO()
    frame.write_parquet(buffer)
    return buffer.getvalue()


def waiting(store):
    return store.connection.sql(
        "SELECT line, reason_code, raw, user_id, read_as FROM rejected_rows ORDER BY load_id, line"
    ).fetchall()


def events(store):
    columns = "event_id, user_id, item_id, weight, occurred_at, CAST(context AS VARCHAR)"
    return store.connection.sql(f"SELECT {columns} FROM interactions ORDER BY ALL").fetchall()


SHOP = pl.DataFrame(
    {
        "who": [17.0, 18.0, 19.0, 20.0],
        "item": ["i1", None, None, "i4"],
        "code": ["c1", "c2", "c3", "c4"],
        "when": ["2024-01-01", "2024-01-02", "2024-01-03", "soon"],
        "price": [1.5, 2.0, None, 1e300],
        "tags": [["a"], [], None, ["b", None]],
        "note": ['say "x"', "ü,\n", None, ""],
    }
)
NAMES = {"user_id": ("who",), "occurred_at": ("when",)}


@pytest.mark.parametrize("form", FORMATS)
def test_a_mended_mapping_reaches_rejected_rows_and_makes_the_events_that_the_file_would(tmp_path, form):
    frame = SHOP.drop("tags") if form == "csv" else SHOP
    path = tmp_path / f"log.{form}"
    content = written(frame, form)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    wrong, mended = (ColumnsConfig(item_id=(name,), **NAMES) for name in ("item", "code"))
    with Store.open(tmp_path / "a.duckdb") as store:
        load_files(store, [path], columns=wrong, checks=LENIENT)
        kept = waiting(store)
        assert [(code, read_as) for _, code, _, _, read_as in kept] == [
            ("missing_item_id", form),
            ("missing_item_id", form),
            ("bad_time", form),
        ]
        assert [json.loads(raw)["code"] for _, _, raw, _, _ in kept] == ["c2", "c3", "c4"]
        replay_rejected(store, columns=wrong)
        assert waiting(store) == kept
        (report,) = replay_rejected(store, columns=mended)
        assert (report.rows_read, report.rows_loaded, report.rows_rejected) == (3, 2, 1)
        assert waiting(store) == kept[2:]
        again = {row for row in events(store) if row[2] != "i1"}
    with Store.open(tmp_path / "b.duckdb") as store:
        load_files(store, [path], columns=mended, checks=LENIENT)
        assert again == {row for row in events(store) if row[2] != "c1"}


def test_lines_that_name_their_columns_otherwise_are_mapped_each_by_its_own(store, load):
    lines = [
        {"user_id": "u1", "item_id": "i", "ts": "2024-01-01"},
        {"customer": "u2", "item_id": "i", "ts": "2024-01-01", "seat": 1.50},
        {"user_id": "u3", "item_id": "i", "ts": "31/01/2024"},
        {"item_id": "i", "ts": "2024-01-01"},
    ]
    load("log.jsonl", "".join(json.dumps(line) + "\n" for line in lines), checks=LENIENT)
    (report,) = replay_rejected(store, columns=ColumnsConfig(user_id=("customer",)), checks=DAYS)
    assert (report.rows_read, report.rows_loaded, report.rows_rejected) == (3, 2, 1)
    assert store.interactions(before=END_OF_TIME)["user_id"].sort().to_list() == ["u1", "u2", "u3"]
    assert store.connection.sql("SELECT context FROM interactions WHERE user_id = 'u2'").fetchall() == [
        ('{"seat":1.5}',)
    ]
    assert [(line, code) for line, code, *_ in waiting(store)] == [(4, "missing_user_id")]


def test_json_lines_are_kept_letter_by_letter(store, load):
    line = ' {"user_id" : "\\u0075", "item_id":"", "ts":"2024-01-01", "x":1.50, "x":[ ]} '
    load("log.jsonl", line + '\r\n{"user_id":"u","item_id":"i","ts":"2024-01-01"}\n')
    assert waiting(store) == [(1, "missing_item_id", line.strip(), "u", "jsonl")]


def test_the_command_reads_the_mapping_of_today(tmp_path, capsys):
    shop, log = str(tmp_path / "shop"), tmp_path / "log.csv"
    assert readrank.run(["init", shop]) == 0
    log.write_text("who,item,code,ts\nu,i,c,2024-01-01\nu,,d,2024-01-02\n")
    settings = tmp_path / "shop" / "readrank.toml"
    settings.write_text('[columns]\nuser_id = ["who"]\n')
    assert readrank.run(["ingest", str(log), "-w", shop]) == 0
    settings.write_text('[columns]\nuser_id = ["who"]\nitem_id = ["code"]\n')
    capsys.readouterr()
    assert readrank.run(["ingest", "--replay-rejected", "-w", shop]) == 0
    assert "1 rows read = 1 loaded + 0 duplicate + 0 rejected" in capsys.readouterr().out


def test_rows_kept_by_an_earlier_version_replay_under_our_names(store, load):
    load("log.csv", "user_id,item_id,ts\nu1,i1,2024-01-01\n")
    raw = json.dumps({"rest": '{"a":1}', "user_id": "u2", "item_id": "i2", "occurred_at": "31/01/2024"})
    store.connection.execute(
        """
        INSERT INTO rejected_rows
        SELECT load_id, path, 3, 'bad_time', '', $raw, 'interactions', NULL, NULL, NULL FROM loads
        """,
        {"raw": raw},
    )
    (report,) = replay_rejected(store)
    assert (report.rows_read, report.rows_rejected) == (1, 1)
    assert waiting(store) == [(3, "bad_time", raw, "u2", None)]
    assert replay_rejected(store, checks=DAYS)[0].rows_loaded == 1
    assert {(user, item, context) for _, user, item, *_, context in events(store)} == {
        ("u1", "i1", None),
        ("u2", "i2", '{"a":1}'),
    }
    assert waiting(store) == []


@pytest.mark.parametrize(
    "late",
    [
        {"user_id": "u", "item_id": "i", "timestamp": "31/01/2024", "quantity": 7},
        {"user_id": "u", "item_id": "i", "timestamp": "31/01/2024", "rating": 7, "quantity": 8},
        {"user_id": "u", "item_id": "i", "timestamp": "31/01/2024", "ts": "2024-01-01", "session": "s"},
        {"user_id": "u", "item_id": "i", "timestamp": "31/01/2024", "uid": "v", "type": "buy", "eventId": "e"},
    ],
)
def test_a_line_with_another_name_than_its_file_makes_the_event_that_the_file_would(tmp_path, late):
    good = {"user_id": "u", "item_id": "i", "timestamp": "2024-01-02", "weight": 3, "kind": "view", "session_id": "s"}
    path = tmp_path / "log.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in (good, late, {**good, "event_id": "e9"})))
    with Store.open(tmp_path / "a.duckdb") as store:
        load_files(store, [path], checks=LENIENT)
        assert [code for _, code, *_ in waiting(store)] == ["bad_time"]
        replay_rejected(store)
        (report,) = replay_rejected(store, checks=DAYS)
        assert (report.rows_read, report.rows_loaded) == (1, 1)
        again = events(store)
        (report,) = load_files(store, [path], checks=DAYS)
        assert (report.rows_loaded, report.rows_duplicate, report.rows_rejected) == (0, 3, 0)
        assert events(store) == again
    with Store.open(tmp_path / "b.duckdb") as store:
        load_files(store, [path], checks=DAYS)
        assert events(store) == again


def test_names_of_its_file_decide_together_with_the_mapping_of_today(tmp_path):
    good = {"user_id": "u", "item_id": "i", "ts": "2024-01-02", "weight": 3}
    late = {"user_id": "u", "thing": "j", "ts": "2024-01-02", "quantity": 7}
    path, mended = tmp_path / "log.jsonl", ColumnsConfig(item_id=("thing",), weight=("quantity",))
    path.write_text(f"{json.dumps(good)}\n{json.dumps(late)}\n")
    with Store.open(tmp_path / "a.duckdb") as store:
        load_files(store, [path])
        assert replay_rejected(store, columns=mended)[0].rows_loaded == 1
        assert [(item, weight, context) for _, _, item, weight, _, context in events(store) if item == "j"] == [
            ("j", 2.0, '{"quantity":7}')
        ]
        # The file calls the item by our own name, so it has none in that line, today and ever.
        (report,) = load_files(store, [path], columns=mended)
        assert (report.rows_loaded, report.rows_duplicate, report.rows_rejected) == (0, 1, 1)
        assert [report.rows_duplicate for report in replay_rejected(store, columns=mended)] == [1]
        assert len(events(store)) == 2


def test_lines_kept_before_names_of_files_were_are_mapped_by_their_own(store, load):
    lines = [{"user_id": "u", "item_id": "i", "ts": "2024-01-02", "weight": 3}]
    lines += [{"user_id": "u", "item_id": "i", "ts": "31/01/2024", "quantity": 7}]
    load("log.jsonl", "".join(json.dumps(line) + "\n" for line in lines))
    store.connection.execute("UPDATE rejected_rows SET layout = NULL")
    assert replay_rejected(store, checks=DAYS)[0].rows_loaded == 1
    assert sorted(weight for _, _, _, weight, *_ in events(store)) == [3, 7]


# Presets


def test_what_a_preset_leaves_out_is_not_kept_of_rejected_rows_either(store, load):
    review = {"user_id": "A1", "asin": "B1", "rating": 4, "timestamp": 1400000000, "text": "secret", "verified": True}
    late = {**review, "timestamp": "31/01/2024"}
    load("reviews.json", f"{json.dumps(review)}\n{json.dumps(late)}\n", preset="amazon")
    ((_, _, raw, user, read_as),) = waiting(store)
    assert json.loads(raw) == {key: late[key] for key in ("user_id", "asin", "rating", "timestamp", "verified")}
    assert (user, read_as) == ("A1", "amazon")
    assert replay_rejected(store, checks=DAYS)[0].rows_loaded == 1
    contexts = store.connection.sql("SELECT DISTINCT CAST(context AS VARCHAR) FROM interactions").fetchall()
    assert contexts == [('{"verified":true}',)]


def test_items_of_metarank_replay_whole_and_under_the_names_of_today(store, load):
    def event(number, moment, **fields):
        told = [{"name": name, "value": value} for name, value in fields.items()]
        return json.dumps({"event": "item", "id": f"e{number}", "timestamp": moment, "item": "i1", "fields": told})

    log = [event(1, "2024-01-01", caption="Cat", price=3), event(2, "31/01/2024", price=4)]
    load("events.jsonl", "\n".join(log), preset="metarank")
    replay_rejected(store, columns=ColumnsConfig(title=("caption",)), checks=DAYS)
    found = store.connection.sql("SELECT title, CAST(attributes AS VARCHAR), updated_at FROM items").fetchall()
    assert found == [("Cat", '{"price": 4}', datetime(2024, 1, 31))]


def test_a_line_of_several_rows_is_read_again_once(store, load):
    shown = {"event": "ranking", "id": "r", "user": "u", "timestamp": "31/01/2024", "items": [{"id": "a"}, {"id": "b"}]}
    good = {**shown, "id": "s", "timestamp": "2024-01-01"}
    load("events.jsonl", f"{json.dumps(shown)}\n{json.dumps(good)}\n", preset="metarank")
    assert [(line, code) for line, code, *_ in waiting(store)] == [(1, "bad_time")] * 2
    (report,) = replay_rejected(store)
    assert (report.rows_read, report.rows_rejected) == (2, 2)
    assert [(line, code) for line, code, *_ in waiting(store)] == [(1, "bad_time")] * 2
    (report,) = replay_rejected(store, checks=DAYS)
    assert (report.rows_read, report.rows_loaded, report.rows_rejected) == (2, 2, 0)
    assert store.impressions(before=END_OF_TIME)["position"].to_list() == [1, 2, 1, 2]
    assert waiting(store) == []


@pytest.mark.parametrize(
    ("preset", "name", "good", "late"),
    [
        ("movielens", "ratings.csv", "userId,movieId,rating,timestamp\n1,31,2.5,1260759144\n", "2,31,4.0,31/01/2024\n"),
        ("movielens", "ratings.dat", "1::1193::5::978300760\n", "2::1193::5::31/01/2024\n"),
        ("gorse", "feedback.csv", "click,0,2,2020-01-01 00:00:00 +0000 UTC\n", "read,2,6,31/01/2024\n"),
        ("gorse", "feedback.json", '[{"FeedbackType":"a","UserId":"u","ItemId":"i","Timestamp":"2024-01-01"},', None),
    ],
)
def test_rows_of_presets_make_the_events_that_their_file_would(tmp_path, preset, name, good, late):
    path = tmp_path / name
    late = late or '{"FeedbackType":"a","UserId":"u","ItemId":"j","Timestamp":"31/01/2024"}]\n'
    path.write_text(good + late)
    with Store.open(tmp_path / "a.duckdb") as store:
        load_files(store, [path], preset=preset, checks=LENIENT)
        assert [code for _, code, *_ in waiting(store)] == ["bad_time"]
        path.rename(tmp_path / "gone")
        assert replay_rejected(store, checks=DAYS)[0].rows_loaded == 1
        again = events(store)
        assert waiting(store) == []
    (tmp_path / "gone").rename(path)
    with Store.open(tmp_path / "b.duckdb") as store:
        load_files(store, [path], preset=preset, checks=DAYS)
        assert again == events(store)


# Nobody's id comes along


@pytest.fixture
def secret(tmp_path, monkeypatch):
    monkeypatch.delenv(KEY_VARIABLE, raising=False)
    return Workspace.create(tmp_path / "shop", "[privacy]\npseudonyms = true\n[checks]\nmax_rejected_share = 0.9\n")


@pytest.mark.parametrize("form", FORMATS)
def test_under_pseudonyms_no_file_holds_an_id_and_mended_rows_have_their_pseudonym_once(secret, tmp_path, form):
    frame = pl.DataFrame(
        {
            "who": ["ann@example.org", "bob@example.org", "cid@example.org", None],
            "item_id": ["i", "i", None, "i"],
            "time": ["2024-01-01", "31/01/2024", "31/01/2024", "31/01/2024"],
            "mail": [None, None, None, "dan@example.org"],
        }
    )
    log = tmp_path / f"log.{form}"
    content = written(frame, form)
    log.write_bytes(content.encode() if isinstance(content, str) else content)
    settings = secret.settings_path.read_text()
    secret.settings_path.write_text(settings + '[columns]\nuser_id = ["who"]\n')
    assert run(secret, "ingest", log) == 0
    assert files_that_hold(secret, "example.org") == []
    # A row in which no user is found may hold the id anywhere.
    with duckdb.connect(str(secret.store_path), read_only=True) as store:
        assert store.sql("SELECT raw IS NULL, user_id IS NULL FROM rejected_rows ORDER BY line").fetchall() == [
            (False, False),
            (False, False),
            (True, True),
        ]
    for _ in range(2):
        assert run(secret, "ingest", "--replay-rejected", "--time-format", "%d/%m/%Y") == 0
    assert files_that_hold(secret, "example.org") == []
    of = Pseudonyms.of_workspace(secret).of
    with duckdb.connect(str(secret.store_path), read_only=True) as store:
        users = store.sql("SELECT user_id FROM interactions ORDER BY occurred_at").fetchall()
        assert users == [(of("ann@example.org"),), (of("bob@example.org"),)]
        assert store.sql("SELECT user_id FROM rejected_rows ORDER BY line").fetchall() == [
            (of("cid@example.org"),),
            (None,),
        ]


def test_under_pseudonyms_a_user_found_in_another_column_gets_one_too(secret, tmp_path):
    log = tmp_path / "log.jsonl"
    lines = ['{"seat":"s1","customer":"ann","item_id":"i","ts":"2024-01-01"}']
    lines += ['{"seat":"s2","customer":"bob-4711","item_id":"i","ts":"31/01/2024"}']
    lines += ['{"seat":"s3","customer":"cid-4711","item_id":"","ts":"31/01/2024"}']
    log.write_text("\n".join(lines))
    settings = secret.settings_path.read_text()
    secret.settings_path.write_text(settings + '[columns]\nuser_id = ["seat"]\n')
    assert run(secret, "ingest", log) == 0
    secret.settings_path.write_text(settings + '[columns]\nuser_id = ["customer"]\n')
    assert run(secret, "ingest", "--replay-rejected", "--time-format", "%d/%m/%Y") == 0
    of = Pseudonyms.of_workspace(secret).of
    with duckdb.connect(str(secret.store_path), read_only=True) as store:
        assert store.sql("SELECT user_id FROM interactions ORDER BY occurred_at").fetchall()[1:] == [(of("bob-4711"),)]
        ((raw, user),) = store.sql("SELECT raw, user_id FROM rejected_rows").fetchall()
    assert (json.loads(raw)["customer"], user) == (of("cid-4711"), of("cid-4711"))


def test_under_pseudonyms_a_key_written_twice_or_with_escapes_is_replaced_each_time(secret, tmp_path):
    log = tmp_path / "log.jsonl"
    lines = ['{"user_id":"a","item_id":"i","ts":"2024-01-01"}']
    lines += ['{"user_id":"first-4711", "us\\u0065r_id":"second-4711", "item_id":"", "ts":"2024-01-01"}']
    log.write_text("\n".join(lines))
    assert run(secret, "ingest", log) == 0
    assert files_that_hold(secret, "4711") == []


@pytest.mark.parametrize("form", FORMATS)
def test_under_pseudonyms_a_second_name_of_the_user_is_replaced_too(secret, tmp_path, capsys, form):
    """In what becomes context, in rejected rows, and when these are read again under names told since."""
    frame = pl.DataFrame(
        {
            "user_id": ["ann@example.org", "bob@example.org", "cid@example.org", "dan@example.org"],
            "visitor_id": ["ann@example.org", "bob2@example.org", "cid2@example.org", None],
            "mail": ["x", "bob3@shop.org", "cid3@shop.org", "dan3@shop.org"],
            "item_id": ["i", "i", "", "i"],
            "ts": ["2024-01-01", "31/01/2024", "31/01/2024", "2024-01-01"],
        }
    )
    log = tmp_path / f"log.{form}"
    content = written(frame, form)
    log.write_bytes(content.encode() if isinstance(content, str) else content)
    assert run(secret, "ingest", log) == 0
    assert files_that_hold(secret, "example.org") == []
    settings = secret.settings_path.read_text()
    secret.settings_path.write_text(settings + '[columns]\nuser_id = ["visitor_id", "mail"]\n')
    for _ in range(2):
        assert run(secret, "ingest", "--replay-rejected", "--time-format", "%d/%m/%Y") == 0
    of = Pseudonyms.of_workspace(secret).of
    with duckdb.connect(str(secret.store_path), read_only=True) as store:
        found = store.sql("SELECT user_id, CAST(context AS VARCHAR) FROM interactions").fetchall()
        ((raw, user),) = store.sql("SELECT raw, user_id FROM rejected_rows").fetchall()
    told = {user: json.loads(context) for user, context in found}
    assert told[of("ann@example.org")] == {"visitor_id": of("ann@example.org"), "mail": "x"}
    assert told[of("bob@example.org")] == {"visitor_id": of("bob2@example.org"), "mail": of("bob3@shop.org")}
    assert told[of("dan@example.org")].get("visitor_id") is None
    assert user == of("cid@example.org")
    names = ("user_id", "visitor_id", "mail")
    assert [json.loads(raw)[name] for name in names] == [
        of(f"cid{n}@{at}.org") for n, at in zip(("", "2", "3"), ("example", "example", "shop"), strict=True)
    ]
    # Loaded again as the settings are now, the file tells nothing new of what was replayed.
    capsys.readouterr()
    assert run(secret, "forget", "ann@example.org") == 0
    assert run(secret, "forget", "--verify", "ann@example.org") == 0


def test_under_pseudonyms_a_file_with_two_names_of_the_user_is_known_again_after_a_replay(secret, tmp_path, capsys):
    log = tmp_path / "log.jsonl"
    lines = [
        f'{{"user_id":"u{n}","visitor_id":"v{n}","item_id":"i","ts":"{ts}"}}'
        for n, ts in enumerate(("1", "31/01/2024"))
    ]
    log.write_text("\n".join(lines))
    assert run(secret, "ingest", log) == 0
    assert run(secret, "ingest", "--replay-rejected", "--time-format", "%d/%m/%Y") == 0
    capsys.readouterr()
    assert run(secret, "ingest", log, "--time-format", "%d/%m/%Y") == 0
    assert "2 rows read = 0 loaded + 2 duplicate + 0 rejected" in capsys.readouterr().out


def test_under_pseudonyms_a_preset_replaces_both_names_of_the_user_and_leaves_sessions(secret, tmp_path):
    review = {"user_id": "a-4711", "reviewerID": "b-4711", "asin": "B1", "overall": 4, "unixReviewTime": 1400000000}
    log = tmp_path / "reviews.json"
    log.write_text(f"{json.dumps(review)}\n{json.dumps({**review, 'unixReviewTime': 'soon'})}\n")
    assert run(secret, "ingest", log, "--preset", "amazon") == 0
    event = {"event": "interaction", "id": "e", "type": "click", "user": "c-4711", "session": "s-1", "item": "i"}
    log = tmp_path / "events.jsonl"
    log.write_text(f"{json.dumps({**event, 'timestamp': 1})}\n{json.dumps({**event, 'timestamp': 'soon'})}\n")
    assert run(secret, "ingest", log, "--preset", "metarank") == 0
    assert files_that_hold(secret, "4711") == []
    assert files_that_hold(secret, '"session": "s-1"') or files_that_hold(secret, '"session":"s-1"')


def test_pseudonyms_do_not_begin_where_rejected_rows_name_users(tmp_path, monkeypatch, capsys):
    monkeypatch.delenv(KEY_VARIABLE, raising=False)
    space = Workspace.create(tmp_path / "shop", "[retention]\ninteractions_days = 1\n")
    log = tmp_path / "log.csv"
    log.write_text("user_id,item_id,ts\nu1,i1,2024-01-01\nu2,i2,soon\n")
    assert run(space, "ingest", log) == 0
    space.settings_path.write_text("[privacy]\npseudonyms = true\n")
    assert run(space, "ingest", log) == 2
    assert "wanted a workspace without users" in capsys.readouterr().err


def test_forget_finds_a_rejected_row_whatever_its_file_calls_the_user(tmp_path):
    space = Workspace.create(tmp_path / "shop", "")
    log = tmp_path / "log.csv"
    log.write_text("visitor,item_id,ts\n 7 ,1,2024-01-01\n 7 ,1,soon\n8,7,soon\n")
    with Store.open(space.store_path) as store:
        load_files(store, [log], columns=ColumnsConfig(user_id=("visitor",)), checks=LENIENT)
    person = Person(("7",))
    assert forget(space, person, RetentionConfig()).rows == {"interactions": 1, "rejected_rows": 1}
    assert search(space, person, RetentionConfig(), datetime(2024, 2, 1)).found == []


# Once in quarantine


def test_a_bad_file_loaded_twice_keeps_its_rejected_rows_once(store, load):
    rows = "user_id,item_id,ts\nu,i,2024-01-01\nu,i,soon\nu,i,soon\nu,,2024-01-01\nu\n"
    first = load("log.csv", rows, checks=LENIENT)
    kept = waiting(store)
    assert (first.rows_rejected, first.rejected_before, len(kept)) == (4, 0, 4)
    second = load("log.csv", rows, checks=LENIENT)
    assert (second.rows_read, second.rows_loaded, second.rows_duplicate, second.rows_rejected) == (5, 0, 1, 4)
    assert second.rejected_before == 4
    assert waiting(store) == kept
    loads = store.connection.sql("SELECT rows_rejected FROM loads").fetchall()
    assert loads == [(4,), (4,)]
    counts = store.connection.sql("SELECT load_id, rejected_by_reason FROM load_quality").fetchall()
    assert dict(counts) == {
        first.load_id: None,
        second.load_id: {"bad_time": 2, "missing_item_id": 1, "field_count": 1},
    }


def test_the_same_content_under_another_name_is_the_same_file_and_other_files_are_not(store, load):
    rows = '{"user_id":"u","item_id":"i","ts":"2024-01-01"}\n{"user_id":"u","item_id":"i","ts":"soon"}\n'
    load("log.jsonl", rows)
    assert load("copy.jsonl", rows).rejected_before == 1
    assert load("other.jsonl", rows + "\n").rejected_before == 0
    assert len(waiting(store)) == 2


def test_a_log_that_grew_keeps_only_its_new_rejected_rows_in_addition(store, load):
    rows = "user_id,item_id,ts\nu,i,2024-01-01\nu,i,soon\n"
    load("log.csv", rows)
    report = load("log.csv", rows + "u,i,soon\nu,i,later\nu,j,2024-01-01\n", checks=LENIENT)
    assert (report.rows_rejected, report.rejected_before) == (3, 1)
    assert [(line, json.loads(raw)["ts"]) for line, _, raw, *_ in waiting(store)] == [
        (3, "soon"),
        (4, "soon"),
        (5, "later"),
    ]


def test_a_row_that_is_rejected_for_another_reason_now_is_still_one_row(store, load):
    rows = "user_id,item_id,ts,weight\nu,i,2024-01-01,1\nu,i,31/01/2024,much\n"
    load("log.csv", rows)
    assert load("log.csv", rows, checks=DAYS).rejected_before == 1
    assert [code for _, code, *_ in waiting(store)] == ["bad_weight"]


def test_a_line_of_many_rejected_rows_is_written_once(monkeypatch):
    frame = pl.DataFrame({"a": ["x", "y", "z"]})
    records, written = Records(frame, pl.Series([1, 2, 3]), none_broken(), 0), []
    monkeypatch.setattr(Records, "as_read", lambda _, positions: written.extend(positions) or frame["a"][positions])
    found = _records_as_read(records, pl.Series([0, 0, 1, 2, 2, 2]), pl.Series([5, 0, 1, 3]))
    assert found.to_list() == ["z", "x", "x", "z"]
    assert sorted(written) == [0, 2]


@pytest.mark.parametrize("weight", [0.1, 1e-22, float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("dtype", [pl.Float32, pl.Float64])
def test_numbers_of_parquet_come_back_as_the_file_has_them(store, tmp_path, weight, dtype):
    """As many rows and the same event ids, so that the file is known again; NaN is no weight, infinity a bad one."""
    path = tmp_path / "log.parquet"
    pl.DataFrame({"user_id": ["u", "u"], "item_id": ["i", "j"], "ts": ["2024-01-31", "31/01/2024"]}).with_columns(
        weight=pl.Series([1.0, weight], dtype=dtype)
    ).write_parquet(path)
    load_files(store, [path], checks=LENIENT)
    (replayed,) = replay_rejected(store, checks=DAYS)
    (again,) = load_files(store, [path], checks=DAYS)
    finite = not np.isinf(weight)
    assert (replayed.rows_loaded, replayed.rows_rejected) == (int(finite), int(not finite))
    assert (again.rows_loaded, again.rows_duplicate, again.rows_rejected) == (0, 1 + finite, int(not finite))


def test_a_row_that_left_quarantine_is_kept_anew_when_it_is_bad_again(store, load):
    rows = "user_id,item_id,ts\nu,i,2024-01-01\nu,i,31/01/2024\n"
    load("log.csv", rows)
    replay_rejected(store, checks=DAYS)
    assert load("log.csv", rows).rejected_before == 0
    assert len(waiting(store)) == 1


def test_under_pseudonyms_rows_without_text_are_kept_once_too(secret, tmp_path):
    log = tmp_path / "log.jsonl"
    log.write_text('{"user_id":"u","item_id":"i","ts":"2024-01-01"}\nbroken\n{"item_id":"i","ts":"2024-01-01"}\n')
    for _ in range(2):
        assert run(secret, "ingest", log) == 0
    with duckdb.connect(str(secret.store_path), read_only=True) as store:
        assert store.sql("SELECT line, raw FROM rejected_rows ORDER BY line").fetchall() == [(2, None), (3, None)]


def test_under_pseudonyms_another_day_of_a_file_takes_no_row_without_text_over(secret, tmp_path):
    """The line is all that is known of such rows, and under the same name another file has another line there."""
    log = tmp_path / "day.jsonl"
    for item in ("i", "j"):
        log.write_text(
            f'{{"user_id":"u","item_id":"{item}","ts":"2024-01-01"}}\n{{"item_id":"{item}","ts":"2024-01-01"}}\n'
        )
        assert run(secret, "ingest", log) == 0
    with duckdb.connect(str(secret.store_path), read_only=True) as store:
        assert store.sql("SELECT line, raw FROM rejected_rows").fetchall() == [(2, None), (2, None)]


def test_the_line_of_a_load_says_what_was_kept_already(tmp_path, capsys):
    shop, log = str(tmp_path / "shop"), tmp_path / "log.csv"
    assert readrank.run(["init", shop]) == 0
    log.write_text("user_id,item_id,time\nu,i,2024-01-31\nu,j,soon\n")
    for _ in range(2):
        assert readrank.run(["ingest", str(log), "-w", shop]) == 0
    said = capsys.readouterr().out
    assert "2 rows read = 0 loaded + 1 duplicate + 1 rejected" in said
    assert said.count("1 of them were kept already, from an earlier load of this file") == 1


# Members of an object


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{", "{]", '{"a"}', '{"a":}', '{"a":1,}', '{"a":1 "b":2}', '{"a":1}x', "{1:2}", '{"a":' * 9_000, "{,}"],
)
def test_what_is_no_object_has_no_members(text):
    assert members(text) is None


def test_members_keep_numbers_that_python_cannot_hold():
    text = '{"n":1' + "0" * 5_000 + ',"m":1e999, "k" : -0.10}'
    assert [member.value for member in members(text)] == ["1" + "0" * 5_000, "1e999", "-0.10"]
