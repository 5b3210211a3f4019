from contextlib import ExitStack
from datetime import UTC, datetime, timedelta, timezone

import polars as pl
import pytest

from ingest.errors import HeldStoreError, StoreError
from ingest.publish import publish
from ingest.store import END_OF_TIME, Store
from ingest.workspace import Workspace
from tests.conftest import held_store

CUTOFF = datetime(2024, 1, 2)
INSTANT = timedelta(microseconds=1)


def add_event(store, event_id, occurred_at, *, item_id="i", request_id=None, weight=1.0):
    store.connection.execute(
        "INSERT INTO interactions VALUES (?, 'u', ?, 'view', ?, ?, ?, NULL, NULL, 'load', ?, 0, hash('x'))",
        [event_id, item_id, weight, occurred_at, request_id, occurred_at],
    )


def add_impression(store, request_id, item_id, occurred_at, *, clicked=None, position=None):
    store.connection.execute(
        """
        INSERT INTO impressions (request_id, user_id, item_id, occurred_at, clicked, position)
        VALUES (?, 'u', ?, ?, ?, ?)
        """,
        [request_id, item_id, occurred_at, clicked, position],
    )


def test_every_table_view_and_column_has_a_comment(store):
    found = store.connection.sql(
        "SELECT table_name, column_name, comment FROM duckdb_columns() WHERE NOT internal"
    ).fetchall()
    assert len(found) > 100
    assert [(table, column) for table, column, comment in found if not comment] == []
    tables = store.connection.sql(
        """
        SELECT table_name, comment FROM duckdb_tables() WHERE NOT internal
        UNION ALL
        SELECT view_name, comment FROM duckdb_views() WHERE NOT internal
        """
    ).fetchall()
    assert [name for name, comment in tables if not comment] == []


@pytest.mark.parametrize("read", ["interactions", "impressions"])
def test_reads_stop_strictly_before_the_instant(store, read):
    for moment in (CUTOFF - INSTANT, CUTOFF, CUTOFF + INSTANT):
        add_event(store, str(moment), moment)
        add_impression(store, str(moment), "i", moment)
    assert getattr(store, read)(before=CUTOFF)["occurred_at"].to_list() == [CUTOFF - INSTANT]
    assert len(getattr(store, read)(before=CUTOFF + INSTANT)) == 2
    assert len(getattr(store, read)(before=END_OF_TIME)) == 3


@pytest.mark.parametrize("zone", [UTC, timezone(timedelta(hours=5)), timezone(timedelta(hours=-8))])
def test_reads_understand_an_aware_moment_whatever_the_session_zone(store, zone):
    add_event(store, "before", CUTOFF - INSTANT)
    add_event(store, "at", CUTOFF)
    store.connection.execute("SET TimeZone = 'Asia/Tokyo'")
    aware = CUTOFF.replace(tzinfo=UTC).astimezone(zone)
    assert len(store.interactions(before=aware)) == 1


def test_impressions_look_for_clicks_among_interactions_before_the_moment_only(store):
    shown = CUTOFF - timedelta(hours=1)
    for item_id, clicked in (
        ("told", True),
        ("told not", False),
        ("followed", None),
        ("later", None),
        ("hidden", None),
        ("told, of later", True),
        ("told, of both", True),
    ):
        add_impression(store, "r", item_id, shown, clicked=clicked)
    add_event(store, "1", CUTOFF - INSTANT, item_id="followed", request_id="r")
    add_event(store, "2", CUTOFF, item_id="later", request_id="r")
    add_event(store, "3", CUTOFF - INSTANT, item_id="hidden", request_id="r", weight=-1.0)
    add_event(store, "4", CUTOFF - INSTANT, item_id="told not", request_id="r")
    add_event(store, "5", CUTOFF, item_id="told, of later", request_id="r")
    add_event(store, "6", CUTOFF, item_id="told, of both", request_id="r")
    add_event(store, "7", CUTOFF - INSTANT, item_id="told, of both", request_id="r")
    shown_before = store.impressions(before=CUTOFF)
    assert shown_before["clicked_at"].is_not_null().equals(shown_before["clicked"])
    clicked = dict(shown_before.select("item_id", "clicked").iter_rows())
    expected = {"told": True, "told not": False, "followed": True, "later": False, "hidden": False}
    assert clicked == expected | {"told, of later": False, "told, of both": True}
    at_once = dict(store.impressions(before=CUTOFF + INSTANT).select("item_id", "clicked").iter_rows())
    assert at_once == expected | {"later": True, "told, of later": True, "told, of both": True}


def test_a_click_counts_from_when_it_came(store):
    shown, taken, again = (CUTOFF - timedelta(minutes=minutes) for minutes in (30, 20, 10))
    for item_id, clicked in (
        ("taken twice", None),
        ("told, not when", True),
        ("hidden, told", True),
        ("taken before shown", None),
        ("told not", False),
        ("left", None),
    ):
        add_impression(store, "r", item_id, shown, clicked=clicked)
    add_event(store, "1", again, item_id="taken twice", request_id="r")
    add_event(store, "2", taken, item_id="taken twice", request_id="r")
    add_event(store, "3", taken, item_id="hidden, told", request_id="r", weight=-1.0)
    add_event(store, "4", shown - INSTANT, item_id="taken before shown", request_id="r")
    add_event(store, "5", taken, item_id="told not", request_id="r")
    add_event(store, "6", taken, item_id="told, not when", request_id="of another answer")
    clicks = store.impressions(before=CUTOFF)
    assert clicks.schema["clicked_at"] == pl.Datetime("us")
    assert dict(clicks.select("item_id", "clicked_at").iter_rows()) == {
        "taken twice": taken,
        "told, not when": shown,
        "hidden, told": shown,
        "taken before shown": shown,
        "told not": None,
        "left": None,
    }


