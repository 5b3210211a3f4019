import gzip
import json
import os
import threading
from datetime import datetime, timedelta

import polars as pl
import pytest
import zstandard

from ingest.checks import Checker, ChecksConfig, KindsConfig
from ingest.errors import InputFileError
from ingest.load import load_files
from ingest.merge_interactions import InteractionWriter
from ingest.moments import utc_now
from ingest.replay import replay_rejected
from ingest.spoken import load_lines
from ingest.store import END_OF_TIME
from tests.ingest.conftest import as_parquet

LOG = "user_id,item_id,occurred_at,kind\nu1,i1,2024-01-01T00:00:00,view\nu2,i2,2024-01-02,purchase\n"


def rejected(store):
    return store.connection.sql("SELECT line, reason_code, detail, raw FROM rejected_rows ORDER BY line").fetchall()


def one(store, query):
    return store.connection.sql(query).fetchall()[0][0]


def as_jsonl(frame):
    return frame.write_ndjson().encode()


@pytest.mark.parametrize("compress", [None, "gz", "zst"])
@pytest.mark.parametrize("form", ["csv", "jsonl", "parquet"])
def test_load_reads_each_format_and_compression_alike(store, load, form, compress):
    frame = pl.DataFrame({"user": ["u1", "u2"], "item_id": ["i1", "i2"], "ts": [1704067200, 1704153600]})
    content = {"csv": frame.write_csv().encode(), "jsonl": as_jsonl(frame), "parquet": as_parquet(frame)}[form]
    if compress == "gz":
        content = gzip.compress(content)
    elif compress == "zst":
        content = zstandard.compress(content)
    report = load(f"log.{form}" + (f".{compress}" if compress else ""), content)
    assert (report.table, report.rows_read, report.rows_loaded) == ("interactions", 2, 2)
    rows = store.interactions(before=END_OF_TIME)
    assert rows["user_id"].to_list() == ["u1", "u2"]
    assert rows["occurred_at"].to_list() == [datetime(2024, 1, 1), datetime(2024, 1, 2)]
    assert rows["kind"].to_list() == ["click", "click"]
    assert rows["weight"].to_list() == [2.0, 2.0]


def test_load_same_rows_in_another_format_are_the_same_events(load):
    frame = pl.DataFrame({"user_id": ["u1"], "item_id": ["i1"], "timestamp": [1704067200], "weight": [3.0]})
    assert load("a.parquet", as_parquet(frame)).rows_loaded == 1
    assert load("a.csv", frame.write_csv()).rows_duplicate == 1
    assert load("a.jsonl", as_jsonl(frame)).rows_duplicate == 1


def test_load_same_file_twice_changes_nothing(store, load):
    first, second = load("log.csv", LOG), load("log.csv", LOG)
    assert (first.rows_loaded, first.rows_duplicate) == (2, 0)
    assert (second.rows_loaded, second.rows_duplicate) == (0, 2)
    assert one(store, "SELECT count(*) FROM interactions") == 2


def test_load_new_kind_weights_do_not_make_old_events_new(load):
    load("log.csv", LOG)
    assert load("log.csv", LOG, kinds=KindsConfig(weights={"view": 7.0})).rows_duplicate == 2


def test_load_same_row_twice_in_a_file_is_one_event_and_the_first_event_id_wins(store, load):
    report = load(
        "log.jsonl",
        '{"user_id":"u","item_id":"i","occurred_at":"2024-01-01","event_id":"e"}\n'
        '{"user_id":"u","item_id":"other","occurred_at":"2024-01-01","event_id":"e"}\n'
        '{"user_id":"u","item_id":"i","occurred_at":"2024-01-01"}\n'
        '{"user_id":"u","item_id":"i","occurred_at":"2024-01-01"}\n',
    )
    assert (report.rows_read, report.rows_loaded, report.rows_duplicate) == (4, 2, 2)
    assert one(store, "SELECT item_id FROM interactions WHERE event_id = 'e'") == "i"


