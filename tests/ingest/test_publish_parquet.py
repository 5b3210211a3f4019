import json
import signal
import subprocess
import sys
from datetime import datetime
from pathlib import Path

import polars as pl
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from polars.testing import assert_frame_equal

import readrank
from ingest.errors import StoreError
from ingest.held import held
from ingest.publish import publish
from ingest.publish_parquet import BY_MONTH, LEFT_OUT, publish_parquet
from ingest.store import Store
from ingest.workspace import Workspace

ROOT = Path(__file__).parents[2]
# The instants around the turn of a month, a year and a leap day.
MOMENTS = [
    datetime(2023, 12, 31, 23, 59, 59, 999999),
    datetime(2024, 1, 1),
    datetime(2024, 1, 31, 23, 59, 59, 999999),
    datetime(2024, 2, 29, 12),
    datetime(2024, 2, 29, 13),
]
MONTHS = ["2023-12", "2024-01", "2024-01", "2024-02", "2024-02"]


@pytest.fixture
def workspace(tmp_path):
    made = Workspace.create(tmp_path / "w", "")
    with Store.open(made.store_path) as store:
        fill(store)
    publish(made)
    return made


def fill(store):
    for number, moment in enumerate(MOMENTS):
        store.connection.execute(
            """
            INSERT INTO interactions
                (event_id, user_id, item_id, kind, weight, occurred_at, context, load_id, ingested_at, arrival,
                event_key)
            VALUES (?, 'Zoë', 'a', 'view', 0.5, ?, ?, 'l1', ?, ?, hash(?))
            """,
            [f"e{number}", moment, '{"page": 1}' if number else None, moment, number, f"e{number}"],
        )
        store.connection.execute(
            """
            INSERT INTO impressions (request_id, user_id, item_id, position, sources, features, occurred_at)
            VALUES ('r', 'u', 'a', ?, ['words', NULL], [1.5, NULL], ?)
            """,
            [number, moment],
        )
    store.connection.execute(
        """
        INSERT INTO items (item_id, title, categories, attributes, updated_at)
        VALUES ('a', 'Brötchen 🥐', ['food', 'baked'], '{"price": 1}', TIMESTAMP '2024-01-01'),
            ('b', NULL, NULL, NULL, TIMESTAMP '2024-01-01')
        """
    )


def tables(workspace):
    with Store.open(workspace.analytics_path, read_only=True) as store:
        return [
            name
            for (name,) in store.connection.execute(
                "SELECT table_name FROM duckdb_tables() WHERE NOT internal ORDER BY table_name"
            ).fetchall()
        ]


def stored(workspace, table):
    """Read a table as Polars does, JSON as text, without what is left out, in the order of all columns."""
    with Store.open(workspace.analytics_path, read_only=True) as store:
        columns = store.connection.execute(
            "SELECT column_name, data_type FROM duckdb_columns() WHERE table_name = ? ORDER BY column_index", [table]
        ).fetchall()
        names = [
            f"{name}::VARCHAR AS {name}" if kind == "JSON" else name
            for name, kind in columns
            if (table, name) not in LEFT_OUT
        ]
        frame = pl.DataFrame(store.connection.sql(f"SELECT {', '.join(names)} FROM {table}").to_arrow_table())
    return in_order(frame.cast({pl.Datetime: pl.Datetime("us")}))


def in_order(frame):
    flat = [name for name, kind in frame.schema.items() if not kind.is_nested()]
    return frame.sort(flat)


def latest(workspace):
    return (workspace.parquet_path / "latest").resolve()


def names_in(folder):
    return sorted(path.name for path in folder.iterdir())


def test_polars_reads_every_table_as_the_store_has_it(workspace):
    publish_parquet(workspace)
    assert names_in(latest(workspace)) == tables(workspace)
    for table in tables(workspace):
        frame = pl.read_parquet(latest(workspace) / table, hive_partitioning=table in BY_MONTH)
        if table in BY_MONTH:
            frame = frame.drop("month")
        assert_frame_equal(in_order(frame), stored(workspace, table))


def test_pyarrow_reads_every_table_as_the_store_has_it(workspace):
    publish_parquet(workspace)
    for table in tables(workspace):
        read = ds.dataset(latest(workspace) / table, partitioning="hive").to_table()
        frame = pl.DataFrame(read)
        if table in BY_MONTH:
            frame = frame.drop("month")
        assert_frame_equal(in_order(frame), stored(workspace, table))


def test_months_begin_at_their_first_instant(workspace):
    publish_parquet(workspace)
    folder = latest(workspace) / "interactions"
    assert names_in(folder) == [f"month={month}" for month in sorted(set(MONTHS))]
    read = pl.scan_parquet(folder, hive_partitioning=True).select("occurred_at", "month").sort("occurred_at").collect()
    assert list(read.iter_rows()) == list(zip(MOMENTS, MONTHS, strict=True))
    assert pl.scan_parquet(folder, hive_partitioning=True).filter(month="2024-01").collect().height == 2


def test_an_empty_table_keeps_its_columns(workspace):
    publish_parquet(workspace)
    requests = pl.read_parquet(latest(workspace) / "requests", hive_partitioning=True)
    assert (requests.height, requests.schema["latency_ms"]) == (0, pl.Float64)


def test_comments_and_compression_are_in_the_files(workspace):
    publish_parquet(workspace)
    (path,) = (latest(workspace) / "items").glob("*.parquet")
    schema = pq.read_schema(path)
    with Store.open(workspace.analytics_path, read_only=True) as store:
        said = store.connection.execute(
            "SELECT column_name, comment FROM duckdb_columns() WHERE table_name = 'items' ORDER BY column_index"
        ).fetchall()
    assert [(field.name, field.metadata[b"comment"].decode()) for field in schema] == said
    assert schema.metadata[b"comment"].decode().startswith("The catalogue")
    assert pq.ParquetFile(path).metadata.row_group(0).column(0).compression == "ZSTD"


