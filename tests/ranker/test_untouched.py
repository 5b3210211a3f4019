"""In live answers untouched items stand lower by what pays on a later window; at the cutoff they stand by the blend."""

from datetime import timedelta

import numpy as np
import polars as pl
import pytest

from ingest import columns as c
from ingest.moments import EPOCH, to_microseconds
from ingest.store import END_OF_TIME, Store
from ranker.boost import BlendConfig
from ranker.catalogue import Catalogue
from ranker.examples import EVERY_ITEM, Examples, ExamplesConfig, known_items, next_items
from ranker.explain import compare
from ranker.fresh_places import FreshPlaces
from ranker.history import History
from ranker.learn import LATER_SHARE, learn
from ranker.many import recommend_many
from ranker.query import Query
from ranker.rank import Ranker
from ranker.registry import FEATURE_NAMES
from ranker.slices import examples_begin, window_bounds
from ranker.train_config import TrainConfig
from ranker.untouched import FEWEST, choose_demotion, demotion, untouched, with_waiting
from tests.ranker.conftest import DAY, bundle_that_measured, catalogue, changed, log

COUNT = FEATURE_NAMES.index("count_all")
INSTANT = timedelta(microseconds=1)


def test_as_many_items_wait_at_each_moment_as_wait_now():
    """One item waits at the end: at each moment the one that is touched next, also at the instant itself."""
    items = catalogue("a", "b", "c", "z")
    history = History.from_frames(items, log(("ann", "a", 1), ("ann", "b", 2), ("ann", "c", 3), ("bob", "a", 4)))
    truth = with_waiting(next_items(history, 1 * DAY, 9 * DAY), history, items)
    assert truth.moments.as_of.tolist() == [1 * DAY, 2 * DAY, 3 * DAY, 4 * DAY]
    assert truth.known_by.tolist() == [1 * DAY + 1, 2 * DAY + 1, 3 * DAY + 1, EVERY_ITEM]
    known = known_items(history, items, truth.known_by)
    assert known.sum(axis=1).tolist() == [1, 2, 3, 4]
    assert known[:, 3].tolist() == [False, False, False, True]


def test_what_cannot_be_shown_or_has_a_date_does_not_wait():
    """Of five items that nobody touched one is sold out and three are dated: one waits, as above."""
    items = catalogue("a", "b", "c", "sold", "v", "w", "x", "z").items
    dated, sold = pl.col(c.ITEM_ID).is_in(["v", "w", "x"]), pl.col(c.ITEM_ID) == "sold"
    told = Catalogue(
        items.with_columns(
            pl.when(dated).then(pl.lit(EPOCH)).cast(pl.Datetime("us")).alias(c.PUBLISHED_AT),
            (~sold).alias(c.AVAILABLE),
        )
    )
    history = History.from_frames(told, log(("ann", "a", 1), ("ann", "b", 2), ("ann", "c", 3)))
    truth = with_waiting(next_items(history, 1 * DAY, 9 * DAY), history, told)
    assert truth.known_by.tolist() == [1 * DAY + 1, 2 * DAY + 1, 3 * DAY + 1]


def test_where_nothing_waits_nothing_untouched_is_on_offer():
    items = catalogue("a", "b")
    history = History.from_frames(items, log(("ann", "a", 1), ("ann", "b", 2)))
    truth = with_waiting(next_items(history, 1 * DAY, 9 * DAY), history, items)
    assert known_items(history, items, truth.known_by).tolist() == [[False, False], [True, False]]


class ByInterest:
    def score(self, features):
        return features[:, FEATURE_NAMES.index("interest")].astype(float)


def asked(n: int, *, takes_new: int) -> Examples:
    """Questions with three candidates of scores 2, 1 and 0, of which the first is untouched.

    What is taken: the first by `takes_new` users, the second by the others; its gain is 1 or more.
    """
    features = np.zeros((n * 3, len(FEATURE_NAMES)), np.float32)
    place, user = np.tile(np.arange(3), n), np.repeat(np.arange(n), 3)
    features[:, FEATURE_NAMES.index("interest")] = 2 - place
    features[:, COUNT] = place
    return Examples(
        features=features,
        labels=(place == np.where(user < takes_new, 0, 1)).astype(np.int32) * (1 + user % 5).astype(np.int32),
        positions=np.zeros(len(features), np.int32),
        groups=np.full(n, 3),
        as_of=np.zeros(n, np.int64),
        users=np.arange(n),
        negative_weight=np.ones(n, np.float32),
        retrieved=1.0,
    )


