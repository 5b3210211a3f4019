"""Places for new items are bought with what known ones have on a later window, and no dearer than allowed."""

import numpy as np
import numpy.typing as npt
import polars as pl
import pytest

from ranker.examples import Examples
from ranker.fresh_places import FEWEST, MANY, FreshPlaces, choose_places
from ranker.many import recommend_many
from ranker.query import Query
from ranker.rank import Ranker
from ranker.registry import FEATURE_NAMES
from ranker.rules import RulesConfig
from tests.ranker.conftest import bundle_that_measured, changed

N = 40
"""Questions; in each the first twelve candidates by score are known items, the rest are new."""


class ByFeature:
    def score(self, features):
        return features[:, FEATURE_NAMES.index("count_all")].astype(float)


NEWNESS = FEATURE_NAMES.index("user_newness")


def asked(*, known_taken: int, fresh_taken: bool) -> Examples:
    """Forty questions of fifteen candidates; what is taken: one known item by rank, and the best new one.

    No two users are alike in the age of what they take.
    """
    features = np.full((N * 15, len(FEATURE_NAMES)), np.nan, np.float32)
    place = np.tile(np.arange(15), N)
    features[:, FEATURE_NAMES.index("count_all")] = -place
    features[:, FEATURE_NAMES.index("rank_fresh")] = np.where(place >= 12, np.log(np.maximum(place - 11.0, 1)), np.nan)
    features[:, NEWNESS] = np.repeat(np.arange(N), 15)
    labels = (place == known_taken) | (fresh_taken & (place == 12))
    return Examples(
        features=features,
        labels=labels.astype(np.int32),
        positions=np.zeros(len(features), np.int32),
        groups=np.full(N, 15),
        as_of=np.zeros(N, np.int64),
        users=np.arange(N),
        negative_weight=np.ones(N, np.float32),
        retrieved=1.0,
    )


def test_places_cost_what_they_push_down():
    """With one place in ten the new item stands tenth; what stood at rank 10 before falls out of the list."""
    found = choose_places(ByFeature(), asked(known_taken=9, fresh_taken=True), RulesConfig())["tried"]
    ideal = 1 / np.log2(2) + 1 / np.log2(3)
    tenth = pytest.approx(1 / np.log2(11) / ideal, abs=1e-4)
    assert found["0"] == {"ndcg@10": tenth, "known_ndcg@10": tenth, "fresh_recall@10": 0.0}
    assert found["1"] == {"ndcg@10": tenth, "known_ndcg@10": 0.0, "fresh_recall@10": 1.0}


def test_more_places_only_where_they_find_more():
    """One place finds all there is to find: a second one is not kept, though it costs nothing."""
    found = choose_places(ByFeature(), asked(known_taken=0, fresh_taken=True), RulesConfig())
    assert "kept" not in found
    assert found["tried"]["2 for 100%"]["fresh_recall@10"] == found["tried"]["1"]["fresh_recall@10"] == 1


def second_new_taken(users: npt.NDArray[np.bool_]) -> Examples:
    """What is taken: the known items at rank 1 and 9, and by some users the second new item.

    Two places of ten put it at rank 10, and push out the known one that stood at rank 9.
    """
    later = asked(known_taken=8, fresh_taken=False)
    place = np.tile(np.arange(15), N)
    later.labels[place == 0] = 1
    later.labels[(place == 13) & np.repeat(users, 15)] = 1
    return later


def test_too_dear_places_are_not_kept():
    """What the new items add does not make up for what the known ones lose."""
    later = second_new_taken(np.ones(N, bool))
    cost = 1 / np.log2(10) / (1 + 1 / np.log2(10))
    for_a_quarter = cost / 4 - 0.001
    assert "kept" not in choose_places(ByFeature(), later, RulesConfig(fresh_cost=for_a_quarter))
    found = choose_places(ByFeature(), later, RulesConfig(fresh_cost=cost + 0.001))
    assert (found["every"], found["kept"], found["newness"]) == (10, 2, N - 1)
    assert found["tried"]["1"]["fresh_recall@10"] == 0
    assert found["tried"]["2 for 100%"]["fresh_recall@10"] == 1
    net_cost = 1 - found["tried"]["2 for 25%"]["ndcg@10"] / found["tried"]["0"]["ndcg@10"]
    assert net_cost < for_a_quarter


def test_places_go_to_those_who_take_young_items():
    """Three quarters take new items: a second place in their answers finds all of them, without cost to the others."""
    later = second_new_taken(np.arange(N) < 30)
    found = choose_places(ByFeature(), later, RulesConfig(fresh_cost=0.5))
    assert found["kept"] == 2
    assert 29 <= found["newness"] < 30
    all_users, theirs = found["tried"]["2 for 100%"], found["tried"]["2 for 75%"]
    assert theirs["fresh_recall@10"] == all_users["fresh_recall@10"] == 1
    assert theirs["ndcg@10"] > all_users["ndcg@10"]


