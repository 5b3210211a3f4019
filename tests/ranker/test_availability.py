"""Whether an item could be had is asked as of each question's moment, in training, evaluation and service alike."""

import copy
from datetime import datetime, timedelta

import numpy as np
import polars as pl
import pytest
from threadpoolctl import threadpool_limits

from encoders.train import EncoderConfig
from ingest import columns as c
from ingest.load import load_files
from ingest.moments import EPOCH, to_microseconds
from ingest.store import END_OF_TIME, Store
from ingest.workspace import Workspace
from offline_eval.baselines import make_baselines
from offline_eval.systems import BaselinesConfig
from ranker.availability import SCHEMA
from ranker.candidates import CandidatesConfig
from ranker.catalogue import Catalogue
from ranker.examples import EVERY_ITEM, ExamplesConfig, next_items
from ranker.history import History
from ranker.many import recommend_many
from ranker.moments import Moments
from ranker.query import Query
from ranker.rank import Ranker
from ranker.refresh import refresh
from ranker.rules import RulesConfig, on_offer
from ranker.slices import make_slices
from ranker.source_recall import recall_of_sources
from ranker.train import train
from ranker.train_config import TrainConfig
from ranker.training_data import Frames
from ranker.tuning_examples import _fingerprint
from ranker.untouched import with_waiting
from tests.ranker.conftest import DAY, catalogue, changed, hand_made_sources, log

INSTANT = timedelta(microseconds=1)
TINY = TrainConfig(encoder=EncoderConfig(base="catalogue", dim=8, width=8, heads=2, epochs=1, continue_epochs=1))


def day(number: float) -> datetime:
    return EPOCH + timedelta(days=number)


def gone(*intervals: tuple[str, float | None, float | None]) -> pl.DataFrame:
    """Absences of (item, day after which, day until which)."""
    rows = [(item, *(None if bound is None else day(bound) for bound in bounds)) for item, *bounds in intervals]
    return pl.DataFrame(rows, schema=SCHEMA, orient="row")


def shelf(*item_ids: str, absences: pl.DataFrame, now_gone: tuple[str, ...] = ()) -> Catalogue:
    items = catalogue(*item_ids).items.with_columns((~pl.col(c.ITEM_ID).is_in(now_gone)).alias(c.AVAILABLE))
    return Catalogue(items, absences=absences)


def store_of(root, versions: list[tuple[str, datetime, bool]], rows: pl.DataFrame | None = None) -> Workspace:
    told = pl.DataFrame(versions, schema=[c.ITEM_ID, c.UPDATED_AT, c.AVAILABLE], orient="row")
    told.with_columns(title=pl.format("the {}", c.ITEM_ID)).write_parquet(root / "items.parquet")
    files = [root / "items.parquet"]
    if rows is not None:
        rows.drop(c.WEIGHT).write_parquet(root / "log.parquet")
        files.append(root / "log.parquet")
    workspace = Workspace.create(root / "shop", "")
    with Store.open(workspace.store_path) as store:
        load_files(store, files)
    return workspace


@pytest.fixture
def turns() -> list[tuple[str, datetime, bool]]:
    """Thirty items of one to six versions each, sold out at random; some are told in the wrong order."""
    rng = np.random.default_rng(3)
    told = [
        (f"i{item:02}", datetime(2024, 5, 1) + timedelta(days=int(at)), bool(rng.random() < 0.6))
        for item in range(30)
        for at in rng.permutation(20)[: rng.integers(1, 7)]
    ]
    return told


def test_absences_tell_of_every_moment_what_the_catalogue_said_before_it(tmp_path, turns):
    """And from where all is settled on, what it says at last, also where it changed later."""
    settled = datetime(2024, 5, 12)
    with Store.open(store_of(tmp_path, turns).store_path) as store:
        last = store.items(before=END_OF_TIME)
        whole = Catalogue.from_store(last, log(), store.absences(before=END_OF_TIME))
        early = Catalogue.from_store(last, log(), store.absences(before=END_OF_TIME, settled=settled))
        moments = [
            datetime(2024, 5, 1) + timedelta(days=at) + step for at in range(21) for step in (0 * INSTANT, INSTANT)
        ]
        then = np.array([store.items(before=moment)[c.AVAILABLE].to_list() for moment in moments])
    as_of = np.array([to_microseconds(moment) for moment in moments])
    assert (then != whole.available).any(axis=1).sum() > 10
    np.testing.assert_array_equal(whole.available_at(as_of), then)
    before = as_of < to_microseconds(settled)
    np.testing.assert_array_equal(early.available_at(as_of)[before], then[before])
    assert (early.available_at(as_of)[~before] == early.available).all()
    each = np.array([as_of[row % len(as_of)] for row in range(len(whole))])
    assert whole.available_each_at(each).tolist() == [bool(then[row % len(as_of), row]) for row in range(len(whole))]


