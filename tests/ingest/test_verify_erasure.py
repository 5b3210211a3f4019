import bz2
import gzip
import json
import lzma
import shutil
import sqlite3
from datetime import datetime, timedelta

import duckdb
import polars as pl
import pytest
import zstandard

import readrank
from ingest.erase import forget
from ingest.mentions import Person
from ingest.moments import utc_now
from ingest.outbox import OnlineEvent, Outbox
from ingest.publish import publish
from ingest.retention import RetentionConfig
from ingest.store import Store
from ingest.verify_erasure import search
from ingest.workspace import Workspace

GONE = "person-to-forget-4711"
START = datetime(2024, 1, 1)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    space = Workspace.create(tmp_path_factory.mktemp("made") / "shop", "")
    with Store.open(space.store_path) as store:
        interact(store, "ann")
    publish(space)
    Outbox.open(space.outbox_path).close()
    return space


@pytest.fixture
def space(made, tmp_path):
    return Workspace(shutil.copytree(made.root, tmp_path / "shop", symlinks=True))


def interact(store, user, item="i1", context=None):
    store.connection.execute(
        """
        INSERT INTO interactions (
            event_id, user_id, item_id, kind, weight, occurred_at, context, load_id, ingested_at, arrival, event_key
        )
        VALUES (uuid(), ?, ?, 'view', 1, TIMESTAMP '2024-01-01', ?, 'l', TIMESTAMP '2024-01-01', 1, 1)
        """,
        [user, item, context],
    )


def searched(space, *ids, config=RetentionConfig(), now=None):  # noqa: B008
    return search(space, Person(ids or (GONE,)), config, now or utc_now())


def places(result):
    return {place.place for place in result.found}


def test_nothing_is_found_where_nothing_is(space):
    result = searched(space)
    assert result.clean
    assert (result.found, result.doubtful, result.unsearched, result.expected) == ([], [], [], [])
    assert result.files >= 4


def text(value):
    return value.encode()


def packed(value):
    return gzip.compress(f"x {value} y".encode(), mtime=0)


def packed_zstd(value):
    return zstandard.compress(f"x {value} y".encode())


def in_binary(value):
    return b"\x00\x01\x02" * 3000 + value.encode() + b"\x00" * 3000


def wide(value):
    return f"seen by {value}!".encode("utf-16")


def wide_packed(value):
    return bz2.compress(wide(value))


def binary_packed(value):
    return lzma.compress(in_binary(value))


def archived(value):
    return gzip.compress(b"log.csv" + b"\x00" * 500 + value.encode() + b",i1\n", mtime=0)


def late(value):
    return b"line\n" * 500_000 + value.encode() + b"\n" + b"line\n" * 500_000


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("reports/page.html", text(f"<td>{GONE}</td>")),
        ("reports/page.json", text(json.dumps({"worst": [GONE]}))),
        ("service.log", text(f"2024 INFO answered user_id={GONE}\n")),
        (".training-abc/log.txt", text(GONE)),
        ("old.jsonl.gz", packed(GONE)),
        ("old.jsonl.zst", packed_zstd(GONE)),
        ("vectors.npy", in_binary(GONE)),
        ("windows.txt", wide(GONE)),
        ("windows.txt.bz2", wide_packed(GONE)),
        ("vectors.npy.xz", binary_packed(GONE)),
        ("windows.jsonl.zst", zstandard.compress(f"by {GONE}".encode("utf-32"))),
        ("long.log", late(GONE)),
        ("readrank.duckdb.tmp/spill", in_binary(GONE)),
        ("online.sqlite-journal", in_binary(GONE)),
    ],
)
def test_a_file_that_names_the_person_is_found(space, name, content):
    path = space.root / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)
    result = searched(space)
    assert places(result) == {name}
    assert [place.count for place in result.found] == [1]


def test_a_short_id_is_found_in_a_packed_archive(space):
    (space.root / "logs.tar.gz").write_bytes(archived("u7"))
    assert places(searched(space, "u7")) == {"logs.tar.gz"}
    assert searched(space, "u8").clean


@pytest.mark.parametrize("at", [(1 << 20) - 30, (1 << 20) - 4200, (1 << 20) - 1, 1 << 20, (2 << 20) - 4250])
def test_no_place_is_missed_or_counted_twice_where_blocks_meet(space, at):
    (space.root / "long.log").write_bytes(b" " * at + GONE.encode() + b" " * (3 << 20))
    assert [place.count for place in searched(space).found] == [1]


def test_names_of_files_are_searched(space):
    (space.root / f"export-of {GONE}.txt").write_text("")
    assert places(searched(space)) == {f"export-of {GONE}.txt"}