def test_load_weight_is_the_rows_then_the_kinds_then_one(store, load):
    report = load(
        "log.csv",
        "user_id,item_id,ts,event,weight\nu,a,2024-01-01,Purchase,\nu,b,2024-01-01,purchase,0.5\n"
        "u,c,2024-01-01,wave,\nu,d,2024-01-01,wave,\nu,e,2024-01-01,hide,\n",
    )
    assert report.unknown_kinds == {"wave": 2}
    rows = store.interactions(before=END_OF_TIME).sort("item_id")
    assert rows["weight"].to_list() == [10.0, 0.5, 1.0, 1.0, -1.0]
    assert rows["kind"].to_list() == ["purchase", "purchase", "wave", "wave", "hide"]


def test_load_times_in_many_formats_in_one_file_mean_the_same_moment(store, load):
    moment = datetime(2024, 3, 1, 12)
    seconds = int((moment - datetime(1970, 1, 1)) / timedelta(seconds=1))
    texts = ["2024-03-01T12:00:00", "2024-03-01 12:00:00", "2024-03-01T13:00:00+01:00", "2024-03-01T12:00:00Z"]
    texts += [str(seconds), str(seconds * 1000), str(seconds * 1_000_000), "01/03/2024 12:00"]
    lines = [f"u,i{n},{text}" for n, text in enumerate(texts)]
    checks = ChecksConfig(time_format="%d/%m/%Y %H:%M")
    report = load("log.csv", "user_id,item_id,time\n" + "\n".join(lines), checks=checks)
    assert report.rows_loaded == len(texts)
    assert store.interactions(before=END_OF_TIME)["occurred_at"].unique().to_list() == [moment]


def test_load_rejects_bad_rows_one_by_one_with_line_and_reason(store, load):
    tomorrow = utc_now() + timedelta(days=1, minutes=-5)
    report = load(
        "log.csv",
        "user_id,item_id,occurred_at,weight\n"
        "u,i,2024-01-01,1\n"  # 2 good
        ",i,2024-01-01,1\n"
        "u,,2024-01-01,1\n"
        "u,i,,1\n"
        "u,i,21-13-2024,1\n"
        "u,i,1969-12-31T23:59:59,1\n"
        f"u,i,{utc_now() + timedelta(days=2)},1\n"
        "u,i,2024-01-01,lots\n"
        "u,i,2024-01-01,inf\n"
        f"{'x' * 513},i,2024-01-01,1\n"
        "u\x00v,i,2024-01-01,1\n"
        f"u,i,{tomorrow},1\n"  # 13 good
        "u,i,1970-01-01,1\n",  # 14 good
        checks=ChecksConfig(max_rejected_share=1.0),
    )
    assert [(line, code) for line, code, _, _ in rejected(store)] == [
        (3, "missing_user_id"),
        (4, "missing_item_id"),
        (5, "missing_time"),
        (6, "bad_time"),
        (7, "before_1970"),
        (8, "future_time"),
        (9, "bad_weight"),
        (10, "bad_weight"),
        (11, "long_id"),
        (12, "control_character"),
    ]
    assert (report.rows_read, report.rows_loaded, report.rows_rejected) == (13, 3, 10)
    assert report.reasons["bad_weight"] == 2
    assert "'21-13-2024'" in rejected(store)[3][2]
    assert json.loads(rejected(store)[3][3])["occurred_at"] == "21-13-2024"


@pytest.mark.parametrize("name", ["log.csv", "log.jsonl"])
def test_load_rejects_weights_too_large_for_sums(store, load, name):
    weights = ["1e300", "-1000000.5", "1000000", "-1e6"]
    if name == "log.csv":
        lines = ["user_id,item_id,occurred_at,weight", *(f"u,i{w},2024-01-01,{w}" for w in weights)]
    else:
        lines = [f'{{"user_id":"u","item_id":"i{w}","occurred_at":"2024-01-01","weight":{w}}}' for w in weights]
    report = load(name, "\n".join(lines))
    assert report.reasons == {"bad_weight": 2}
    assert "is not within -1,000,000 to 1,000,000" in rejected(store)[0][2]
    assert sorted(store.interactions(before=END_OF_TIME)["weight"]) == [-1e6, 1e6]


