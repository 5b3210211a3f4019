"""Boosting begins at what interest or fused ranks alone are worth, and everything tells so: scores, reasons, bundle."""

from dataclasses import replace

import numpy as np
import pytest

from ranker.boost import BlendConfig, dataset, fit, grow, initial_score
from ranker.examples import Examples
from ranker.fusion import OFFSET, RANKS
from ranker.gain import ndcg_of_queries
from ranker.initial_score import INTEREST, NO_INITIAL, InitialScore
from ranker.query import GivenItem, Query
from ranker.rank import Ranker
from ranker.registry import FEATURE_NAMES
from ranker.sources import SOURCES


def shown(seed: int, n_requests: int, places: int = 8, worth: float = 1.5) -> Examples:
    """Lists of which some readers click more than others; what else is known of an item is noise."""
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(n_requests * places, len(FEATURE_NAMES))).astype(np.float32)
    eager = np.repeat(rng.normal(-2, 0.5, n_requests), places)
    features[:, INTEREST] += 3 + np.repeat(rng.normal(0, 3, n_requests), places)  # some readers like everything
    liking = worth * (features[:, INTEREST] - np.repeat(features[:, INTEREST].reshape(-1, places).mean(axis=1), places))
    return Examples(
        features=features,
        labels=(rng.random(len(features)) < 1 / (1 + np.exp(-eager - liking))).astype(np.int32),
        positions=np.zeros(len(features), np.int32),
        groups=np.full(n_requests, places),
        as_of=np.arange(n_requests),
        users=np.arange(n_requests),
        negative_weight=np.ones(n_requests, np.float32),
        retrieved=1.0,
    )


def begun_at(examples: Examples) -> InitialScore:
    return initial_score(examples, BlendConfig(from_interest=True, from_ranks=False))


@pytest.mark.parametrize("worth", [0.5, 1.5])
def test_interest_is_weighed_by_what_it_tells_within_a_request(worth):
    found = begun_at(shown(1, 4_000, worth=worth))
    assert found.weight == pytest.approx(worth, rel=0.1)
    assert found.mean == pytest.approx(3, abs=0.2)


def test_an_item_of_mean_interest_begins_at_zero():
    examples = shown(1, 500)
    begins = begun_at(examples).score(examples.features)
    assert begins.mean() == pytest.approx(0, abs=1e-5)
    assert np.corrcoef(begins, examples.features[:, INTEREST])[0, 1] == pytest.approx(1)


def _with_interest(examples: Examples, interest: np.ndarray | float) -> Examples:
    features = examples.features.copy()
    features[:, INTEREST] = interest
    return replace(examples, features=features)


def test_where_interest_tells_nothing_boosting_begins_at_nothing():
    examples = shown(1, 500)
    assert begun_at(_with_interest(examples, 0.7)) == NO_INITIAL, "a log without texts"
    assert begun_at(_with_interest(examples, -examples.features[:, INTEREST])) == NO_INITIAL, "it speaks against"
    assert not NO_INITIAL.score(examples.features).any()
    assert begun_at(replace(examples, labels=np.ones_like(examples.labels))) == NO_INITIAL


def test_few_requests_are_ordered_better_than_by_trees_that_begin_at_nothing():
    train, later = shown(1, 150), shown(2, 1_000)
    config = BlendConfig().for_given(len(train.labels))
    assert config.from_interest
    begun, unbegun = (
        grow(dataset(train, first), dataset(later, first), config)[0] for first in (begun_at(train), NO_INITIAL)
    )
    ours, theirs = (
        ndcg_of_queries(later.labels, trees.score(later.features), later.groups).mean() for trees in (begun, unbegun)
    )
    assert ours > theirs + 0.02


def test_the_later_window_judges_trees_with_what_they_began_at():
    train, later = shown(1, 150), shown(2, 300)
    fitted = fit(train, later, BlendConfig(trees=40, patience=0, min_rows=5, from_interest=True, from_ranks=False))
    judged = ndcg_of_queries(later.labels, fitted.earlier.score(later.features), later.groups)
    assert fitted.measured["valid_ndcg@10"] == pytest.approx(judged.mean(), abs=1e-9)
    assert fitted.earlier.initial == begun_at(train)
    assert fitted.trees.initial == InitialScore.of(fitted.measured)
    assert fitted.trees.initial == begun_at(Examples.concatenate([train, later]))


def test_reasons_add_up_to_the_score():
    train, later = shown(1, 150), shown(2, 300)
    trees = fit(train, later, BlendConfig(trees=40, min_rows=5, from_interest=True, from_ranks=False)).trees
    weights = trees.contributions(later.features)
    assert weights.sum(axis=1) == pytest.approx(trees.score(later.features), abs=1e-9)
    assert np.abs(weights[:, INTEREST]).mean() > np.abs(np.delete(weights, INTEREST, axis=1)[:, :-1]).mean()