def test_a_store_in_which_nothing_turned_has_no_absences(tmp_path):
    """An item that was never available is not absent for a while: it is not there at all, as before."""
    versions = [("a", day(3), True), ("a", day(5), True), ("z", day(3), False)]
    with Store.open(store_of(tmp_path, versions).store_path) as store:
        assert store.absences(before=END_OF_TIME).is_empty()
        items = Catalogue.from_store(store.items(before=END_OF_TIME), log(), store.absences(before=END_OF_TIME))
    items.save(tmp_path)
    assert not (tmp_path / "absences.parquet").exists()
    assert items.available_at(np.array([0, 9 * DAY])).tolist() == [[True, False]]


WEEK = log(
    *((f"u{n}", item, 1) for n in range(3) for item in ("back", "kept", "sold")),
    *((f"v{moment}", item, moment) for moment in (4, 6, 8) for item in ("back", "kept", "sold")),
)
"""Everything is known from day 1 on; somebody new takes each item on days 4, 6 and 8."""


@pytest.fixture
def asked_of(monkeypatch) -> dict[int, set[str]]:
    """What is proposed at each day, by whatever makes examples."""
    import ranker.examples

    proposed: dict[int, set[str]] = {}
    propose = ranker.examples.propose

    def noted(sources, situation, allowed, config, scores=None):
        pairs = propose(sources, situation, allowed, config, scores)
        for query, item in zip(pairs.query.tolist(), pairs.item.tolist(), strict=True):
            at = int(situation.moments.as_of[query]) // DAY
            proposed.setdefault(at, set()).add(sources.catalogue.ids[item])
        return pairs

    monkeypatch.setattr(ranker.examples, "propose", noted)
    return proposed


def test_a_withdrawn_item_is_a_candidate_and_true_before_and_never_after(asked_of):
    """Sold out on day 5 for good; another one was sold out from day 3 on and came back on day 7."""
    absences = gone(("sold", 5, None), ("back", 3, 7))
    items = shelf("back", "kept", "sold", absences=absences, now_gone=("sold",))
    sources = hand_made_sources(items, ["one", "two", "three"], np.eye(3, 4))
    history = History.from_frames(items, WEEK)
    between, shares = [4 * DAY, 5 * DAY, 7 * DAY, 9 * DAY], [1.0, 1.0, 1.0]
    config = ExamplesConfig(negatives=10)
    slices = make_slices(sources, history, between, shares, CandidatesConfig(), config, RulesConfig())
    following = [part.following for part in slices]
    assert asked_of == {4: {"kept", "sold"}, 5: {"kept", "sold"}, 6: {"kept"}, 7: {"kept"}, 8: {"kept", "back"}}
    assert [(part.labels > 0).sum() for part in following] == [2, 1, 2]
    assert [part.retrieved for part in following] == pytest.approx([2 / 3, 1 / 3, 2 / 3])
    assert [part.followed for part in following] == [3, 3, 3]


def test_sources_find_what_could_be_had(asked_of):
    """Of the three that are taken on day 6 only one was there."""
    items = shelf("back", "kept", "sold", absences=gone(("sold", 5, None), ("back", 3, 7)), now_gone=("sold",))
    sources = hand_made_sources(items, ["one", "two", "three"], np.eye(3, 4))
    history = History.from_frames(items, WEEK)
    truth = next_items(history, 6 * DAY, 7 * DAY)
    assert recall_of_sources(sources, history, truth, CandidatesConfig(), RulesConfig()).proposed == pytest.approx(
        1 / 3
    )


def test_what_was_sold_out_when_first_touched_did_not_wait():
    """One item waits at the end. On day 2 the next one touched is `b`, sold out since: without it, it would be `d`."""
    rows = log(("ann", "a", 1), ("ann", "b", 2), ("ann", "gone", 3), ("ann", "d", 4))
    items = shelf("a", "b", "d", "gone", "z", absences=gone(("b", 5, None), ("gone", 2, 4)), now_gone=("b",))
    history = History.from_frames(items, rows)
    truth = with_waiting(next_items(history, 1 * DAY, 9 * DAY), history, items)
    assert truth.moments.as_of.tolist() == [1 * DAY, 2 * DAY, 3 * DAY, 4 * DAY]
    assert truth.known_by.tolist() == [1 * DAY + 1, 2 * DAY + 1, 4 * DAY + 1, 4 * DAY + 1]
    assert EVERY_ITEM not in truth.known_by


