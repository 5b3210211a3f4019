"""Users without a past see what a later window says they take: the blend's order, or a popularity list's."""

import numpy as np
import pytest

from ranker.candidates import Candidates
from ranker.examples import Examples, all_later
from ranker.query import Query
from ranker.rank import Ranker
from ranker.registry import FEATURE_NAMES
from ranker.sources import SOURCES
from ranker.strangers import BLEND, FEWEST, choose_order, order_strangers
from tests.ranker.conftest import bundle_that_measured, changed


class ByCount:
    def score(self, features):
        return features[:, FEATURE_NAMES.index("count_all")].astype(float)


def asked(n: int, *, taken: int) -> Examples:
    """Questions of four candidates that the blend ranks 0, 1, 2, 3 and the list `popular` 3, 2, 1; 0 is not listed."""
    features = np.full((n * 4, len(FEATURE_NAMES)), np.nan, np.float32)
    place = np.tile(np.arange(4), n)
    features[:, FEATURE_NAMES.index("count_all")] = -place
    features[:, FEATURE_NAMES.index("rank_popular")] = np.where(place > 0, np.log(np.maximum(4 - place, 1)), np.nan)
    return Examples(
        features=features,
        labels=(place == taken).astype(np.int32),
        positions=np.zeros(len(features), np.int32),
        groups=np.full(n, 4),
        as_of=np.zeros(n, np.int64),
        negative_weight=np.ones(n, np.float32),
        retrieved=1.0,
    )


@pytest.mark.parametrize(("taken", "by"), [(3, "popular"), (0, BLEND), (1, BLEND)])
def test_the_order_that_finds_more_is_chosen(taken, by):
    found = choose_order(ByCount(), asked(FEWEST, taken=taken))
    assert found["by"] == by
    assert found["tried"][BLEND] == pytest.approx(1 / np.log2(taken + 2), abs=1e-4)
    assert found["tried"]["popular"] == pytest.approx(1 / np.log2({3: 1, 2: 2, 1: 3, 0: 4}[taken] + 1), abs=1e-4)


def test_with_few_questions_the_blend_stays():
    assert choose_order(ByCount(), asked(FEWEST - 1, taken=3))["by"] == BLEND
    assert choose_order(ByCount(), None) == {"by": BLEND, "tried": {}}


def test_only_strangers_are_reordered_and_scores_stay_the_same_numbers():
    ranks = np.full((6, len(SOURCES)), np.nan, np.float32)
    ranks[:, SOURCES.index("trending")] = [1, 2, 3, np.nan, 2, 1]
    pairs = Candidates(query=np.array([0, 0, 0, 1, 1, 1], np.int32), item=np.arange(6, dtype=np.int32), ranks=ranks)
    score = np.array([0.1, 0.2, 0.3, 0.9, 0.8, 0.7])
    found = order_strangers(pairs, score, np.array([True, False]), "trending")
    assert found.tolist() == [0.1, 0.2, 0.3, 0.7, 0.8, 0.9]
    assert order_strangers(pairs, score, np.array([True, False]), BLEND) is score


def test_ties_do_not_hide_the_order_of_the_list():
    """Two strangers, of whose candidates the blend thinks alike: each list's order is seen, and little else changes."""
    ranks = np.full((6, len(SOURCES)), np.nan, np.float32)
    ranks[:, SOURCES.index("trending")] = [3, 1, 2, 2, 3, 1]
    pairs = Candidates(query=np.array([0, 0, 0, 1, 1, 1], np.int32), item=np.arange(6, dtype=np.int32), ranks=ranks)
    score = np.array([0.5, 0.5, 0.5, 0.5, 0.0, 0.0])
    found = order_strangers(pairs, score, np.zeros(2, bool), "trending")
    assert found[1] > found[2] > found[0]
    assert found[5] > found[3] > found[4]
    assert found == pytest.approx([0.5, 0.5, 0.5, 0.0, 0.0, 0.5], abs=1e-12)
    just_below = np.nextafter(0.5, 0)  # where the second of two equals would come to lie
    found = order_strangers(pairs, np.array([0.5, 0.5, just_below, 3, 2, 1]), np.zeros(2, bool), "trending")
    assert found[1] > found[2] > found[0]
    assert found[3:].tolist() == [2, 1, 3]


def test_a_stranger_is_answered_in_the_order_of_the_list(ranker):
    shop = changed(ranker, strangers_by="evergreen")
    answer = shop.recommend(Query(user_id="nobody", as_of=ranker.cutoff, k=10))
    rows = ranker.catalogue.rows([item.item_id for item in answer.items])
    (hour,), _ = ranker.history.hours(len(ranker.catalogue), np.array([answer_moment(ranker)]))
    listed = hour.most["evergreen"].tolist()
    assert [listed.index(row) for row in rows] == list(range(10))
    assert [item.score for item in answer.items] == sorted((item.score for item in answer.items), reverse=True)


def answer_moment(ranker) -> int:
    from ranker.moments import microseconds

    return microseconds(ranker.cutoff)


def test_questions_of_strangers_are_those_without_a_past(ranker):
    times = np.sort(ranker.history.events(before=2**62)[3])
    truth = all_later(ranker.history, int(times[len(times) // 2]), int(times[-1]) + 1)
    strangers = truth.of_strangers(ranker.history)
    assert 0 < len(strangers.moments) < len(truth.moments)
    assert (ranker.history.user_counts(strangers.moments) == 0).all()
    assert len(np.unique(strangers.query)) == len(strangers.moments)


@pytest.mark.parametrize(("told", "by"), [({"by": "trending", "tried": {}}, "trending"), (None, "blend")])
def test_a_loaded_bundle_orders_as_its_manifest_says_also_one_of_before(shop, tmp_path, told, by):
    folder = bundle_that_measured(shop, tmp_path / "bundle", "strangers", told)
    model = Ranker.load(folder).model
    assert model.strangers_by == by
    assert (folder / "ranker_given.txt").is_file()
    assert model.blend_given is not model.blend  # a bundle has a blend of its own for given items
