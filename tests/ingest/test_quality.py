import time
from datetime import datetime, timedelta

import pytest

from ingest.interactions_so_far import MAX_KINDS
from ingest.quality import Finding, LoadFacts, QualityConfig, findings
from ingest.store import Store
from ingest.usual_volume import family

DAY = timedelta(days=1)
NEW_YEAR = datetime(2024, 1, 1)
UUID = "3fa85f64-aaaa-bbbb-a3fc-2c963f66afa6"


class Loads:
    """Writes loads as `load_files` does, row by row, and has each checked in its transaction."""

    def __init__(self, store):
        self.store = store
        self.number = 0
        self.arrival = 0

    def facts(self, table="interactions", *, path=None, read=0, loaded=0, reasons=None, first_arrival=0):
        self.number += 1
        return LoadFacts(
            load_id=f"load{self.number:04d}",
            table=table,
            path=path or f"/logs/events-{NEW_YEAR + self.number * DAY:%Y-%m-%d}.jsonl",
            rows_read=read,
            rows_loaded=loaded,
            rows_duplicate=read - loaded - sum((reasons or {}).values()),
            rows_rejected=sum((reasons or {}).values()),
            reasons=reasons or {},
            started=NEW_YEAR,
            first_arrival=first_arrival,
        )

    def events(self, events, config=QualityConfig(), **told):  # noqa: B008  frozen
        """Load (item, kind, moment) and return the findings by check."""
        with self.store.transaction() as connection:
            reasons = told.pop("reasons", {})
            read = told.pop("read", len(events) + sum(reasons.values()))
            facts = self.facts(read=read, loaded=len(events), first_arrival=self.arrival, reasons=reasons, **told)
            for item_id, kind, moment in events:
                self.event(connection, facts.load_id, item_id, kind, moment)
            return self.check(connection, facts, config)

    def event(self, connection, load_id, item_id, kind, moment):
        connection.execute(
            """
            INSERT INTO interactions
                (event_id, user_id, item_id, kind, weight, occurred_at, load_id, ingested_at, arrival, event_key)
            SELECT 'e' || ?, 'u', ?, ?, 1, ?, ?, ?, ?, hash(?)
            """,
            [self.arrival, item_id, kind, moment, load_id, moment, self.arrival, self.arrival],
        )
        self.arrival += 1

    def check(self, connection, facts, config=QualityConfig()):  # noqa: B008
        found = findings(connection, facts, config)
        connection.execute(
            "INSERT INTO loads VALUES (?, ?, ?, NULL, ?, ?, ?, ?, ?, ?)",
            [
                facts.load_id,
                facts.path,
                facts.table,
                facts.rows_read,
                facts.rows_loaded,
                facts.rows_duplicate,
                facts.rows_rejected,
                facts.started,
                facts.started,
            ],
        )
        return {finding.check: finding for finding in found}


@pytest.fixture
def loads(store):
    return Loads(store)


def add_items(store, *item_ids, title="Title"):
    for item_id in item_ids:
        store.connection.execute(
            "INSERT INTO items (item_id, title, updated_at) VALUES (?, ?, ?)", [item_id, title, NEW_YEAR]
        )


def views(n, item_id="a", moment=NEW_YEAR):
    return [(item_id, "view", moment)] * n


@pytest.mark.parametrize(
    ("one", "other", "alike"),
    [
        ("events-2024-05-01.jsonl", "/other/events-2024-05-02.jsonl", True),
        ("events.2024-05-01T10:00.csv.gz", "events.20240502.csv.gz", True),
        (f"part-00000-{UUID}.parquet", f"part-00017-{UUID.replace('a', '7')}.parquet", True),
        ("events-1.jsonl", "orders-1.jsonl", False),
        ("events-1.jsonl", "events-1.csv", False),
    ],
)
def test_files_of_one_feed_are_named_alike(one, other, alike):
    assert (family(one) == family(other)) is alike


def test_volume_is_compared_with_the_median_of_files_named_alike(loads):
    for rows in (90, 100, 5_000, 110):  # an odd one among them does not move the median
        said = loads.events([], read=rows)["volume"]
    assert (said.value, said.raised) == (pytest.approx(110 / 100), False)
    low, usual = loads.events([], read=34)["volume"], (100 + 110) / 2
    assert (low.value, low.raised) == (pytest.approx(34 / usual), True)
    high = loads.events([], read=331)["volume"]
    assert (high.value, high.raised) == (pytest.approx(331 / 100), True)  # of 90, 100, 5,000, 110 and 34
    assert high.message == (
        "331 rows are 3.31 times the usual 100, the median of the last 5 files named like events-#.jsonl"
    )
    other = loads.events([], read=100_000, path="orders-1.jsonl")["volume"]
    assert (other.value, other.raised) == (None, False)


