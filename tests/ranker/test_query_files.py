from datetime import datetime

import polars as pl
import pytest

from ranker.errors import QueryFileError
from ranker.query_files import read_queries, read_requests, write_answers

NOON = datetime(2024, 5, 1, 12)


@pytest.mark.parametrize("as_of", ["2024-05-01 12:00:00", "2024-05-01T14:00:00+02:00", "1714564800"])
def test_queries_read_times_as_people_write_them(tmp_path, as_of):
    (tmp_path / "q.csv").write_text(f"query_id,user_id,as_of\nq1,007,{as_of}\n")
    frame = read_queries(tmp_path / "q.csv")
    assert frame.row(0) == ("q1", "007", NOON)


def test_queries_need_no_as_of(tmp_path):
    pl.DataFrame({"query_id": [1], "user_id": [7]}).write_parquet(tmp_path / "q.parquet")
    assert read_queries(tmp_path / "q.parquet").row(0) == ("1", "7")


def test_ids_read_as_ingest_has_stored_them(tmp_path):
    asked = {"request_id": [" r1 "] * 4, "user_id": [7.0, 2.5, 1e6, 8.0], "item_id": [b"i1", b" i2", b"i3 ", b"i 4"]}
    pl.DataFrame({**asked, "occurred_at": [NOON] * 4}).write_parquet(tmp_path / "r.parquet")
    frame = read_requests(tmp_path / "r.parquet")
    assert frame["user_id"].to_list() == ["7", "2.5", "1000000", "8"]
    assert frame["item_id"].to_list() == ["i1", "i2", "i3", "i 4"]
    assert frame["request_id"].unique().to_list() == [" r1 "], "it goes back to whoever asked"


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


def test_answers_need_a_folder_and_a_known_format(tmp_path):
    with pytest.raises(QueryFileError, match="wanted an existing folder"):
        write_answers(pl.DataFrame(), tmp_path / "no" / "a.csv")
    with pytest.raises(QueryFileError, match="wanted a name ending in"):
        write_answers(pl.DataFrame(), tmp_path / "a.txt")
