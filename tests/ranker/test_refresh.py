"""A bundle learns of new items and events without training, and what did not change answers as before."""

import json
import shutil
from datetime import timedelta

import numpy as np
import polars as pl
import pytest

from encoders.interest import InterestModel
from encoders.vectors import CatalogueVectors
from ingest import columns as c
from ingest.load import load_files
from ingest.moments import to_microseconds
from ingest.outbox import OnlineEvent, Outbox
from ingest.store import END_OF_TIME, Store
from ingest.workspace import Workspace
from ranker import bundle
from ranker.batch import history_of
from ranker.catalogue import Catalogue
from ranker.errors import BundleError
from ranker.history import History
from ranker.many import recommend_many
from ranker.moments import Moments
from ranker.query import GivenItem, Query
from ranker.rank import Ranker
from ranker.refresh import _facet_values, refresh
from ranker.registry import FEATURE_NAMES
from ranker.spoken import refresh_lines
from tests.ranker.conftest import DAY, live_events, with_rules


@pytest.fixture
def copied(shop, tmp_path) -> Workspace:
    """The trained shop, free to be changed."""
    shutil.copytree(shop.root, tmp_path / "shop")
    return Workspace.open(tmp_path / "shop")


def ingest(workspace: Workspace, tmp_path, items: pl.DataFrame) -> None:
    items.write_parquet(tmp_path / "changes.parquet")
    with Store.open(workspace.store_path) as store:
        load_files(store, [tmp_path / "changes.parquet"])


@pytest.fixture
def changed(copied, tmp_path, monkeypatch):
    """The shop after its catalogue changed, refreshed; with the texts that were encoded."""
    old = Ranker.load(bundle.live_folder(copied.bundles_path))
    like = old.catalogue.items.filter(pl.col(c.TITLE).is_not_null()).row(7, named=True)
    new = {c.ITEM_ID: "0-new", c.TITLE: like[c.TITLE], c.DESCRIPTION: "Just in.", c.CATEGORIES: like[c.CATEGORIES]}
    edited = {**like, c.ITEM_ID: old.catalogue.ids[3], c.TITLE: "Something else entirely", c.DESCRIPTION: None}
    gone = {**old.catalogue.items.row(5, named=True), c.AVAILABLE: False}
    columns = [c.ITEM_ID, c.TITLE, c.DESCRIPTION, c.CATEGORIES, c.ATTRIBUTES, c.PUBLISHED_AT, c.AVAILABLE]
    rows = [
        {name: row.get(name, True if name == c.AVAILABLE else None) for name in columns} for row in (new, edited, gone)
    ]
    ingest(copied, tmp_path, pl.DataFrame(rows, schema=old.catalogue.items.schema))
    texts = []
    encode = InterestModel.encode
    monkeypatch.setattr(InterestModel, "encode", lambda self, asked: (texts.extend(asked), encode(self, asked))[1])
    folder, changes = refresh(copied)
    monkeypatch.undo()
    return old, folder, changes, texts, copied


def test_only_new_and_changed_texts_are_encoded(changed):
    old, _, changes, texts, _ = changed
    assert len(texts) == 2
    assert any("Just in" in text for text in texts)
    assert any("Something else entirely" in text for text in texts)
    assert (changes.new, changes.changed, changes.removed, changes.encoded) == (1, 2, 0, 2)
    assert changes.source == old.version


def test_vectors_of_all_others_are_the_same_bits(changed):
    old, folder, _, _, workspace = changed
    before = CatalogueVectors.load(workspace.bundles_path / old.version / "item_vectors")
    after = CatalogueVectors.load(folder / "item_vectors")
    assert list(after.ids) == ["0-new", *before.ids]
    same = [row for row in range(len(before)) if row != 3]
    np.testing.assert_array_equal(after.stored[1:][same], before.stored[same])
    assert (after.stored[1:][3] != before.stored[3]).any()