def test_the_least_that_finds_most_is_chosen():
    """Scores of a question spread by the root of 2/3: 1.5 times that is the least that brings the new item below."""
    found = choose_demotion(ByInterest(), asked(FEWEST, takes_new=0))
    assert found["by"] == pytest.approx(1.5 * (2 / 3) ** 0.5)
    second = round(1 / np.log2(3), 4)
    assert list(found["tried"].values()) == [second] * 6 + [1.0] * 3
    assert next(iter(found["tried"])) == "0", "as it is now"
    assert found["questions"] == FEWEST


@pytest.mark.parametrize("takes_new", [FEWEST // 2 - 2, FEWEST])
def test_nothing_is_lowered_without_a_sure_gain(takes_new):
    """Of fifty takings 27 are not new: more than half, and yet it may be chance. Or all are new: it would only cost."""
    assert choose_demotion(ByInterest(), asked(FEWEST, takes_new=takes_new))["by"] == 0


def test_with_few_questions_or_nothing_new_nothing_is_lowered():
    nothing = {"by": 0.0, "tried": {}}
    assert choose_demotion(ByInterest(), None) == nothing
    assert choose_demotion(ByInterest(), asked(FEWEST - 1, takes_new=0)) == nothing
    of_known = asked(FEWEST, takes_new=0)
    of_known.features[:, COUNT] = 1
    assert choose_demotion(ByInterest(), of_known) == nothing


def test_only_untouched_items_of_live_questions_are_lowered():
    features = np.zeros((4, len(FEATURE_NAMES)), np.float32)
    features[:2, COUNT] = np.log1p(1)
    assert untouched(features).tolist() == [False, False, True, True]
    assert demotion(features, np.array([False, True, False, True]), 0.5).tolist() == [0, 0, 0, 0.5]


@pytest.fixture
def lowering(ranker):
    return changed(ranker, untouched_lower_by=0.25)


def sees_untouched(ranker, user) -> bool:
    answer = ranker.recommend(Query(user_id=user, as_of=ranker.cutoff, k=50)).items
    return any(item.features[COUNT] == 0 for item in answer if len(item.features))


def scores(ranker, as_of) -> dict[str, tuple[float, bool]]:
    """Each item's score, and whether nobody has touched it."""
    answer = ranker.recommend(Query(user_id=ranker.history.user_ids[0], as_of=as_of, k=200)).items
    return {item.item_id: (item.score, item.features[COUNT] == 0) for item in answer if len(item.features)}


def test_live_begins_right_after_the_cutoff(ranker, lowering):
    assert scores(lowering, ranker.cutoff) == scores(ranker, ranker.cutoff)
    as_scored = changed(ranker, untouched_lower_by=0.0)
    before, after = (scores(shop, ranker.cutoff + INSTANT) for shop in (as_scored, lowering))
    lost = {item: before[item][0] - after[item][0] for item in before.keys() & after.keys()}
    assert any(new for _, new in before.values())
    assert lost == pytest.approx({item: 0.25 * before[item][1] for item in lost})


def test_a_batch_is_answered_as_single_questions_are(ranker, lowering):
    """By five, so that no untouched item would stand where it does without; asked by somebody who sees one."""
    lowering = changed(lowering, untouched_lower_by=5.0)
    user = next(user for user in ranker.history.user_ids if sees_untouched(ranker, user))
    moments = [ranker.cutoff, ranker.cutoff + INSTANT]
    queries = pl.DataFrame({c.QUERY_ID: ["at", "after"], c.USER_ID: user, c.AS_OF: moments})
    batch = recommend_many(lowering.model, queries, 50, ranker.history).partition_by(c.QUERY_ID, maintain_order=True)
    for answer, as_of in zip(batch, moments, strict=True):
        alone = lowering.recommend(Query(user_id=user, as_of=as_of, k=50)).items
        assert answer[c.ITEM_ID].to_list() == [item.item_id for item in alone]
        assert answer[c.SCORE].to_list() == pytest.approx([item.score for item in alone], abs=1e-6)
    at, after = batch
    assert at[c.ITEM_ID].to_list() != after[c.ITEM_ID].to_list()


def test_places_are_bought_in_answers_at_the_cutoff_alone(ranker):
    users = np.full((2, len(FEATURE_NAMES)), 1, np.float32)
    assert FreshPlaces(kept=3, newness=2.0).at(users, np.array([False, True])).tolist() == [3, 1]
    shop = changed(ranker, fresh_places=FreshPlaces(kept=5, newness=np.inf))
    user, new = ranker.history.user_ids[0], {}
    for as_of in (ranker.cutoff, ranker.cutoff + INSTANT):
        answer = shop.recommend(Query(user_id=user, as_of=as_of, k=10)).items
        new[as_of] = sum("fresh" in item.sources for item in answer)
        one = ranker.recommend(Query(user_id=user, as_of=as_of, k=10)).items
        assert (answer == one) == (as_of > ranker.cutoff)
    assert new[ranker.cutoff] >= 5 > new[ranker.cutoff + INSTANT]


@pytest.mark.parametrize(("told", "by"), [({"by": 0.75, "tried": {}}, 0.75), (None, 0.0)])
def test_a_loaded_bundle_lowers_as_its_manifest_says_also_one_of_before(shop, tmp_path, told, by):
    folder = bundle_that_measured(shop, tmp_path / "bundle", "untouched", told)
    assert Ranker.load(folder).model.untouched_lower_by == by


def test_a_reason_bears_what_its_item_loses(ranker, lowering, monkeypatch):
    """More than any count adds, so that popularity is no reason any more for what nobody has touched."""
    monkeypatch.setattr("ranker.rank.EXPLAINED", 200)
    lowering = changed(lowering, untouched_lower_by=50.0)
    query = Query(user_id=ranker.history.user_ids[0], as_of=ranker.cutoff + INSTANT, k=200, explain=True)
    told = {item.item_id: item for item in lowering.recommend(query).items if len(item.features)}
    new = [item for item in told.values() if item.features[COUNT] == 0]
    assert any(item.reasons for item in new)
    assert all(reason.family != "popularity" for item in new for reason in item.reasons)


def test_what_an_item_loses_is_told(ranker, lowering):
    """The families' weights sum to the difference of the scores, as they do where nothing is lowered."""
    as_of, user = ranker.cutoff + INSTANT, ranker.history.user_ids[0]
    items = lowering.recommend(Query(user_id=user, as_of=as_of, k=200)).items
    new = next(item for item in items if item.features[COUNT] == 0)
    known = next(item for item in items if item.features[COUNT] > 0)
    told = lowering.recommend(Query(user_id=user, as_of=as_of, compare=(known.item_id, new.item_id))).comparison
    assert told.difference == pytest.approx(known.score - new.score)
    features = np.stack([known.features, new.features])
    plain = compare(ranker.model.blend.contributions(features)[:, :-1], features, known.item_id, new.item_id)
    popularity = {family.family: family.weight for family in told.families}["popularity"]
    assert popularity == pytest.approx(
        {family.family: family.weight for family in plain.families}["popularity"] + lowering.model.untouched_lower_by
    )


def test_training_asks_the_later_window_what_came_next_with_all_candidates(ranker, shop, monkeypatch):
    """And takes over what `choose_demotion` says."""
    with Store.open(shop.store_path, read_only=True) as store:
        log_of_shop = store.interactions(before=END_OF_TIME)
    history = History.from_frames(ranker.catalogue, log_of_shop)
    until = to_microseconds(ranker.cutoff)
    since = examples_begin(history, until, 0.3)
    later = window_bounds(history, since, until, (1 - LATER_SHARE, LATER_SHARE))[1]
    expected = next_items(history, later, until)
    asked_of: list[Examples] = []

    def waiting(truth, of_history, of_catalogue):
        assert (truth.moments.as_of == expected.moments.as_of).all()
        assert (of_history, of_catalogue) == (history, ranker.catalogue)
        return truth.sample(70, np.random.default_rng(0))

    def chosen(blend, soon):
        asked_of.append(soon)
        return {"by": 0.5, "tried": {}}

    monkeypatch.setattr("ranker.learn.with_waiting", waiting)
    monkeypatch.setattr("ranker.learn.choose_demotion", chosen)
    few = ExamplesConfig(max_queries=300, negatives=5)
    config = TrainConfig(examples=few, blend=BlendConfig(trees=10))
    learned = learn(ranker.model.sources, history, since, until, config)
    assert learned.untouched == {"by": 0.5, "tried": {}}
    (soon,) = asked_of
    assert set(soon.as_of.tolist()) <= set(expected.moments.as_of.tolist())
    assert 50 < len(soon.groups) <= 70 < len(expected.moments)  # some have an answer that no source proposed
    assert soon.groups.min() > 2 * few.negatives
