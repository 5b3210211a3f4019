"""Negatives: drawn by popularity and from among near neighbours, with the chance that logQ needs."""

import numpy as np
import pytest
import torch

from encoders.kinds import NO_KINDS
from encoders.negatives import Negatives
from encoders.sequences import Sequences, Shown


@pytest.fixture
def data():
    """Items 0 to 4 taken 1, 2, 3, 4 and 5 times, item 5 never, item 6 without text."""
    items = np.repeat([0, 1, 2, 3, 4, 6], [1, 2, 3, 4, 5, 9])
    return Sequences(
        texts=["a", "b", "c", "d", "e", "f", " "],
        starts=np.array([0, len(items)]),
        items=items,
        weights=np.ones(len(items), np.float32),
        times=np.arange(len(items)),
        codes=np.zeros(len(items), np.uint8),
        kinds=NO_KINDS,
        shown=Shown.nothing(),
    )


def with_text(data):
    return data.items != 6


def test_draws_follow_popularity_to_the_power(data):
    flat = Negatives(data, with_text(data), n=8, power=0.0)
    np.testing.assert_allclose(flat.drawn, [1 / 5] * 5 + [0, 0])
    steep = Negatives(data, with_text(data), n=8, power=1.0)
    np.testing.assert_allclose(steep.drawn, np.array([2, 3, 4, 5, 6, 0, 0]) / 20)


def test_draws_are_numpys_to_the_last_one(data):
    negatives = Negatives(data, with_text(data), n=500, power=0.5)
    one, other = (np.random.default_rng(4) for _ in range(2))
    np.testing.assert_array_equal(
        negatives.draw(np.zeros(0, np.int64), one), other.choice(7, size=500, p=negatives.drawn)
    )
    assert one.random() == other.random()


def test_neighbours_are_the_nearest_that_somebody_touched(data):
    angles = torch.tensor([0.0, 0.1, 0.2, 1.5, 1.6, 0.05, 0.01])
    negatives = Negatives(data, with_text(data), n=0, power=0.5, n_near=200)
    negatives.look_around(torch.stack([angles.cos(), angles.sin()], dim=1), np.random.default_rng(0))
    near = negatives.draw(np.array([0]), np.random.default_rng(1))
    assert set(near) == {1, 2, 3, 4}  # neither itself, nor what nobody touched, nor what has no text


def test_chance_to_be_in_a_step_is_that_of_counting(data):
    negatives = Negatives(data, with_text(data), n=3, power=0.5, n_near=1)
    negatives.look_around(torch.randn(7, 5, generator=torch.Generator().manual_seed(0)), np.random.default_rng(0))
    rng, n = np.random.default_rng(2), 4000
    seen = np.zeros(7)
    for _ in range(n):
        targets = rng.choice(7, size=2, p=negatives.share)
        seen[np.union1d(targets, negatives.draw(targets, rng))] += 1
    odds = np.exp(negatives.log_odds(np.arange(5), 2))
    # neighbours are drawn for targets of the same step, which the product of chances does not see: nearly exact
    np.testing.assert_allclose(odds, seen[:5] / n, atol=0.05)


def test_without_near_ones_the_chance_is_exact(data):
    negatives = Negatives(data, with_text(data), n=2, power=1.0)
    expected = np.log(1 - (1 - 5 / 15) ** 3 * (1 - 6 / 20) ** 2)
    assert negatives.log_odds(np.array([4]), 3)[0] == pytest.approx(expected, rel=1e-5)