def test_scores_of_unchanged_items_stay(changed):
    """For whoever has not taken an item that now says something else, or has lost its price."""
    old, folder, *_ = changed
    new = Ranker.load(folder)
    items = [GivenItem(item_id=item) for item in old.catalogue.ids[6:60]]
    differ = {old.catalogue.ids[3], old.catalogue.ids[5]}
    users = [user for user in old.history.user_ids[:60] if differ.isdisjoint(old.last_items(user, 999))]
    assert len(users) > 10
    for user in [*users, "nobody"]:
        query = Query(user_id=user, as_of=old.cutoff)
        scores = [{item.item_id: item.score for item in ranker.rank(query, items).items} for ranker in (old, new)]
        assert scores[0] == pytest.approx(scores[1], abs=1e-6)


def test_new_item_is_ranked_and_recommended_and_an_unavailable_one_is_not(changed):
    old, folder, _, _, workspace = changed
    assert bundle.live_folder(workspace.bundles_path).name == old.version
    bundle.promote(workspace.bundles_path, folder.name)
    ranker = Ranker.load(bundle.live_folder(workspace.bundles_path))
    user = max(ranker.history.user_ids[:50], key=lambda user: len(ranker.last_items(user, 99)))
    query = Query(user_id=user, as_of=ranker.cutoff + timedelta(days=1), k=len(ranker.catalogue))
    recommended = [item.item_id for item in ranker.recommend(query).items]
    assert "0-new" in recommended
    assert old.catalogue.ids[5] not in recommended
    asked = [GivenItem(item_id=item) for item in ("0-new", "0-unknown")]
    words = {item.item_id: item.features[FEATURE_NAMES.index("words")] for item in ranker.rank(query, asked).items}
    assert words["0-new"] > words["0-unknown"] == 0


def test_event_on_a_new_item_counts(changed):
    """It is a row like any other: what happens with it from now on is live history."""
    _, folder, *_ = changed
    ranker = Ranker.load(folder)
    now = to_microseconds(ranker.cutoff) + DAY
    later = ranker.history.and_then(live_events(ranker.catalogue, ("eve", "0-new", now)))
    assert later.item_counts(ranker.catalogue.rows(["0-new"]), before=np.array([now + 1])).tolist() == [1]


def test_manifest_tells_where_it_came_from(changed):
    old, folder, changes, _, workspace = changed
    manifest = bundle.read_manifest(folder)
    assert manifest.refreshed is not None
    assert manifest.refreshed["source"] == old.version
    assert manifest.refreshed["encoded"] == changes.encoded
    assert (manifest.cutoff, manifest.outbox_seq) == (str(old.cutoff), old.outbox_seq)
    with Store.open(workspace.store_path, read_only=True) as store:
        told = store.connection.execute("SELECT version, status FROM bundles ORDER BY created_at").fetchall()
        names = store.connection.execute(
            "SELECT feature_names FROM bundles WHERE version = ?", [folder.name]
        ).fetchall()
    assert names == [(list(FEATURE_NAMES),)]
    assert {(old.version, "trained"), (folder.name, "refreshed")} <= set(told)


def test_nothing_new_writes_nothing(copied):
    before = sorted(copied.bundles_path.iterdir())
    folder, changes = refresh(copied)
    assert folder == bundle.live_folder(copied.bundles_path)
    assert not changes
    assert sorted(copied.bundles_path.iterdir()) == before


def test_refresh_of_a_refreshed_bundle_encodes_nothing_again(changed, monkeypatch):
    old, folder, _, _, workspace = changed
    monkeypatch.setattr(InterestModel, "encode", lambda self, asked: np.zeros((len(asked), self.dim), np.float32))
    assert refresh(workspace, version=folder.name)[0] == folder
    again, changes = refresh(workspace, version=old.version)
    assert again not in (folder, workspace.bundles_path / old.version)
    assert changes.encoded == 2