def test_an_outcome_weighs_what_the_strongest_that_followed_weighs_and_nothing_later(store):
    shown = CUTOFF - timedelta(hours=1)
    for item_id, clicked in (("bought", None), ("bought later", True), ("hidden", None), ("told", True)):
        add_impression(store, "r", item_id, shown, clicked=clicked)
    add_event(store, "1", CUTOFF - 2 * INSTANT, item_id="bought", request_id="r", weight=2.0)
    add_event(store, "2", CUTOFF - INSTANT, item_id="bought", request_id="r", weight=10.0)
    add_event(store, "3", CUTOFF - INSTANT, item_id="bought later", request_id="r", weight=2.0)
    add_event(store, "4", CUTOFF, item_id="bought later", request_id="r", weight=10.0)
    add_event(store, "5", CUTOFF - INSTANT, item_id="hidden", request_id="r", weight=-1.0)
    outcomes = dict(store.impressions(before=CUTOFF).select("item_id", "strongest_weight").iter_rows())
    assert outcomes == {"bought": 10.0, "bought later": 2.0, "hidden": None, "told": None}


def test_a_failed_transaction_leaves_nothing(store):
    def fail():
        with store.transaction():
            add_event(store, "e", CUTOFF)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert len(store.interactions(before=END_OF_TIME)) == 0


def test_open_says_who_holds_the_lock(tmp_path):
    path = tmp_path / "store.duckdb"
    with held_store(path) as holder, pytest.raises(HeldStoreError, match=rf"process {holder} has the store open; wait"):
        Store.open(path)
    Store.open(path).close()


def test_open_when_free_waits_for_the_other_job_and_tells_it(tmp_path, monkeypatch):
    path, told = tmp_path / "store.duckdb", []
    monkeypatch.setattr("ingest.store.LOOK_AGAIN_S", 0.05)
    with ExitStack() as job:
        holder = job.enter_context(held_store(path))

        def progress(step, done, total=None, note=""):
            told.append((step, done, total, f"process {holder} has the store open" in note))
            job.close()

        Store.open_when_free(path, progress).close()
    step = "wait for another job"
    assert told == [(step, 0, 600, True), (step, 600, 600, False)]


def test_open_when_free_says_nothing_of_a_store_that_is_free(tmp_path):
    Store.open_when_free(tmp_path / "store.duckdb", lambda *told, **more: pytest.fail("it waited")).close()


def test_open_when_free_ends_when_the_other_job_does_not(tmp_path, monkeypatch):
    monkeypatch.setattr("ingest.store.PATIENCE_S", 0.2)
    monkeypatch.setattr("ingest.store.LOOK_AGAIN_S", 0.05)
    with held_store(tmp_path / "store.duckdb"), pytest.raises(HeldStoreError, match="has the store open"):
        Store.open_when_free(tmp_path / "store.duckdb")


def test_open_of_a_damaged_store_is_one_sentence(tmp_path):
    path = tmp_path / "store.duckdb"
    path.write_bytes(b"garbage" * 1000)
    with pytest.raises(StoreError, match="damaged or foreign file") as caught:
        Store.open(path)
    assert "\n" not in str(caught.value)


def test_open_of_a_store_damaged_in_the_middle_is_one_sentence(tmp_path):
    path = tmp_path / "store.duckdb"
    Store.open(path).close()
    content = bytearray(path.read_bytes())
    content[5000:-100] = bytes(len(content) - 5100)
    path.write_bytes(content)
    with pytest.raises(StoreError) as caught, Store.open(path) as store:
        store.items(before=END_OF_TIME)
    assert "\n" not in str(caught.value)


def test_read_only_open_of_no_store_says_what_to_do(tmp_path):
    with pytest.raises(StoreError, match="readrank ingest"):
        Store.open(tmp_path / "store.duckdb", read_only=True)


def test_publish_replaces_the_copy_while_an_analyst_reads_it(tmp_path):
    import duckdb

    workspace = Workspace.create(tmp_path / "w", "")
    workspace.store_path.unlink()
    with pytest.raises(StoreError, match="no store here yet"):
        publish(workspace)
    with Store.open(workspace.store_path) as store:
        add_event(store, "1", CUTOFF)
    publish(workspace)
    analyst = duckdb.connect(str(workspace.analytics_path), read_only=True)
    with Store.open(workspace.store_path) as store:
        add_event(store, "2", CUTOFF)
    publish(workspace)
    assert analyst.sql("SELECT count(*) FROM interactions").fetchall() == [(1,)]
    analyst.close()
    with duckdb.connect(str(workspace.analytics_path), read_only=True) as analyst:
        assert analyst.sql("SELECT count(*) FROM interactions").fetchall() == [(2,)]
        assert analyst.sql("SELECT comment FROM duckdb_tables() WHERE table_name = 'items'").fetchall() != [(None,)]
    assert [path.name for path in workspace.root.iterdir() if ".new" in path.name] == []
