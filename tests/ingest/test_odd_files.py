"""Files as they come from the wild: each is loaded whole, rejected row by row, or refused in one sentence."""

import gzip
import io
import json
import os
from datetime import UTC, datetime, timedelta

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from ingest import sources
from ingest.checks import ChecksConfig
from ingest.errors import InputFileError
from ingest.load import load_files
from ingest.mapping import ColumnsConfig
from ingest.replay import replay_rejected
from ingest.store import END_OF_TIME
from tests.ingest.conftest import as_parquet

HEAD = "user_id,item_id,occurred_at\n"
ROW = "u1,i1,2024-01-01\n"
LINE = b'{"user_id":"u","item_id":"i","occurred_at":"2024-01-01"}\n'
LENIENT = ChecksConfig(max_rejected_share=0.99)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv.gz", gzip.compress(b"")),
        ("a.csv.zst", zstandard.compress(b"")),
        ("a.parquet.gz", gzip.compress(b"")),
        ("a.csv", b"\n\r\n\n"),
        ("a.jsonl", b"\n\n  \n"),
    ],
    # Named: a gzip header holds the second it was made in, and every test process must find the same tests.
    ids=["csv.gz", "csv.zst", "parquet.gz", "csv", "jsonl"],
)
def test_a_file_that_holds_nothing_but_its_wrapping_loads_nothing(load, name, content):
    report = load(name, content)
    assert (report.table, report.rows_read) == (None, 0)


@pytest.mark.parametrize("blank", ["\n\r\n", "  \n\t \r\n"])
def test_blank_lines_before_the_header_are_skipped_and_counted(store, load, blank):
    report = load("log.csv", blank + HEAD + ROW + "u2,,2024-01-01\n")
    assert (report.rows_read, report.rows_loaded, report.rows_rejected) == (2, 1, 1)
    assert store.connection.sql("SELECT line FROM rejected_rows").fetchall() == [(5,)]


def test_blank_lines_may_fill_more_than_is_read_at_once(store, load, monkeypatch):
    monkeypatch.setattr(sources, "CHUNK_BYTES", 1 << 12)
    report = load("log.csv", "\n" * 10_000 + HEAD + ROW + "u1\n")
    assert report.reasons == {"field_count": 1}
    assert report.rows_loaded == 1
    assert store.connection.sql("SELECT line FROM rejected_rows").fetchall() == [(10_000 + 3,)]
    assert load("blank.csv", "\n" * 10_000).table is None


def test_members_of_gzip_and_frames_of_zstd_follow_one_another_also_within_a_row(load):
    cut = [(HEAD + "u1,i1,20").encode(), b"24-01-01\n"]
    assert load("log.csv.gz", b"".join(map(gzip.compress, cut))).rows_loaded == 1
    assert load("log.csv.zst", b"".join(map(zstandard.compress, cut))).rows_duplicate == 1


def test_what_follows_the_last_member_is_damage(load):
    for name, packed in (("a.jsonl.gz", gzip.compress(LINE)), ("a.jsonl.zst", zstandard.compress(LINE))):
        with pytest.raises(InputFileError, match="damaged or cut"):
            load(name, packed + b"garbage")


@pytest.mark.parametrize(
    "text",
    [
        *("2024-01-01T00:00Z", "2024-01-01 01:00+01:00", "20240101T000000Z", "20240101T010000+0100"),
        *("1704067200.0", "1.7040672E9", "1.7040672e+12", "2024-01-01T00:00:00.000000000Z"),
    ],
)
def test_more_ways_to_write_a_moment(store, load, text):
    assert load("log.csv", HEAD + f"u,i,{text}\n").rows_loaded == 1
    assert str(store.interactions(before=END_OF_TIME)["occurred_at"][0]) == "2024-01-01 00:00:00"


