import json
import os
import shutil
from contextlib import ExitStack

import pytest
from scipy import sparse

from ingest.errors import HeldStoreError
from ingest.file_digests import file_sha256
from ingest.retention import RetentionConfig
from ingest.store import Store
from ingest.workspace import Workspace
from ranker import bundle
from ranker.errors import BundleError
from ranker.query import Query
from ranker.rank import Ranker
from ranker.sparse_files import load_matrix
from tests.conftest import held_store


@pytest.fixture
def copied(shop, tmp_path):
    """The folder of bundles of the trained shop, free to be damaged."""
    shutil.copytree(shop.bundles_path, tmp_path / "bundles")
    return tmp_path / "bundles"


def test_bundle_holds_what_it_says_and_no_pickle(copied):
    folder = bundle.live_folder(copied)
    manifest = bundle.read_manifest(folder)
    assert manifest.version == folder.name
    found = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert found == {*manifest.files, bundle.MANIFEST}
    assert not [name for name in found if name.endswith((".pkl", ".pickle", ".joblib"))]


def test_damaged_file_is_named(copied):
    folder = bundle.live_folder(copied)
    (folder / "items.parquet").write_bytes((folder / "items.parquet").read_bytes()[:-1])
    with pytest.raises(BundleError, match=r"items\.parquet is not what was written.*train again or roll back"):
        Ranker.load(folder)


def test_missing_file_is_named(copied):
    folder = bundle.live_folder(copied)
    (folder / "item_vectors" / "vectors.npy").unlink()
    with pytest.raises(BundleError, match=r"wanted item_vectors/vectors\.npy, found nothing"):
        Ranker.load(folder)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ('{"format": 1}', "wanted bundle format 5, got 1; train again with this version"),
        ("{", "wanted JSON, got a damaged file"),
        ("[]", "wanted bundle format 5, got None"),
        ('{"format": 4}', "wanted a complete manifest"),
    ],
)
def test_bundle_of_another_kind_says_so(copied, text, sentence):
    folder = bundle.live_folder(copied)
    (folder / bundle.MANIFEST).write_text(text)
    with pytest.raises(BundleError, match=sentence):
        Ranker.load(folder)


def with_other_features(folder):
    stored = json.loads((folder / bundle.MANIFEST).read_text())
    stored["feature_names"] = stored["feature_names"][1:]
    (folder / bundle.MANIFEST).write_text(json.dumps(stored))


def test_bundle_with_other_features_does_not_load(copied):
    folder = bundle.live_folder(copied)
    with_other_features(folder)
    with pytest.raises(BundleError, match="missing: "):
        Ranker.load(folder)


def test_failed_writing_leaves_nothing(tmp_path):
    def fill(folder):
        (folder / "half").write_text("x")
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        bundle.write(tmp_path, fill, cutoff=None, outbox_seq=0, feature_names=[], settings={}, measured={})
    assert list(tmp_path.iterdir()) == []


def test_promote_refuses_what_is_not_whole_and_keeps_what_serves(copied):
    before = (copied / bundle.LIVE).read_text()
    served = bundle.live_folder(copied).name
    for name in ("20000101T000000000", "", ".", str(copied / served)):
        with pytest.raises(BundleError, match=f"wanted the name of a bundle in it, got .*; there are {served}"):
            bundle.promote(copied, name)
    assert (copied / bundle.LIVE).read_text() == before


@pytest.mark.parametrize("left", [None, "", "\n"])
def test_where_no_bundle_is_named_none_serves(tmp_path, left):
    if left is not None:
        (tmp_path / bundle.LIVE).write_text(left)
    with pytest.raises(BundleError, match="no bundle serves yet; run `readrank train` first"):
        bundle.live_folder(tmp_path)


def test_which_bundle_serves_outlives_a_power_cut(copied, monkeypatch):
    synced = []
    monkeypatch.setattr(os, "fsync", lambda descriptor: synced.append(os.fstat(descriptor).st_ino))
    bundle.promote(copied, bundle.live_folder(copied).name)
    assert synced == [(copied / bundle.LIVE).stat().st_ino, copied.stat().st_ino]


