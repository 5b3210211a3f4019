"""Features are the same numbers in training, in batch and in service, and nothing later can change them."""

import numpy as np
import polars as pl
import pytest

from ingest import columns as c
from ingest.moments import EPOCH, to_microseconds
from ingest.store import END_OF_TIME, Store
from ingest.workspace import Workspace
from ranker.candidates import CandidatesConfig, propose
from ranker.features import compute
from ranker.history import History
from ranker.live_events import LiveEvents
from ranker.many import rank_many, recommend_many
from ranker.moments import Moments
from ranker.query import GivenItem, Query
from ranker.rank import Ranker
from ranker.registry import FEATURE_NAMES, FEATURES
from ranker.rules import allowed_items


@pytest.fixture(scope="module")
def frames(shop: Workspace) -> tuple[pl.DataFrame, pl.DataFrame]:
    with Store.open(shop.store_path, read_only=True) as store:
        return store.interactions(before=END_OF_TIME), store.impressions(before=END_OF_TIME)


@pytest.fixture(scope="module")
def asked(frames) -> pl.DataFrame:
    """Sixty moments of the later half of the log, with the users who acted then."""
    late = frames[0].slice(len(frames[0]) // 2)
    return late.gather_every(max(1, len(late) // 60)).select(c.USER_ID, as_of=c.OCCURRED_AT)


def features_at(ranker: Ranker, history: History, asked: pl.DataFrame):
    sources = ranker.model.sources
    moments = Moments(
        users=history.user_rows(asked[c.USER_ID].to_list()), as_of=asked[c.AS_OF].dt.epoch("us").to_numpy()
    )
    situation = sources.situation(history, moments)
    allowed = allowed_items(history, moments, sources.catalogue)
    pairs = propose(sources, situation, allowed, CandidatesConfig())
    return pairs, compute(situation, sources.everything, pairs, sources)


def live_events(ranker: Ranker, late: pl.DataFrame) -> LiveEvents:
    return LiveEvents(
        user_ids=late[c.USER_ID].to_list(),
        items=ranker.catalogue.rows(late[c.ITEM_ID]),
        times=late[c.OCCURRED_AT].dt.epoch("us").to_numpy(),
        weights=late[c.WEIGHT].to_numpy(),
        kinds=late[c.KIND].to_list(),
        sessions=late[c.SESSION_ID].to_list(),
    )


def test_features_have_one_name_each():
    assert len(set(FEATURE_NAMES)) == len(FEATURES)


def test_nothing_later_changes_a_feature(shop, ranker, frames, asked):
    """Build one history without, one with what lies at or after each moment: the numbers must agree."""
    whole = History.from_frames(ranker.catalogue, *frames)
    for row in range(0, len(asked), 12):
        moment = asked[c.AS_OF][row]
        with Store.open(shop.store_path, read_only=True) as store:
            known = store.interactions(before=moment), store.impressions(before=moment)
        past = History.from_frames(ranker.catalogue, *known)
        one = asked.slice(row, 1)
        pairs, features = features_at(ranker, whole, one)
        pairs_past, features_past = features_at(ranker, past, one)
        assert pairs.item.tolist() == pairs_past.item.tolist()
        np.testing.assert_allclose(features, features_past, rtol=1e-6, atol=1e-6)


def test_served_features_equal_those_of_a_batch(ranker, frames, asked):
    history = History.from_frames(ranker.catalogue, *frames)
    pairs, features = features_at(ranker, history, asked)
    compared = 0
    for number, (user, as_of) in enumerate(asked.iter_rows()):
        answer = ranker.recommend(Query(user_id=user, as_of=as_of, k=10), history)
        for item in answer.items:
            if len(item.features):
                row = np.flatnonzero((pairs.query == number) & (pairs.item == ranker.catalogue.rows([item.item_id])[0]))
                np.testing.assert_allclose(item.features, features[row[0]], rtol=1e-6, atol=1e-6)
                compared += 1
    assert compared > 400


def test_live_events_give_the_features_of_a_log_that_held_them(ranker, frames, asked):
    """What came over HTTP after the bundle counts like what was ingested before it."""
    interactions, _ = frames
    split = interactions[c.OCCURRED_AT][int(len(interactions) * 0.8)]
    early, late = (
        interactions.filter(part) for part in (pl.col(c.OCCURRED_AT) < split, pl.col(c.OCCURRED_AT) >= split)
    )
    whole = History.from_frames(ranker.catalogue, interactions)
    live = History.from_frames(ranker.catalogue, early).and_then(live_events(ranker, late))
    users = late[c.USER_ID].unique(maintain_order=True).head(20)
    at_the_end = pl.DataFrame({c.USER_ID: users, c.AS_OF: [ranker.cutoff] * len(users)})
    (pairs, features), (pairs_live, features_live) = (features_at(ranker, h, at_the_end) for h in (whole, live))
    np.testing.assert_array_equal(pairs.item, pairs_live.item)
    np.testing.assert_allclose(features, features_live, rtol=1e-6, atol=1e-6)
    assert np.nanmax(features[:, FEATURE_NAMES.index("taken_before")]) == 0, "nothing is proposed again"


def test_live_events_are_remembered_by_kind_and_session(ranker, frames):
    interactions, _ = frames
    early, late = interactions[:-50], interactions[-50:]
    whole = History.from_frames(ranker.catalogue, interactions)
    live = History.from_frames(ranker.catalogue, early).and_then(live_events(ranker, late))
    users = late[c.USER_ID].unique(maintain_order=True).to_list()
    as_of = np.full(len(users), to_microseconds(ranker.cutoff))
    both = [h.recent(Moments(users=h.user_rows(users), as_of=as_of), 20) for h in (whole, live)]
    for name in ("items", "weights", "ages", "sessions"):
        np.testing.assert_array_equal(getattr(both[0], name), getattr(both[1], name))
    # codes differ, as the vocabularies do; the names behind them may not
    named = [[("", *h.kinds.names)[code] for code in r.kinds.ravel()] for h, r in zip((whole, live), both, strict=True)]
    assert named[0] == named[1]
    assert len(set(named[0])) > 2


def test_batch_and_single_recommendations_agree(ranker, frames, asked):
    history = History.from_frames(ranker.catalogue, *frames)
    queries = asked.with_columns(query_id=pl.int_range(len(asked)).cast(pl.String))
    batch = recommend_many(ranker.model, queries, 5, history)
    for number, (user, as_of) in enumerate(asked.head(15).iter_rows()):
        single = ranker.recommend(Query(user_id=user, as_of=as_of, k=5), history)
        rows = batch.filter(pl.col(c.QUERY_ID) == str(number)).sort(c.RANK)
        assert [item.score for item in single.items] == pytest.approx(rows[c.SCORE].to_list(), abs=1e-6)


def test_batch_ranking_scores_like_a_single_one(ranker, frames):
    history = History.from_frames(ranker.catalogue, *frames)
    items = ranker.catalogue.ids[:7]
    requests = pl.DataFrame({c.REQUEST_ID: ["r"] * 7, c.USER_ID: ["u"] * 7, c.ITEM_ID: items}).with_columns(
        pl.lit(ranker.cutoff).alias(c.OCCURRED_AT)
    )
    scored = rank_many(ranker.model, requests, history)
    answer = ranker.rank(Query(user_id="u", as_of=ranker.cutoff), [GivenItem(item_id=i) for i in items], history)
    by_id = {item.item_id: item.score for item in answer.items}
    assert scored[c.SCORE].to_list() == pytest.approx([by_id[i] for i in items], abs=1e-6)


def test_epoch_is_the_beginning_of_time():
    assert to_microseconds(EPOCH) == 0


def test_a_batch_in_blocks_is_the_same_as_in_one(ranker, frames, asked, monkeypatch):
    queries = asked.with_row_index(c.QUERY_ID).with_columns(pl.col(c.QUERY_ID).cast(pl.String)).head(7)
    history = History.from_frames(ranker.catalogue, *frames)
    whole = recommend_many(ranker.model, queries, 5, history)
    monkeypatch.setattr("ranker.many.blocks", lambda n, _, pasts: [slice(at, min(at + 2, n)) for at in range(0, n, 2)])
    in_blocks = recommend_many(ranker.model, queries, 5, history)
    assert in_blocks.drop(c.SCORE).equals(whole.drop(c.SCORE))
    np.testing.assert_allclose(in_blocks[c.SCORE], whole[c.SCORE], atol=1e-6)


def test_no_questions_have_no_answers(ranker, asked):
    queries = asked.with_columns(pl.lit("q").alias(c.QUERY_ID)).clear()
    answers = recommend_many(ranker.model, queries, 5, ranker.history)
    assert answers.schema == {c.QUERY_ID: pl.String, c.ITEM_ID: pl.String, c.RANK: pl.Int32, c.SCORE: pl.Float64}
    assert answers.is_empty()