@pytest.mark.parametrize("dtype", [pl.Datetime("ms"), pl.Datetime("us", "Europe/Berlin"), pl.Date, pl.Int64])
def test_moments_beyond_all_calendars_are_rejected_and_take_nobody_along(store, load, dtype):
    good, physical = (19_723, pl.Int32) if dtype == pl.Date else (1_704_067_200_000_000, pl.Int64)
    if dtype == pl.Datetime("ms"):
        good //= 1000
    bits = 31 if physical == pl.Int32 else 63
    times = pl.Series([good, (1 << bits) - 1, -(1 << bits), None], dtype=physical).cast(dtype)
    frame = pl.DataFrame({"user_id": list("abcd"), "item_id": list("abcd"), "occurred_at": times})
    report = load("log.parquet", as_parquet(frame), checks=LENIENT)
    assert (report.rows_read, report.rows_loaded, report.rows_rejected) == (4, 1, 3)
    assert str(store.interactions(before=END_OF_TIME)["occurred_at"][0]) == "2024-01-01 00:00:00"


@pytest.mark.parametrize("form", ["csv", "jsonl", "parquet"])
def test_rows_of_many_columns_are_loaded_rejected_kept_and_read_again(store, load, form):
    n_columns = 20_000 if form != "parquet" else 2_000
    wide = {f"c{n}": [n, n] for n in range(n_columns)}
    frame = pl.DataFrame({"user_id": ["u", "v"], "item_id": ["i", "i"], "occurred_at": ["2024-01-01", "soon"], **wide})
    content = {"csv": frame.write_csv, "jsonl": frame.write_ndjson, "parquet": lambda: as_parquet(frame)}[form]()
    report = load(f"log.{form}", content)
    assert (report.rows_read, report.rows_loaded, report.rows_rejected) == (2, 1, 1)
    (again,) = replay_rejected(store)
    assert (again.rows_read, again.rows_rejected) == (1, 1)


def test_a_pipe_is_refused_since_it_can_be_read_once_only(store, tmp_path):
    os.mkfifo(tmp_path / "log.csv")
    with pytest.raises(InputFileError, match="got a pipe or a device"):
        load_files(store, [tmp_path / "log.csv"])


def test_a_name_too_long_for_the_file_system_is_a_mistake(store, tmp_path):
    with pytest.raises(InputFileError, match="File name too long"):
        load_files(store, [tmp_path / ("x" * 300 + ".csv")])


def test_a_name_that_is_no_text_is_written_down_with_escapes(store, tmp_path):
    path = os.fsdecode(os.fsencode(str(tmp_path)) + b"/log\xff.csv")
    with open(path, "w") as file:
        file.write(HEAD + ROW + "u,,2024-01-01\n")
    (report,) = load_files(store, [path])
    assert (report.rows_loaded, report.rows_rejected) == (1, 1)
    assert report.path.endswith("log\\udcff.csv")
    assert len(replay_rejected(store)) == 1


def test_a_file_reached_by_two_names_is_read_once(store, tmp_path):
    (tmp_path / "log.csv").write_text(HEAD + ROW)
    (tmp_path / "link.csv").symlink_to(tmp_path / "log.csv")
    assert [report.rows_loaded for report in load_files(store, [tmp_path])] == [1]


@pytest.mark.parametrize("dtype", [pl.Int64, pl.UInt32, pl.Float64])
def test_eight_digits_are_a_date_also_as_numbers(store, tmp_path, dtype):
    days = pl.Series("occurred_at", [20240131, 20240231, 1_700_000_000, None], dtype=dtype)
    frame = pl.DataFrame({"user_id": "u", "item_id": ["a", "b", "c", "d"], "occurred_at": days})
    frame.write_parquet(tmp_path / "log.parquet")
    load_files(store, [tmp_path / "log.parquet"])
    asked = "SELECT item_id, occurred_at FROM interactions ORDER BY item_id"
    assert store.connection.sql(asked).fetchall() == [
        ("a", datetime(2024, 1, 31)),
        ("c", datetime(2023, 11, 14, 22, 13, 20)),
    ]
    reasons = store.connection.sql("SELECT reason_code FROM rejected_rows ORDER BY line").fetchall()
    assert reasons == [("bad_time",), ("missing_time",)]