def test_forgotten_user_is_not_carried_over(copied):
    user = Ranker.load(bundle.live_folder(copied.bundles_path)).history.user_ids[2]
    with Store.open(copied.store_path) as store, store.transaction() as connection:
        connection.execute("DELETE FROM interactions WHERE user_id = ?", [user])
    folder, changes = refresh(copied)
    old, new = (History.load(path / "history") for path in (bundle.live_folder(copied.bundles_path), folder))
    assert changes.users_left_out == 1
    assert new.user_ids == [name for name in old.user_ids if name != user]
    rows, end = np.arange(50), np.array([np.iinfo(np.int64).max])
    theirs = old.taken(Moments(users=old.user_rows([user]), as_of=end - 1))
    lost = np.bincount(theirs.item[theirs.weight > 0], minlength=len(rows))[: len(rows)]
    assert lost.sum() > 0
    np.testing.assert_array_equal(new.item_counts(rows, before=end), old.item_counts(rows, before=end) - lost)
    for name in new.user_ids[:20]:
        one, other = (
            history.recent(Moments(users=history.user_rows([name]), as_of=end - 1), 9) for history in (old, new)
        )
        np.testing.assert_array_equal(one.items, other.items)


def test_a_forgotten_user_who_came_back_does_not_bring_the_past_back(copied):
    old = Ranker.load(bundle.live_folder(copied.bundles_path))
    user = old.history.user_ids[2]
    past = old.last_items(user, 999)
    with Store.open(copied.store_path) as store, store.transaction() as connection:
        connection.execute("DELETE FROM interactions WHERE user_id = ? AND item_id <> ?", [user, past[0]])
        connection.execute(
            "UPDATE interactions SET occurred_at = CAST(? AS TIMESTAMP) WHERE user_id = ?", [old.cutoff, user]
        )
    folder, changes = refresh(copied)
    assert changes.history
    assert set(Ranker.load(folder).last_items(user, 999)) == {past[0]}


def test_history_is_what_the_store_holds_now(copied, tmp_path):
    """Of files and over HTTP, later than the cutoff too; models, and the moment they end at, stay."""
    old = Ranker.load(bundle.live_folder(copied.bundles_path))
    user, last = old.history.user_ids[0], old.cutoff + timedelta(hours=3)
    rows = [("ann", 0, old.cutoff), ("ann", 1, last), (user, 2, old.cutoff - timedelta(days=1))]
    pl.DataFrame(
        [(name, old.catalogue.ids[row], moment) for name, row, moment in rows],
        schema=[c.USER_ID, c.ITEM_ID, c.OCCURRED_AT],
        orient="row",
    ).write_parquet(tmp_path / "later.parquet")
    with Store.open(copied.store_path) as store:
        load_files(store, [tmp_path / "later.parquet"])
    with Outbox.open(copied.outbox_path) as outbox:
        told = {"event_id": "http", "user_id": "bob", "item_id": old.catalogue.ids[3], "kind": "click", "weight": 1.0}
        outbox.append([OnlineEvent(**told, occurred_at=old.cutoff)])
    folder, changes = refresh(copied)
    new, manifest = Ranker.load(folder), bundle.read_manifest(folder)
    assert (changes.events, changes.new, changes.changed, changes.encoded) == (4, 0, 0, 0)
    assert (new.cutoff, new.known_until) == (old.cutoff, last + timedelta(microseconds=1))
    assert manifest.outbox_seq == 1
    assert new.last_items("ann", 9) == [old.catalogue.ids[0], old.catalogue.ids[1]]
    assert new.last_items("bob", 9) == [old.catalogue.ids[3]]
    assert old.catalogue.ids[2] in new.last_items(user, 999)
    assert "4 more events than" in "\n".join(refresh_lines(folder, changes, False))
    served, asked = history_of(copied, new), [GivenItem(item_id=item) for item in old.catalogue.ids[:40]]
    for name in ("ann", "bob", user, "nobody"):
        query = Query(user_id=name, as_of=last + timedelta(hours=1))
        alone, in_a_file = (new.rank(query, asked, history) for history in (None, served))
        for one, other in zip(alone.items, in_a_file.items, strict=True):
            np.testing.assert_array_equal(one.features, other.features)
    bundle.promote(copied.bundles_path, folder.name)
    assert not refresh(copied)[1], "and a second time there is nothing more"
    queries = pl.DataFrame({c.QUERY_ID: ["q"], c.USER_ID: ["ann"]})
    told = recommend_many(new.model, queries, len(new.catalogue), new.history)[c.ITEM_ID]
    assert not {old.catalogue.ids[0], old.catalogue.ids[1]} & set(told), "asked when all that is known"
    whole = recommend_many(new.model, queries.with_columns(pl.lit(new.known_until).alias(c.AS_OF)), 20, new.history)
    assert told.head(20).equals(whole[c.ITEM_ID]), "of what comes at all, as at a training's cutoff"


