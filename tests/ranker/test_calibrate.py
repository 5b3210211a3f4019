"""Scores become probabilities: never falling, weighted for what was left out, measured on what was not learned from."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ranker import calibrate
from ranker.calibrate import Calibration, reliability
from ranker.candidates import CandidatesConfig
from ranker.examples import Examples, ExamplesConfig
from ranker.query import GivenItem, Query
from ranker.rules import RulesConfig
from ranker.slices import make_slices


class Given:
    """A blend whose score is the first feature."""

    def score(self, features):
        return features[:, 0].astype(np.float64)


def examples(scores, labels, groups, negative_weight=None) -> Examples:
    return Examples(
        features=np.asarray(scores, np.float32)[:, None],
        labels=np.asarray(labels, np.int32),
        positions=np.zeros(len(scores), np.int32),
        groups=np.asarray(groups),
        as_of=np.arange(len(groups)),
        users=np.arange(len(groups)),
        negative_weight=np.ones(len(groups), np.float32) if negative_weight is None else negative_weight,
        retrieved=1.0,
    )


def drawn(rng, n, negative_weight=1.0) -> Examples:
    """Pairs of which sigmoid(score - 2) are taken, two a question; of the others one in `negative_weight` is kept."""
    score = rng.normal(size=n)
    taken = rng.random(n) < 1 / (1 + np.exp(2 - score))
    kept = taken | (rng.random(n) < 1 / negative_weight)
    score, taken = score[kept], taken[kept]
    n_queries = len(score) // 2
    return examples(
        score[: n_queries * 2], taken[: n_queries * 2], np.full(n_queries, 2), np.full(n_queries, negative_weight)
    )


def logit(share: float) -> float:
    return float(np.log(share / (1 - share)))


def test_two_scores_get_their_shares_of_takings():
    scores = np.array([1.0, 1, 1, 1, 2, 2])
    taken = np.array([True, False, False, False, True, False])
    curve = Calibration.fit(scores, taken, np.ones(6))
    between = 1 / (1 + np.exp(-(logit(1 / 4) + logit(1 / 2)) / 2))
    assert curve.probability(np.array([1, 1.5, 2])).tolist() == pytest.approx([1 / 4, between, 1 / 2], rel=1e-4)


def test_negatives_count_as_often_as_they_were_proposed():
    scores, taken = np.array([1.0, 1, 2, 2]), np.array([True, False, True, False])
    curve = Calibration.fit(scores, taken, np.array([1.0, 9, 1, 3]))
    assert curve.probability(np.array([1.0, 2.0])).tolist() == pytest.approx([1 / (1 + 9), 1 / (1 + 3)], rel=1e-4)


def test_a_score_that_misleads_says_the_base_rate():
    curve = Calibration.fit(np.array([1.0, 1, 2, 2]), np.array([True, True, True, False]), np.array([1.0, 1, 1, 7]))
    assert curve.slope == 0
    assert curve.probability(np.array([-9.0, 9.0])).tolist() == pytest.approx([3 / (3 + 7)] * 2)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(st.floats(-50, 50), st.floats(0.01, 1e4)), min_size=2, max_size=60),
    st.integers(1, 59),
    st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=20),
)
def test_a_higher_score_never_has_a_lower_probability(rows, n_taken, asked):
    scores, weights = map(np.array, zip(*rows, strict=True))
    taken = np.arange(len(rows)) < min(n_taken, len(rows) - 1)
    found = Calibration.fit(scores, taken, weights).probability(np.sort(asked))
    assert (np.diff(found) >= 0).all()
    assert found.min() >= 0
    assert found.max() <= 1


@pytest.mark.parametrize(("slope", "intercept"), [(-0.1, 0.0), (np.nan, 0.0), (1.0, np.inf), (np.inf, 0.0)])
def test_a_curve_that_falls_or_is_none_is_refused(slope, intercept):
    with pytest.raises(ValueError, match="a calibration wants"):
        Calibration(slope=slope, intercept=intercept)


def test_reliability_compares_what_was_said_with_what_happened():
    said = np.array([0.2, 0.2, 0.6, 0.6])
    taken = np.array([False, True, True, True])
    weights = np.array([3.0, 1, 1, 1])
    told = reliability(said, taken, weights)
    # 3 + 1 candidates were said to be taken at 0.2, one was; 2 at 0.6, both were
    assert sum(part["n"] for part in told["bins"]) == 3 + 1 + 1 + 1
    assert sum(part["taken"] for part in told["bins"]) == 3
    assert told["base_rate"] == pytest.approx(3 / 6)
    # in order of what was said, ten bins of (0.8 + 1.2) / 10 expected takings each: every row has its own
    assert told["error"] == pytest.approx((0.2 * 3 + (1 - 0.2) + 2 * (1 - 0.6)) / 6)
    assert told["log_loss"] == pytest.approx(-(3 * np.log(0.8) + np.log(0.2) + 2 * np.log(0.6)) / 3, abs=1e-4)
    assert told["base_log_loss"] == pytest.approx(-6 * np.log(0.5) / 3, abs=1e-4)


def test_each_bin_is_expected_to_hold_a_tenth_of_the_takings():
    said, taken, weights = np.array([0.5, 0.1, 0.2]), np.array([True, False, True]), np.array([3.0, 83, 1])
    # In order of what was said they reach from 0 to 8.3, to 8.5 and to 10 expected takings: the middles are 4, 8 and 9.
    assert reliability(said, taken, weights)["bins"] == [
        {"predicted": 0.1, "observed": 0.0, "n": 83, "taken": 0},
        {"predicted": 0.2, "observed": 1.0, "n": 1, "taken": 1},
        {"predicted": 0.5, "observed": 1.0, "n": 3, "taken": 3},
    ]


@pytest.mark.parametrize("negative_weight", [1.0, 8.0])
def test_probabilities_are_true_also_when_negatives_were_sampled(rng, negative_weight):
    curve, told = calibrate.calibrate(Given(), drawn(rng, 60_000, negative_weight))
    asked = np.array([-1.0, 0.0, 1.0])
    assert curve.probability(asked).tolist() == pytest.approx((1 / (1 + np.exp(2 - asked))).tolist(), rel=0.15)
    assert told["error"] < 0.01 < told["uncalibrated_error"]
    assert told["log_loss"] < told["base_log_loss"]


def test_each_half_is_measured_by_the_curve_of_the_other(rng):
    """One in ten is taken at first and four in ten later: a curve over both would seem right on the whole."""
    n = 8_000
    taken = rng.random(n) < np.where(np.arange(n) < n / 2, 0.1, 0.4)
    curve, told = calibrate.calibrate(Given(), examples(rng.normal(size=n), taken, np.full(n // 2, 2)))
    assert curve.probability(np.array([0.0])).tolist() == pytest.approx([(0.1 + 0.4) / 2], abs=0.02)
    # ordered by what was said: the earlier half was said 0.4 and the later half 0.1
    assert told["error"] == pytest.approx(0.4 - 0.1, abs=0.05)


def test_too_few_takings_teach_nothing(rng):
    curve, told = calibrate.calibrate(Given(), examples([0.0] * 100, [1, 0] * 50, [2] * 50))
    assert curve is not None
    curve, told = calibrate.calibrate(Given(), examples([0.0] * 40, [1, 0] * 20, [2] * 20))
    assert curve is None
    assert "10 and 10 items taken" in told["why"]
    assert calibrate.calibrate(Given(), None)[0] is None


def test_each_half_needs_takings_and_what_was_not_taken():
    enough, few, only = [1, 0] * 30, [1, 0] * 19 + [0, 0] * 11, [1, 1] * 30
    for halves in ((enough, few), (few, enough), (enough, only), (only, enough)):
        curve, told = calibrate.calibrate(Given(), examples([0.0] * 120, [*halves[0], *halves[1]], [2] * 60))
        assert (curve, told["learned"]) == (None, False)
    assert calibrate.calibrate(Given(), examples([0.0] * 120, enough * 2, [2] * 60))[0] is not None


def test_a_folder_keeps_plain_numbers(tmp_path):
    curve = Calibration(slope=0.25, intercept=-1 / 3)
    calibrate.save({"recommend": curve, "given": None}, tmp_path)
    assert json.loads((tmp_path / "calibration.json").read_text()) == {
        "recommend": {"slope": 0.25, "intercept": -1 / 3}
    }
    assert calibrate.load(tmp_path) == {"recommend": curve}
    assert calibrate.load(tmp_path / "older") == {}


def test_weights_of_negatives_add_up_to_all_that_were_proposed(ranker):
    """Asked twice, with few and with all negatives kept: they stand for the same number."""
    history, sources = ranker.history, ranker.model.sources
    times = np.sort(history.events(before=2**62)[3])
    between = [int(times[int(len(times) * 0.95)]), int(times[-1]) + 1]
    sums = []
    for negatives in (5, 10**6):
        config = ExamplesConfig(negatives=negatives)
        (made,) = make_slices(sources, history, between, [0.02], CandidatesConfig(), config, RulesConfig())
        part = made.following
        negative = part.labels == 0
        assert (negative.sum() > 10 * len(part.groups)) == (negatives > 5)
        sums.append(float((negative * np.repeat(part.negative_weight, part.groups)).sum()))
    assert sums[0] == pytest.approx(sums[1], rel=1e-5)


def test_questions_without_a_hit_count_among_the_negatives(ranker):
    """Nobody's taking is found by one candidate a source: what was proposed in vain weighs on the questions kept."""
    history, sources = ranker.history, ranker.model.sources
    times = np.sort(history.events(before=2**62)[3])
    between = [int(times[int(len(times) * 0.9)]), int(times[-1]) + 1]
    config = ExamplesConfig(negatives=10**6)
    (made,) = make_slices(sources, history, between, [0.05], CandidatesConfig(), config, RulesConfig())
    part = made.following
    assert part.retrieved < 1
    weights = np.unique(part.negative_weight)
    assert len(weights) == 1
    assert weights[0] > 1


def test_answers_tell_probabilities_that_follow_the_score(ranker):
    query = Query(user_id=ranker.history.user_ids[0], as_of=ranker.cutoff, k=30)
    for answer in (
        ranker.recommend(query),
        ranker.rank(query, [GivenItem(item_id=item) for item in ranker.catalogue.ids[:30]]),
    ):
        ordered = sorted(answer.items, key=lambda item: item.score)
        told = [item.probability for item in ordered if "newest" not in item.sources]
        assert len(told) > 20
        assert all(0 <= probability <= 1 for probability in told)
        assert told == sorted(told)
        assert len(set(told)) > 2
