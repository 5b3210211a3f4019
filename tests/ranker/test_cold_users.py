"""Users without a past see what a later window says they take: the blend's order, or a popularity list's."""

from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pytest

from ingest.moments import to_microseconds
from ranker.candidates import Candidates
from ranker.cold_users import (
    BLEND,
    FEWEST,
    ColdUsers,
    ask_cold_users,
    choose_order,
    order_for_cold_users,
    weights_of_ranks,
)
from ranker.query import Query
from ranker.rank import Ranker
from ranker.registry import FEATURE_NAMES
from ranker.sources import SOURCES
from tests.ranker.conftest import bundle_that_measured, changed


class ByCount:
    def score(self, features):
        return features[:, FEATURE_NAMES.index("count_all")].astype(float)


def asked(n: int, *, taken: int, moments: int = 1) -> ColdUsers:
    """Users with one taking of four candidates that the blend ranks 0, 1, 2, 3 and the list `popular` 3, 2, 1."""
    features = np.full((moments * 4, len(FEATURE_NAMES)), np.nan, np.float32)
    place = np.tile(np.arange(4), moments)
    features[:, FEATURE_NAMES.index("count_all")] = -place
    ranks = np.full((len(place), len(SOURCES)), np.nan, np.float32)
    ranks[:, SOURCES.index("popular")] = np.where(place > 0, 4 - place, np.nan)
    return ColdUsers(
        pairs=Candidates(
            query=np.repeat(np.arange(moments), 4).astype(np.int32), item=place.astype(np.int32), ranks=ranks
        ),
        features=features,
        user=np.arange(n, dtype=np.int32),
        item=np.full(n, taken, np.int32),
        label=np.ones(n, np.int32),
        n_moments=np.full(n, moments),
    )


@pytest.mark.parametrize(("taken", "by"), [(3, "popular"), (0, BLEND), (1, BLEND)])
def test_the_order_that_finds_more_is_chosen(taken, by):
    found = choose_order(ByCount(), asked(FEWEST, taken=taken, moments=3))
    assert found["by"] == by
    assert found["tried"][BLEND] == pytest.approx(1 / np.log2(taken + 2), abs=1e-4)
    assert found["tried"]["popular"] == pytest.approx(1 / np.log2({3: 1, 2: 2, 1: 3, 0: 4}[taken] + 1), abs=1e-4)
    assert found["users"] == found["found"] == FEWEST


def test_with_few_users_the_blend_stays():
    assert choose_order(ByCount(), asked(FEWEST - 1, taken=3))["by"] == BLEND
    assert choose_order(ByCount(), asked(FEWEST, taken=4)) == {"by": BLEND, "tried": {}}  # none of the candidates
    assert choose_order(ByCount(), None) == {"by": BLEND, "tried": {}}


def test_the_rank_bears_the_score_less_the_mean_of_the_querys_candidates():
    pairs = asked(1, taken=0, moments=2).pairs
    weights = weights_of_ranks(pairs, np.array([4.0, 3, 2, 1, 8, 0, 0, 0]), "popular", np.array([0, 3, 4]))
    of_list = FEATURE_NAMES.index("rank_popular")
    assert weights[:, of_list].tolist() == [4 - 10 / 4, 1 - 10 / 4, 8 - 8 / 4]
    assert not np.delete(weights, of_list, axis=1).any()


def test_every_user_counts_at_each_moment_without_a_past():
    """The first of three users came after one moment, the others after two, the second with the list the other way."""
    at_two = asked(3, taken=0, moments=2)
    score = np.array([4.0, 3, 2, 1, 1, 2, 3, 4])
    users = replace(
        at_two,
        n_moments=np.array([1, 2, 2]),
        user=np.array([0, 1, 2, 2], np.int32),
        item=np.array([0, 0, 1, 3], np.int32),
        label=np.array([1, 1, 1, 3], np.int32),
    )
    second, third, last = 1 / np.log2([3, 4, 5])
    best = 3 + second  # of the user who took two
    of_users = [1, 1 + last, (second + 3 * last + 3 + third) / best]
    assert users.ndcg(score) == pytest.approx(sum(of_users) / 5)
    assert users.found == 3
    assert replace(users, item=np.array([0, 0, 9, 9], np.int32)).found == 2


def test_only_cold_users_are_reordered_and_scores_stay_the_same_numbers():
    ranks = np.full((6, len(SOURCES)), np.nan, np.float32)
    ranks[:, SOURCES.index("trending")] = [1, 2, 3, np.nan, 2, 1]
    pairs = Candidates(query=np.array([0, 0, 0, 1, 1, 1], np.int32), item=np.arange(6, dtype=np.int32), ranks=ranks)
    score = np.array([0.1, 0.2, 0.3, 0.9, 0.8, 0.7])
    found = order_for_cold_users(pairs, score, np.array([True, False]), "trending")
    assert found.tolist() == [0.1, 0.2, 0.3, 0.7, 0.8, 0.9]
    assert order_for_cold_users(pairs, score, np.array([True, False]), BLEND) is score