def test_load_rejects_rows_of_a_typed_file_whose_time_is_missing(store, load):
    moments = [datetime(2024, 1, 1), None, datetime(1969, 1, 1)]
    frame = pl.DataFrame({"user_id": ["u"] * 3, "item_id": ["i"] * 3, "ts": moments, "weight": [None, 1.0, 2.0]})
    report = load("log.parquet", as_parquet(frame), checks=ChecksConfig(max_rejected_share=1.0))
    assert report.reasons == {"missing_time": 1, "before_1970": 1}
    assert store.interactions(before=END_OF_TIME)["weight"].to_list() == [2.0]  # that of a click


@pytest.mark.parametrize("form", ["csv", "jsonl", "parquet"])
def test_load_knows_an_id_by_what_stands_between_its_blanks(store, load, form):
    ids = {name: ["1", "2 b", "ü"] for name in ("user_id", "item_id", "event_id", "request_id", "session_id")}
    bare = pl.DataFrame({**ids, "occurred_at": ["2024-01-01"] * 3, "clicked": ["no"] * 3})
    blank = bare.with_columns([(" " + pl.col(name) + " \u00a0").alias(name) for name in ids])
    write = {"csv": lambda frame: frame.write_csv(), "jsonl": as_jsonl, "parquet": as_parquet}[form]
    events, shown = pl.exclude("clicked"), pl.exclude("event_id", "session_id")
    assert load("bare.csv", bare.select(events).write_csv()).rows_loaded == 3
    assert load(f"blank.{form}", write(blank.select(events))).rows_duplicate == 3
    assert load("bare-shown.csv", bare.select(shown).write_csv()).rows_loaded == 3
    assert load(f"blank-shown.{form}", write(blank.select(shown))).rows_duplicate == 3
    assert load(f"items.{form}", write(blank.select("item_id", title="user_id"))).rows_loaded == 3
    assert store.items(before=END_OF_TIME)["item_id"].to_list() == ["1", "2 b", "ü"]
    report = load(f"none.{form}", write(bare.select(events).with_columns(user_id=pl.Series(["u", " \t", "v"]))))
    assert report.reasons == {"missing_user_id": 1}


def test_load_reads_a_number_as_the_same_id_whatever_stands_beside_it(store, load):
    ids = [1.0, 2.5, None, float("nan"), 17.0]
    frame = pl.DataFrame({"user_id": ids, "item_id": ["i"] * 5, "occurred_at": ["2024-01-01"] * 5})
    assert load("log.parquet", as_parquet(frame)).reasons == {"missing_user_id": 2}
    assert store.interactions(before=END_OF_TIME)["user_id"].to_list() == ["1", "2.5", "17"]
    assert load("whole.parquet", as_parquet(frame[4:])).rows_duplicate == 1


def test_a_decimal_number_is_the_id_that_it_is_without_the_zeros_of_its_type(store, load):
    ids = pl.Series(["17", "100", "2.5"], dtype=pl.String).cast(pl.Decimal(38, 10))
    frame = pl.DataFrame({"user_id": ids, "item_id": ids, "occurred_at": ["2024-01-01", "2024-01-01", "soon"]})
    load("log.csv", "user_id,item_id,occurred_at\n17,17,2024-01-01\n100,100,2024-01-01\n2.5,2.5,2024-01-02\n")
    assert load("log.parquet", as_parquet(frame)).rows_duplicate == 2
    assert one(store, "SELECT user_id FROM rejected_rows") == "2.5"
    store.connection.execute("UPDATE rejected_rows SET raw = replace(raw, 'soon', '2024-01-02')")
    (again,) = replay_rejected(store)
    assert again.rows_duplicate == 1