def test_volume_at_the_factor_itself_is_not_raised(loads):
    for _ in range(3):
        loads.events([], read=300)
    assert [loads.events([], read=rows)["volume"].raised for rows in (900, 100)] == [False, False]
    assert [loads.events([], read=rows)["volume"].raised for rows in (901, 99)] == [True, True]


def test_volume_looks_at_the_latest_loads_only(loads):
    config = QualityConfig(volume_loads=3)
    for rows in (1_000, 1_000, 1_000, 10, 10, 10):
        loads.events([], config, read=rows)
    assert loads.events([], config, read=10)["volume"].value == 10 / 10


def test_unknown_items_are_a_share_of_the_new_rows(loads, store):
    nothing_to_compare = loads.events(views(3, "x"))["unknown_items"]
    assert (nothing_to_compare.value, nothing_to_compare.raised) == (None, False)
    add_items(store, "a", "b")
    at_the_limit = loads.events(views(9) + views(1, "x"))["unknown_items"]
    assert (at_the_limit.value, at_the_limit.raised) == (1 / 10, False)
    over = loads.events(views(3) + views(1, "x"))["unknown_items"]
    assert (over.value, over.raised) == (1 / 4, True)
    assert over.message == "1 of 4 new rows name items that the catalogue does not hold"


def test_unknown_items_of_impressions(loads, store):
    add_items(store, "a")
    facts = loads.facts("impressions", path="shown-1.csv", read=2, loaded=2)
    for load_id, item_id in (("earlier", "y"), (facts.load_id, "a"), (facts.load_id, "x")):
        store.connection.execute(
            "INSERT INTO impressions (request_id, user_id, item_id, occurred_at, load_id) VALUES ('r', 'u', ?, ?, ?)",
            [item_id, NEW_YEAR, load_id],
        )
    found = loads.check(store.connection, facts)
    assert set(found) == {"volume", "unknown_items", "future_events"}
    assert found["unknown_items"].value == 1 / 2


def test_late_events_are_older_than_the_newest_known_before(loads):
    assert loads.events(views(1))["late_events"].value is None
    line = NEW_YEAR - 30 * DAY
    instant = timedelta(microseconds=1)
    # The load's own newest event does not count: all of its rows are late or not as of what was known before.
    found = loads.events(
        [*views(1, moment=line), *views(1, moment=line - instant), *views(2, moment=NEW_YEAR + 90 * DAY)]
    )
    assert (found["late_events"].value, found["late_events"].raised) == (1 / 4, True)
    assert found["late_events"].message == (
        "1 of 4 new events are over 30 days older than the newest known before, of 2024-01-01"
    )
    assert loads.events(views(1, moment=NEW_YEAR + 60 * DAY))["late_events"].value == 0 / 1
    assert loads.events(views(1, moment=NEW_YEAR + 60 * DAY - instant))["late_events"].value == 1 / 1


def test_future_rows_are_a_share_of_the_file(loads):
    found = loads.events(views(999), reasons={"future_time": 1, "bad_time": 0})["future_events"]
    assert (found.value, found.raised) == (1 / 1000, False)
    found = loads.events(views(1), reasons={"future_time": 1, "bad_time": 2})["future_events"]
    assert (found.value, found.raised) == (1 / 4, True)
    assert found.message == "1 of 4 rows lie in the future and were rejected"


def test_kinds_never_seen_before_are_named(loads):
    assert loads.events([("a", "view", NEW_YEAR)])["new_kinds"].value is None
    found = loads.events(
        [("a", "view", NEW_YEAR), ("a", "veiw", NEW_YEAR), ("a", "buy", NEW_YEAR), ("b", "buy", NEW_YEAR)]
    )
    assert (found["new_kinds"].value, found["new_kinds"].raised) == (2, True)
    assert found["new_kinds"].message == "kinds that no earlier load had: 'buy' (2 rows), 'veiw' (1 row)"
    assert loads.events([("a", "veiw", NEW_YEAR)])["new_kinds"].raised is False


def test_a_log_of_a_thousand_kinds_raises_no_kind(loads, store):
    loads.events([("a", f"k{number}", NEW_YEAR) for number in range(MAX_KINDS)])
    assert loads.events([("a", "another", NEW_YEAR)])["new_kinds"].value is None
    assert store.connection.execute("SELECT len(kinds) FROM interactions_so_far").fetchall() == [(MAX_KINDS,)]