def test_rows_are_found_by_column_in_store_and_copies(space):
    with Store.open(space.store_path) as store:
        interact(store, GONE)
        interact(store, "ann", context=json.dumps({"invited_by": GONE}))
        store.connection.execute("CREATE TABLE notes (tags VARCHAR[], who STRUCT(name VARCHAR))")
        store.connection.execute("INSERT INTO notes VALUES (['a', ?], {'name': ?})", [GONE, GONE])
    assert places(searched(space)) == {
        "readrank.duckdb: interactions.user_id",
        "readrank.duckdb: interactions.context",
        "readrank.duckdb: notes.tags",
        "readrank.duckdb: notes.who",
    }
    forget(space, Person((GONE,)), RetentionConfig())
    # Rows of other people are not ours to remove: they are told, in both databases.
    assert places(searched(space)) == {
        f"{file}: {column}"
        for file in ("readrank.duckdb", "analytics.duckdb")
        for column in ("interactions.context", "notes.tags", "notes.who")
    }


def test_a_stale_copy_or_a_left_over_file_is_found(space):
    left = space.root / ".readrank.duckdb.1.new"
    with Store.open(left) as store:
        interact(store, GONE)
    pl.DataFrame({"user_id": [GONE], "n": [1]}).write_parquet(space.root / "export.parquet")
    assert places(searched(space)) == {f"{left.name}: interactions.user_id", "export.parquet: user_id"}
    forget(space, Person((GONE,)), RetentionConfig())
    assert places(searched(space)) == {"export.parquet: user_id"}


def test_rows_of_the_outbox_are_found(space):
    with Outbox.open(space.outbox_path) as outbox:
        outbox.append([event("e1", GONE)])
        assert places(searched(space)) == {"online.sqlite: events.user_id"}


def event(number, user):
    return OnlineEvent(event_id=number, user_id=user, item_id="i", kind="view", weight=1.0, occurred_at=START)


@pytest.mark.parametrize("user", ["u7", GONE])
def test_bytes_that_deleted_rows_left_in_the_outbox_are_found(space, user):
    with Outbox.open(space.outbox_path) as outbox:
        outbox.append([event(f"e-{n}", f"{user}{n % 10}") for n in range(300)])
        outbox.append([event(f"x-{n}", user) for n in range(300)])
    assert places(searched(space, user)) == {"online.sqlite: events.user_id"}
    careless = sqlite3.connect(space.outbox_path)
    careless.execute("PRAGMA secure_delete = OFF")
    careless.execute("DELETE FROM events WHERE user_id = ?", (user,))
    careless.commit()
    careless.close()
    # Others have the id inside theirs, so the bytes alone would tell nothing.
    assert [place.note for place in searched(space, user).found] == ["in the bytes of rows deleted earlier"]
    forget(space, Person((user,)), RetentionConfig())
    assert searched(space, user).clean


def test_bytes_that_deleted_rows_left_in_the_store_are_found(space):
    with Store.open(space.store_path) as store:
        for number in range(5):
            interact(store, f"{GONE}{number}x" * 3)
        store.connection.execute("CHECKPOINT")
        store.connection.execute("DELETE FROM interactions WHERE user_id LIKE ?", [f"{GONE}%"])
    assert GONE.encode() in space.store_path.read_bytes()
    assert [(place.place, place.note) for place in searched(space).found] == [
        ("readrank.duckdb", "in the bytes of rows deleted earlier")
    ]
    forget(space, Person((GONE,)), RetentionConfig())
    assert searched(space).clean


@pytest.mark.parametrize("other", ["xu7", "u71", "u7-2", "u7.b", "a@u7", "u7@a.org", "u_7", "ü7"])
def test_a_longer_id_is_somebody_else(space, other):
    with Store.open(space.store_path) as store:
        interact(store, other, context=json.dumps({"of": other}))
    (space.reports_path / "page.html").write_text(f"<b>{other}</b> {other}\n{other},")
    assert searched(space, "u7").clean
    (space.reports_path / "page.html").write_text(f"<b>{other}</b> {other}\nu7,")
    assert places(searched(space, "u7")) == {"reports/page.html"}


def test_a_bare_number_counts_where_it_must_be_a_user(space):
    with Store.open(space.store_path) as store:
        interact(store, "ann", item="12", context='{"page": 12}')
        interact(store, "12")
        interact(store, "bob", context='{"user": 12}')
    (space.reports_path / "page.html").write_text("<td>12</td>")
    (space.root / "service.log").write_text("late user_id=12 k=5\n")
    result = searched(space, "12")
    assert places(result) == {
        "readrank.duckdb: interactions.user_id",
        "readrank.duckdb: interactions.context",
        "service.log",
    }
    assert "reports/page.html" in {place.place for place in result.doubtful}
    assert "readrank.duckdb: interactions.item_id" in {place.place for place in result.doubtful}