@pytest.fixture
def two(copied):
    """A second bundle, promoted: the first is the way back."""
    first = bundle.live_folder(copied)
    shutil.copytree(first, copied / "second")
    bundle.promote(copied, "second")
    return copied, first.name


def test_rollback_goes_back_and_twice_returns(two):
    bundles, first = two
    assert bundle.rollback(bundles) == (first, "second")
    assert bundle.live_folder(bundles).name == first
    assert bundle.rollback(bundles) == ("second", first)
    assert bundle.live_folder(bundles).name == "second"


def test_rollback_refuses_what_is_not_whole_and_keeps_what_serves(two):
    bundles, first = two
    (bundles / first / "items.parquet").unlink()
    with pytest.raises(BundleError, match=r"wanted items\.parquet, found nothing"):
        bundle.rollback(bundles)
    assert bundle.live_folder(bundles).name == "second"
    assert (bundles / bundle.PREVIOUS).read_text() == first + "\n"


def test_rollback_leaves_a_damaged_bundle(two):
    bundles, first = two
    (bundles / "second" / "items.parquet").unlink()
    assert bundle.rollback(bundles) == (first, "second")


def test_a_damaged_bundle_is_no_way_back(two):
    bundles, first = two
    shutil.copytree(bundles / "second", bundles / "third")
    (bundles / "second" / "items.parquet").unlink()
    bundle.promote(bundles, "third")
    assert bundle.rollback(bundles) == (first, "third")


def test_rollback_without_an_earlier_one_says_what_to_do(copied):
    serving = bundle.live_folder(copied).name
    # Killed between its two steps, a promotion has named the one that still serves.
    for pointer in (None, serving):
        if pointer:
            (copied / bundle.PREVIOUS).write_text(pointer + "\n")
        with pytest.raises(BundleError, match=rf"served before {serving}, found none; `readrank promote VERSION`"):
            bundle.rollback(copied)
        assert bundle.live_folder(copied).name == serving


def test_a_damaged_name_of_what_serves_is_told_and_mended_by_promote(copied):
    serving = bundle.live_folder(copied).name
    (copied / bundle.LIVE).write_bytes(b"\xff\xfe\n")
    for ask in (bundle.live_folder, bundle.rollback):
        with pytest.raises(BundleError, match=r"wanted the name of a bundle, got what.*promote VERSION"):
            ask(copied)
    bundle.promote(copied, serving)
    assert bundle.live_folder(copied).name == serving


def test_a_new_bundle_serves_before_the_old_ones_go(two, tmp_path):
    """So it is the third from last that goes, not the way back."""
    bundles, first = two
    workspace = Workspace.create(tmp_path / "shop", "[retention]\nbundles_days = 0\nkeep_bundles = 0\n")
    shutil.copytree(bundles, workspace.bundles_path, dirs_exist_ok=True)
    shutil.copytree(bundles / first, workspace.bundles_path / "third")
    live, retained = bundle.settle(workspace, "third", workspace.section("retention", RetentionConfig), serve=True)
    assert (live, retained.bundles) == (True, (first,))
    assert bundle.rollback(workspace.bundles_path) == ("second", "third")


def test_a_new_bundle_that_shall_not_serve_stays_aside(two, tmp_path):
    bundles, first = two
    workspace = Workspace.create(tmp_path / "shop", "")
    shutil.copytree(bundles, workspace.bundles_path, dirs_exist_ok=True)
    live, retained = bundle.settle(workspace, first, RetentionConfig(), serve=False)
    assert (live, retained.bundles) == (False, ())
    assert bundle.live_folder(workspace.bundles_path).name == "second"


