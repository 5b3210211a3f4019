import json
from datetime import datetime

import duckdb
import pytest

from ingest.publish import publish
from ingest.store import Store
from ingest.workspace import Workspace

NOON = datetime(2024, 6, 1, 12)


@pytest.fixture
def space(tmp_path):
    """A workspace with three bundles: trained, refreshed, and one whose folder is gone."""
    space = Workspace.create(tmp_path / "shop", "")
    for version in ("b1", "b2"):
        folder = space.bundles_path / version
        folder.mkdir(parents=True)
        said = {"created_at": str(NOON), "cutoff": str(NOON), "outbox_seq": 0, "feature_names": ["age", version]}
        (folder / "manifest.json").write_text(json.dumps(said))
    with Store.open(space.store_path) as store:
        store.connection.executemany(
            "INSERT INTO bundles VALUES ($1, $2, $2, $3, NULL)",
            [("b0", NOON, "retired"), ("b1", NOON, "trained"), ("b2", NOON, "refreshed")],
        )
    return space


def published(space, column):
    publish(space)
    with duckdb.connect(str(space.analytics_path), read_only=True) as analyst:
        return [value for (value,) in analyst.execute(f"SELECT {column} FROM bundles ORDER BY version").fetchall()]


def test_analysts_see_which_bundle_serves_and_which_did(space):
    assert published(space, "status") == ["retired", "trained", "refreshed"], "none serves yet"
    live = space.bundles_path / "live"
    live.write_text("b1\n")
    assert published(space, "status") == ["retired", "live", "refreshed"]
    live.write_text("b2\n")
    assert published(space, "status") == ["retired", "served", "live"]
    live.write_text("b1\n")
    assert published(space, "status") == ["retired", "live", "served"]
    live.unlink()
    assert published(space, "status") == ["retired", "served", "served"]


def test_a_bundle_whose_folder_is_gone_is_retired(space):
    (space.bundles_path / "live").write_text("b1\n")
    published(space, "status")
    (space.bundles_path / "live").write_text("b2\n")
    (space.bundles_path / "b1").rename(space.bundles_path / ".removed-b1")  # as when killed half-way
    assert published(space, "status") == ["retired", "retired", "live"]
    (space.bundles_path / "b2").rename(space.bundles_path / ".removed-b2")
    assert published(space, "status") == ["retired"] * 3, "whatever `live` still names"


def test_a_bundle_whose_folder_comes_back_is_retired_no_longer(space):
    (space.bundles_path / "live").write_text("b2\n")
    for name in ("b1", "b2"):
        (space.bundles_path / name).rename(space.root / name)
    assert published(space, "status") == ["retired"] * 3
    for name in ("b1", "b2"):
        (space.root / name).rename(space.bundles_path / name)
    assert published(space, "status") == ["retired", "trained", "live"]


def test_names_of_features_that_an_earlier_version_left_out_are_filled_in(space):
    assert published(space, "feature_names") == [None, ["age", "b1"], ["age", "b2"]]


def test_a_bundle_that_the_store_was_not_told_of_is_told_of_now(space):
    with Store.open(space.store_path) as store:
        store.connection.execute("DELETE FROM bundles WHERE version <> 'b0'")
    manifest = space.bundles_path / "b2" / "manifest.json"
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"refreshed": {"source": "b1"}}))
    assert published(space, "status") == ["retired", "trained", "refreshed"]
    assert published(space, "feature_names") == [None, ["age", "b1"], ["age", "b2"]]
    assert published(space, "cutoff") == [NOON] * 3