def test_ties_do_not_hide_the_order_of_the_list():
    """Of whose candidates the blend thinks alike, two cold users see each list's order, and little else changes."""
    ranks = np.full((6, len(SOURCES)), np.nan, np.float32)
    ranks[:, SOURCES.index("trending")] = [3, 1, 2, 2, 3, 1]
    pairs = Candidates(query=np.array([0, 0, 0, 1, 1, 1], np.int32), item=np.arange(6, dtype=np.int32), ranks=ranks)
    score = np.array([0.5, 0.5, 0.5, 0.5, 0.0, 0.0])
    found = order_for_cold_users(pairs, score, np.zeros(2, bool), "trending")
    assert found[1] > found[2] > found[0]
    assert found[5] > found[3] > found[4]
    assert found == pytest.approx([0.5, 0.5, 0.5, 0.0, 0.0, 0.5], abs=1e-12)
    just_below = np.nextafter(0.5, 0)  # where the second of two equals would come to lie
    found = order_for_cold_users(pairs, np.array([0.5, 0.5, just_below, 3, 2, 1]), np.zeros(2, bool), "trending")
    assert found[1] > found[2] > found[0]
    assert found[3:].tolist() == [2, 1, 3]


def test_a_cold_user_is_answered_in_the_order_of_the_list(ranker):
    shop = changed(ranker, cold_users_by="evergreen")
    answer = shop.recommend(Query(user_id="nobody", as_of=ranker.cutoff, k=10))
    rows = ranker.catalogue.rows([item.item_id for item in answer.items])
    (hour,), _ = ranker.history.hours(len(ranker.catalogue), np.array([answer_moment(ranker)]))
    listed = hour.most["evergreen"].tolist()
    assert [listed.index(row) for row in rows] == list(range(10))
    assert [item.score for item in answer.items] == sorted((item.score for item in answer.items), reverse=True)


@pytest.mark.parametrize("by", [BLEND, "popular"])
def test_what_a_cold_user_is_told_is_what_orders(ranker, by):
    shop = changed(ranker, cold_users_by=by)
    query = Query(user_id="nobody", as_of=ranker.cutoff, k=30, explain=True)
    items = shop.recommend(query).items
    for a, b in ((items[0], items[7]), (items[7], items[0]), (items[2], items[29])):
        told = shop.recommend(replace(query, compare=(a.item_id, b.item_id))).comparison
        assert told.difference == pytest.approx(a.score - b.score, abs=1e-9)
        assert sum(family.weight for family in told.families) == pytest.approx(told.difference, abs=1e-9)
        if by != BLEND:
            (feature,) = told.families[0].features
            assert (told.families[0].family, feature.name, feature.weight) == (
                "sources",
                "rank_popular",
                told.difference,
            )
            assert np.exp([feature.first, feature.second]) == pytest.approx([a.rank, b.rank], rel=1e-5)
    names = {feature.name for item in items for reason in item.reasons for feature in reason.features}
    assert (names == {"rank_popular"}) == (by != BLEND)
    assert items[0].reasons
    assert {item.placed_by for item in items} == {"score" if by == BLEND else "list"}


def answer_moment(ranker) -> int:
    return to_microseconds(ranker.cutoff)


def test_cold_users_are_asked_at_moments_before_they_came(ranker):
    users, items, weights, times = ranker.history.events(before=2**62)
    until = int(times.max()) + 1
    moments = np.quantile(times, [0.3, 0.5, 0.7]).astype(np.int64)
    model = ranker.model
    found = ask_cold_users(model.sources, ranker.history, moments, until, model.candidates, model.rules)
    came = {user: times[users == user].min() for user in np.unique(users[weights > 0])}
    cold = sorted(user for user, moment in came.items() if moment >= moments[0])
    assert found.n_moments.tolist() == [sum(moment <= came[user] for moment in moments) for user in cold]
    assert 1 in found.n_moments
    assert 3 in found.n_moments
    for number, user in enumerate(cold):
        theirs = found.item[found.user == number]
        assert sorted(theirs) == sorted(set(items[(users == user) & (weights > 0)]))
    for number, moment in enumerate(moments):
        nobody = Query(user_id="nobody", as_of=datetime.fromtimestamp(moment / 1e6, UTC).replace(tzinfo=None), k=5)
        here = found.pairs.query == number
        best = found.pairs.item[here][np.lexsort((np.arange(here.sum()), -model.blend.score(found.features[here])))]
        offered = {ranker.catalogue.ids[row] for row in best}
        answered = [item.item_id for item in ranker.recommend(nobody).items if item.sources != ("newest",)]
        assert set(answered) <= offered
    late = int(times.max()) + 1
    assert ask_cold_users(model.sources, ranker.history, np.array([late]), late, model.candidates, model.rules) is None


@pytest.mark.parametrize(("told", "by"), [({"by": "trending", "tried": {}}, "trending"), (None, "blend")])
def test_a_loaded_bundle_orders_as_its_manifest_says_also_one_of_before(shop, tmp_path, told, by):
    folder = bundle_that_measured(shop, tmp_path / "bundle", "cold_users", told)
    model = Ranker.load(folder).model
    assert model.cold_users_by == by
    assert (folder / "ranker_given.txt").is_file()
    assert model.blend_given is not model.blend  # a bundle has a blend of its own for given items
