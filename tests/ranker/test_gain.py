from dataclasses import replace

import numpy as np
import pytest

from ranker.boost import BlendConfig, fit
from ranker.examples import Examples
from ranker.gain import compare, ndcg_of_queries
from ranker.registry import FEATURE_NAMES


def some_examples(seed: int, n_queries: int = 120, rows: int = 12) -> Examples:
    """Questions of twelve candidates; the first ten features together tell the label, the others are noise."""
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(n_queries * rows, len(FEATURE_NAMES))).astype(np.float32)
    labels = np.clip(np.round(features[:, :10].sum(axis=1) / 2), 0, 6).astype(np.int32)
    labels[::rows] = np.maximum(labels[::rows], 1)
    return Examples(
        features=features,
        labels=labels,
        positions=np.zeros(len(features), np.int32),
        groups=np.full(n_queries, rows),
        as_of=np.arange(n_queries),
        users=np.arange(n_queries),
        negative_weight=np.ones(n_queries, np.float32),
        retrieved=1.0,
    )


def test_ndcg_is_the_discounted_gain_over_the_best_there_could_be():
    labels, scores = np.array([0, 3, 1, 0, 2]), np.array([0.9, 0.5, 0.7, 0.1, 0.2])
    found = ndcg_of_queries(labels, scores, np.array([3, 2]))
    first = (0 / np.log2(2) + 1 / np.log2(3) + 3 / np.log2(4)) / (3 / np.log2(2) + 1 / np.log2(3))
    assert found.tolist() == pytest.approx([first, 1.0])


def test_places_after_k_count_nothing():
    labels, scores = np.array([0, 0, 5]), np.array([3.0, 2.0, 1.0])
    assert ndcg_of_queries(labels, scores, np.array([3]), k=2).tolist() == [0.0]
    assert ndcg_of_queries(labels, scores, np.array([3]), k=3).tolist() == [1 / np.log2(4)]


def test_a_question_without_anything_relevant_has_one_and_ties_keep_the_order_of_rows():
    labels, scores = np.array([0, 0, 0, 1, 1, 0]), np.full(6, 0.5)
    assert ndcg_of_queries(labels, scores, np.array([2, 2, 2])).tolist() == [1.0, 1 / np.log2(3), 1.0]


def test_ndcg_is_that_by_which_trees_are_counted():
    later = some_examples(2)
    fitted = fit(some_examples(1), later, BlendConfig(trees=60, min_rows=5))
    ours = ndcg_of_queries(later.labels, fitted.earlier.score(later.features), later.groups)
    assert fitted.measured["trees"] > 10
    assert ours.mean() == pytest.approx(fitted.measured["valid_ndcg@10"], abs=1e-9)


def test_a_gain_in_every_question_has_an_interval_above_zero():
    judge = some_examples(3, n_queries=30)
    right = judge.labels.astype(np.float64)
    gain = compare(judge, right, -right, seed=0)
    assert gain.is_better
    assert not gain.is_worse
    assert gain.value == 1
    assert gain.low < 1 - gain.baseline < gain.high
    worse = compare(judge, -right, right, seed=0)
    assert worse.is_worse
    assert worse.low == pytest.approx(-gain.high, abs=0.02)


def test_noise_against_noise_is_mostly_neither_better_nor_worse(rng):
    """One in twenty of 95 % intervals may lie beside zero: of forty two, and hardly ever more than six."""
    judge = some_examples(4)
    noise = rng.normal(size=(40, 2, len(judge.labels)))
    gains = [compare(judge, ours, theirs, seed=0) for ours, theirs in noise]
    assert sum(gain.low < 0 < gain.high for gain in gains) >= 40 - 6


def test_many_questions_of_few_users_prove_less_than_as_many_users(rng):
    """Each of eight users likes one model or the other, in all of forty questions."""
    judge = some_examples(6, n_queries=320)
    right = judge.labels.astype(np.float64)
    user = np.repeat(np.arange(8), 40)
    liked = np.repeat(user < 6, judge.groups)
    ours, theirs = np.where(liked, right, -right), np.where(liked, -right, right)
    assert compare(judge, ours, theirs, seed=0).is_better
    assert not compare(replace(judge, users=user), ours, theirs, seed=0).is_better
    one = compare(replace(judge, users=user * 0), ours, theirs, seed=0)
    assert (np.isnan(one.low), one.is_better, one.is_worse) == (True, False, False)


def test_the_same_model_gains_nothing():
    judge = some_examples(5)
    gain = compare(judge, judge.features[:, 0], judge.features[:, 0], seed=0)
    assert (gain.low, gain.high, gain.is_better, gain.is_worse) == (0, 0, False, False)