@pytest.mark.parametrize(("value", "bad"), [(1.5e9, None), (b"2015-01-01", b"\xff")])
def test_one_column_of_parquet_may_be_mapped_to_two_of_ours(store, load, value, bad):
    frame = pl.DataFrame({"item_id": ["a", None if bad is None else "b"], "title": "t", "date": [value, bad or value]})
    report = load(
        "items.parquet",
        as_parquet(frame),
        columns=ColumnsConfig(published_at=("date",), updated_at=("date",)),
    )
    assert (report.rows_loaded, report.rows_rejected) == (1, 1)
    ((published, updated),) = store.connection.sql("SELECT published_at, updated_at FROM items").fetchall()
    assert published == updated


@pytest.mark.parametrize("zone", ["+05:30", "-03:30", "+02:00"])
def test_moments_with_an_offset_in_parquet_are_turned_to_utc(store, load, zone):
    moments = pa.array([1_704_067_200_000_000] * 2, pa.timestamp("us", tz=zone))
    rows = {"user_id": ["u", None], "item_id": ["i", "i"], "occurred_at": moments, "other": moments}
    buffer = io.BytesIO()
    pq.write_table(pa.table(rows), buffer)
    assert load("log.parquet", buffer.getvalue()).rows_loaded == 1
    asked = "SELECT occurred_at, context ->> 'other' FROM interactions"
    ((moment, other),) = store.connection.sql(asked).fetchall()
    assert moment == datetime(2024, 1, 1)
    assert datetime.fromisoformat(other).astimezone(UTC) == datetime(2024, 1, 1, tzinfo=UTC)
    (again,) = replay_rejected(store)
    assert again.reasons == {"missing_user_id": 1}


def test_lists_of_parquet_are_text_and_categories_as_in_json_lines(store, load, tmp_path):
    rows = {
        "item_id": ["a", "b", "c"],
        "description": [["soft", "red"], None, ["x"]],
        "categories": [[["Hair", "Care"], ["Sets"]], [], None],
    }
    pl.DataFrame(rows).write_parquet(tmp_path / "items.parquet")
    told = "SELECT item_id, json(description), categories FROM items ORDER BY item_id"
    (report,) = load_files(store, [tmp_path / "items.parquet"])
    from_parquet = store.connection.sql(told).fetchall()
    assert from_parquet == [("a", '["soft","red"]', ["Hair", "Care", "Sets"]), ("b", None, []), ("c", '["x"]', None)]
    assert report.without_text == 1
    lines = [json.dumps(dict(zip(rows, values, strict=True))) for values in zip(*rows.values(), strict=True)]
    load("items.jsonl", "\n".join(lines))
    assert store.connection.sql(told).fetchall() == from_parquet


ODD_TYPES = {
    "list": pl.Series([[1.5], [1.5]]),
    "array": pl.Series([[1, 2], [1, 2]], dtype=pl.Array(pl.Int64, 2)),
    "struct": pl.Series([{"a": 1}, {"a": 1}]),
    "duration": pl.Series([timedelta(seconds=1)] * 2),
    "date": pl.Series([datetime(2024, 1, 1).date()] * 2),
    "enum": pl.Series(["much", "much"], dtype=pl.Enum(["much"])),
    "categorical": pl.Series(["much", "much"], dtype=pl.Categorical),
}