def test_what_came_without_a_check_is_known_as_well(loads, store):
    loads.events([("a", "view", NEW_YEAR)])
    loads.event(store.connection, "drained", "a", "wave", NEW_YEAR + 100 * DAY)  # as over HTTP
    found = loads.events([("a", "wave", NEW_YEAR + 60 * DAY)])
    assert found["new_kinds"].value == 0
    assert found["late_events"].value == 1 / 1


def test_a_load_that_fails_is_not_remembered(loads, store):
    loads.events([("a", "view", NEW_YEAR)])
    arrival = loads.arrival

    def fail():
        with store.transaction() as connection:
            facts = loads.facts(read=1, loaded=1, first_arrival=arrival)
            loads.event(connection, facts.load_id, "a", "wave", NEW_YEAR + 100 * DAY)
            findings(connection, facts, QualityConfig())
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    loads.arrival = arrival
    found = loads.events([("a", "wave", NEW_YEAR)])
    assert (found["new_kinds"].value, found["late_events"].value) == (1, 0)


def test_events_erased_from_the_end_make_the_past_be_read_anew(loads, store):
    loads.events([("a", "view", NEW_YEAR), ("a", "wave", NEW_YEAR + 100 * DAY)])
    store.connection.execute("DELETE FROM interactions WHERE arrival = 1")
    loads.arrival = 1  # as a load counts on from the greatest
    found = loads.events([("a", "wave", NEW_YEAR)])
    assert (found["new_kinds"].value, found["late_events"].value) == (1, 0)


def test_text_coverage_judges_the_catalogue(loads, store):
    add_items(store, "a", "b")
    add_items(store, "c", "d", "e", title=None)
    found = loads.check(store.connection, loads.facts("items", path="items.csv", read=5, loaded=5))
    assert set(found) == {"volume", "text_coverage"}
    assert (found["text_coverage"].value, found["text_coverage"].raised) == (2 / 5, True)
    assert found["text_coverage"].message == "2 of 5 items of the catalogue have a title or a description"


def test_a_load_of_known_rows_alone_raises_nothing(loads, store):
    add_items(store, "a")
    loads.events(views(5))
    assert [finding for finding in loads.events([], read=5).values() if finding.raised] == []


def test_every_check_is_kept_and_raised_ones_show_in_load_quality(loads, store):
    add_items(store, "a")
    loads.events(views(2))
    found = loads.events([*views(1, "x"), ("a", "wave", NEW_YEAR)])
    kept = store.connection.execute(
        """
        SELECT check_name, value, threshold, raised, message
        FROM quality_findings
        WHERE load_id = 'load0002'
        """
    ).fetchall()
    assert {
        row[0]: Finding(check=row[0], value=row[1], threshold=row[2], raised=row[3], message=row[4]) for row in kept
    } == found
    assert store.connection.execute("SELECT load_id, findings FROM load_quality").fetchall() == [
        ("load0001", None),
        ("load0002", [found["new_kinds"].message, found["unknown_items"].message]),
    ]


def test_a_factor_of_one_is_refused():
    with pytest.raises(ValueError, match="volume_factor: wanted a number over 1, got 1"):
        QualityConfig(volume_factor=1)


def test_checks_leave_the_past_unread(tmp_path):
    """Twenty times the past, the same cost but for noise: the least of several runs is compared."""
    took = []
    for number, past in enumerate((100_000, 2_000_000)):
        with Store.open(tmp_path / f"{number}.duckdb") as store:
            _fill(store, 0, past)
            _check(store, past, 0)  # the first check of a store reads it once
            _fill(store, past, 100_000)
            took.append(min(_check(store, past, 100_000) for _ in range(5)))
    assert took[1] < 3 * took[0] + 0.02


def _fill(store, first, n):
    store.connection.execute(
        """
        INSERT INTO interactions
            (event_id, user_id, item_id, kind, weight, occurred_at, load_id, ingested_at, arrival, event_key)
        SELECT i, 'u', 'a', 'view', 1, TIMESTAMP '2024-01-01' + INTERVAL (i) SECOND, 'l', TIMESTAMP '2024-01-01', i, i
        FROM range(?, ?) AS made(i)
        """,
        [first, first + n],
    )


def _check(store, first_arrival, loaded):
    facts = LoadFacts(
        load_id="load",
        table="interactions",
        path="log.csv",
        rows_read=loaded,
        rows_loaded=loaded,
        rows_duplicate=0,
        rows_rejected=0,
        reasons={},
        started=NEW_YEAR,
        first_arrival=first_arrival,
    )
    begun = time.process_time()  # of all threads, and of no other process
    findings(store.connection, facts, QualityConfig())
    return time.process_time() - begun
