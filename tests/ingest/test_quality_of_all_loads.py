"""What came over HTTP, and rejected rows tried again, are checked as files are: each beside loads of its like."""

from datetime import datetime, timedelta
from itertools import count
from pathlib import Path

import pytest

from ingest import drain as drain_file
from ingest.checks import ChecksConfig
from ingest.drain import drain
from ingest.outbox import OnlineEvent, Outbox
from ingest.quality import QualityConfig
from ingest.replay import replay_rejected
from ingest.spoken import drain_lines, load_lines
from ingest.store import Store
from ingest.take_in import take_in
from ingest.workspace import Workspace

NOON = datetime(2024, 5, 1, 12)
DAY = timedelta(days=1)


class Sent:
    """Sends so many events and drains them at a moment."""

    def __init__(self, outbox, store, monkeypatch):
        self.outbox, self.store, self.monkeypatch = outbox, store, monkeypatch
        self.number = 0

    def __call__(self, n, at=NOON, item="a", kind="view", quality=None):
        events = [
            OnlineEvent(
                event_id=f"e{self.number + n}", user_id="u", item_id=item, kind=kind, weight=1.0, occurred_at=NOON
            )
            for n in range(n)
        ]
        self.number += n
        self.outbox.append(events)
        clock = (at + n * timedelta(microseconds=1) for n in count())
        self.monkeypatch.setattr(drain_file, "utc_now", lambda: next(clock))
        return drain(self.outbox, self.store, quality)


@pytest.fixture
def send(outbox, store, monkeypatch):
    return Sent(outbox, store, monkeypatch)


def raised(found):
    return {finding.check: finding.message for finding in found if finding.raised}


def volume(drained):
    return [finding for finding in drained.findings if finding.check == "volume"][-1]


def kept(store, path):
    return store.connection.execute(
        """
        SELECT check_name, value, raised, message
        FROM quality_findings
        SEMI JOIN (SELECT load_id FROM loads WHERE path LIKE '%' || ?) AS those USING (load_id)
        ORDER BY load_id, check_name
        """,
        [path],
    ).fetchall()


def test_what_came_over_http_is_checked_kept_and_told(send, store, load):
    load("items.csv", "item_id,title\na,Apple\n")
    assert raised(send(4).findings) == {}
    drained = send(2, item="z", kind="wave")
    said = {
        "unknown_items": "2 of 2 new rows name items that the catalogue does not hold",
        "new_kinds": "kinds that no earlier load had: 'wave' (2 rows)",
    }
    assert raised(drained.findings) == said
    rows = kept(store, "online.sqlite")
    checks = ["future_events", "late_events", "new_kinds", "unknown_items", "volume"]
    assert [row[0] for row in rows] == checks * 2
    assert {check: message for check, _, told, message in rows if told} == said
    (line,) = drain_lines(Path("online.sqlite"), drained)
    assert line.count("; attention: ") == 2
    assert all(message in line for message in said.values())
    told = store.connection.sql("SELECT findings FROM load_quality WHERE findings IS NOT NULL").fetchall()
    assert told == [([said["new_kinds"], said["unknown_items"]],)]


def test_events_over_http_are_news_for_the_next_file_no_more(send, load):
    load("log.csv", "user_id,item_id,occurred_at\nu,a,2024-01-01\n")
    send(1, kind="wave")
    report = load("later.csv", "user_id,item_id,occurred_at,kind\nu,b,2024-01-02,wave\n")
    assert "new_kinds" not in raised(report.findings)


def test_the_limits_are_those_handed_in(send):
    send(1)
    assert raised(send(1, kind="wave", quality=QualityConfig(max_new_kinds=1)).findings) == {}


def test_volume_over_http_compares_days_not_drains(send):
    """Ten a day, some in several drains; one drain more finds little, and that is usual."""
    assert [volume(send(10, at=NOON + day * DAY)).value for day in range(3)] == [None] * 3
    assert volume(send(10, at=NOON + 3 * DAY)).value == 10 / 10
    few = volume(send(1, at=NOON + 3 * DAY + timedelta(minutes=1)))
    assert (few.value, few.raised) == ((10 + 1) / 10, False)
    many = volume(send(25, at=NOON + 3 * DAY + timedelta(minutes=2)))
    assert (many.value, many.raised) == ((10 + 1 + 25) / 10, True)
    assert many.message == (
        "36 rows are 3.6 times the usual 10, the median of the last 3 days on which events came from online.sqlite"
    )


