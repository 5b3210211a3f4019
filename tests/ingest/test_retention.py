import json
from dataclasses import replace
from datetime import datetime, timedelta

import pytest

import readrank
from ingest.bundle_folders import bundle_folders
from ingest.drain import drain
from ingest.errors import SettingsError
from ingest.outbox import OnlineEvent, Outbox
from ingest.retention import Retained, RetentionConfig, retain
from ingest.store import Store
from ingest.workspace import Workspace, commented_toml

QUARANTINE = "rejected_rows (load_id, source, line, reason_code, detail, raw, table_name)"
NOW = datetime(2024, 6, 30)
INSTANT = NOW - timedelta(days=10)
TICK = timedelta(microseconds=1)
NOTHING = RetentionConfig(erased_bundles_days=None, outbox_days=None)


def fill(space, *moments):
    """Put one row of each moment into every table that retention looks at."""
    with Store.open(space.store_path) as store:
        for number, moment in enumerate(moments):
            execute = store.connection.execute
            execute(
                """
                INSERT INTO interactions (
                    event_id, user_id, item_id, kind, weight, occurred_at, load_id, ingested_at, arrival, event_key
                )
                VALUES (uuid(), 'u', 'i', 'view', 1, ?, 'l', ?, 1, 1)
                """,
                [moment, moment],
            )
            execute("INSERT INTO requests (request_id, user_id, occurred_at) VALUES (uuid(), 'u', ?)", [moment])
            execute(
                "INSERT INTO impressions (request_id, user_id, item_id, occurred_at) VALUES (uuid(), 'u', 'i', ?)",
                [moment],
            )
            execute(
                "INSERT INTO loads VALUES (?, 'f', 'interactions', NULL, 1, 0, 0, 1, ?, ?)",
                [str(number), moment, moment],
            )
            execute(f"INSERT INTO {QUARANTINE} VALUES (?, 'f', 1, 'bad', NULL, '{{}}', 'interactions')", [str(number)])


def counts(space):
    tables = ("interactions", "requests", "impressions", "rejected_rows", "loads")
    with Store.open(space.store_path) as store:
        return [store.connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in tables]


def bundle(space, number, *, created=NOW, cutoff=NOW, outbox_seq=0):
    folder = space.bundles_path / f"b{number}"
    folder.mkdir()
    manifest = {"created_at": str(created), "cutoff": str(cutoff), "outbox_seq": outbox_seq}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder.name


def names(space):
    return [bundle.version for bundle in bundle_folders(space.bundles_path)]


def test_without_numbers_everything_stays(space):
    fill(space, datetime(1970, 1, 1))
    old = [bundle(space, number, created=datetime(2000, 1, number + 1)) for number in range(9)]
    (space.bundles_path / "live").write_text(old[0])
    assert retain(space, RetentionConfig(), NOW) == Retained()
    assert counts(space) == [1, 1, 1, 1, 1]
    assert len(names(space)) == 9
    assert not space.outbox_path.exists(), "nothing is made only to look into it"


@pytest.mark.parametrize(
    ("setting", "removed"),
    [
        ("interactions_days", {"interactions": 1}),
        ("requests_days", {"requests": 1, "impressions": 1}),
        ("rejected_days", {"rejected_rows": 1}),
    ],
)
def test_rows_go_that_are_older_and_the_instant_itself_stays(space, setting, removed):
    fill(space, INSTANT - TICK, INSTANT, NOW)
    assert retain(space, replace(NOTHING, **{setting: 10}), NOW).rows == removed
    assert sum(counts(space)) == 15 - sum(removed.values())
    assert retain(space, replace(NOTHING, **{setting: 10}), NOW) == Retained()
    assert retain(space, replace(NOTHING, **{setting: 10}), NOW + TICK).rows == removed


def test_old_bundles_go_but_those_that_serve_or_served_or_are_newest(space):
    for number in range(8):
        bundle(space, number, created=datetime(2024, 1, number + 1))
    (space.bundles_path / "live").write_text("b1\n")
    (space.bundles_path / "previous").write_text("b3\n")
    config = replace(NOTHING, bundles_days=10, keep_bundles=2)
    assert retain(space, config, NOW).bundles == ("b0", "b2", "b4", "b5")
    assert names(space) == ["b1", "b3", "b6", "b7"]


