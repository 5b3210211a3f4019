from datetime import datetime
from pathlib import Path

import polars as pl
import pytest

from ranker.errors import QueryFileError
from ranker.query_files import (
    QUERY,
    REQUEST,
    check_answers,
    columns_not_read,
    read_queries,
    read_requests,
    write_answers,
)

NOON = datetime(2024, 5, 1, 12)


@pytest.mark.parametrize("as_of", ["2024-05-01 12:00:00", "2024-05-01T14:00:00+02:00", "1714564800"])
def test_queries_read_times_as_people_write_them(tmp_path, as_of):
    (tmp_path / "q.csv").write_text(f"query_id,user_id,as_of\nq1,007,{as_of}\n")
    frame = read_queries(tmp_path / "q.csv")
    assert frame.row(0) == ("q1", "007", NOON)


def test_queries_need_no_as_of(tmp_path):
    pl.DataFrame({"query_id": [1], "user_id": [7]}).write_parquet(tmp_path / "q.parquet")
    assert read_queries(tmp_path / "q.parquet").row(0) == (1, "7"), "answers join with what was asked"


def test_ids_read_as_ingest_has_stored_them(tmp_path):
    asked = {"request_id": [" r1 "] * 4, "user_id": [7.0, 2.5, 1e6, 8.0], "item_id": [b"i1", b" i2", b"i3 ", b"i 4"]}
    pl.DataFrame({**asked, "occurred_at": [NOON] * 4}).write_parquet(tmp_path / "r.parquet")
    frame = read_requests(tmp_path / "r.parquet")
    assert frame["user_id"].to_list() == ["7", "2.5", "1000000", "8"]
    assert frame["item_id"].to_list() == ["i1", "i2", "i3", "i 4"]
    assert frame["request_id"].unique().to_list() == [" r1 "], "it goes back to whoever asked"


@pytest.mark.parametrize(
    ("name", "content"),
    [("q.csv", "query_id,user_id,as_of\n"), ("q.jsonl", ""), ("q.ndjson", "\n\n")],
)
def test_a_file_that_asks_nothing_is_no_mistake(tmp_path, name, content):
    (tmp_path / name).write_text(content)
    frame = read_queries(tmp_path / name)
    assert (len(frame), frame.columns) == (0, list(QUERY))
    assert columns_not_read(tmp_path / name, QUERY) == []


def test_json_lines_without_a_line_ask_for_no_scores_either(tmp_path):
    (tmp_path / "r.jsonl").write_text("")
    frame = read_requests(tmp_path / "r.jsonl")
    assert (len(frame), set(frame.columns)) == (0, set(REQUEST))


def test_an_id_that_is_no_text_gets_one_sentence(tmp_path):
    pl.DataFrame({"query_id": ["q1"], "user_id": [b"\xff"]}).write_parquet(tmp_path / "q.parquet")
    with pytest.raises(QueryFileError, match="wanted 'user_id' in every row"):
        read_queries(tmp_path / "q.parquet")


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("q.csv", "user\nu1\n", "wanted columns query_id, user_id, found user; rename or add query_id, user_id"),
        ("q.parquet", "not parquet", "wanted parquet, could not read it as that"),
        ("q.xlsx", "x", "wanted one of .parquet, .csv"),
        ("q.csv", "query_id,user_id,as_of\nq1,u1,soon\n", "column 'as_of' must hold times, got 'soon' in row 1"),
        ("q.csv", "query_id,user_id\nq1,\n", "wanted 'user_id' in every row"),
        ("q.csv", "query_id,user_id\n7,u1\n8,u1\n7,u2\n", "wanted a 'query_id' of its own in every row, got '7'"),
    ],
)
def test_bad_query_files_get_one_sentence(tmp_path, name, content, sentence):
    (tmp_path / name).write_text(content)
    with pytest.raises(QueryFileError, match=sentence):
        read_queries(tmp_path / name)


def test_missing_file_gets_one_sentence(tmp_path):
    with pytest.raises(QueryFileError, match="wanted a file, found none"):
        read_queries(tmp_path / "nowhere.parquet")


def test_requests_need_a_time_in_every_row(tmp_path):
    (tmp_path / "r.csv").write_text("request_id,user_id,item_id,occurred_at\nr1,u1,i1,\n")
    with pytest.raises(QueryFileError, match="wanted 'occurred_at' in every row, got 1 rows without"):
        read_requests(tmp_path / "r.csv")