def test_kinds_that_are_none_are_counted_not_listed_one_by_one(load):
    rows = "".join(f"u,i,2024-01-01,page {number:03}\n" for number in range(100))
    lines = list(load_lines([load("log.csv", f"user_id,item_id,occurred_at,kind\n{rows}")]))
    assert [line for line in lines if "'page" in line] == lines[1:21]
    assert lines[21].startswith("  and 80 further kinds;")
    assert len(lines) == 22


def test_a_column_clicked_without_the_others_of_impressions_is_told_with_both_ways_out(load):
    with pytest.raises(
        InputFileError, match=r"lacks 'request_id'.*; rename 'clicked' if this is no log of impressions"
    ):
        load("log.csv", "user_id,item_id,occurred_at,clicked\nu,i,2024-01-01,1\n")


def test_load_keeps_ids_with_quotes_emoji_and_512_characters(store, load):
    ids = ['say "hi"', "🦊🎈", "a,b", "it's", "x" * 512, "é" * 512]
    frame = pl.DataFrame({"user_id": ids, "item_id": ids, "occurred_at": ["2024-01-01"] * len(ids)})
    assert load("log.csv", frame.write_csv()).rows_loaded == len(ids)
    assert load("log.jsonl", as_jsonl(frame)).rows_duplicate == len(ids)
    assert set(store.interactions(before=END_OF_TIME)["user_id"]) == set(ids)


def test_load_rejects_ids_of_ten_thousand_characters(store, load):
    report = load("log.csv", LOG + f"{'u' * 10_000},i,2024-01-01,view\n")
    assert report.reasons == {"long_id": 1}
    ((line, _, detail, raw),) = rejected(store)
    assert line == 4
    assert "512" in detail
    assert "u" * 10_000 in raw


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("picture.csv", b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 20, "a PNG image"),
        ("picture.jsonl", b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 20, "a PNG image"),
        ("picture.parquet", b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 20, "wanted a Parquet file"),
        ("noise.csv", bytes(range(32)) * 200, "binary data"),
        ("log.csv.gz", b"user_id,item_id\n", "wanted gzip data"),
        ("cut.csv.gz", gzip.compress(os.urandom(5000))[:-100], "damaged or cut"),
        ("cut.csv.zst", zstandard.compress(os.urandom(5000))[:-100], "damaged or cut"),
        ("log.csv.zst", b"user_id,item_id\n", "wanted zstd data"),
        ("text.jsonl", b"hello\nworld\n", "one JSON object a line"),
        ("array.json", b'[{"user_id": 1}]\n', "JSON array"),
        ("pretty.json", b'{\n  "user_id": 1\n}\n', "over several lines"),
        ("wide.csv", "user_id;item_id\n".encode("utf-16"), "UTF-16"),
        ("twice.csv", b"user_id,item_id,item_id,occurred_at\n", "stands twice"),
        ("log.xlsx", b"PK\x03\x04", "wanted a name that ends in"),
    ],
)
def test_load_says_in_one_sentence_that_a_file_is_not_what_its_name_says(store, load, name, content, said):
    with pytest.raises(InputFileError, match=said) as caught:
        load(name, content)
    assert name in str(caught.value)
    assert "\n" not in str(caught.value)
    assert one(store, "SELECT count(*) FROM loads") == 0


def test_load_names_the_missing_column_and_those_found(load):
    with pytest.raises(InputFileError, match=r"no column 'item_id'; found 'user_id', 'thing', 'time'; .*\[columns\]"):
        load("log.csv", "user_id,thing,time\nu,i,2024-01-01\n")
    with pytest.raises(InputFileError, match="lacks 'request_id'"):
        load("shown.csv", "user_id,item_id,time,clicked\nu,i,2024-01-01,1\n")
    with pytest.raises(InputFileError, match="there is no text: none of title, description, categories"):
        load("items.csv", "item_id,price\ni,3\n")


