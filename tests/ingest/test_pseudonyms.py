import json
import signal
import stat
import subprocess
import sys
from datetime import datetime
from pathlib import Path

import duckdb
import polars as pl
import pytest

from ingest.errors import SettingsError
from ingest.leftovers import clear_leftovers
from ingest.outbox import OnlineEvent, Outbox
from ingest.pseudonyms import CHECK_FILE, KEY_FILE, KEY_VARIABLE, Pseudonyms
from ingest.workspace import Workspace
from tests.ingest.conftest import files_that_hold, run

ROOT = Path(__file__).parents[2]
ON = "[privacy]\npseudonyms = true\n"
USER = "somebody@example.org"
LOG = f"""user_id,item_id,occurred_at,kind
{USER},i1,2024-01-01,view
 {USER} ,i2,2024-01-02,view
other@example.org,i2,2024-01-02,view
other@example.org,i3,never,view
{USER},i3,never,view
third@example.org,i3,2024-01-03,view
third@example.org,i1,2024-01-03,view
"""


@pytest.fixture(autouse=True)
def no_key_from_outside(monkeypatch):
    monkeypatch.delenv(KEY_VARIABLE, raising=False)


@pytest.fixture
def space(tmp_path):
    return Workspace.create(tmp_path / "shop", ON)


@pytest.fixture
def log(tmp_path):
    path = tmp_path / "log.csv"
    path.write_text(LOG)
    return path


def test_a_column_keeps_order_nulls_and_blanks_and_hashes_each_id_once(monkeypatch):
    pseudonyms = Pseudonyms(b"k" * 32)
    asked = []
    real = pseudonyms.of
    monkeypatch.setattr(pseudonyms, "of", lambda user: asked.append(user) or real(user))
    column = pl.Series("user_id", ["b", None, "a", "b", "", " ", "a"])
    assert pseudonyms.column(column).to_list() == [real("b"), None, real("a"), real("b"), "", " ", real("a")]
    assert sorted(asked) == ["a", "b"]
    nothing = pl.Series("user_id", [None, None], dtype=pl.String)
    assert pseudonyms.column(nothing).to_list() == [None, None]


def test_the_key_is_made_once_and_only_its_owner_can_read_it(space):
    first = Pseudonyms.of_workspace(space).of("u")
    assert stat.S_IMODE((space.root / KEY_FILE).stat().st_mode) == 0o600
    assert Pseudonyms.of_workspace(space).of("u") == first
    key = (space.root / KEY_FILE).read_text().strip()
    assert key not in (space.root / CHECK_FILE).read_text()
    assert Pseudonyms(key.encode()).of("u") == first
    assert Pseudonyms(b"another key of thirty-two letters").of("u") != first


def test_a_first_use_that_was_killed_leaves_no_key_for_good(space):
    program = (
        "import os, signal, sys; from ingest.pseudonyms import *\n"
        "os.link = lambda *paths: os.kill(os.getpid(), signal.SIGKILL)\n"
        "Pseudonyms.of_workspace(Workspace.open(sys.argv[1]))"
    )
    killed = subprocess.run([sys.executable, "-c", program, str(space.root)], cwd=ROOT, check=False)
    assert killed.returncode == -signal.SIGKILL
    (left,) = space.root.glob(f".*/{KEY_FILE}")
    assert stat.S_IMODE(left.stat().st_mode) == 0o600
    assert clear_leftovers(space) == (left.parent.name,)
    assert not left.exists()


def test_off_by_default(tmp_path):
    assert Pseudonyms.of_workspace(Workspace.create(tmp_path / "shop", "")) is None