@pytest.fixture(scope="module")
def turning(ranker) -> Ranker:
    """The shop, in which a third of the items was sold out for a while and a tenth is so for good."""
    items, row = ranker.catalogue.items, np.arange(len(ranker.catalogue))
    end = to_microseconds(ranker.cutoff)
    while_gone, for_good = row[row % 3 == 0], row[row % 10 == 1]
    bounds = [(r, end - 40 * DAY, end - 20 * DAY) for r in while_gone] + [(r, end - 30 * DAY, None) for r in for_good]
    absences = pl.DataFrame(
        [(ranker.catalogue.ids[r], after, until) for r, after, until in bounds],
        schema={c.ITEM_ID: pl.String, c.GONE_AFTER: pl.Int64, c.GONE_UNTIL: pl.Int64},
        orient="row",
    ).cast(dict(SCHEMA))
    turned = Catalogue(items.with_columns(pl.Series(c.AVAILABLE, row % 10 != 1)), absences=absences)
    sources = copy.copy(ranker.model.sources)
    sources.catalogue = turned
    return changed(ranker, sources=sources)


MOMENTS = [-45, -40, -35, -25, -20, -10, 0, 5]


@pytest.fixture
def questions(turning) -> pl.DataFrame:
    """Each moment asked by two users, at the instants of the changes too."""
    asked = [(turning.history.user_ids[n], turning.cutoff + timedelta(days=at)) for at in MOMENTS for n in (0, 7)]
    return pl.DataFrame(asked, schema=[c.USER_ID, c.AS_OF], orient="row").with_columns(
        pl.col(c.AS_OF).cast(pl.Datetime("us")), pl.int_range(pl.len()).cast(pl.String).alias(c.QUERY_ID)
    )


def could_be_had(turning: Ranker, as_of: datetime) -> set[str]:
    """In plain words: the fixture's own rule."""
    days = (as_of - turning.cutoff) / timedelta(days=1)
    return {
        item_id
        for row, item_id in enumerate(turning.catalogue.ids)
        if not (row % 3 == 0 and -40 < days <= -20) and not (row % 10 == 1 and days > -30)
    }


def test_served_and_offline_answers_hold_what_could_be_had_then(turning, questions):
    """Single answers, files of queries and baselines alike, at past moments, at the cutoff and after it."""
    k = len(turning.catalogue)
    batch = recommend_many(turning.model, questions, k, turning.history)
    texts = [""] * k
    first = turning.catalogue.ids[0]
    of_two = log(("ann", first, 1), ("bob", first, 2))
    with threadpool_limits(1):
        baselines = make_baselines(turning.catalogue, texts, of_two, turning.cutoff, BaselinesConfig(factors=2))
    popular = baselines["popular"].recommend(questions, k)
    for query_id, user, as_of in questions.select(c.QUERY_ID, c.USER_ID, c.AS_OF).iter_rows():
        there = could_be_had(turning, as_of)
        answer = turning.recommend(Query(user_id=user, as_of=as_of, k=k), turning.history)
        alone = [item.item_id for item in answer.items]
        assert alone == batch.filter(pl.col(c.QUERY_ID) == query_id)[c.ITEM_ID].to_list()
        assert set(alone) <= there
        assert answer.filtered["unavailable"] >= k - len(there)
        assert {item.item_id for item in turning.popular(Query(user_id=user, as_of=as_of, k=k)).items} <= there
        assert set(popular.filter(pl.col(c.QUERY_ID) == query_id)[c.ITEM_ID]) <= there
        taken = {turning.catalogue.ids[row] for row in turning.history.taken(moments_of(turning, user, as_of)).item}
        offered = on_offer(turning.catalogue, moments_of(turning, user, as_of))[0]
        assert set(alone) == {turning.catalogue.ids[row] for row in np.flatnonzero(offered)} - taken


def moments_of(shop: Ranker, user: str, as_of: datetime) -> Moments:
    return Moments(users=shop.history.user_rows([user]), as_of=np.array([to_microseconds(as_of)]))


