import json
import os
import shutil
import signal
import subprocess
import sys
from datetime import datetime, timedelta
from pathlib import Path

import duckdb
import polars as pl
import pytest

from ingest.checks import ChecksConfig
from ingest.drain import drain
from ingest.erase import forget, person_of
from ingest.errors import ErasureError, StoreError
from ingest.load import load_files
from ingest.mentions import Person
from ingest.moments import utc_now
from ingest.outbox import OnlineEvent, Outbox
from ingest.publish import publish
from ingest.publish_parquet import publish_parquet
from ingest.retention import RetentionConfig
from ingest.store import Store
from ingest.verify_erasure import search
from ingest.workspace import Workspace

QUARANTINE = "rejected_rows (load_id, source, line, reason_code, detail, raw, table_name)"
ROOT = Path(__file__).parents[2]
GONE = "person-to-forget-4711"
LONGER = f"{GONE}-junior"
START = datetime(2024, 1, 1)
TABLES = ("items", "interactions", "requests", "impressions", "rejected_rows", "loads")


def event(number, user):
    return OnlineEvent(
        event_id=f"online-{number}", user_id=user, item_id="i1", kind="view", weight=1.0, occurred_at=START
    )


def answer(number, user):
    request = {"request_id": f"r{number}", "user_id": user, "occurred_at": START, "endpoint": "recommendations"}
    shown = {"request_id": f"r{number}", "user_id": user, "item_id": "i1", "position": 1, "occurred_at": START}
    return request, [{**shown, "sources": ["popular"], "features": [1.0]}]


def fill(folder, n_rows=300):
    """Make a workspace in which the person stands in every place: store, outbox, both published copies, a bundle."""
    space = Workspace.create(folder, "")
    users = [GONE, LONGER, "ann", "bob"]
    log = folder.parent / "log.jsonl"
    rows = [
        {"user_id": users[n % 4], "item_id": f"i{n % 7}", "occurred_at": f"2024-01-{n % 28 + 1:02d}", "note": f"n{n}"}
        for n in range(n_rows)
    ]
    rows += [{"user_id": user, "item_id": "i1", "occurred_at": "never"} for user in users]
    lines = [json.dumps(row) for row in rows] + [f'{{"user_id": "{GONE}", broken', '{"user_id": "ann", broken']
    log.write_text("\n".join(lines) + "\n")
    items = folder.parent / "items.csv"
    items.write_text("item_id,title\n" + "".join(f"i{n},Thing {n}\n" for n in range(7)))
    with Store.open(space.store_path) as store, Outbox.open(space.outbox_path) as outbox:
        load_files(store, [items, log])
        outbox.append([event(n, user) for n, user in enumerate(users)])
        for n, user in enumerate(users):
            outbox.log_answer(*answer(n, user))
        drain(outbox, store)
        outbox.append([event(n + 10, user) for n, user in enumerate(users)])
        for n, user in enumerate(users):
            outbox.log_answer(*answer(n + 10, user))
    publish(space)
    publish_parquet(space)
    bundle(space, "20240101T000000000", users)
    return space


def bundle(space, version, users, *, live=False, created=START, cutoff=START, outbox_seq=4):
    folder = space.bundles_path / version
    (folder / "history").mkdir(parents=True)
    pl.DataFrame({"user_id": users}, schema={"user_id": pl.String}).write_parquet(folder / "history/users.parquet")
    manifest = {"created_at": str(created), "cutoff": str(cutoff), "outbox_seq": outbox_seq}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    if live:
        (space.bundles_path / "live").write_text(version + "\n")
    return folder


def rows_of(path, user=None):
    """Return every table's rows but the person's, as sorted text, to compare row for row."""
    with duckdb.connect(str(path), read_only=True) as connection:
        found = {}
        for table in TABLES:
            rows = [str(row) for row in connection.execute(f"SELECT * FROM {table}").fetchall()]
            found[table] = sorted(row for row in rows if user is None or f"'{user}'" not in row)
    with_raw = found["rejected_rows"]
    found["rejected_rows"] = [row for row in with_raw if f'"{GONE}"' not in row]
    return found


def of_person(path):
    with duckdb.connect(str(path), read_only=True) as connection:
        counts = [
            connection.execute(f"SELECT count(*) FROM {table} WHERE user_id = ?", [GONE]).fetchone()[0]
            for table in ("interactions", "requests", "impressions")
        ]
        counts += connection.execute("SELECT count(*) FROM rejected_rows WHERE raw LIKE ?", [f'%"{GONE}"%']).fetchone()
    return counts