def test_no_file_holds_an_id_after_a_load(space, log):
    assert run(space, "ingest", log) == 0
    assert run(space, "publish", "--parquet") == 0
    assert files_that_hold(space, "example.org") == []
    pseudonym = Pseudonyms.of_workspace(space).of(USER)
    with duckdb.connect(str(space.store_path), read_only=True) as store:
        assert store.sql(f"SELECT count(*) FROM interactions WHERE user_id = '{pseudonym}'").fetchall() == [(2,)]
        ((raw,), *_) = store.sql(f"SELECT raw FROM rejected_rows WHERE raw LIKE '%{pseudonym}%'").fetchall()
    assert json.loads(raw)["user_id"] == pseudonym


def test_forget_takes_the_real_id(space, log, capsys):
    assert run(space, "ingest", log) == 0
    assert run(space, "forget", "--verify", USER) == 1
    capsys.readouterr()
    assert run(space, "forget", USER, "--json") == 0
    assert json.loads(capsys.readouterr().out)["rows"] == {"interactions": 2, "rejected_rows": 1}
    assert run(space, "forget", "--verify", USER) == 0
    assert files_that_hold(space, Pseudonyms.of_workspace(space).of(USER)) == []
    assert run(space, "forget", "--verify", "other@example.org") == 1


def test_verify_finds_the_real_id_too(space, log):
    assert run(space, "ingest", log) == 0
    assert run(space, "forget", USER) == 0
    (space.root / "service.log").write_text(f"late {USER}\n")
    assert run(space, "forget", "--verify", USER) == 1


def test_turned_on_where_users_have_their_own_ids_is_refused(tmp_path, log, capsys):
    space = Workspace.create(tmp_path / "shop", "")
    assert run(space, "ingest", log) == 0
    space.settings_path.write_text(ON)
    capsys.readouterr()
    assert run(space, "ingest", log) == 2
    said = capsys.readouterr().err
    assert "wanted a workspace without users" in said
    assert "readrank.duckdb" in said
    assert not (space.root / KEY_FILE).exists()


def test_turned_on_where_the_outbox_or_a_bundle_names_users_is_refused(tmp_path):
    space = Workspace.create(tmp_path / "shop", ON)
    with Outbox.open(space.outbox_path) as outbox:
        moment = datetime(2024, 1, 1)
        outbox.append(
            [OnlineEvent(event_id="e", user_id="u", item_id="i", kind="view", weight=1.0, occurred_at=moment)]
        )
    with pytest.raises(SettingsError, match=r"online\.sqlite with users"):
        Pseudonyms.of_workspace(space)
    space.outbox_path.unlink()
    (space.bundles_path / "20240101").mkdir()
    with pytest.raises(SettingsError, match="bundles with users"):
        Pseudonyms.of_workspace(space)


def test_turned_off_again_is_refused(space, log, capsys):
    assert run(space, "ingest", log) == 0
    space.settings_path.write_text("")
    assert run(space, "ingest", log) == 2
    assert "set it to true" in capsys.readouterr().err


def test_another_key_or_none_is_refused(space, monkeypatch):
    pseudonym = Pseudonyms.of_workspace(space).of("u")
    key = (space.root / KEY_FILE).read_text()
    (space.root / KEY_FILE).write_text("0" * 64)
    with pytest.raises(SettingsError, match="got another one"):
        Pseudonyms.of_workspace(space)
    (space.root / KEY_FILE).unlink()
    with pytest.raises(SettingsError, match="not found"):
        Pseudonyms.of_workspace(space)
    monkeypatch.setenv(KEY_VARIABLE, key)
    assert Pseudonyms.of_workspace(space).of("u") == pseudonym
    monkeypatch.setenv(KEY_VARIABLE, "short")
    with pytest.raises(SettingsError, match="at least 32 characters, got 5"):
        Pseudonyms.of_workspace(space)


def test_a_key_from_the_environment_leaves_no_file(space, monkeypatch):
    monkeypatch.setenv(KEY_VARIABLE, "k" * 32)
    assert Pseudonyms.of_workspace(space).of("u") == Pseudonyms(b"k" * 32).of("u")
    assert not (space.root / KEY_FILE).exists()