def test_at_the_cutoff_and_after_it_the_catalogue_is_looked_at_alone(turning, monkeypatch):
    """What serves looks through no absences."""
    turning.catalogue._absences.last_change  # noqa: B018 - known once
    monkeypatch.setattr("ranker.availability.Absences._ever", lambda *_: pytest.fail("looked through absences"))
    for later in (0 * INSTANT, timedelta(days=5)):
        at = np.array([to_microseconds(turning.cutoff + later)])
        assert turning.catalogue.available_at(at).tolist() == [turning.catalogue.available.tolist()]


def test_a_catalogue_remembers_absences_on_disk_and_without_texts(turning, tmp_path):
    turning.catalogue.save(tmp_path)
    as_of = np.array([to_microseconds(turning.cutoff + timedelta(days=at)) for at in MOMENTS])
    for kept in (Catalogue.load(tmp_path), turning.catalogue.without_text()):
        np.testing.assert_array_equal(kept.available_at(as_of), turning.catalogue.available_at(as_of))


VERSIONS = [
    ("back", day(1), True),
    ("back", day(3), False),
    ("back", day(7), True),
    ("kept", day(1), True),
    ("late", day(1), True),
    ("late", day(20), False),
    ("sold", day(1), True),
    ("sold", day(5), False),
]


def offered_at(items: Catalogue, *days: float) -> list[set[str]]:
    users = np.zeros(len(days), np.int32)
    offered = on_offer(items, Moments(users=users, as_of=np.array([to_microseconds(day(at)) for at in days])))
    return [{items.ids[row] for row in np.flatnonzero(row)} for row in offered]


def test_a_bundle_knows_the_past_and_a_refreshed_one_too(tmp_path):
    """Trained with all there is, it shows the present catalogue from its cutoff on: `late` is sold out on day 20."""
    workspace = store_of(tmp_path, VERSIONS, WEEK)
    with threadpool_limits(1):
        folder = train(workspace, TINY).folder
        then = train(workspace, TINY, until=day(6)).folder
    ranker = Ranker.load(folder)
    assert to_microseconds(ranker.cutoff) == 8 * DAY + 1
    everything = {"back", "kept", "late", "sold"}
    past = [everything, everything, {"kept", "late", "sold"}, {"kept", "late"}, {"back", "kept", "late"}]
    assert offered_at(ranker.catalogue, 1, 3, 4, 6, 8) == past
    assert offered_at(ranker.catalogue, 9, 30) == [{"back", "kept"}] * 2
    assert offered_at(Ranker.load(then).catalogue, 1, 3, 4, 6, 8) == [*past[:4], past[3]]
    new = pl.DataFrame({c.ITEM_ID: ["kept"], c.UPDATED_AT: [day(25)], c.AVAILABLE: [False], c.TITLE: ["the kept"]})
    new.write_parquet(tmp_path / "changes.parquet")
    with Store.open(workspace.store_path) as store:
        load_files(store, [tmp_path / "changes.parquet"])
    refreshed, changes = refresh(workspace, version=folder.name)
    assert changes.changed == 1
    assert offered_at(Ranker.load(refreshed).catalogue, 1, 3, 4, 6, 8) == past
    assert offered_at(Ranker.load(refreshed).catalogue, 9, 30) == [{"back"}] * 2


def test_a_late_file_about_the_past_alone_is_worth_a_refresh(tmp_path):
    workspace = store_of(tmp_path, VERSIONS, WEEK)
    with threadpool_limits(1):
        folder = train(workspace, TINY).folder
    assert not refresh(workspace, version=folder.name)[1]
    (tmp_path / "earlier.csv").write_text("item_id,title,updated_at,available\nback,the back,1970-01-05,true\n")
    with Store.open(workspace.store_path) as store:
        load_files(store, [tmp_path / "earlier.csv"])
    refreshed, changes = refresh(workspace, version=folder.name)
    assert changes.changed == 1
    assert "back" not in offered_at(Ranker.load(folder).catalogue, 6)[0]
    assert "back" in offered_at(Ranker.load(refreshed).catalogue, 6)[0]


def test_a_search_makes_its_examples_anew_when_only_the_past_changed(tmp_path):
    workspace = store_of(tmp_path, VERSIONS, WEEK)
    with Store.open(workspace.store_path) as store:
        before = Frames.read(store, None)
    (tmp_path / "earlier.csv").write_text("item_id,title,updated_at,available\nback,the back,1970-01-05,true\n")
    with Store.open(workspace.store_path) as store:
        load_files(store, [tmp_path / "earlier.csv"])
        after = Frames.read(store, None)
    assert before.catalogue.items.equals(after.catalogue.items)
    assert _fingerprint(before, TINY) != _fingerprint(after, TINY)