def shape(path):
    with duckdb.connect(str(path), read_only=True) as connection:
        return connection.execute(
            """
            SELECT table_name, column_name, data_type, is_nullable, column_default, comment
            FROM duckdb_columns()
            ORDER BY ALL
            """
        ).fetchall(), connection.execute("SELECT view_name, sql, comment FROM duckdb_views() ORDER BY ALL").fetchall()


def receipts(space):
    with Store.open(space.store_path, read_only=True) as store:
        return store.connection.execute("SELECT * FROM erasures").fetchall()


def searched(space, user=GONE, now=None):
    return search(space, Person((user,)), RetentionConfig(), now or utc_now())


def bytes_hold(space, text):
    """Name the files outside bundles/ that hold a text; the longer id of somebody else is cut out first."""
    return [
        path.name
        for path in space.root.rglob("*")
        if path.is_file()
        and "bundles" not in path.parts
        and text.encode() in path.read_bytes().replace(LONGER.encode(), b"")
    ]


@pytest.fixture(scope="module")
def filled(tmp_path_factory):
    return fill(tmp_path_factory.mktemp("filled") / "shop")


@pytest.fixture
def space(filled, tmp_path):
    return Workspace(shutil.copytree(filled.root, tmp_path / "shop", symlinks=True))


def test_forget_removes_a_person_everywhere_and_nobody_else(space):
    store, before, kept_shape = space.store_path, rows_of(space.store_path, GONE), shape(space.store_path)
    assert of_person(store) == [76, 1, 1, 2]
    forgotten = forget(space, Person((GONE,)), RetentionConfig())
    assert forgotten.rows == {
        "interactions": 76,
        "requests": 1,
        "impressions": 1,
        "rejected_rows": 2,
        "online.sqlite:events": 2,
        "online.sqlite:requests": 1,
        "online.sqlite:impressions": 1,
    }
    for path in (store, space.analytics_path):
        assert of_person(path) == [0, 0, 0, 0]
        assert rows_of(path) == before
        assert shape(path) == kept_shape
    with Outbox.open(space.outbox_path) as outbox:
        assert [e.user_id for e in outbox.events_after(0)[0]] == [LONGER, "ann", "bob"] * 2
        assert outbox.answers(10)[0]["user_id"].to_list() == [LONGER, "ann", "bob"]
        assert outbox.drained_seq() == 4
    (latest,) = [path for path in space.parquet_path.iterdir() if path.is_dir() and not path.is_symlink()]
    assert pl.read_parquet(latest / "interactions/**/*.parquet")["user_id"].unique().sort().to_list() == sorted(
        [LONGER, "ann", "bob"]
    )
    assert bytes_hold(space, GONE) == []


def test_bytes_of_the_person_were_there_before(space):
    assert {"readrank.duckdb", "analytics.duckdb", "online.sqlite"} <= set(bytes_hold(space, GONE))


def test_the_receipt_counts_and_dates_and_does_not_name(space):
    forgotten = forget(space, Person((GONE,)), RetentionConfig(erased_bundles_days=30))
    ((receipt_id, erased_at, n_rows, by_place, versions, gone_by),) = receipts(space)
    assert receipt_id == forgotten.receipt_id
    assert n_rows == sum(json.loads(by_place).values()) == 84
    assert versions == ["20240101T000000000"]
    assert gone_by == erased_at + timedelta(days=30)
    assert GONE not in str(receipts(space))
    # Again: nothing more to remove, so no second receipt.
    assert forget(space, Person((GONE,)), RetentionConfig()).receipt_id is None
    assert len(receipts(space)) == 1


def test_what_killed_jobs_left_goes_with_the_person(space):
    person = pl.DataFrame({"user_id": [GONE]})
    left = [
        ".evaluation-abc/.20240101T000000000.tmp/history/users.parquet",
        ".searching-abc/copy.parquet",
        ".training-abc/data/sequences.parquet",
        "bundles/.20240101T000000001.tmp/history/users.parquet",
        "bundles/.removed-20240101T000000002/history/users.parquet",
    ]
    for name in left:
        (space.root / name).parent.mkdir(parents=True)
        person.write_parquet(space.root / name)
    assert set(left) <= {found.place.split(":")[0] for found in searched(space).found}
    forgotten = forget(space, Person((GONE,)), RetentionConfig())
    folders = (Path(name) for name in left)
    assert set(forgotten.leftovers) == {
        str(Path(*name.parts[: 2 if name.parts[0] == "bundles" else 1])) for name in folders
    }
    assert searched(space).clean
    assert forget(space, Person((GONE,)), RetentionConfig()).leftovers == ()


