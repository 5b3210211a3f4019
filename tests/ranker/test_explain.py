"""Explanations add up: features to families, families to scores and to the differences between them."""

from dataclasses import replace

import numpy as np
import pytest

from ranker.blend import Trees
from ranker.explain import EXPLAINED, STRONGEST, _speak_most, compare
from ranker.fusion import OFFSET, Fusion
from ranker.query import GivenItem, Query
from ranker.rank import Ranker
from ranker.registry import FAMILIES, FEATURE_NAMES, FEATURES
from ranker.sources import PERSONAL
from tests.ranker.conftest import changed

FAMILY_OF = {feature.name: feature.family for feature in FEATURES}


@pytest.fixture(scope="module")
def user(ranker: Ranker) -> str:
    return max(ranker.history.user_ids[:50], key=lambda user: len(ranker.last_items(user, 1_000)))


@pytest.fixture(scope="module")
def explained(ranker: Ranker, user: str):
    return ranker.recommend(Query(user_id=user, as_of=ranker.cutoff, explain=True)).items


def test_reasons_carry_the_features_that_weigh_most_in_their_family(ranker, explained):
    features = np.array([item.features for item in explained], np.float32)
    weights = ranker.model.blend.contributions(features)[:, :-1]
    assert all(item.reasons for item in explained)
    for row, item in enumerate(explained):
        for reason in item.reasons:
            inside = {
                n: weights[row, FEATURE_NAMES.index(n)] for n, family in FAMILY_OF.items() if family == reason.family
            }
            assert reason.weight == pytest.approx(sum(inside.values()), abs=1e-12)
            strongest = sorted((w for w in inside.values() if w), key=abs, reverse=True)[:STRONGEST]
            assert [feature.weight for feature in reason.features] == pytest.approx(strongest, abs=1e-12)
            for feature in reason.features:
                assert feature.weight == pytest.approx(inside[feature.name], abs=1e-12)
                np.testing.assert_equal(feature.value, item.features[FEATURE_NAMES.index(feature.name)])


def test_differences_sum_to_the_difference_of_the_scores(ranker, user, explained):
    for first, second in ((0, 5), (5, 0), (3, 19)):
        a, b = explained[first], explained[second]
        query = Query(user_id=user, as_of=ranker.cutoff, compare=(a.item_id, b.item_id))
        told = ranker.recommend(query).comparison
        assert (told.first, told.second) == (a.item_id, b.item_id)
        assert told.difference == pytest.approx(a.score - b.score, abs=1e-9)
        assert sum(family.weight for family in told.families) == pytest.approx(told.difference, abs=1e-12)
        assert {family.family for family in told.families} == set(FAMILIES)
        sizes = [abs(family.weight) for family in told.families]
        assert sizes == sorted(sizes, reverse=True)
        for family in told.families:
            assert sum(feature.weight for feature in family.features) == pytest.approx(family.weight, abs=1e-12)
            for feature in family.features:
                assert FAMILY_OF[feature.name] == family.family
                place = FEATURE_NAMES.index(feature.name)
                np.testing.assert_equal((feature.first, feature.second), (a.features[place], b.features[place]))


def test_only_the_first_places_are_explained_however_many_are_asked_for(ranker, user, monkeypatch):
    explained = []
    contributions = Trees.contributions

    def counted(trees, features):
        explained.append(len(features))
        return contributions(trees, features)

    monkeypatch.setattr(Trees, "contributions", counted)
    query = Query(user_id=user, as_of=ranker.cutoff, k=120, explain=True)
    given = [GivenItem(item_id=item) for item in ranker.catalogue.ids[:120]]
    for answer in (ranker.recommend(query), ranker.rank(query, given)):
        assert len(answer.items) == 120
        assert all(item.reasons for item in answer.items[:EXPLAINED])
        assert not any(item.reasons for item in answer.items[EXPLAINED:])
    assert explained == [EXPLAINED, EXPLAINED]


def test_an_item_does_not_differ_from_its_like(ranker, explained):
    features = np.array([explained[0].features] * 2, np.float32)
    told = compare(ranker.model.blend.contributions(features)[:, :-1], features, "a", "b")
    assert told.difference == 0
    assert all(family.features == () for family in told.families)