def test_what_was_shown_later_is_not_read(copied, tmp_path):
    """As in a file of queries: models have learned from nothing that was shown after the cutoff."""
    old = Ranker.load(bundle.live_folder(copied.bundles_path))
    pl.DataFrame(
        {
            c.REQUEST_ID: "r",
            c.USER_ID: "ann",
            c.ITEM_ID: old.catalogue.ids[:2],
            c.OCCURRED_AT: old.cutoff,
            c.CLICKED: [True, False],
        }
    ).write_parquet(tmp_path / "shown.parquet")
    with Store.open(copied.store_path) as store:
        load_files(store, [tmp_path / "shown.parquet"])
    folder, changes = refresh(copied)
    assert folder.name == old.version
    assert not changes


def test_until_leaves_out_what_came_later(changed):
    """Texts and availability are those of the cutoff again; a new item counts as listed from the beginning."""
    old, folder, _, _, workspace = changed
    again, changes = refresh(workspace, version=folder.name, until=old.cutoff)
    assert Catalogue.load(again).items.filter(pl.col(c.ITEM_ID) != "0-new").equals(old.catalogue.items)
    assert (changes.new, changes.changed, changes.removed) == (0, 2, 0)
    assert Ranker.load(again).known_until == old.cutoff


def test_elsewhere_it_stands_among_no_bundles(changed, tmp_path):
    old, folder, _, _, workspace = changed
    before = sorted(workspace.bundles_path.iterdir())
    again, _ = refresh(workspace, version=folder.name, until=old.cutoff, into=tmp_path / "aside")
    assert again.parent == tmp_path / "aside"
    assert sorted(workspace.bundles_path.iterdir()) == before
    with Store.open(workspace.store_path, read_only=True) as store:
        told = store.connection.execute("SELECT version FROM bundles").fetchall()
    assert (again.name,) not in told


def test_unknown_version_says_so(copied):
    with pytest.raises(BundleError, match="got '20000101T000000000'; there are "):
        refresh(copied, version="20000101T000000000")


def test_catalogue_of_the_new_bundle_is_the_stores(changed):
    _, folder, _, _, workspace = changed
    with Store.open(workspace.store_path, read_only=True) as store:
        now = Catalogue.from_store(store.items(before=END_OF_TIME), pl.DataFrame())
    assert Catalogue.load(folder).items.equals(now.items)


def test_rules_are_those_of_the_workspace_now(copied):
    settings = copied.settings_path
    settings.write_text(settings.read_text() + "\n[rules]\ndiversity = 1.0\ncaps = { category = 2 }\n")
    workspace = Workspace.open(copied.root)
    folder, changes = refresh(workspace)
    assert (changes.rules, changes.new, changes.changed, changes.encoded) == (True, 0, 0, 0)
    old, new = Ranker.load(bundle.live_folder(copied.bundles_path)), Ranker.load(folder)
    query = Query(user_id=old.history.user_ids[0], as_of=old.cutoff)
    before, after = ([item.item_id for item in ranker.recommend(query).items] for ranker in (old, new))
    assert before != after
    assert before == [item.item_id for item in with_rules(new, old.model.rules).recommend(query).items]
    bundle.promote(copied.bundles_path, folder.name)
    assert not refresh(workspace)[1]


