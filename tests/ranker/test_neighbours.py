from dataclasses import replace

import numpy as np
import pytest

from ranker.factors import Factors, FactorsConfig
from ranker.moments import Recent
from ranker.neighbours import NeighboursConfig, fit_following, fit_straight, fit_together, history_weights

FLAT = NeighboursConfig(half_life=1e9, shrinkage=0.0, lag_decay=0.5)


def arrays(*rows: tuple[int, int, int]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    users, items, times = np.array(rows).T
    return users.astype(np.int64), items.astype(np.int32), times.astype(np.int64)


def test_together_is_the_cosine_over_users():
    users, items, times = arrays((0, 0, 1), (0, 1, 2), (1, 0, 1), (2, 1, 1))
    weights = fit_together(users, items, times, 2, FLAT).toarray()
    pair, norm = 1 / np.sqrt(2), 1 / np.sqrt(2) + 1
    assert weights[0, 1] == pytest.approx(pair / norm)
    assert weights[0, 0] == 0


def test_following_knows_the_order():
    weights = fit_following(*arrays((0, 0, 1), (0, 1, 2)), 2, FLAT).toarray()
    assert weights[0, 1] == pytest.approx(1 / np.sqrt(1 * 1))
    assert weights[1, 0] == 0


def test_following_counts_a_farther_step_less():
    weights = fit_following(*arrays((0, 0, 1), (0, 1, 2), (0, 2, 3)), 3, FLAT).toarray()
    assert weights[0, 2] == pytest.approx(0.5 / np.sqrt(1.5 * 1.5))


def test_following_splits_one_instant_both_ways():
    weights = fit_following(*arrays((0, 0, 1), (0, 1, 1)), 2, FLAT).toarray()
    assert weights[0, 1] == weights[1, 0] == pytest.approx(0.5 / np.sqrt(0.5 * 0.5))


def test_following_can_count_one_session_more():
    """Half an hour apart is one session, a microsecond more is two."""
    half_hour = 1_800_000_000
    config = replace(FLAT, session_weight=3.0)
    for apart, weight in ((half_hour, 3.0), (half_hour + 1, 1.0)):
        found = fit_following(*arrays((0, 0, 0), (0, 1, apart), (1, 0, 0), (1, 2, half_hour * 9)), 3, config).toarray()
        assert found[0, 1] == pytest.approx(weight / np.sqrt((weight + 1) * weight))


def test_straight_is_the_share_of_the_next_steps_alone():
    """Two went from 0 straight to 1, one to 2; whoever came to 2 later does not count, nor how often it is taken."""
    others = [(user, 2, user) for user in range(9, 20)]
    users, items, times = arrays((0, 0, 1), (0, 1, 2), (0, 2, 3), (1, 0, 1), (1, 1, 2), (2, 0, 1), (2, 2, 2), *others)
    weights = fit_straight(users, items, times, 3, FLAT).toarray()
    assert weights[0].tolist() == pytest.approx([0, 2 / 3, 1 / 3])
    assert weights[1].tolist() == [0, 0, 1]
    shrunk = fit_straight(users, items, times, 3, replace(FLAT, shrinkage=1.0)).toarray()
    assert shrunk[0].tolist() == pytest.approx([0, 2 / (3 + 1), 1 / (3 + 1)])


def test_straight_goes_from_each_item_of_an_instant_to_the_next_instant():
    weights = fit_straight(*arrays((0, 0, 1), (0, 1, 1), (0, 2, 2)), 3, FLAT).toarray()
    assert weights == pytest.approx(np.array([[0, 0.5 / 1.5, 1 / 1.5], [0.5 / 1.5, 0, 1 / 1.5], [0, 0, 0]]))


def test_straight_knows_no_order_within_an_instant():
    """A basket of three and one of two: each leads to both of the next, and half as much to the rest of its own."""
    baskets = [(0, item, 1 if item < 3 else 2) for item in range(5)]
    expected = np.zeros((5, 5))
    expected[:3, :3] = 0.25 / 1.5
    expected[:3, 3:] = 0.5 / 1.5
    expected[3:, 3:] = 1  # the second basket is the last
    np.fill_diagonal(expected, 0)
    for order in ([0, 1, 2, 3, 4], [2, 0, 1, 4, 3], [1, 2, 0, 3, 4]):
        found = fit_straight(*arrays(*(baskets[place] for place in order)), 5, FLAT).toarray()
        assert found == pytest.approx(expected)


def test_neighbours_of_different_users_do_not_meet():
    assert fit_following(*arrays((0, 0, 1), (1, 1, 2)), 2, FLAT).nnz == 0


def test_neighbours_keep_the_strongest():
    rows = [(user, item, item) for user in range(3) for item in range(user + 2)]
    kept = fit_together(*arrays(*rows), 4, NeighboursConfig(size=1)).toarray()
    assert (np.count_nonzero(kept, axis=1) <= 1).all()
    assert kept[0].argmax() == 1


def test_history_weights_fall_with_age_and_sum_to_one():
    recent = Recent(
        items=np.array([[-1, 2, 0]], np.int32),
        weights=np.array([[0, 1, 1]], np.float32),
        ages=np.zeros((1, 3), np.float32),
        kinds=np.zeros((1, 3), np.uint8),
    )
    assert history_weights(recent, 3, decay=0.5).toarray()[0].tolist() == pytest.approx([1 / 1.5, 0, 0.5 / 1.5])


def test_factors_without_a_penalty_are_refused():
    """With more factors than items nothing else tells which of them a user has."""
    with pytest.raises(ValueError, match="regularization: wanted a number over 0, got 0"):
        FactorsConfig(regularization=0.0)


def test_factors_bring_items_of_the_same_users_nearer():
    rows = [(user, item, 1) for user in range(40) for item in ((0, 1) if user % 2 else (2, 3))]
    users, items, _ = arrays(*rows)
    factors = Factors.fit(users, items, 4, FactorsConfig(size=4, regularization=0.1))
    took_zero = Recent(
        items=np.array([[0]], np.int32),
        weights=np.ones((1, 1), np.float32),
        ages=np.zeros((1, 1), np.float32),
        kinds=np.zeros((1, 1), np.uint8),
    )
    scores = factors.user_vectors(took_zero) @ factors.items.T
    assert scores[0, 1] > max(scores[0, 2], scores[0, 3])