@pytest.mark.parametrize("column", ["weight", "clicked", "position", "item_id", "kind", "title"])
@pytest.mark.parametrize("dtype", ODD_TYPES)
def test_columns_of_an_odd_type_are_read_as_text_or_rejected(store, tmp_path, column, dtype):
    first = {"user_id": "u", "item_id": "i", "occurred_at": "2024-01-01"}
    if column in ("clicked", "position"):
        first |= {"request_id": "r", "clicked": "true"}
    elif column == "title":
        first = {"item_id": "i"}
    frame = pl.DataFrame([first, first]).with_columns(ODD_TYPES[dtype].alias(column))
    frame.write_parquet(tmp_path / "odd.parquet")
    if column in ("item_id", "kind", "title"):
        (report,) = load_files(store, [tmp_path / "odd.parquet"])
        assert (report.rows_loaded, report.rows_rejected) == (1, 0)
    else:
        with pytest.raises(InputFileError, match=f"2 of 2 rows are bad .bad_{column} 2."):
            load_files(store, [tmp_path / "odd.parquet"])


@pytest.mark.parametrize("dtype", [pl.Enum(["1.5"]), pl.Categorical])
def test_numbers_of_a_column_with_few_values_are_numbers(store, tmp_path, dtype):
    frame = pl.DataFrame({"user_id": ["u"], "item_id": "i", "occurred_at": "2024-01-01"})
    frame.with_columns(pl.Series("weight", ["1.5"], dtype=dtype)).write_parquet(tmp_path / "log.parquet")
    load_files(store, [tmp_path / "log.parquet"])
    assert store.connection.sql("SELECT weight FROM interactions").fetchall() == [(1.5,)]


def test_nan_is_absent_also_when_its_row_is_read_again(store, tmp_path):
    nan = float("nan")
    frame = pl.DataFrame(
        {
            "user_id": ["u", "v", "w", None],
            "item_id": "i",
            "occurred_at": [1_700_000_000.0, 1_700_000_000.0, nan, 1_700_000_000.0],
            "weight": [nan, 3.0, 1.0, nan],
        }
    )
    frame.write_parquet(tmp_path / "log.parquet")
    load_files(store, [tmp_path / "log.parquet"], checks=LENIENT)
    weights = "SELECT user_id, weight FROM interactions ORDER BY user_id"
    assert store.connection.sql(weights).fetchall() == [("u", 2.0), ("v", 3.0)], "a click without a weight counts 2"
    rejected = "SELECT line, reason_code FROM rejected_rows ORDER BY line"
    assert store.connection.sql(rejected).fetchall() == [(3, "missing_time"), (4, "missing_user_id")]
    replay_rejected(store, checks=LENIENT)
    assert store.connection.sql(rejected.replace("line,", "0,")).fetchall() == [
        (0, "missing_time"),
        (0, "missing_user_id"),
    ]


def test_names_of_categories_are_the_same_in_any_format(store, load):
    names = {"item_id": ["a"], "categories": [[1.0, 2.5]]}
    load("items.parquet", as_parquet(pl.DataFrame(names)))
    listed = "SELECT categories FROM items"
    assert store.connection.sql(listed).fetchall() == [(["1", "2.5"],)]
    assert load("items.jsonl", json.dumps({"item_id": "a", "categories": [1.0, 2.5]})).rows_duplicate == 1
    load("items.csv", 'item_id,categories\na,"[""x"",\n""y""]"\n')
    assert store.connection.sql(listed).fetchall() == [(["x", "y"],)]


def test_names_of_categories_are_the_same_in_any_company(store, load):
    first = {"item_id": "a", "categories": [1, True, 2.5, 1.0]}
    load("items.jsonl", json.dumps(first) + "\n")
    company = {"item_id": "b", "categories": [["x", ["y"]], {"name": "é"}]}
    report = load("items.jsonl", "\n".join(json.dumps(item) for item in (first, company)))
    assert report.rows_duplicate == 1
    named = dict(store.connection.sql("SELECT item_id, categories FROM items").fetchall())
    assert named == {"a": ["1", "true", "2.5", "1"], "b": ["x", "y", '{"name": "é"}']}


def test_carriage_returns_alone_are_told_with_the_way_out(load):
    with pytest.raises(InputFileError, match=r"carriage returns alone; convert it \(tr "):
        load("log.csv", (HEAD + ROW).replace("\n", "\r"))