def test_a_day_ends_with_the_drain_and_begins_an_instant_after_the_same_time_yesterday(send):
    config = QualityConfig(volume_min_loads=1)
    send(10, at=NOON)
    assert volume(send(10, at=NOON + DAY, quality=config)).value == 10 / 10
    assert volume(send(10, at=NOON + 2 * DAY - timedelta(microseconds=1), quality=config)).value == 20 / 10


def test_files_are_not_compared_with_what_came_over_http(send, load):
    for day in range(4):
        send(100, at=NOON + day * DAY)
    report = load("events.csv", "user_id,item_id,occurred_at\nu,a,2024-05-05\n")
    assert "volume" not in raised(report.findings)


def test_the_last_load_of_a_drain_is_judged_also_when_it_is_full(send, monkeypatch):
    monkeypatch.setattr(drain_file, "EVENTS_AT_ONCE", 5)
    send(10, at=NOON)
    drained = send(10, at=NOON + DAY, quality=QualityConfig(volume_min_loads=1))
    found = [finding.value for finding in drained.findings if finding.check == "volume"]
    assert found == [None, (5 + 5) / 10]


def test_a_drain_of_several_loads_is_judged_by_all_of_them(send, store, monkeypatch):
    monkeypatch.setattr(drain_file, "EVENTS_AT_ONCE", 4)
    for day in range(3):
        send(10, at=NOON + day * DAY)
    drained = send(10, at=NOON + 3 * DAY, quality=QualityConfig(volume_factor=1.1))
    found = [finding.value for finding in drained.findings if finding.check == "volume"]
    assert found == [None, None, (4 + 4 + 2) / 10]
    assert len(kept(store, "online.sqlite")) == 4 * 3 * 5


def test_rejected_rows_tried_again_are_checked_kept_and_told(store, load):
    load("items.csv", "item_id,title\na,Apple\n")
    log = "user_id,item_id,ts,kind\nu1,a,2024-01-01,view\nu2,z,31/01/2024,wave\nu3,a,2099-01-01,view\n"
    first = load("log.csv", log, checks=ChecksConfig(max_rejected_share=0.9))
    assert "future_events" in raised(first.findings)
    (report,) = replay_rejected(store, checks=ChecksConfig(time_format="%d/%m/%Y"))
    said = {
        "unknown_items": "1 of 1 new rows name items that the catalogue does not hold",
        "new_kinds": "kinds that no earlier load had: 'wave' (1 row)",
    }
    assert raised(report.findings) == said, "the file was judged by its future rows already"
    rows = kept(store, "(rejected rows)")
    assert {check: message for check, _, told, message in rows if told} == said
    assert next(load_lines([report])).count("; attention: ") == 2
    assert raised(replay_rejected(store, quality=QualityConfig(max_unknown_item_share=1.0))[0].findings) == {}


def test_rejected_rows_tried_again_are_compared_with_earlier_tries(store, load):
    rows = "".join(f"u{n},a,soon\n" for n in range(2))
    for day in range(1, 5):
        load(
            f"log-{day}.csv", f"user_id,item_id,ts\nu,a,2024-01-0{day}\nu,b,2024-01-0{day}\nu,c,2024-01-0{day}\n" + rows
        )
    tries = [report for _ in range(2) for report in replay_rejected(store)]
    values = [finding.value for report in tries for finding in report.findings if finding.check == "volume"]
    assert values == [None] * 3 + [2 / 2] * 5


def test_a_workspace_checks_both_by_its_own_limits(tmp_path):
    space = Workspace.create(tmp_path / "shop", "[quality]\nmax_new_kinds = 1\n")
    log = tmp_path / "log.csv"
    log.write_text("user_id,item_id,occurred_at,kind\nu,a,2024-05-01,view\nu,b,01/05/2024,wave\n")
    take_in(space, [log])
    with Outbox.open(space.outbox_path) as outbox:
        event = OnlineEvent(event_id="e", user_id="u", item_id="a", kind="hail", weight=1.0, occurred_at=NOON)
        outbox.append([event])
    taken = take_in(space, rejected=True, time_format="%d/%m/%Y")
    found = [finding for finding in taken.reports[0].findings + taken.drained.findings if finding.check == "new_kinds"]
    assert [(finding.value, finding.threshold, finding.raised) for finding in found] == [(1, 1, False)] * 2
    with Store.open(space.store_path) as store:
        assert store.connection.sql("SELECT count(*) FROM quality_findings WHERE raised").fetchall() == [(0,)]