@pytest.mark.parametrize("name", ["a.parquet", "a.csv", "a.jsonl"])
def test_answers_are_written_whole_under_their_name(tmp_path, name):
    write_answers(pl.DataFrame({"query_id": ["q1"]}), tmp_path / name)
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_answers_need_a_folder_a_known_format_and_a_file_of_their_own(tmp_path):
    questions, folder = tmp_path / "q.csv", tmp_path / "dir.csv"
    questions.write_text("query_id,user_id\nq1,u1\n")
    folder.mkdir()
    for out, why in (
        (tmp_path / "no" / "a.csv", "wanted an existing folder"),
        (tmp_path / "a.txt", "wanted a name ending in"),
        (folder, "wanted a file to write, found a folder"),
        (questions, "wanted another file for the answers"),
    ):
        with pytest.raises(QueryFileError, match=why):
            check_answers(out, questions)
    check_answers(tmp_path / "a.csv", questions)


def test_a_place_that_takes_no_file_is_told(tmp_path):
    with pytest.raises(QueryFileError, match="could not write there"):
        write_answers(pl.DataFrame({"query_id": ["q1"]}), tmp_path / "gone" / "a.csv")


def lines(path: Path, *rows: str) -> Path:
    path.write_text("".join(f"{row}\n" for row in rows))
    return path


def test_a_column_may_begin_late_in_a_file_of_lines(tmp_path):
    many = [f'{{"query_id": "q{n}", "user_id": "u"}}' for n in range(150)]
    late = '{"query_id": "late", "user_id": "u", "as_of": "2024-05-01"}'
    assert read_queries(lines(tmp_path / "q.jsonl", *many, late))["as_of"].to_list()[-1] == datetime(2024, 5, 1)
    nulls = [f'{{"query_id": "q{n}", "user_id": "u", "as_of": null}}' for n in range(150)]
    assert read_queries(lines(tmp_path / "q.jsonl", *nulls, late))["as_of"].to_list()[-1] == datetime(2024, 5, 1)


def test_lines_keep_numbers_as_they_are_written(tmp_path):
    mixed = [f'{{"query_id": {n}, "user_id": 9007199254740993, "as_of": 1769904000}}' for n in range(150)]
    last = '{"query_id": "b", "user_id": 1.5, "as_of": 1769904000.5}'
    read = read_queries(lines(tmp_path / "q.jsonl", *mixed, last))
    assert read.row(0) == ("0", "9007199254740993", datetime(2026, 2, 1))
    assert read.row(-1) == ("b", "1.5", datetime(2026, 2, 1, 0, 0, 0, 500_000))


@pytest.mark.parametrize(
    ("name", "text"),
    [("q.csv", 'query_id,user_id,as_of\nq1,u1,""\n'), ("q.jsonl", '{"query_id": 1, "user_id": 2, "as_of": ""}\n')],
)
def test_an_empty_moment_is_none(tmp_path, name, text):
    (tmp_path / name).write_text(text)
    assert read_queries(tmp_path / name)["as_of"].to_list() == [None]


def test_other_columns_of_lines_may_hold_anything(tmp_path):
    many = [f'{{"query_id": "q{n}", "user_id": "u"}}' for n in range(150)]
    odd = ['{"query_id": "a", "user_id": "u", "context": 1}', '{"query_id": "b", "user_id": "u", "context": [1]}']
    assert len(read_queries(lines(tmp_path / "q.jsonl", *many, *odd))) == 152


def test_lines_without_a_column_are_told_with_those_they_have(tmp_path):
    with pytest.raises(QueryFileError, match="query_id, user_id, found qid, user_id; rename or add query"):
        read_queries(lines(tmp_path / "q.jsonl", '{"qid": 1, "user_id": 2}'))


def test_columns_that_nothing_reads_are_told(tmp_path):
    asked = pl.DataFrame({"query_id": ["q"], "user_id": ["u"], "as_off": ["2024-05-01"], "exclude": ["i1"]})
    asked.write_parquet(tmp_path / "q.parquet")
    asked.write_csv(tmp_path / "q.csv")
    asked.write_ndjson(tmp_path / "q.jsonl")
    for name in ("q.parquet", "q.csv", "q.jsonl"):
        assert columns_not_read(tmp_path / name, QUERY) == ["as_off", "exclude"]
    (tmp_path / "r.csv").write_text("request_id,user_id,item_id,occurred_at\nr1,u1,i1,2024-05-01\n")
    assert columns_not_read(tmp_path / "r.csv", REQUEST) == []


@pytest.mark.parametrize("name", ["q.parquet", "q.jsonl"])
def test_a_list_is_no_id(tmp_path, name):
    asked = pl.DataFrame({"query_id": ["q"], "user_id": [["u1", "u2"]]})
    (asked.write_parquet if name == "q.parquet" else asked.write_ndjson)(tmp_path / name)
    with pytest.raises(QueryFileError, match="wanted one 'user_id' in every"):
        read_queries(tmp_path / name)