def test_a_bundle_keeps_what_its_blend_for_given_items_began_at(ranker: Ranker):
    blend = ranker.model.blend_given
    assert blend.initial.weight > 0
    assert not blend.initial.ranks, "no source proposes given items"
    user = max(ranker.history.user_ids[:50], key=lambda user: len(ranker.last_items(user, 100)))
    given = [GivenItem(item_id=item) for item in ranker.catalogue.ids[:20]]
    answer = ranker.rank(Query(user_id=user, as_of=ranker.cutoff), given)
    features = np.array([item.features for item in answer.items], np.float32)
    leaves = blend.booster.predict(features, num_threads=1)
    assert [item.score for item in answer.items] == pytest.approx(leaves + blend.initial.score(features), abs=1e-9)


def proposed(seed: int, n_questions: int, places: int = 30) -> Examples:
    """Questions of which the first source's ranks tell the answer, the second's nothing; the third proposes nobody."""
    rng = np.random.default_rng(seed)
    examples = shown(seed, n_questions, places)
    features = rng.normal(size=examples.features.shape).astype(np.float32)
    for column in RANKS[:2]:
        features[:, column] = np.log(1 + np.argsort(rng.random((n_questions, places)), axis=1)).ravel()
    features[:, RANKS[2:]] = np.nan
    chance = 0.5 / np.exp(features[:, RANKS[0]])
    return replace(examples, features=features, labels=(rng.random(len(chance)) < chance).astype(np.int32))


def test_ranks_are_weighed_by_what_each_source_finds():
    found = initial_score(proposed(1, 500), BlendConfig())
    telling, idle, silent, *_ = SOURCES
    assert found.ranks[telling] > 2 * found.ranks[idle] > 0
    assert found.rank_means[telling] == pytest.approx(np.mean(1 / (OFFSET + np.arange(1, 31))), rel=1e-6)
    assert found.rank_means[silent] == 0
    assert not found.weight, "interest has no part where it is not to"


def test_a_question_without_any_proposal_begins_somewhere():
    found = initial_score(proposed(1, 500), BlendConfig())
    nothing = np.full((2, len(FEATURE_NAMES)), np.nan, np.float32)
    assert np.isfinite(found.score(nothing)).all()
    assert (found.score(nothing) < 0).all(), "below the mean of what was proposed"


def test_boosting_may_begin_at_both():
    examples = proposed(1, 1_000)
    rng = np.random.default_rng(3)
    examples.features[:, INTEREST] += 2 * examples.labels + rng.normal(size=len(examples.labels))
    both = initial_score(examples, BlendConfig(from_interest=True))
    assert both.weight > 0
    assert all(worth > 0 for worth in both.ranks.values())
    alone = begun_at(examples)
    assert alone.weight > 0
    assert not alone.ranks


def test_what_speaks_against_an_item_leaves_the_other_its_place():
    examples = proposed(1, 1_000)
    examples.features[:, INTEREST] -= examples.labels
    both, ranks = (initial_score(examples, BlendConfig(from_interest=asked)) for asked in (True, False))
    assert both == ranks
    assert ranks.ranks


def test_few_questions_are_ordered_better_than_by_trees_that_begin_at_nothing():
    train, later = proposed(1, 60), proposed(2, 1_000)
    begun, unbegun = (fit(train, later, BlendConfig(trees=60, from_ranks=asked)).earlier for asked in (True, False))
    ours, theirs = (
        ndcg_of_queries(later.labels, trees.score(later.features), later.groups).mean() for trees in (begun, unbegun)
    )
    assert ours > theirs + 0.02


def test_reasons_with_ranks_add_up_to_the_score():
    train, later = proposed(1, 150), proposed(2, 300)
    trees = fit(train, later, BlendConfig(trees=40, min_rows=5, from_interest=True)).trees
    weights = trees.contributions(later.features)
    assert weights.sum(axis=1) == pytest.approx(trees.score(later.features), abs=1e-9)
    telling = np.abs(weights[:, RANKS[0]]).mean()
    assert telling > np.abs(np.delete(weights, RANKS[0], axis=1)[:, :-1]).mean(axis=0).max()


def test_a_bundle_keeps_the_ranks_that_its_blend_began_at(ranker: Ranker):
    blend = ranker.model.blend
    assert min(blend.initial.ranks[name] for name in SOURCES) > 0
    user = max(ranker.history.user_ids[:50], key=lambda user: len(ranker.last_items(user, 100)))
    answer = ranker.recommend(Query(user_id=user, as_of=ranker.cutoff, k=10))
    features = np.array([item.features for item in answer.items], np.float32)
    begun = blend.initial.score(features)
    assert np.ptp(begun) > 0
    leaves = blend.booster.predict(features, num_threads=1)
    assert [item.score for item in answer.items] == pytest.approx(leaves + begun, abs=1e-9)


def test_a_manifest_of_before_there_was_one_begins_at_nothing():
    assert InitialScore.of({"learned": True}) == NO_INITIAL


def test_a_manifest_of_before_there_were_ranks_begins_at_interest():
    old = InitialScore.of({"initial_score": {"weight": 0.5, "mean": 3.0}})
    assert old == InitialScore(weight=0.5, mean=3.0)