def test_a_reader_that_resolved_the_link_keeps_its_version(workspace):
    publish_parquet(workspace)
    resolved, unresolved = latest(workspace), workspace.parquet_path / "latest"
    before = [path.name for path in unresolved.rglob("*.parquet")]
    reader = pl.scan_parquet(resolved / "interactions", hive_partitioning=True)
    with Store.open(workspace.store_path) as store:
        store.connection.execute("DELETE FROM interactions")
    publish(workspace)
    publish_parquet(workspace)
    assert reader.collect().height == len(MOMENTS)
    assert pl.read_parquet(latest(workspace) / "interactions").height == 0
    # Names of files differ, so who listed the old ones without resolving is told that they are gone, and mixes nothing.
    assert set(before).isdisjoint(path.name for path in unresolved.rglob("*.parquet"))
    # The version before is kept, the one before that is not.
    newest = latest(workspace)
    assert names_in(workspace.parquet_path) == sorted([resolved.name, newest.name, "latest"])
    third = publish_parquet(workspace)
    assert names_in(workspace.parquet_path) == sorted([newest.name, third.name, "latest"])


def test_after_an_erasure_no_earlier_version_stays(workspace):
    publish_parquet(workspace)
    publish_parquet(workspace)
    only = publish_parquet(workspace, keep_previous=False)
    assert names_in(workspace.parquet_path) == sorted([only.name, "latest"])


def test_one_killed_half_way_leaves_the_old_version_and_the_next_clears_up(workspace):
    publish_parquet(workspace)
    before = latest(workspace)
    dying = """
import os, signal, sys
from ingest import publish_parquet
from ingest.workspace import Workspace
write = publish_parquet._write
def write_once(*arguments):
    write(*arguments)
    os.kill(os.getpid(), signal.SIGKILL)
publish_parquet._write = write_once
publish_parquet.publish_parquet(Workspace.open(sys.argv[1]))
"""
    killed = subprocess.run([sys.executable, "-c", dying, str(workspace.root)], cwd=ROOT, check=False)
    assert killed.returncode == -signal.SIGKILL
    assert latest(workspace) == before
    assert len(names_in(workspace.parquet_path)) == 3
    after = publish_parquet(workspace)
    assert names_in(workspace.parquet_path) == sorted([before.name, after.name, "latest"])


def test_a_full_disk_is_one_sentence_and_the_old_version_stays(workspace, monkeypatch):
    publish_parquet(workspace)
    before = latest(workspace)

    def full(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("ingest.publish_parquet._write", full)
    with pytest.raises(StoreError, match="No space left on device; latest stays as it was"):
        publish_parquet(workspace)
    assert names_in(workspace.parquet_path) == sorted([before.name, "latest"])


def test_two_at_once_are_refused(workspace):
    publish_parquet(workspace)
    with held(workspace.parquet_path), pytest.raises(StoreError, match="another process is writing Parquet here"):
        publish_parquet(workspace)


def test_before_anything_is_published_it_says_so(tmp_path):
    with pytest.raises(StoreError, match="no store here yet"):
        publish_parquet(Workspace.create(tmp_path / "w", ""))


def test_the_command_publishes_both(workspace, capsys):
    with Store.open(workspace.store_path) as store:
        store.connection.execute("DELETE FROM items WHERE item_id = 'b'")
    assert readrank.run(["publish", "--parquet", "--json", "-w", str(workspace.root)]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told == {"path": str(workspace.analytics_path), "parquet": str(latest(workspace))}
    assert pl.read_parquet(latest(workspace) / "items")["item_id"].to_list() == ["a"]


MEASURED = """
import re, sys
from pathlib import Path
from ingest import publish_parquet
from ingest.workspace import Workspace
publish_parquet.COPYING_MEMORY_LIMIT, publish_parquet.PARQUET_ROW_GROUP = "32MB", 10_000
publish_parquet.publish_parquet(Workspace.open(sys.argv[1]))
print(re.search(r"VmHWM:\\s+([0-9]+) kB", Path("/proc/self/status").read_text())[1])
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="a process's own peak is told by Linux alone")
def test_memory_stays_flat(tmp_path):
    """Five times the rows take no more memory but for noise; each case in a process of its own.

    What may be held at a time is little here, so that the smaller case comes up to it too. The process tells its own
    peak: what the system tells of a child is never less than what its parent held when it began.
    """
    peaks = []
    for number, rows in enumerate((300_000, 1_500_000)):
        workspace = Workspace.create(tmp_path / f"w{number}", "")
        with Store.open(workspace.store_path) as store:
            store.connection.execute(
                """
                INSERT INTO interactions
                    (event_id, user_id, item_id, kind, weight, occurred_at, load_id, ingested_at, arrival, event_key)
                SELECT
                    md5(i::VARCHAR), 'u' || i, 'i' || i, 'view', 1, TIMESTAMP '2024-01-01' + INTERVAL (i % 9999) SECOND,
                    'l', TIMESTAMP '2024-01-01', i, i
                FROM range(?) AS made(i)
                """,
                [rows],
            )
        publish(workspace)
        child = subprocess.run(
            [sys.executable, "-c", MEASURED, str(workspace.root)], cwd=ROOT, capture_output=True, text=True, check=True
        )
        peaks.append(int(child.stdout))
    assert peaks[1] < 1.2 * peaks[0]