@pytest.mark.parametrize(("more", "share"), [(1, 0.75), (3, 1.0)])
def test_the_last_few_are_not_worth_their_price(more, share):
    """One in ten of those who take old items takes a new one, too: not enough for places in all their answers."""
    users = np.arange(N)
    found = choose_places(
        ByFeature(), second_new_taken((users < 30) | (users >= N - more)), RulesConfig(fresh_cost=0.5)
    )
    assert found["newness"] == pytest.approx(np.quantile(users, share), abs=1e-4)
    dearer, cheaper = found["tried"]["2 for 100%"], found["tried"]["2 for 75%"]
    assert dearer["fresh_recall@10"] > cheaper["fresh_recall@10"]
    assert dearer["ndcg@10"] < cheaper["ndcg@10"]


@pytest.mark.parametrize("rules", [RulesConfig(fresh_every=0), RulesConfig(fresh_cost=0.0)])
def test_settings_can_forbid_the_choice(rules):
    later = asked(known_taken=0, fresh_taken=True)
    assert choose_places(ByFeature(), later, rules) == {"every": rules.fresh_every, "tried": {}}


def test_too_few_takings_choose_nothing():
    assert N > FEWEST
    later = asked(known_taken=0, fresh_taken=False)
    assert choose_places(ByFeature(), later, RulesConfig()) == {"every": 10, "tried": {}}


@pytest.mark.parametrize(("fresh_takings", "kept"), [(9, 0), (10, None), (12, None)])
def test_where_hardly_anybody_takes_new_items_no_place_is_kept(fresh_takings, kept):
    """Of a thousand takings nine are of new items: the known item at rank ten is worth more than a place for them."""
    one = asked(known_taken=9, fresh_taken=False)
    times = -(-(MANY - fresh_takings) // N)
    later = Examples.concatenate([one] * times)
    taken = np.flatnonzero(later.labels)
    later.labels[taken[MANY - fresh_takings :]] = 0
    place = np.tile(np.arange(15), N * times)
    later.labels[np.flatnonzero(place == 12)[:fresh_takings]] = 1
    assert later.labels.sum() == MANY
    assert choose_places(ByFeature(), later, RulesConfig()).get("kept") == kept
    later.labels[taken[0]] = 0  # a taking less, and too little is known
    assert "kept" not in choose_places(ByFeature(), later, RulesConfig())


def test_no_place_is_kept_at_the_cutoff_alone():
    chosen = FreshPlaces.of(RulesConfig(), {"fresh_places": {"every": 10, "kept": 0}})
    users = np.full((3, len(FEATURE_NAMES)), np.nan, np.float32)
    users[:2, NEWNESS] = 1, 3  # the third has no past
    assert chosen.at(users).tolist() == [0, 0, 0]
    assert chosen.at(users, np.array([False, True, True])).tolist() == [0, 1, 1]


def test_a_place_that_costs_nothing_is_kept_also_where_new_items_are_rare():
    later = Examples.concatenate([asked(known_taken=0, fresh_taken=False)] * (MANY // N))
    found = choose_places(ByFeature(), later, RulesConfig())
    assert "kept" not in found
    assert found["tried"]["0"] == found["tried"]["1"]


def test_bundle_serves_with_the_places_chosen():
    users = np.full((3, len(FEATURE_NAMES)), np.nan, np.float32)
    users[:2, NEWNESS] = 1, 3  # the third has no past
    chosen = {"fresh_places": {"every": 10, "kept": 3, "newness": 2.0}}
    assert FreshPlaces.of(RulesConfig(), chosen).at(users).tolist() == [3, 1, 1]
    assert FreshPlaces.of(RulesConfig(), {}).at(users).tolist() == [1, 1, 1]


@pytest.mark.parametrize("rules", [RulesConfig(fresh_every=2), RulesConfig(fresh_cost=0.0)])
def test_places_chosen_under_other_settings_are_not_served(rules):
    chosen = {"fresh_places": {"every": 10, "kept": 3, "newness": 2.0}}
    assert FreshPlaces.of(rules, chosen) == FreshPlaces()


def test_places_of_an_earlier_release_are_not_served():
    """It said after how many places one was kept, not how many of ten."""
    assert FreshPlaces.of(RulesConfig(), {"fresh_places": {"every": 10, "often": 3, "newness": 2.0}}) == FreshPlaces()


def test_loaded_bundle_keeps_the_places_of_its_manifest(shop, tmp_path):
    told = {"every": 10, "kept": 4, "newness": 5.5}
    folder = bundle_that_measured(shop, tmp_path / "bundle", "fresh_places", told)
    assert Ranker.load(folder).model.fresh_places == FreshPlaces(kept=4, newness=5.5)


def test_answers_hold_more_new_items_only_for_users_of_little_newness(ranker):
    """The same user, on either side of the limit, alone and in a batch."""
    query = Query(user_id=ranker.history.user_ids[0], as_of=ranker.cutoff, k=10)
    new = {}
    for newness in (-np.inf, np.inf):
        shop = changed(ranker, fresh_places=FreshPlaces(kept=5, newness=newness))
        answer = shop.recommend(query).items
        new[newness] = sum("fresh" in item.sources for item in answer)
        queries = pl.DataFrame({"query_id": ["q"], "user_id": [query.user_id]})
        batch = recommend_many(shop.model, queries, 10, shop.history)
        assert batch["item_id"].to_list() == [item.item_id for item in answer]
    assert new[np.inf] >= 5 > new[-np.inf]