def test_load_of_a_missing_file_or_an_empty_folder_is_a_mistake(store, tmp_path):
    with pytest.raises(InputFileError, match="found none of that name"):
        load_files(store, [tmp_path / "nothing.csv"])
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(InputFileError, match="folder"):
        load_files(store, [tmp_path / "folder.csv"])


@pytest.mark.parametrize("name", ["empty.csv", "empty.jsonl", "empty.parquet", "empty.csv.gz"])
def test_load_of_an_empty_file_loads_nothing(load, name):
    report = load(name, b"")
    assert (report.table, report.rows_read) == (None, 0)


def test_load_of_a_header_alone_loads_nothing(load):
    assert load("log.csv", "user_id,item_id,occurred_at\n").rows_read == 0


def test_load_refuses_a_file_with_too_many_bad_rows_whole(store, load):
    content = "user_id,item_id,occurred_at\nu,i,2024-01-01\nu,i,never\nu,,never\n"
    with pytest.raises(InputFileError, match=r"2 of 3 rows are bad \(.*bad_time 1.*\), so nothing of it was loaded"):
        load("log.csv", content)
    assert one(store, "SELECT count(*) FROM interactions") == 0
    assert one(store, "SELECT count(*) FROM rejected_rows") == 0
    # Exactly the share is still fine.
    assert load("log.csv", "user_id,item_id,occurred_at\nu,i,2024-01-01\nu,i,never\n").rows_loaded == 1


def test_a_refused_file_is_told_with_its_commonest_mistake_and_the_way_out(load):
    text = "user_id,item_id,occurred_at\nu,i,2024-01-01\n,i,2024-01-01\nu,i,31.1.2024 12:00\nu,i,1.2.2024 12:00\n"
    with pytest.raises(
        InputFileError, match=r"Line 4: occurred_at '31.1.2024 12:00' is not a time; pass --time-format"
    ):
        load("log.csv", text)


def test_load_of_json_lines_loses_only_the_bad_lines(store, load):
    good = '{"user_id":"u","item_id":"i%d","occurred_at":1704067200,"price":1.5,"tags":["a"]}'
    bad = ["garbage", '{"user_id":', "[1,2]", '{"user_id":"\\ud83d"}']
    lines = [good % 1, *bad, "", good % 2]
    report = load("log.jsonl", "\n".join(lines).encode() + b"\n\xff\xfe\n", checks=ChecksConfig(max_rejected_share=1.0))
    assert (report.rows_read, report.rows_loaded) == (7, 2)
    assert report.reasons == {"invalid_json": 4, "invalid_utf8": 1}
    assert [line for line, *_ in rejected(store)] == [2, 3, 4, 5, 8]
    assert json.loads(one(store, "SELECT context FROM interactions LIMIT 1")) == {"price": 1.5, "tags": ["a"]}


@pytest.mark.parametrize(
    "first", [b'{"user_id":"\xff"}', b'{"a":' * 9_000 + b"1" + b"}" * 9_000, b'{"\\ud83d":1}', b"{}"]
)
def test_load_of_json_lines_is_told_by_later_lines_when_the_first_one_is_strange(load, first):
    good = b'{"user_id":"u","item_id":"i","occurred_at":1704067200}'
    report = load("log.jsonl", first + b"\n" + good + b"\n", checks=ChecksConfig(max_rejected_share=1.0))
    assert (report.table, report.rows_read, report.rows_loaded, report.rows_rejected) == ("interactions", 2, 1, 1)


def test_load_of_json_lines_tells_what_they_are_by_more_than_the_first(load):
    row = '{"request_id":"r","user_id":"u","item_id":"i%d","occurred_at":1704067200%s}'
    report = load("log.jsonl", "\n".join([row % (1, ""), row % (2, ',"clicked":true'), row % (3, ',"position":3')]))
    assert (report.table, report.rows_read, report.rows_loaded) == ("impressions", 3, 3)