def test_candidates_that_are_not_shown_can_be_compared_and_others_cannot(ranker, user, explained):
    low = explained[19].item_id

    def told(*pair: str, **asked):
        return ranker.recommend(Query(user_id=user, as_of=ranker.cutoff, k=3, compare=pair, **asked)).comparison

    assert told(explained[0].item_id, low).difference == pytest.approx(explained[0].score - explained[19].score)
    assert told(explained[0].item_id, "unheard-of") is None
    assert told(explained[0].item_id, low, exclude=frozenset({low})) is None
    assert told(explained[0].item_id, ranker.last_items(user, 1)[0]) is None


def test_given_items_can_be_compared(ranker, user):
    items = [GivenItem(item_id=item) for item in [*ranker.catalogue.ids[:5], "new"]]
    answer = ranker.rank(Query(user_id=user, as_of=ranker.cutoff, compare=("new", ranker.catalogue.ids[2])), items)
    scores = {item.item_id: item.score for item in answer.items}
    assert answer.comparison.difference == pytest.approx(scores["new"] - scores[ranker.catalogue.ids[2]], abs=1e-9)


def test_fused_ranks_explain_themselves(ranker, user):
    """Their score is a sum, so each source's part of it is exact, and nothing else is."""
    shop = changed(ranker, blend=Fusion({"words": 3.0}), blend_given=Fusion())
    query = Query(user_id=user, as_of=shop.cutoff, explain=True)
    items = shop.recommend(query).items
    for item in items:
        (reason,) = item.reasons
        assert (reason.family, reason.weight) == ("sources", pytest.approx(item.score))
        told = {feature.name.removeprefix("rank_"): feature for feature in reason.features}
        assert set(told) <= set(item.sources)
        for name, feature in told.items():
            assert feature.weight == pytest.approx((3 if name == "words" else 1) / (OFFSET + np.exp(feature.value)))
        strongest = reason.features[0].name.removeprefix("rank_")
        assert (reason.because in ranker.last_items(user, 1_000)) == (strongest in PERSONAL)
    first, second = items[0], items[5]
    told = shop.recommend(replace(query, compare=(first.item_id, second.item_id))).comparison
    assert told.difference == pytest.approx(first.score - second.score)
    assert [family.family for family in told.families if family.weight] == ["sources"]


def test_fused_given_items_are_explained_within_their_request(ranker, user):
    shop = changed(ranker, blend_given=Fusion())
    given = [GivenItem(item_id=item) for item in ranker.catalogue.ids[:60]]
    query = Query(user_id=user, as_of=shop.cutoff, explain=True)
    items = shop.rank(query, given).items
    assert all(sum(r.weight for r in item.reasons) == pytest.approx(item.score) for item in items[:EXPLAINED])
    told = shop.rank(replace(query, compare=(items[3].item_id, items[55].item_id)), given).comparison
    assert told.difference == pytest.approx(items[3].score - items[55].score)
    assert {family.family for family in told.families if family.weight} <= {
        "text interest",
        "collaborative",
        "popularity",
    }


def test_the_past_item_named_is_the_one_most_alike(ranker, user):
    """The same answer as item by item, in plain steps."""
    sources = ranker.model.sources
    query = Query(user_id=user, as_of=ranker.cutoff)
    situation = ranker._situation(query, ranker.history)
    past = situation.recent.items[0][situation.recent.mask[0]]
    places = np.array([*range(0, 200, 9), *past[:2]])
    from ranker.candidates import every_pair

    every = every_pair(1, len(sources.catalogue)).take(places)
    assert isinstance(ranker.model.blend, Trees)
    together = sources.together.toarray()
    for place, named in zip(places, _speak_most(situation, sources.everything, sources, every), strict=True):
        others = past[past != place]
        behaviour = together[others, place]
        likeness = sources.everything.vectors[others] @ sources.everything.vectors[place]
        likeness = likeness + behaviour / max(behaviour.max(), 1e-9)
        best = sources.catalogue.rows([named])[0]
        assert best in others
        assert likeness[others == best][0] == pytest.approx(likeness.max(), abs=1e-6)