def test_repeats_stays_as_it_was_learned_and_that_is_said(copied):
    settings = copied.settings_path
    settings.write_text(settings.read_text() + "\n[rules]\nrepeats = true\ndiversity = 0.5\n")
    folder, changes = refresh(Workspace.open(copied.root))
    assert (changes.rules, changes.repeats_wait) == (True, True)
    rules = Ranker.load(folder).model.rules
    assert (rules.repeats, rules.diversity) == (False, 0.5)
    assert any("counts from the next `readrank train` on" in line for line in refresh_lines(folder, changes, False))
    bundle.promote(copied.bundles_path, folder.name)
    same, changes = refresh(Workspace.open(copied.root))
    assert (same, bool(changes)) == (folder, False)
    assert any("counts from the next" in line for line in refresh_lines(folder, changes, False))


@pytest.fixture
def late_items(copied, tmp_path):
    """The shop of which three items came into the catalogue after the training, though they had been touched before."""
    old = Ranker.load(bundle.live_folder(copied.bundles_path))
    taken = [item for item in old.catalogue.ids if len(takers(old, item)) > 3][:3]
    rows = old.catalogue.items.filter(pl.col(c.ITEM_ID).is_in(taken))
    with Store.open(copied.store_path) as store, store.transaction() as connection:
        for table in ("items", "item_versions"):
            connection.execute(f"DELETE FROM {table} WHERE item_id IN ?", [taken])
    folder, changes = refresh(copied)
    bundle.promote(copied.bundles_path, folder.name)
    assert changes.removed == 3
    ingest(copied, tmp_path, rows)
    return copied, old, taken


def takers(ranker: Ranker, item: str) -> list[str]:
    return [user for user in ranker.history.user_ids if item in ranker.last_items(user, 999)]


def same_past(one: Ranker, other: Ranker) -> None:
    """Whatever is asked of two histories of one catalogue."""
    left, right = one.history, other.history
    users = sorted(right.user_ids)
    assert sorted(left.user_ids) == users
    end = np.full(len(users), to_microseconds(one.cutoff))
    asked = [Moments(users=history.user_rows(users), as_of=end) for history in (left, right)]
    recent = [history.recent(moments, 30) for history, moments in zip((left, right), asked, strict=True)]
    for name in ("items", "weights", "ages", "sessions"):
        np.testing.assert_array_equal(*(getattr(each, name) for each in recent))
    named = [
        [("", *history.kinds.names)[code] for code in each.kinds.ravel()]
        for history, each in zip((left, right), recent, strict=True)
    ]
    assert named[0] == named[1]
    rows, halfway = np.arange(len(one.catalogue)), end[:1] - 60 * DAY
    for before in (halfway, end[:1]):
        np.testing.assert_array_equal(left.item_counts(rows, before=before), right.item_counts(rows, before=before))
        np.testing.assert_array_equal(left.log_counts(before), right.log_counts(before))
        np.testing.assert_array_equal(left.exposure(rows, before=before), right.exposure(rows, before=before))


def test_what_was_done_with_a_new_item_before_the_catalogue_had_it_counts(late_items):
    workspace, old, taken = late_items
    folder, changes = refresh(workspace)
    assert changes.new == 3
    new = Ranker.load(folder)
    same_past(new, old)
    for item in taken:
        assert takers(new, item) == takers(old, item)
        query = Query(user_id=takers(old, item)[0], as_of=new.cutoff, k=len(new.catalogue))
        assert item not in {answer.item_id for answer in new.recommend(query).items}


def test_new_values_of_an_attribute_that_counts_count_at_once():
    """Books by a and b were trained on; two by c have come, and one column that nobody knew."""
    old, now = (
        Catalogue.from_store(
            pl.DataFrame(
                {
                    c.ITEM_ID: [f"i{n}" for n in range(len(authors))],
                    c.ATTRIBUTES: [json.dumps({"by": author, **more}) for author in authors],
                }
            ),
            pl.DataFrame(),
        )
        for authors, more in (("aabb", {}), ("aabcc", {"shelf": "x"}))
    )
    assert old.facet_values == [("by", "a"), ("by", "b")]
    assert _facet_values(old, now) == [("by", "a"), ("by", "b"), ("by", "c")]