def test_load_of_json_lines_follows_keys_that_come_and_go_between_chunks(store, load, monkeypatch):
    monkeypatch.setattr("ingest.sources.CHUNK_BYTES", 50)
    lines = ['{"user_id":"u","item_id":"i","occurred_at":1704067200}'] * 3
    lines += [
        '{"nothing":"known"}',
        '{"user_id":"u","item_id":"i","occurred_at":1704067200,"weight":7,"seat":"a"}',
        "x" * 70,
    ]
    report = load("log.jsonl", "\n".join(lines), checks=ChecksConfig(max_rejected_share=1.0))
    assert (report.rows_read, report.rows_loaded, report.rows_duplicate) == (6, 2, 2)
    assert report.reasons == {"missing_user_id": 1, "invalid_json": 1}
    found = store.connection.sql("SELECT weight, context FROM interactions ORDER BY weight").fetchall()
    assert found == [(2.0, None), (7.0, '{"seat":"a"}')]


def test_load_of_csv_understands_quotes_and_line_breaks_and_keeps_line_numbers(store, load):
    report = load(
        "items.csv",
        'item_id,title,description\ni1,"a, b","first\n\nsecond"\ni2,"say ""hi""",x\n,no id,y\ni4,z,w\n',
    )
    assert (report.rows_loaded, report.rows_rejected) == (3, 1)
    assert rejected(store)[0][0] == 6
    items = store.items(before=END_OF_TIME)
    assert items["description"][0] == "first\n\nsecond"
    assert items["title"][1] == 'say "hi"'


def test_load_of_csv_with_broken_quotes_loses_only_the_broken_rows(store, load):
    report = load(
        "items.csv",
        'item_id,title\ni1,a 5" pipe\ni2,"open\ni3,"x"y\ni4,"line\nbreak"\ni5,one,too many\ni6,fine\n',
        checks=ChecksConfig(max_rejected_share=1.0),
    )
    assert dict(store.items(before=END_OF_TIME).select("item_id", "title").iter_rows()) == {
        "i1": 'a 5" pipe',
        "i4": "line\nbreak",
        "i6": "fine",
    }
    assert [(line, code) for line, code, *_ in rejected(store)] == [
        (3, "bad_quoting"),
        (4, "bad_quoting"),
        (7, "field_count"),
    ]
    assert report.rows_read == 6


@pytest.mark.parametrize("separator", [",", "\t", ";"])
def test_load_of_csv_tells_the_separator_by_the_header(load, separator):
    assert load("log.csv", "\ufeff" + LOG.replace(",", separator).replace("\n", "\r\n")).rows_loaded == 2


def test_load_counts_add_up_across_many_chunks(store, load, monkeypatch):
    monkeypatch.setattr("ingest.sources.CHUNK_BYTES", 1000)
    rows = [f'u{n % 7},i{n % 11},{1704067200 + n},"a, ""b"",\nc"' for n in range(500)]
    rows[100:100] = ["u,,5,x", "u,i"]
    report = load("log.csv", "user_id,item_id,occurred_at,note\n" + "\n".join(rows))
    assert (report.rows_read, report.rows_loaded, report.rows_rejected) == (502, 500, 2)
    # The header, then two lines for each of the first hundred rows.
    assert [line for line, *_ in rejected(store)] == [1 + 200 + 1, 1 + 200 + 2]
    assert json.loads(one(store, "SELECT context FROM interactions LIMIT 1")) == {"note": 'a, "b",\nc'}


def test_load_keeps_the_order_of_equal_times(store, load):
    n_rows = 300_000
    frame = pl.DataFrame({"user_id": ["u"] * n_rows, "item_id": range(n_rows), "occurred_at": [1704067200] * n_rows})
    load("log.parquet", as_parquet(frame))
    assert store.interactions(before=END_OF_TIME)["item_id"].to_list() == [str(n) for n in range(n_rows)]