def test_a_finished_bundle_is_told_of_when_another_job_keeps_the_store(copied, tmp_path, monkeypatch):
    workspace = Workspace.create(tmp_path / "shop", "")
    shutil.copytree(copied, workspace.bundles_path, dirs_exist_ok=True)
    folder = bundle.live_folder(workspace.bundles_path)
    (workspace.bundles_path / bundle.LIVE).unlink()
    aside = rf"{folder.name} is whole and `readrank promote {folder.name}` lets it serve; only "
    serving = rf"{folder.name} is whole and serves; only "
    untold, held = "the store could not be told: ", r".*process \d+ has the store"
    not_removed = "what retention removes waits for the next ingest, train, nightly or refresh: "
    monkeypatch.setattr("ingest.store.PATIENCE_S", 0)
    with held_store(workspace.store_path):
        with pytest.raises(HeldStoreError, match=aside + untold + held):
            bundle.record(workspace, folder)
        with pytest.raises(HeldStoreError, match=aside + not_removed + held):
            bundle.settle(workspace, folder.name, RetentionConfig(), serve=False)
        with pytest.raises(HeldStoreError, match=serving + not_removed + held):
            bundle.settle(workspace, folder.name, RetentionConfig(), serve=True)


def test_a_finished_bundle_waits_for_the_store(copied, tmp_path, monkeypatch):
    workspace = Workspace.create(tmp_path / "shop", "")
    shutil.copytree(copied, workspace.bundles_path, dirs_exist_ok=True)
    folder = bundle.live_folder(workspace.bundles_path)
    monkeypatch.setattr("ingest.store.LOOK_AGAIN_S", 0.05)
    with ExitStack() as job:
        job.enter_context(held_store(workspace.store_path))
        bundle.record(workspace, folder, lambda *told, **note: job.close())
    with Store.open(workspace.store_path, read_only=True) as store:
        assert store.connection.execute("SELECT version, status FROM bundles").fetchall() == [(folder.name, "trained")]


@pytest.mark.parametrize("name", ["../bundles/second", "", ".", ".."])
def test_promote_takes_a_name_and_no_path(copied, name):
    before = (copied / bundle.LIVE).read_text()
    with pytest.raises(BundleError, match="wanted"):
        bundle.promote(copied, name)
    assert (copied / bundle.LIVE).read_text() == before


def test_promote_refuses_what_no_service_would_load(copied):
    shutil.copytree(bundle.live_folder(copied), copied / "older")
    with_other_features(copied / "older")
    before = (copied / bundle.LIVE).read_text()
    with pytest.raises(BundleError, match="missing: "):
        bundle.promote(copied, "older")
    assert (copied / bundle.LIVE).read_text() == before
    assert not (copied / bundle.PREVIOUS).exists()


def test_no_bundle_says_what_to_run(tmp_path):
    with pytest.raises(BundleError, match="run `readrank train` first"):
        bundle.live_folder(tmp_path)


def as_format_4_had_it(folder):
    """Compress the sparse matrices of a bundle, and leave out the one that was made on loading."""
    for name in ("words", "together", "following", "straight"):
        matrix = load_matrix(folder / "neighbours", name)
        for part in (folder / "neighbours").glob(f"{name}_*.npy"):
            part.unlink()
        sparse.save_npz(folder / "neighbours" / f"{name}.npz", matrix)
    for part in folder.glob("facets_*.npy"):
        part.unlink()
    told = json.loads((folder / bundle.MANIFEST).read_text())
    assert told["format"] == 5
    held = [path for path in folder.rglob("*") if path.is_file() and path.name != bundle.MANIFEST]
    files = {str(path.relative_to(folder)): file_sha256(path).hexdigest() for path in held}
    (folder / bundle.MANIFEST).write_text(json.dumps({**told, "format": 4, "files": files}))


def test_a_bundle_of_the_format_before_is_read(copied, ranker):
    query = Query(user_id=ranker.history.user_ids[0], as_of=ranker.cutoff)
    folder = bundle.live_folder(copied)
    as_format_4_had_it(folder)
    earlier = Ranker.load(folder)
    assert earlier.recommend(query) == ranker.recommend(query)