@pytest.mark.parametrize(
    "line",
    [
        *("user 17", "user_7", "username7", "user-7", "user 5 bought 7", "users 7", "n_users: 7"),
        *('"users": 7', "user_17,i,7", "user17 7", "user_id_2=17"),
    ],
)
def test_a_number_inside_or_apart_from_the_word_with_user_is_no_user(space, line):
    assert not Person(("7",)).is_named_in(line)
    with Store.open(space.store_path) as store:
        interact(store, "ann", context=json.dumps({"note": line}))
    (space.root / "service.log").write_text(f"{line} k=5\n")
    assert searched(space, "7").clean


@pytest.mark.parametrize(
    "line",
    [
        *("user 7", "user_id=7", '"userId": "7"', "User-Id: 7", "user name is '7'", "users_id 7"),
        *('"users":"7"', '"user1": 7', "user_id_2=7", '{\\"user_id_1\\": \\"7\\"}'),
    ],
)
def test_a_number_right_after_a_word_with_user_is_one(space, line):
    with Store.open(space.store_path) as store:
        interact(store, "ann", context=json.dumps({"note": line}))
    (space.root / "service.log").write_text(f"{line} k=5\n")
    assert places(searched(space, "7")) == {"readrank.duckdb: interactions.context", "service.log"}


def test_spellings_of_other_formats_are_found(space):
    user = 'zoë & "co"@shop'
    for name, written in (
        ("a.json", json.dumps({"u": user})),
        ("b.html", "<b>zoë &amp; &quot;co&quot;@shop</b>"),
        ("c.log", "GET /?user=zo%C3%AB%20%26%20%22co%22%40shop&k=5"),
    ):
        (space.root / name).write_text(written)
    assert places(searched(space, user)) == {"a.json", "b.html", "c.log"}


def test_what_cannot_be_searched_is_no_proof(space):
    (space.root / "half.gz").write_bytes(packed(GONE)[:-12])
    (space.root / "broken.duckdb").write_bytes(b"\x00" * 8 + b"DUCK" + b"\x00" * 5000)
    result = searched(space)
    assert {place.place for place in result.unsearched} == {"half.gz", "broken.duckdb"}
    assert not result.clean


def bundle(space, version, users, live=False):
    folder = space.bundles_path / version
    (folder / "history").mkdir(parents=True)
    pl.DataFrame({"user_id": users}).write_parquet(folder / "history/users.parquet")
    manifest = {"created_at": str(START), "cutoff": str(START), "outbox_seq": 0}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    if live:
        (space.bundles_path / "live").write_text(version)


@pytest.mark.parametrize("live", [False, True])
def test_a_bundle_is_expected_until_its_date_and_found_after_it(space, live):
    bundle(space, "20240101T000000000", [GONE, "ann"], live=live)
    assert not searched(space).clean, "nobody was forgotten yet"
    forgotten = forget(space, Person((GONE,)), RetentionConfig(erased_bundles_days=30))
    ((remains,), (told,)) = searched(space).expected, forgotten.bundles
    assert (remains.version, remains.live, remains.gone_by) == (told.version, live, told.gone_by)
    assert searched(space, now=told.gone_by).clean
    overdue = searched(space, now=told.gone_by + timedelta(microseconds=1))
    assert places(overdue) == {"bundles/20240101T000000000"}
    assert searched(space, config=RetentionConfig(erased_bundles_days=None)).expected[0].gone_by is None


def test_the_command_exits_with_one_when_it_finds_something(space, capsys):
    arguments = ["forget", "--verify", GONE, "-w", str(space.root)]
    assert readrank.run(arguments) == 0
    assert "nothing found in" in capsys.readouterr().out
    (space.reports_path / "page.html").write_text(GONE)
    with duckdb.connect(str(space.store_path), read_only=True) as store:
        before = store.execute("SELECT * FROM interactions").fetchall()
    assert readrank.run(arguments) == 1
    said = capsys.readouterr()
    assert "still named in: reports/page.html: 1" in said.out
    assert said.err == ""
    assert readrank.run([*arguments, "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert found["clean"] is False
    assert found["found"] == [{"place": "reports/page.html", "count": 1, "note": ""}]
    with duckdb.connect(str(space.store_path), read_only=True) as store:
        assert store.execute("SELECT * FROM interactions").fetchall() == before
    assert readrank.run(["forget", " ", "-w", str(space.root)]) == 2


def test_the_command_forgets_searches_and_tells(space, capsys):
    with Store.open(space.store_path) as store:
        interact(store, GONE)
    bundle(space, "20240101T000000000", [GONE], live=True)
    assert readrank.run(["forget", GONE, "-w", str(space.root)]) == 0
    said = capsys.readouterr().out
    assert "removed 1 rows of interactions" in said
    assert "receipt " in said
    assert "bundle 20240101T000000000 was trained with that person: gone by" in said
    assert readrank.run(["forget", GONE, "-w", str(space.root), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["receipt_id"] is None
    assert told["remains"]["clean"] is True