def test_events_of_later_files_arrive_after_those_of_earlier_ones(store, load):
    for number, n_rows in enumerate((3, 2, 2)):
        rows = "".join(f"u,i{number}{n},2024-01-01\n" for n in range(n_rows))
        load(f"{number}.csv", f"user_id,item_id,occurred_at\n{rows}")
    arrived = store.connection.sql("SELECT arrival, item_id FROM interactions ORDER BY arrival").fetchall()
    assert arrived == list(enumerate(["i00", "i01", "i02", "i10", "i11", "i20", "i21"]))


def test_slabs_are_twice_as_large_in_a_large_store_and_lose_nothing(store, monkeypatch):
    monkeypatch.setattr("ingest.merge_interactions.SLAB_ROWS", 2)
    monkeypatch.setattr("ingest.merge_interactions.LARGE_STORE", 4)
    writer = InteractionWriter(store.connection, load_id="a", moment=utc_now())
    checker = Checker(ChecksConfig(), KindsConfig(), now=utc_now())
    written = []
    for n in range(9):
        row = {"line": [n], "user_id": ["u"], "item_id": [f"i{n}"], "occurred_at": ["2024-01-01"]}
        good = checker.check("interactions", pl.DataFrame(row)).good
        writer.add(good.with_columns(given_weight=pl.col("weight"), weight=pl.lit(1.0)))
        written.append(writer.n_written)
    assert written == [0, 2, 2, 4, 4, 4, 4, 8, 8]
    assert writer.finish() == 9
    assert store.connection.sql("SELECT item_id FROM interactions ORDER BY arrival").fetchall() == [
        (f"i{n}",) for n in range(9)
    ]


def test_load_of_items_upserts_and_touches_only_what_changed(store, load):
    load("items.csv", "item_id,title,genres,price\na,Old,Drama|War,3\nb,Same,,4\na,New,Drama,3\n")
    before = dict(store.items(before=END_OF_TIME).select("item_id", "updated_at").iter_rows())
    assert store.items(before=END_OF_TIME)["title"].to_list() == ["New", "Same"]
    assert store.items(before=END_OF_TIME)["categories"].to_list() == [["Drama"], []]
    report = load("more.jsonl", '{"item_id":"a","title":"Newer"}\n{"item_id":"b","title":"Same"}\n')
    assert (report.rows_loaded, report.rows_duplicate) == (1, 1)
    after = dict(store.items(before=END_OF_TIME).select("item_id", "updated_at").iter_rows())
    assert after["a"] > before["a"]
    assert after["b"] == before["b"]
    # A column that the second file lacks keeps its value.
    assert store.items(before=END_OF_TIME)["categories"].to_list() == [["Drama"], []]
    assert json.loads(store.items(before=END_OF_TIME)["attributes"][0]) == {"price": "3"}


def test_load_rejects_rows_of_a_catalogue_that_are_no_statement_of_a_moment(store, load):
    report = load(
        "items.csv",
        "item_id,title,published_at,available,updated_at\n"
        "a,oak,soon,yes,2024-01-01\nb,oak,2024-01-01,perhaps,2024-01-01\nc,oak,2024-01-01,yes,soon\n"
        "d,oak,2024-01-01,yes,1969-12-31\ne,oak,2024-01-01,yes,2999-01-01\nf,oak,1950-01-01,no,1970-01-01\n",
        checks=ChecksConfig(max_rejected_share=1),
    )
    assert [code for _, code, *_ in rejected(store)] == [
        "bad_time", "bad_available", "bad_time", "before_1970", "future_time"
    ]  # fmt: skip
    assert report.rows_loaded == 1


def test_load_of_a_catalogue_without_titles_is_fine_with_other_text(store, load):
    assert load("a.jsonl", '{"item_id":"a","categories":["x","y"]}\n').rows_loaded == 1
    assert load("b.csv", 'item_id,categories,available\nb,"[""p"",""q""]",no\n').rows_loaded == 1
    report = load("c.csv", "item_id,title\nc,\n")
    assert report.without_text == 1
    assert store.items(before=END_OF_TIME)["categories"].to_list() == [["x", "y"], ["p", "q"], []]
    assert store.items(before=END_OF_TIME)["available"].to_list() == [True, False, True]


