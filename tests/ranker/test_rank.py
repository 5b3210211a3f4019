from itertools import pairwise

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ranker.blend import Trees
from ranker.candidates import every_pair
from ranker.explain import reasons
from ranker.query import GivenItem, Query
from ranker.rank import Ranker
from ranker.registry import FAMILIES, FEATURE_NAMES


def taken_by(ranker: Ranker, user: str) -> set[str]:
    return set(ranker.last_items(user, 1000))


def test_rank_is_one_based_and_falls_with_the_score(ranker):
    items = ranker.recommend(Query(user_id=ranker.history.user_ids[0], as_of=ranker.cutoff)).items
    assert [item.rank for item in items] == list(range(1, 21))
    by_score = [item for item in items if item.placed_by == "score"]
    assert len(by_score) > 10
    assert all("fresh" in item.sources for item in items if item.placed_by == "new")
    assert all(a.score >= b.score for a, b in pairwise(by_score))


def test_nobody_gets_a_full_answer_without_personal_sources(ranker):
    items = ranker.recommend(Query(user_id="never-seen", as_of=ranker.cutoff, k=10)).items
    assert len(items) == 10
    assert {source for item in items for source in item.sources} <= {"trending", "popular", "evergreen"}


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_hard_rules_hold_whatever_is_asked(ranker, data):
    user = data.draw(st.sampled_from([*ranker.history.user_ids[:40], "never-seen"]))
    exclude = frozenset(data.draw(st.lists(st.sampled_from(ranker.catalogue.ids), max_size=30)))
    names = sorted(ranker.catalogue.category_names)
    categories = frozenset(data.draw(st.lists(st.sampled_from(names), max_size=3)))
    query = Query(user_id=user, as_of=ranker.cutoff, exclude=exclude, categories=categories, k=30)
    allowed = set(np.array(ranker.catalogue.ids)[ranker.catalogue.in_categories(categories)]) if categories else None
    for answer in (ranker.recommend(query), ranker.popular(query)):
        shown = [item.item_id for item in answer.items]
        assert len(set(shown)) == len(shown)
        assert not set(shown) & exclude
        assert not set(shown) & taken_by(ranker, user)
        assert allowed is None or set(shown) <= allowed


def test_answer_says_how_many_each_rule_held_back(ranker):
    excluded = frozenset(ranker.catalogue.ids[:3])
    answer = ranker.recommend(Query(user_id="never-seen", as_of=ranker.cutoff, exclude=excluded))
    nothing = {"unavailable": 0, "seen": 0, "category": 0, "price": 0, "price_unknown": 0}
    assert answer.filtered == nothing | {"excluded": 3}


def test_asking_for_all_gives_all_that_is_allowed(ranker):
    n_items = len(ranker.catalogue)
    user = ranker.history.user_ids[0]
    answer = ranker.recommend(Query(user_id=user, as_of=ranker.cutoff, k=n_items))
    assert len(answer.items) == n_items - answer.filtered["seen"]


def test_session_changes_the_answer_and_is_not_shown_again(ranker):
    plain = Query(user_id="never-seen", as_of=ranker.cutoff, k=10)
    looked_at = ranker.catalogue.ids[5]
    with_session = Query(user_id="never-seen", as_of=ranker.cutoff, k=10, session=(looked_at,))
    before = [item.item_id for item in ranker.recommend(plain).items]
    after = [item.item_id for item in ranker.recommend(with_session).items]
    assert before != after
    assert looked_at not in after


def test_only_what_lies_before_as_of_counts(ranker):
    user = max(ranker.history.user_ids[:50], key=lambda user: len(taken_by(ranker, user)))
    early = Query(user_id=user, as_of=ranker.cutoff.replace(year=ranker.cutoff.year - 30))
    nobody = Query(user_id="never-seen", as_of=early.as_of)
    assert [i.item_id for i in ranker.recommend(early).items] == [i.item_id for i in ranker.recommend(nobody).items]


def test_new_item_is_read_from_its_text(ranker):
    """A given item with the words of what the user took has more interest than one without any."""
    user = max(ranker.history.user_ids[:50], key=lambda user: len(taken_by(ranker, user)))
    last = ranker.item(ranker.last_items(user, 1)[0])
    given_items = [
        GivenItem(item_id="new", title=last["title"], description=last["description"]),
        GivenItem(item_id="blank"),
    ]
    answer = ranker.rank(Query(user_id=user, as_of=ranker.cutoff), given_items)
    words = {item.item_id: item.features[FEATURE_NAMES.index("words")] for item in answer.items}
    assert words["new"] > words["blank"] == 0


def test_given_items_come_back_once_each(ranker):
    ids = [*ranker.catalogue.ids[:5], "unknown"]
    answer = ranker.rank(Query(user_id="u", as_of=ranker.cutoff), [GivenItem(item_id=i) for i in ids])
    assert sorted(item.item_id for item in answer.items) == sorted(ids)


def test_reasons_are_the_families_that_add_most(ranker):
    query = Query(user_id=ranker.history.user_ids[0], as_of=ranker.cutoff, explain=True, k=5)
    items = ranker.recommend(query).items
    assert len(items) == 5
    for item in items:
        assert item.reasons
        assert {reason.family for reason in item.reasons} <= set(FAMILIES)
        weights = [reason.weight for reason in item.reasons]
        assert weights == sorted(weights, reverse=True)
        assert all(
            reason.because is None or reason.because in taken_by(ranker, query.user_id) for reason in item.reasons
        )


def test_newcomers_get_no_reasons_of_a_past(ranker):
    query = Query(user_id="never-seen", as_of=ranker.cutoff, explain=True, k=50)
    given_items = [GivenItem(item_id=item) for item in ranker.catalogue.ids[:50]]
    for answer in (ranker.recommend(query), ranker.rank(query, given_items)):
        told = [reason for item in answer.items for reason in item.reasons]
        assert told
        families = {reason.family for reason in told}
        assert not families & {"text interest", "similarity", "collaborative", "affinity", "user habits"}
        assert all(any(np.isfinite(feature.value) for feature in reason.features) for reason in told)


def test_what_is_not_defined_is_no_reason(ranker):
    """A price that is not known may weigh most: nobody is told that it speaks for the item."""
    features = np.full((1, len(FEATURE_NAMES)), np.nan, np.float32)
    weights = np.zeros((1, len(FEATURE_NAMES)))
    popular, price = FEATURE_NAMES.index("count_all"), FEATURE_NAMES.index("price")
    weights[0, [popular, price]], features[0, popular] = [0.25, 0.5], 3
    user = ranker.history.user_ids[0]
    situation = ranker._situation(Query(user_id=user, as_of=ranker.cutoff), ranker.history)
    sources = ranker.model.sources
    (told,) = reasons(weights, features, every_pair(1, 1), situation, sources.everything, sources)
    assert [(reason.family, reason.weight) for reason in told] == [("popularity", 0.25)]


def test_shap_values_add_up_to_the_score(ranker):
    assert isinstance(ranker.model.blend, Trees)
    query = Query(user_id=ranker.history.user_ids[0], as_of=ranker.cutoff, k=5)
    items = ranker.recommend(query).items
    features = np.array([item.features for item in items], np.float32)
    total = ranker.model.blend.contributions(features).sum(axis=1)
    assert total.tolist() == pytest.approx([item.score for item in items], abs=1e-6)
