"""What new items gain: as much as costs other answers next to nothing."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from encoders.measure import HeldOut, held_out, measure, rank_targets
from encoders.newcomers import FEWEST_COLD, fit_newcomers, largest_within
from encoders.sequences import Sequences, Shown
from encoders.tower import UserTower

DAY = 86_400_000_000
NONE = np.zeros(0, np.int64)
NOTHING_SHOWN = Shown(users=NONE, times=NONE, starts=np.zeros(1, np.int64), items=NONE, clicked=NONE.astype(bool))


@pytest.fixture
def shop():
    """Thirty users who took item 0 on day 1, and half of them the new item 2 rather than the known item 1 on day 9."""
    users = 30
    items = np.array([[0, 2 if user < users / 2 else 1] for user in range(users)])
    times = np.array([[1, 9] for _ in range(users)]) * DAY
    items, times = np.vstack([items, [[0, 1]]]), np.vstack([times, [[1, 2]]])  # somebody took item 1 before
    return Sequences(
        texts=["a", "b", "c", "d"],
        starts=np.arange(0, 2 * len(items) + 1, 2),
        items=items.ravel(),
        weights=np.ones(items.size, np.float32),
        times=times.ravel(),
        shown=NOTHING_SHOWN,
    )


@pytest.fixture
def asked(shop):
    at = np.arange(1, 60, 2)
    return HeldOut(
        users=np.arange(30),
        times=shop.times[at],
        targets=shop.items[at],
        cold=shop.items[at] == 2,
        since=9 * DAY,
        left_out=np.zeros(4, bool),
    )


@pytest.fixture
def tower():
    return UserTower(4, width=4, heads=1)


VECTORS = torch.tensor([[1.0, 0, 0, 0], [0.9, 0.44, 0, 0], [0.8, 0.6, 0, 0], [0, 0, 1.0, 0]])


def test_addition_lifts_only_what_nobody_has_touched(shop, asked, tower):
    plain, lifted = rank_targets(shop, asked, VECTORS, tower, 4, newcomers=[0.0, 4.0])
    # user @ item is 12 * cosine: item 1 at 10.8, item 2 at 9.6 and with four 13.6, item 3 at 0
    assert plain[asked.cold].tolist() == [2] * 15
    assert lifted[asked.cold].tolist() == [1] * 15
    assert plain[~asked.cold].tolist() == [1] * 15
    assert lifted[~asked.cold].tolist() == [2] * 15


def test_figures_are_measured_with_the_addition(shop, asked, tower):
    with_it = measure(shop, asked, VECTORS, tower, 4, newcomers=4.0)
    assert with_it is not None
    assert with_it.ndcg_at_10 == pytest.approx((15 * 1 + 15 / np.log2(3)) / 30)


def test_all_is_added_that_costs_nothing(shop, asked, tower):
    """Four items: everything is among the first ten, whatever is added."""
    some = replace(asked, cold=np.arange(30) < FEWEST_COLD)
    assert fit_newcomers(shop, some, VECTORS, tower, 4, cost=0.0) == 4.0
    assert fit_newcomers(shop, some, VECTORS, tower, 4, cost=-1.0) == 0.0


def test_too_few_new_items_asked_for_add_nothing(shop, asked, tower):
    few = replace(asked, cold=np.arange(30) < FEWEST_COLD - 1)
    assert fit_newcomers(shop, few, VECTORS, tower, 4, cost=0.02) == 0.0


def test_cost_is_a_share_of_the_best_recall():
    recalls = [0.100, 0.104, 0.102, 0.101]
    assert largest_within(recalls, 0.02) == 0.5  # 0.104 * 0.98 = 0.10192
    assert largest_within(recalls, 0.03) == 0.75  # 0.104 * 0.97 = 0.10088
    assert largest_within(recalls, 0.0) == 0.25
    assert largest_within([0.0, 0.0], 0.02) == 0.0


def taken_later(shop, items):
    """The same log, and at its end one more user who takes these items."""
    more = np.asarray(items)
    return replace(
        shop,
        texts=["word"] * 40,
        starts=np.append(shop.starts, shop.starts[-1] + len(more)),
        items=np.append(shop.items, more),
        weights=np.ones(len(shop.items) + len(more), np.float32),
        times=np.append(shop.times, np.full(len(more), 10 * DAY)),
    )


def test_user_of_whom_nothing_is_known_finds_nothing_by_ties(shop, asked, tower):
    """Forty equal items: the middle of them, not the first."""
    data = taken_later(shop, range(40))
    asked = replace(asked, left_out=np.zeros(40, bool))
    (ranks,) = rank_targets(data, asked, torch.zeros(40, 4), tower, 4, newcomers=[0.0])
    assert set(ranks) == {1 + 38 // 2}  # itself, item 0 taken before, and 38 equals


def test_as_many_unseen_items_are_left_out_as_came_in_the_window(shop):
    """Forty items: two seen before day 9, two taken and one shown from then on, and 35 that nobody has seen."""
    data = taken_later(shop, [3])
    shown = replace(
        NOTHING_SHOWN, users=np.array([0]), times=np.array([9 * DAY]), starts=np.array([0, 1]), items=np.array([9]),
        clicked=np.array([False]),
    )  # fmt: skip
    asked = held_out(replace(data, shown=shown), 9 * DAY, most=100, seed=0)
    assert asked.left_out.sum() == 3  # items 2, 3 and 9 came in the window
    assert not asked.left_out[[0, 1, 2, 3, 9]].any()
    every = held_out(replace(data, texts=["word"] * 5), 9 * DAY, most=100, seed=0)
    assert np.flatnonzero(every.left_out).tolist() == [4]  # two came, and one is all that nobody has seen


def test_what_is_left_out_stands_in_nobodys_way(shop, asked, tower):
    data = taken_later(shop, range(40))
    some = replace(asked, left_out=np.arange(40) >= 9)
    (ranks,) = rank_targets(data, some, torch.zeros(40, 4), tower, 4, newcomers=[0.0])
    assert set(ranks) == {1 + 7 // 2}