def test_load_of_impressions_and_how_clicks_are_resolved(store, load):
    load(
        "shown.csv",
        "request_id,user_id,item_id,occurred_at,clicked,position,propensity\n"
        "r,u,a,2024-01-01,true,1,0.5\nr,u,b,2024-01-01,0,2,1\nr,u,c,2024-01-01,maybe,3,1\n"
        "r,u,d,2024-01-01,no,first,1\nr,u,e,2024-01-01,no,,2\nr,u,a,2024-01-01,true,1,0.5\n",
    )
    assert [code for _, code, *_ in rejected(store)] == ["bad_clicked", "bad_position", "bad_propensity"]
    rows = store.impressions(before=END_OF_TIME)
    assert rows.select("item_id", "clicked", "position").rows() == [("a", True, 1), ("b", False, 2)]


@pytest.mark.parametrize(
    ("name", "bad", "good"),
    [
        ("position", ["-1", "1.5", "3000000000"], ["0", "", "2147483647"]),
        ("propensity", ["0", "-0.1", "1.1"], ["1", "", "1e-9"]),
    ],
)
def test_positions_and_propensities_at_their_bounds(store, load, name, bad, good):
    rows = "".join(f"r,u,i{n},2024-01-01,no,{value}\n" for n, value in enumerate([*bad, *good]))
    load("shown.csv", f"request_id,user_id,item_id,occurred_at,clicked,{name}\n{rows}")
    assert [line for line, *_ in rejected(store)] == [2 + n for n in range(len(bad))]
    assert {code for _, code, *_ in rejected(store)} == {f"bad_{name}"}


def test_load_explains_bad_rows_in_a_frame_of_several_chunks():
    good = pl.DataFrame(
        {"line": [1], "user_id": ["u"], "item_id": ["i"], "occurred_at": ["2024-01-01"], "rest": [None]}
    )
    bad = good.with_columns(line=pl.lit(2, pl.Int64), occurred_at=pl.lit("soon"))
    rows = pl.concat([good.cast({"rest": pl.String}), bad.cast({"rest": pl.String})], rechunk=False)
    checked = Checker(ChecksConfig(), KindsConfig(), now=utc_now()).check("interactions", rows)
    assert checked.rejected["detail"].to_list() == ["occurred_at 'soon' is not a time; pass --time-format"]


def test_load_with_a_preset_judges_a_file_by_all_that_it_told(load):
    event = (
        '{"event":"interaction","id":"%d","item":"i","user":"u","timestamp":"1704067200000","type":"click","fields":[]}'
    )
    lines = [event % number for number in range(20)] + ["nonsense"]
    reports = load("events.jsonl", "\n".join(lines), preset="metarank")
    assert reports.rows_rejected == 1


def test_load_leaves_the_memory_limit_as_it_was(store, load):
    limit = "SELECT current_setting('memory_limit')"
    before = one(store, limit)
    for number in range(3):
        load(f"items{number}.csv", "item_id,title\ni,Ink\n")
    assert one(store, limit) == before


@pytest.mark.parametrize(("failing", "step"), [(Checker, "check"), (InteractionWriter, "add")])
def test_a_step_that_fails_ends_reading_and_leaves_nothing(store, tmp_path, monkeypatch, failing, step):
    """Checks run in a thread of their own, over a file that is read in another: the error comes out, both end."""
    path = tmp_path / "log.csv"
    path.write_text(LOG + "".join(f"u{n},i{n},2024-01-03,view\n" for n in range(200_000)))

    def fail(self, *given):
        raise RuntimeError("no memory left")

    monkeypatch.setattr(failing, step, fail)
    with pytest.raises(RuntimeError, match="no memory left"):
        load_files(store, [path])
    assert not [thread for thread in threading.enumerate() if thread.name == "ahead"]
    assert one(store, "SELECT count(*) FROM interactions") == 0
    assert one(store, "SELECT count(*) FROM loads") == 0