def test_fewer_bundles_than_are_to_be_kept_all_stay(space):
    for number in range(4):
        bundle(space, number, created=datetime(2024, 1, number + 1))
    (space.bundles_path / "live").write_text("b3\n")
    assert retain(space, replace(NOTHING, bundles_days=10, keep_bundles=5), NOW).bundles == ()


@pytest.mark.parametrize(("created", "stays"), [(INSTANT - TICK, False), (INSTANT, True)])
def test_a_bundle_goes_when_it_is_older_and_the_instant_itself_stays(space, created, stays):
    bundle(space, 0, created=created)
    bundle(space, 1)
    (space.bundles_path / "live").write_text("b1")
    retain(space, replace(NOTHING, bundles_days=10, keep_bundles=0), NOW)
    assert names(space) == (["b0", "b1"] if stays else ["b1"])


def test_no_bundle_goes_while_none_serves(space):
    bundle(space, 0, created=datetime(2000, 1, 1))
    assert retain(space, replace(NOTHING, bundles_days=1, keep_bundles=0), NOW) == Retained()


def test_bundles_of_erased_persons_go_at_their_date_whatever_else_keeps_them(space):
    for number in range(3):
        bundle(space, number)
    (space.bundles_path / "live").write_text("b2")
    (space.bundles_path / "previous").write_text("b1")
    with Store.open(space.store_path) as store:
        store.connection.execute(
            "INSERT INTO erasures VALUES ('r', ?, 1, '{}', ['b0', 'b1', 'b2'], NULL), ('s', ?, 1, '{}', ['b0'], NULL)",
            [INSTANT, NOW],
        )
        store.connection.execute(
            "INSERT INTO bundles (version, cutoff, created_at, status) VALUES ('b0', $1, $1, 'x')", [NOW]
        )
    config = replace(NOTHING, erased_bundles_days=10)
    assert retain(space, config, NOW) == Retained()
    assert retain(space, config, NOW + TICK).bundles == ("b0", "b1")
    assert names(space) == ["b2"]
    with Store.open(space.store_path) as store:
        assert store.connection.execute("SELECT status FROM bundles").fetchall() == [("retired",)]


def test_what_a_killed_removal_left_goes_with_the_next(space):
    (space.bundles_path / ".removed-b0" / "history").mkdir(parents=True)
    (space.root / ".training-abc" / "data").mkdir(parents=True)
    assert retain(space, NOTHING, NOW).leftovers == (".training-abc", "bundles/.removed-b0")
    assert list(space.bundles_path.iterdir()) == []
    assert not (space.root / ".training-abc").exists()
    assert retain(space, NOTHING, NOW) == Retained()


def event(number, moment):
    return OnlineEvent(event_id=f"e{number}", user_id="u", item_id="i", kind="view", weight=1.0, occurred_at=moment)


def test_events_leave_the_outbox_when_old_and_drained_and_covered_by_every_bundle(space):
    moments = [INSTANT - TICK, INSTANT, INSTANT - 2 * TICK, INSTANT - 3 * TICK]
    with Outbox.open(space.outbox_path) as outbox, Store.open(space.store_path) as store:
        outbox.append([event(number, moment) for number, moment in enumerate(moments)])
        drain(outbox, store)
        outbox.append([event(9, INSTANT - TICK)])

    def left():
        with Outbox.open(space.outbox_path) as outbox:
            return [e.event_id for e in outbox.events_after(0)[0]]

    config = replace(NOTHING, outbox_days=10)
    # This one was trained before the last drained event arrived, and knows nothing from its cutoff on.
    bundle(space, 0, cutoff=INSTANT - 2 * TICK, outbox_seq=3)
    assert retain(space, config, NOW) == Retained()
    bundle(space, 1, cutoff=INSTANT - TICK, outbox_seq=4)
    assert retain(space, config, NOW) == Retained()
    (space.bundles_path / "b0/manifest.json").unlink()
    assert retain(space, config, NOW).rows == {"online.sqlite:events": 2}
    assert left() == ["e0", "e1", "e9"]
    (space.bundles_path / "b1/manifest.json").unlink()
    assert retain(space, config, NOW).rows == {"online.sqlite:events": 1}
    assert left() == ["e1", "e9"], "the instant itself and what is not in the store stay"


