import csv
import io
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ingest.mapping import ColumnsConfig
from ingest.read_csv import OpenCsv, read_csv
from ingest.sources import Source

NAMES = ["user_id", "item_id", "occurred_at", "note"]


def read(path: Path, content: str):
    """Return the notes of the rows by line, and the reasons of broken lines by line."""
    path.write_bytes(content.encode())
    rows, broken = {}, {}
    with Source(path) as source:
        for batch in read_csv(source, ColumnsConfig()):
            rows |= dict(batch.rows.select("line", "rest").iter_rows())
            broken |= dict(batch.broken.select("line", "reason_code").iter_rows())
    return rows, broken


HEADER = ",".join(NAMES) + "\n"


@pytest.mark.parametrize("quoted", [False, True])
def test_a_row_with_too_few_values_is_rejected_not_filled_up(tmp_path, quoted):
    note = '"a, b"' if quoted else "n"
    text = HEADER + f"u,i,1,{note}\nu,i,1\nu\n\n  \nu,i,1,\n,,,\nu,i,1,{note}\n"
    rows, broken = read(tmp_path / "log.csv", text)
    assert sorted(rows) == [2, 7, 9]  # line 8 has no value at all and is skipped like the blank ones
    assert broken == {3: "field_count", 4: "field_count"}


def test_a_row_with_too_many_values_is_rejected_also_beside_short_ones(tmp_path):
    rows, broken = read(tmp_path / "log.csv", HEADER + "u,i,1,n\nu,i,1,n,more\nu,i\n\nu,i,1,n\n")
    assert sorted(rows) == [2, 6]
    assert broken == {3: "field_count", 4: "field_count"}


def test_a_rejected_row_is_kept_whole(tmp_path):
    path = tmp_path / "log.csv"
    path.write_text(HEADER + f'u,i,"first\n{"x" * 3000}"\nu,i,1,n\n')
    with Source(path) as source:
        (batch,) = read_csv(source, ColumnsConfig())
    assert batch.broken["raw"].to_list() == [f'u,i,"first\n{"x" * 3000}"']
    assert "wanted 4 values, got 3" in batch.broken["detail"][0]


ODD = {
    "nothing in quotes": 'u,i,1,""',
    "a text of 200,000 characters": f"u,i,1,{'x' * 200_000}",
    "such a text in quotes": f'u,i,1,"{"x" * 200_000}, y"',
    "a line break of Windows in quotes": 'u,i,1,"a\r\nb"',
    "a text of 1,500 lines": 'u,i,1,"' + "a line\n" * 1_500 + '"',
    "a carriage return": "u,i,1,a\rb",
    "marks of inches around a separator": 'u,5" x,1,2" y',
    "words in quotes": 'u,i,1,the "best" one',
}


@pytest.mark.parametrize("row", ODD.values(), ids=ODD)
@pytest.mark.parametrize("ending", ["\n", "\r\n"])
def test_a_row_is_the_same_beside_a_broken_one(tmp_path, row, ending):
    text = HEADER + row + ending + 'u,"k",1,"n, m"' + ending
    rows, broken = read(tmp_path / "log.csv", text)
    again, broken_again = read(tmp_path / "log.csv", text + 'u,"i"i,1,n' + ending)
    assert again == rows
    assert len(rows) == 2
    assert broken == {}
    assert list(broken_again.values()) == ["bad_quoting"]


def test_a_file_whose_broken_line_was_mended_has_no_row_twice(load):
    text = HEADER + 'u,i,2024-01-01,""\nu,j,2024-01-01,"a\r\nb"\n'
    load("log.csv", text + 'u,"k"k,2024-01-01,n\n')
    mended = load("log.csv", text + 'u,"k",2024-01-01,n\n')
    assert (mended.rows_loaded, mended.rows_duplicate) == (1, 2)


def test_marks_of_inches_do_not_join_the_rows_between_them(tmp_path):
    lines = ['u,"i, 1",1,55"', "u,i2,1,n", 'u,"i3",1,40"', *(f"u,k{number},1,n" for number in range(40))]
    rows, broken = read(tmp_path / "log.csv", HEADER + "\n".join(lines) + "\n")
    assert sorted(rows) == list(range(2, 2 + len(lines)))
    assert broken == {}


values = st.text(st.characters(codec="utf-8", exclude_characters="\r\x00"), max_size=8)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.lists(st.tuples(st.sampled_from(["good", "short", "long", "blank"]), values), max_size=12))
def test_every_line_is_a_row_or_broken_or_blank(tmp_path, monkeypatch, records):
    monkeypatch.setattr("ingest.sources.CHUNK_BYTES", 64)
    text, line, expected_rows, expected_broken = HEADER, 2, [], {}
    for shape, value in records:
        written = io.StringIO()
        fields = {"good": ["u", "i", "1", value], "short": ["u", "i", value], "long": ["u", "i", "1", value, "x"]}
        if shape == "blank":
            written.write("\n")
        else:
            csv.writer(written, lineterminator="\n", quoting=csv.QUOTE_ALL).writerow(fields[shape])
            if shape == "good":
                expected_rows.append(line)
            else:
                expected_broken[line] = "field_count"
        text += written.getvalue()
        line += written.getvalue().count("\n")
    rows, broken = read(tmp_path / "log.csv", text)
    assert sorted(rows) == expected_rows
    assert broken == expected_broken


@pytest.mark.parametrize(
    ("text", "names", "n_rows"),
    [
        ("1,2\n3,4\n", ["item_id", "stars"], 2),
        ("ItemId,Stars\n3,4\n", ["ItemId", "Stars"], 1),
        ("item-id,stars,more\n3,4,5\n", ["item-id", "stars", "more"], 1),
        ("item_id,4\n3,4\n", ["item_id", "stars"], 2),  # one name alone may be a value
        ("", ["item_id", "stars"], 0),
    ],
)
def test_a_file_that_may_lack_a_header_is_told_by_its_first_line(tmp_path, text, names, n_rows):
    path = tmp_path / "log.csv"
    path.write_text(text)
    with Source(path) as source:
        opened = OpenCsv.of(source, headless=["item_id", "stars"])
        records = list(opened.records())
    assert opened.names == names
    assert sum(each.frame.height for each in records) == n_rows
