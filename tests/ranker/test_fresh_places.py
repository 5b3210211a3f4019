"""Places for new items are bought with NDCG@10 of a later window, and no dearer than allowed."""

import numpy as np
import pytest

from ranker.examples import Examples
from ranker.fresh_places import FEWEST, choose_places, with_places
from ranker.registry import FEATURE_NAMES
from ranker.rules import RulesConfig

N = 40
"""Questions; in each the first twelve candidates by score are known items, the rest are new."""


class ByFeature:
    def score(self, features):
        return features[:, FEATURE_NAMES.index("count_all")].astype(float)


def asked(*, known_taken: int, fresh_taken: bool) -> Examples:
    """Forty questions of fifteen candidates; what is taken: one known item by rank, and the best new one."""
    features = np.full((N * 15, len(FEATURE_NAMES)), np.nan, np.float32)
    place = np.tile(np.arange(15), N)
    features[:, FEATURE_NAMES.index("count_all")] = -place
    features[:, FEATURE_NAMES.index("rank_fresh")] = np.where(place >= 12, np.log(np.maximum(place - 11.0, 1)), np.nan)
    labels = (place == known_taken) | (fresh_taken & (place == 12))
    return Examples(
        features=features,
        labels=labels.astype(np.int32),
        groups=np.full(N, 15),
        as_of=np.zeros(N, np.int64),
        negative_weight=np.ones(N, np.float32),
        retrieved=1.0,
    )


def test_places_cost_what_they_push_down():
    """With one place in ten the new item stands tenth; what stood at rank 10 before falls out of the list."""
    found = choose_places(ByFeature(), asked(known_taken=9, fresh_taken=True), RulesConfig())["tried"]
    ideal = 1 / np.log2(2) + 1 / np.log2(3)
    assert found["0"] == {"ndcg@10": pytest.approx(1 / np.log2(11) / ideal, abs=1e-4), "fresh_recall@10": 0.0}
    assert found["10"] == {"ndcg@10": pytest.approx(1 / np.log2(11) / ideal, abs=1e-4), "fresh_recall@10": 1.0}


def test_more_places_only_where_they_find_more():
    """One place finds all there is to find: a second one is not kept, though it costs nothing."""
    assert choose_places(ByFeature(), asked(known_taken=0, fresh_taken=True), RulesConfig())["every"] == 10


def test_too_dear_places_are_not_kept():
    """A second place finds the second new item at rank 10 and pushes out the known one that stood at rank 9."""
    later = asked(known_taken=8, fresh_taken=False)
    later.labels[np.tile(np.arange(15), N) == 13] = 1
    cost = 1 - np.log2(10) / np.log2(11)
    assert choose_places(ByFeature(), later, RulesConfig(fresh_cost=cost - 0.001))["every"] == 10
    found = choose_places(ByFeature(), later, RulesConfig(fresh_cost=cost + 0.001))
    assert found["every"] == 5
    assert (found["tried"]["10"]["fresh_recall@10"], found["tried"]["5"]["fresh_recall@10"]) == (0.0, 1.0)


@pytest.mark.parametrize("rules", [RulesConfig(fresh_every=0), RulesConfig(fresh_cost=0.0)])
def test_settings_can_forbid_the_choice(rules):
    later = asked(known_taken=0, fresh_taken=True)
    assert choose_places(ByFeature(), later, rules) == {"every": rules.fresh_every, "tried": {}}
    assert with_places(rules, {"fresh_places": {"every": 2}}) == rules


def test_too_few_takings_choose_nothing():
    assert N > FEWEST
    later = asked(known_taken=0, fresh_taken=False)
    assert choose_places(ByFeature(), later, RulesConfig()) == {"every": 10, "tried": {}}


def test_bundle_serves_with_the_places_chosen():
    assert with_places(RulesConfig(), {"fresh_places": {"every": 3}}).fresh_every == 3
    assert with_places(RulesConfig(fresh_every=2), {"fresh_places": {"every": 3}}).fresh_every == 2
    assert with_places(RulesConfig(), {}).fresh_every == 10