def test_the_date_is_open_while_a_bundle_with_the_person_serves(space):
    bundle(space, "20240102T000000000", [GONE], live=True)
    forgotten = forget(space, Person((GONE,)), RetentionConfig())
    assert [(b.version, b.live) for b in forgotten.bundles] == [
        ("20240101T000000000", False),
        ("20240102T000000000", True),
    ]
    assert receipts(space)[0][-1] is None


def test_an_unknown_person_leaves_no_receipt_and_changes_nothing(space):
    before = rows_of(space.store_path)
    assert forget(space, Person(("nobody-at-all",)), RetentionConfig()).receipt_id is None
    assert rows_of(space.store_path) == before
    assert receipts(space) == []
    with pytest.raises(ErasureError, match="only blanks"):
        person_of(space, " ")


def test_a_number_takes_only_its_own_rows(tmp_path, space):
    log = tmp_path / "numbers.csv"
    log.write_text("user_id,item_id,occurred_at\n1,2,2024-01-01\n2,1,2024-01-01\n1,2,never\n2,1,never\n11,1,never\n")
    with Store.open(space.store_path) as store:
        load_files(store, [log], checks=ChecksConfig(max_rejected_share=1))
    assert forget(space, Person(("1",)), RetentionConfig()).rows == {"interactions": 1, "rejected_rows": 1}
    assert searched(space, "1").found == []


def test_rejected_rows_go_by_their_user_or_by_a_mention_where_none_can_be_read(space):
    rows = {
        f'{{"user_id": "{GONE}", "item_id": "i"}}': True,
        f'{{"user_id": "ann", "note": "{GONE}"}}': False,
        f'{{"user_id": "{LONGER}"}}': False,
        f'{{"user_id": ["{GONE}"]}}': True,
        f'{{"user_id": {{"id": "{GONE}"}}, "item_id": "i"}}': True,
        f'{{"user_id": {{"id": "{LONGER}"}}}}': False,
        f'{{"user_id": "{GONE}\\u0007 "}}': True,
        f'{{"user_id": "{GONE} and {LONGER}"}}': False,
        f'{{"event": "ranking", "user": "{GONE}"}}': True,
        f"i1;{GONE};2024": True,
        f"i1;{LONGER};2024": False,
    }
    with Store.open(space.store_path) as store:
        for raw in rows:
            store.connection.execute(
                f"INSERT INTO {QUARANTINE} VALUES ('l', 'f', 1, 'bad', NULL, ?, 'interactions')", [raw]
            )
    forget(space, Person((GONE,)), RetentionConfig())
    with Store.open(space.store_path) as store:
        left = store.connection.execute("SELECT raw FROM rejected_rows WHERE load_id = 'l'").fetchall()
    assert [raw for (raw,) in left] == [raw for raw, goes in rows.items() if not goes]


def test_a_number_leaves_rejected_rows_whose_user_only_ends_in_it(space):
    rows = ["user_17,i,2024-01-02", "user 17,i,2024-01-02", "7,i,2024-01-02"]
    with Store.open(space.store_path) as store:
        for raw in (*rows, '{"user": "user_17"}'):
            store.connection.execute(
                f"INSERT INTO {QUARANTINE} VALUES ('l', 'f', 1, 'bad', NULL, ?, 'interactions')", [raw]
            )
    assert forget(space, Person(("7",)), RetentionConfig()).rows == {"rejected_rows": 1}, "only the last of `rows`"


def test_blanks_around_the_id_go_as_they_do_in_files(tmp_path, space):
    log = tmp_path / "log.csv"
    log.write_text("user_id,item_id,occurred_at\n u1 ,i,2024-01-01\n")
    with Store.open(space.store_path) as store:
        load_files(store, [log])
    person = person_of(space, " u1\t")
    assert person == Person(("u1",))
    assert forget(space, person, RetentionConfig()).rows == {"interactions": 1}
    assert searched(space, "u1").clean


def test_a_store_behind_a_link_is_rewritten_where_it_lies(space, tmp_path):
    elsewhere = tmp_path / "large disk"
    elsewhere.mkdir()
    space.store_path.chmod(0o640)
    space.store_path.rename(elsewhere / "store.duckdb")
    space.store_path.symlink_to(elsewhere / "store.duckdb")
    for name in (".writing-abc/store.duckdb", ".store.duckdb.1.new"):  # of runs that were killed, also an older one
        (elsewhere / name).parent.mkdir(exist_ok=True)
        (elsewhere / name).touch()
    forget(space, Person((GONE,)), RetentionConfig())
    assert space.store_path.is_symlink()
    assert [path.name for path in elsewhere.iterdir()] == ["store.duckdb"]
    assert of_person(elsewhere / "store.duckdb") == [0, 0, 0, 0]
    assert (elsewhere / "store.duckdb").stat().st_mode & 0o777 == 0o640


