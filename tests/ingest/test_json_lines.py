import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest import sources
from ingest.json_lines import object_lines, parsed_objects
from ingest.mapping import ColumnsConfig
from ingest.read_jsonl import read_jsonl
from ingest.sources import Source

TEXT = st.text(st.characters(codec="utf-8"), max_size=8)
NESTED = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**9), 10**9) | TEXT,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(TEXT, inner, max_size=2),
    max_leaves=4,
)
OBJECTS = st.fixed_dictionaries(
    {"user_id": TEXT, "item_id": TEXT, "occurred_at": TEXT},
    optional={"kind": TEXT | st.none(), "colour": NESTED, 'odd" key': NESTED},
)
KNOWN = ("user_id", "item_id", "occurred_at", "kind")


@settings(deadline=None, max_examples=60)
@given(
    rows=st.lists(OBJECTS | st.sampled_from(["", " ", "nonsense", "[1]", '{"user_id":', "7"]), min_size=1, max_size=6),
    ascii_only=st.booleans(),
    separators=st.sampled_from([(",", ":"), (", ", ": "), (" ,", " : ")]),
)
def test_every_value_of_every_object_is_read_or_kept(tmp_path_factory, rows, ascii_only, separators):
    lines = [
        row if isinstance(row, str) else json.dumps(row, ensure_ascii=ascii_only, separators=separators) for row in rows
    ]
    first = json.dumps({"user_id": "u", "item_id": "i", "occurred_at": "t"})
    path = tmp_path_factory.mktemp("lines") / "log.jsonl"
    path.write_bytes("\n".join([first, *lines]).encode())
    read, broken = read_all(path)
    wanted = {2 + at: row for at, row in enumerate(rows) if not isinstance(row, str)}
    assert sorted(read) == [1, *sorted(wanted)]
    assert broken == [2 + at for at, row in enumerate(rows) if isinstance(row, str) and row.strip()]
    for line, row in wanted.items():
        assert {name: read[line][name] for name in KNOWN} == {name: row.get(name) for name in KNOWN}
        rest = without_nulls({key: value for key, value in row.items() if key not in KNOWN})
        assert json.loads(read[line]["rest"] or "{}") == rest


def without_nulls(value):
    if not isinstance(value, dict):
        return value
    return {key: without_nulls(inner) for key, inner in value.items() if inner is not None}


def read_all(path: Path):
    read, broken = {}, []
    with Source(path) as source:
        for batch in read_jsonl(source, ColumnsConfig()):
            for row in batch.rows.iter_rows(named=True):
                read[row["line"]] = {name: row.get(name) for name in (*KNOWN, "rest")}
            broken += batch.broken["line"].to_list()
    return read, broken


def test_keys_that_come_late_are_found(tmp_path, monkeypatch):
    monkeypatch.setattr(sources, "CHUNK_BYTES", 1 << 12)
    plain = '{"user_id":"u","item_id":"i","occurred_at":"2024-01-01"}\n'
    path = tmp_path / "log.jsonl"
    path.write_text(plain * 200 + '{"user_id":"u","item_id":"i","ts":"2024-01-02","kind":"like","price":3}\n' + plain)
    read, broken = read_all(path)
    assert broken == []
    assert read[201] == {
        "user_id": "u",
        "item_id": "i",
        "occurred_at": None,
        "kind": "like",
        "rest": '{"ts":"2024-01-02","price":3}',
    }
    assert read[202]["rest"] is None


@pytest.mark.parametrize(
    ("line", "is_object"),
    [
        (b'{"item_id":"\\ud83d\\ude00"}', True),
        (b'{"item_id":"\\ud83d"}', False),
        (b'{"item_id":1e400}', False),
        (b'{"item_id":NaN}', False),
        (b'{"item_id":"a"}{"item_id":"b"}', False),
        (b'{"item_id":"\xff"}', False),
        (b' \t{"item_id":"a"} \r', True),
        (b"{}", True),
    ],
)
def test_a_strange_line_costs_only_itself(line, is_object):
    lines, n_lines = object_lines(b'{"item_id":"x"}\n' + line + b'\n{"item_id":"y"}', first_line=1)
    values, lines = parsed_objects(lines, ["item_id"])
    assert n_lines == 3
    assert lines.numbers.tolist() == ([1, 2, 3] if is_object else [1, 3])
    assert lines.broken["line"].to_list() == ([] if is_object else [2])
    assert values["item_id"].to_list()[:: values.height - 1] == ["x", "y"]


def test_carriage_returns_inside_a_line_lose_no_object():
    text = b'{"item_id":"a"}\r{"item_id":"b"}\n{"item_id":\r"c"}\n{"item_id":NaN}\n'
    lines, _ = object_lines(text, first_line=1)
    values, lines = parsed_objects(lines, ["item_id"])
    assert values["item_id"].to_list() == ["c"]
    assert lines.broken["line"].to_list() == [1, 3]


def test_a_name_that_comes_late_does_not_hide_another_in_later_chunks(tmp_path, monkeypatch):
    monkeypatch.setattr(sources, "CHUNK_BYTES", 1 << 10)
    path = tmp_path / "log.jsonl"
    line = '{"user_id":"u","item_id":"i","%s":"t"}\n'
    path.write_text(line % "ts" * 100 + line % "timestamp" * 100 + line % "ts" * 100)
    with Source(path) as source:
        times = [batch.rows["occurred_at"] for batch in read_jsonl(source, ColumnsConfig()) if batch.rows.height]
    # Only a chunk that has both names takes one of them alone.
    assert sum(column.null_count() for column in times) < 100
    assert times[-1].null_count() == 0


@pytest.mark.parametrize("cached", [1, 2, 3, 7])
def test_where_the_text_is_cut_into_blocks_changes_nothing(tmp_path, monkeypatch, cached):
    known = ['{"user_id":"u","item_id":null,"occurred_at": null}', '{"user_id":"u","item_id":1,"occurred_at":2}', "[1]"]
    more = '{"user_id":"u","item_id":"i","occurred_at":"t","price":3}'
    spaced = '{"user_id":"u","item_id":"i","occurred_at":"t","price" :3}'
    for number, lines in enumerate(([*known, more], [spaced, *known], known)):
        path = tmp_path / f"{number}.jsonl"
        path.write_text("\n".join(lines) + "\n")
        with monkeypatch.context() as patched:
            whole = read_all(path)
            for module in ("json_lines", "read_jsonl"):
                patched.setattr(f"ingest.{module}.CACHED_BYTES", cached)
            if lines is known:  # nothing else is there to be looked for
                patched.delattr("ingest.read_jsonl._rest")
            assert read_all(path) == whole