def test_only_bundles_that_may_come_to_serve_hold_events_back(space):
    with Outbox.open(space.outbox_path) as outbox, Store.open(space.store_path) as store:
        outbox.append([event(number, INSTANT - 2 * TICK) for number in range(1, 6)])
        drain(outbox, store)

    def left(live, previous):
        (space.bundles_path / "live").write_text(live)
        (space.bundles_path / "previous").write_text(previous)
        retain(space, replace(NOTHING, outbox_days=10), NOW)
        with Outbox.open(space.outbox_path) as outbox:
            return [int(e.event_id[1:]) for e in outbox.events_after(0)[0]]

    # Bundle n knows the events up to n; the first was trained before there were any.
    for number in range(6):
        bundle(space, number, created=datetime(2024, 1, number + 1), outbox_seq=number)
    assert left("b0", "") == [1, 2, 3, 4, 5], "newer ones serve sooner or later, but this one does now"
    assert left("b2", "b1") == [2, 3, 4, 5], "the way back holds its events, the first bundle none"
    # Trained again without what happened from then on, and not promoted yet.
    bundle(space, 6, created=datetime(2024, 1, 7), cutoff=INSTANT - 2 * TICK, outbox_seq=5)
    assert left("b5", "b4") == [2, 3, 4, 5]
    bundle(space, 7, created=datetime(2024, 1, 8), outbox_seq=5)
    assert left("b7", "b4") == [5]
    assert left("b7", "b5") == []


def test_ingest_applies_it_and_tells(tmp_path, capsys):
    settings = commented_toml({"retention": RetentionConfig}).replace("# interactions_days =", "interactions_days = 1")
    space = Workspace.create(tmp_path / "shop", settings)
    log = tmp_path / "log.csv"
    log.write_text("user_id,item_id,occurred_at\nu,i,2001-01-01\n")
    with Outbox.open(space.outbox_path) as outbox:
        outbox.append([event(1, datetime(2001, 1, 1))])
    assert readrank.run(["ingest", str(log), "-w", str(space.root)]) == 0
    said = capsys.readouterr().out
    assert "drained 1 events" in said
    assert "retention removed 2 rows of interactions" in said
    assert "retention removed 1 rows of online.sqlite:events" in said
    assert readrank.run(["ingest", str(log), "-w", str(space.root), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told[1]["drained"]["events"] == 0
    assert told[2]["retention"]["rows"] == {"interactions": 1}


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("requests_days = -1", "wanted 0 to 500,000, got -1.0; leave it out to keep things for good$"),
        ("requests_days = 1e10", "wanted 0 to 500,000"),
        ("requests_days = nan", "wanted a finite number, got nan"),
        ("requests_days = inf", "wanted a finite number, got inf"),
        ("outbox_days = -1", "wanted 0 to 500,000, got -1.0; write 500000 to keep things for good$"),
        ("erased_bundles_days = -1", "wanted 0 to 500,000, got -1.0; write 500000 to keep things for good$"),
        ("keep_bundles = -1", "wanted at least 0, got -1$"),
    ],
)
def test_a_number_that_cannot_be_is_told_with_the_way_out(tmp_path, line, told):
    space = Workspace.create(tmp_path / "shop", f"[retention]\n{line}\n")
    with pytest.raises(SettingsError, match=f"{line.split()[0]}: {told}"):
        space.section("retention", RetentionConfig)


def test_the_way_out_is_one(tmp_path):
    forever = Workspace.create(tmp_path / "shop", "[retention]\noutbox_days = 500000\n")
    assert forever.section("retention", RetentionConfig).outbox_days == 500_000
    defaults = RetentionConfig()
    left_out = (defaults.interactions_days, defaults.requests_days, defaults.rejected_days, defaults.bundles_days)
    assert left_out == (None, None, None, None)
