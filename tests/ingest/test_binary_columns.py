import json

import polars as pl
import pytest

from ingest.binary_columns import as_utf8
from ingest.checks import ChecksConfig
from ingest.errors import InputFileError
from ingest.store import END_OF_TIME
from tests.ingest.conftest import as_parquet

NOT_TEXT = b"\xff\xfe"
MOMENTS = {"occurred_at": ["2024-01-01", "2024-01-02", "2024-01-03"]}


def test_strings_without_the_mark_that_says_so_are_the_same_rows(load):
    marked = pl.DataFrame({"user_id": ["u1", "ü2", "u3"], "item_id": ["x", "y", None], "device": ["ios", "web", None]})
    marked = marked.with_columns(occurred_at=pl.Series(MOMENTS["occurred_at"]))
    unmarked = marked.with_columns(pl.exclude("occurred_at").cast(pl.Binary))
    first = load("spark.parquet", as_parquet(unmarked))
    assert (first.rows_loaded, first.reasons) == (2, {"missing_item_id": 1})
    assert load("log.parquet", as_parquet(marked)).rows_duplicate == 2


def test_bytes_that_are_no_text_become_null_in_context_and_attributes(store, load):
    frame = pl.DataFrame(
        {
            "item_id": ["a", "b"],
            "title": ["T", "U"],
            "picture": [NOT_TEXT, b"none"],
            "tags_seen": [[NOT_TEXT, b"x"], None],
            "maker": [{"name": b"M", "logo": NOT_TEXT}, None],
        },
        schema_overrides={"maker": pl.Struct({"name": pl.Binary, "logo": pl.Binary})},
    )
    assert load("items.parquet", as_parquet(frame)).rows_loaded == 2
    assert [json.loads(text) for text in store.items(before=END_OF_TIME)["attributes"]] == [
        {"picture": None, "tags_seen": [None, "x"], "maker": {"name": "M", "logo": None}},
        {"picture": "none", "tags_seen": None, "maker": None},
    ]


def test_a_row_whose_id_is_no_text_is_rejected_by_name_and_the_others_are_loaded(store, load):
    frame = pl.DataFrame({"user_id": [b"u1", NOT_TEXT, b"u3"], "item_id": ["x", "y", "z"], **MOMENTS})
    report = load("log.parquet", as_parquet(frame))
    assert (report.rows_read, report.rows_loaded, report.reasons) == (3, 2, {"invalid_utf8": 1})
    assert store.interactions(before=END_OF_TIME)["item_id"].to_list() == ["x", "z"]
    ((line, detail, raw),) = store.connection.sql("SELECT line, detail, raw FROM rejected_rows").fetchall()
    assert (line, detail) == (2, "user_id is binary and not UTF-8; write it as text")
    assert json.loads(raw) == {"user_id": "\ufffd\ufffd", "item_id": "y", "occurred_at": "2024-01-02"}


def test_a_file_of_such_rows_alone_is_refused(load):
    frame = pl.DataFrame({"user_id": [NOT_TEXT] * 3, "item_id": ["x"] * 3, **MOMENTS})
    with pytest.raises(InputFileError, match="3 of 3 rows are bad \\(invalid_utf8 3\\)"):
        load("log.parquet", as_parquet(frame), checks=ChecksConfig(max_rejected_share=1.0))


def test_binary_in_arrays_is_read_and_other_columns_are_left_alone():
    arrays = pl.Series("pair", [[b"a", NOT_TEXT], None], dtype=pl.Array(pl.Binary, 2))
    read = as_utf8(pl.DataFrame({"n": [1, 2]}).with_columns(arrays))
    assert read.to_dict(as_series=False) == {"n": [1, 2], "pair": [["a", None], None]}