def test_a_store_that_a_job_has_open_is_told_before_anything_is_removed(space):
    program = "import sys, duckdb\nc = duckdb.connect(sys.argv[1])\nprint(1, flush=True)\nsys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", program, str(space.store_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as job:
        job.stdout.readline()
        with pytest.raises(StoreError, match="has the store open"):
            forget(space, Person((GONE,)), RetentionConfig())
        job.stdin.close()
    with Outbox.open(space.outbox_path) as outbox:
        assert GONE in {e.user_id for e in outbox.events_after(0)[0]}


KILLED = """
import importlib, os, signal, sys
from ingest.checks import ChecksConfig
from ingest.erase import forget
from ingest.mentions import Person
from ingest.retention import RetentionConfig
from ingest.workspace import Workspace
root, user, module, name, when, number = sys.argv[1:]
owner = importlib.import_module(module)
for part in name.split(".")[:-1]:
    owner = getattr(owner, part)
name = name.split(".")[-1]
real, calls = getattr(owner, name), [0]
def dying(*args, **kwargs):
    calls[0] += 1
    due = calls[0] == int(number)
    if due and when == "before":
        os.kill(os.getpid(), signal.SIGKILL)
    done = real(*args, **kwargs)
    if due:
        os.kill(os.getpid(), signal.SIGKILL)
    return done
setattr(owner, name, dying)
forget(Workspace(__import__("pathlib").Path(root)), Person((user,)), RetentionConfig())
"""
MOMENTS = [
    ("ingest.erase", "begin_in_outbox", "before", 1),
    ("ingest.erase_outbox", "_rebuild", "before", 1),
    ("ingest.erase_store", "_sums", "after", 4),
    ("ingest.erase_store", "make_durable", "after", 1),
    ("ingest.erase_store", "Path.replace", "after", 1),
    ("ingest.erase", "publish", "before", 1),
    ("ingest.erase", "publish_parquet", "before", 1),
    ("ingest.erase", "clear_leftovers", "before", 1),
    ("ingest.erase", "finish_in_outbox", "before", 1),
]


@pytest.mark.parametrize(("module", "name", "when", "number"), MOMENTS, ids=str)
def test_killed_at_any_moment_the_store_is_as_before_or_after_and_a_second_run_completes(
    space, module, name, when, number
):
    others = rows_of(space.store_path, GONE)
    killed = subprocess.run(
        [sys.executable, "-c", KILLED, str(space.root), GONE, module, name, when, str(number)],
        cwd=ROOT,
        env={**os.environ, "POLARS_MAX_THREADS": "1"},
        capture_output=True,
        check=False,
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()[-2000:]
    assert of_person(space.store_path) in ([76, 1, 1, 2], [0, 0, 0, 0])
    assert rows_of(space.store_path, GONE) == others
    forget(space, Person((GONE,)), RetentionConfig())
    assert of_person(space.store_path) == [0, 0, 0, 0]
    assert rows_of(space.store_path) == others
    assert bytes_hold(space, GONE) == []
    assert list(space.root.glob(".*")) == []
    result = searched(space)
    assert result.clean, result
    assert [remains.version for remains in result.expected] == ["20240101T000000000"]
    assert result.doubtful == []
    # One receipt, and it counts what both runs removed.
    ((_, _, n_rows, _, _, _),) = receipts(space)
    assert n_rows == 84


def test_services_go_on_while_a_person_is_forgotten(space):
    program = (
        "import sys; from datetime import datetime; from ingest.outbox import *\n"
        "o = Outbox.open(sys.argv[1]); n = 0; print(1, flush=True)\n"
        "while not o.erasures() or n % 50:\n"
        "    o.append([OnlineEvent(event_id=f'busy-{n}', user_id='busy', item_id='i', kind='view', weight=1.0,"
        " occurred_at=datetime(2024, 1, 1))]); o.events_after(n); n += 1\n"
        "o.append([OnlineEvent(event_id='last', user_id='busy', item_id='i', kind='view', weight=1.0,"
        " occurred_at=datetime(2024, 1, 1))])\n"
        "print(n, flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, str(space.outbox_path)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as service:
        service.stdout.readline()
        forget(space, Person((GONE,)), RetentionConfig())
        sent = int(service.stdout.readline())
        # It still has the file open.
        result = searched(space)
        service.stdin.close()
    assert result.clean, result
    with Outbox.open(space.outbox_path) as outbox:
        users = [e.user_id for e in outbox.events_after(0)[0]]
    assert users.count("busy") == sent + 1
    assert GONE not in users
