"""What new items gain: as much as costs other answers next to nothing."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.sparse import csr_matrix

from encoders.kinds import NO_KINDS
from encoders.measure import HeldOut, asked_interest, held_out, measure, shared_words, target_ranks
from encoders.newcomer_bonus import NO_BONUS, NewcomerBonus
from encoders.newcomers import FEWEST_COLD, TRIED, TargetRanks, fit_newcomers, may_add, most_within
from encoders.sequences import Sequences, Shown
from encoders.tower import UserTower
from ingest.moments import NEVER

DAY = 86_400_000_000
NOTHING_SHOWN = Shown.nothing()


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
        codes=np.zeros(items.size, np.uint8),
        kinds=NO_KINDS,
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
SAME_WORDS = csr_matrix(np.array([[1, 0], [0, 1], [1, 0], [0, 1]], np.float32))
"""The new item 2 has the words of item 0, which all have taken."""
OTHER_WORDS = csr_matrix(np.array([[1, 0], [0, 1], [0, 1], [0, 1]], np.float32))


def test_bonus_lifts_only_what_nobody_has_touched(shop, asked, tower):
    """User @ item is 12 * cosine: item 1 at 10.8, item 2 at 9.6 and with four 13.6, item 3 at 0."""
    for bonus in (NewcomerBonus(always=4), NewcomerBonus(words=4)):
        plain = measure(shop, asked, VECTORS, tower, 4, words=SAME_WORDS)
        lifted = measure(shop, asked, VECTORS, tower, 4, words=SAME_WORDS, newcomers=bonus)
        second = 1 / np.log2(3)
        assert plain.ndcg_at_10 == lifted.ndcg_at_10 == pytest.approx((15 * 1 + 15 * second) / 30)
        new = replace(
            asked, **{name: getattr(asked, name)[asked.cold] for name in ("users", "times", "targets", "cold")}
        )
        assert measure(shop, new, VECTORS, tower, 4, words=SAME_WORDS).ndcg_at_10 == pytest.approx(second)
        assert measure(shop, new, VECTORS, tower, 4, words=SAME_WORDS, newcomers=bonus).ndcg_at_10 == 1


@pytest.mark.parametrize(("scores", "at_once"), [(12, 3), (3, 1), (50_000_000, 30)])
def test_fewer_questions_of_a_large_catalogue_are_asked_at_once(shop, asked, tower, monkeypatch, scores, at_once):
    """Of four items: twelve scores are those of three questions."""
    monkeypatch.setattr("encoders.measure._SCORES_AT_ONCE", scores)
    parts = [part.stop - part.start for part, _, _ in asked_interest(shop, asked, VECTORS, tower, 4)]
    assert min(parts[0], 30) == at_once
    assert sum(min(size, 30) for size in parts) == 30
    assert measure(shop, asked, VECTORS, tower, 4).ndcg_at_10 == pytest.approx((15 + 15 / np.log2(3)) / 30)


@pytest.mark.parametrize(("words", "found"), [(SAME_WORDS, 1.0), (OTHER_WORDS, 1 / np.log2(3)), (None, 1 / np.log2(3))])
def test_words_lift_what_has_words_of_the_past(shop, asked, tower, words, found):
    new = replace(asked, **{name: getattr(asked, name)[asked.cold] for name in ("users", "times", "targets", "cold")})
    bonus = NewcomerBonus(words=20)
    assert measure(shop, new, VECTORS, tower, 4, words=words, newcomers=bonus).ndcg_at_10 == pytest.approx(found)


def test_refusals_are_no_part_of_the_past(shop, asked):
    weights = np.where(shop.items == 0, np.float32(-1), shop.weights)
    every = slice(0, 30)
    assert shared_words(shop, asked, every, 4, SAME_WORDS, np.array([2])).tolist() == [[1.0]] * 30
    refused = replace(shop, weights=weights)
    assert shared_words(refused, asked, every, 4, SAME_WORDS, np.array([2])).tolist() == [[0.0]] * 30


def test_fit_ranks_as_measure_does(shop, asked, tower):
    """What is chosen by the best others alone has the figures that ranking everything gives it."""
    some = replace(asked, cold=np.arange(30) < FEWEST_COLD)
    for bonus in (NO_BONUS, NewcomerBonus(always=4), NewcomerBonus(words=20), NewcomerBonus(always=-3, words=5)):
        for part, _, interest in asked_interest(shop, some, VECTORS, tower, 4):
            new = shop.first_touch() >= some.since
            shared = torch.from_numpy(shared_words(shop, some, part, 4, SAME_WORDS, np.flatnonzero(new)))
            ranks = TargetRanks(interest, some.targets[part], new, shared).with_bonus(bonus)
            figures = measure(shop, some, VECTORS, tower, 4, words=SAME_WORDS, newcomers=bonus)
            assert (1 / np.log2(ranks + 1)).mean() == pytest.approx(figures.ndcg_at_10)


def test_fit_adds_the_least_that_finds_all(shop, asked, tower):
    """All have the same past: 1.25 for any new item is enough for the first place, and the least that is."""
    some = replace(asked, cold=np.arange(30) < FEWEST_COLD)
    assert fit_newcomers(shop, some, VECTORS, tower, 4, SAME_WORDS, cost=1.0) == NewcomerBonus(always=1.25)


def test_fit_finds_the_words_that_tell(shop, asked, tower):
    """Who took item 0 takes the new item of its words, who took item 3 takes item 1: a number for all costs these."""
    place = np.arange(len(shop.items))
    told = replace(shop, items=np.where((place % 2 == 0) & (place >= 30), 3, shop.items))
    alike = VECTORS.clone()
    alike[3] = alike[0]
    assert fit_newcomers(told, asked, alike, tower, 4, SAME_WORDS, cost=0.0) == NewcomerBonus(words=5)
    assert fit_newcomers(told, asked, alike, tower, 4, OTHER_WORDS, cost=0.0) == NO_BONUS


def test_nothing_is_added_where_nothing_may_be_given_up_or_known(asked):
    assert may_add(replace(asked, cold=np.arange(30) < FEWEST_COLD), 0.0)
    assert not may_add(replace(asked, cold=np.arange(30) < FEWEST_COLD), -1.0)
    assert not may_add(replace(asked, cold=np.arange(30) < FEWEST_COLD - 1), 0.05)


def test_cost_is_a_share_of_what_is_gained_without():
    known, cold = np.full(len(TRIED), 10.0), np.zeros(len(TRIED))
    one, ten = TRIED.index(NewcomerBonus(always=1)), TRIED.index(NewcomerBonus(words=10))
    known[one], cold[one] = 9.7, 0.5
    known[ten], cold[ten] = 9.0, 2.0
    assert most_within(known, cold, 0.02) == NO_BONUS
    assert most_within(known, cold, 0.03) == TRIED[one]
    assert most_within(known, cold, 0.1) == TRIED[ten]
    assert most_within(known, np.zeros(len(TRIED)), 1.0) == NO_BONUS


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
    assert ranks_of(data, asked, tower) == {1 + 38 // 2}  # itself, item 0 taken before, and 38 equals


def test_as_many_unseen_items_are_left_out_as_came_in_the_window(shop):
    """Forty items: two seen before day 9, two taken and one shown from then on, and 35 that nobody has seen."""
    data = taken_later(shop, [3])
    shown = replace(
        NOTHING_SHOWN, users=np.array([0]), times=np.array([9 * DAY]), starts=np.array([0, 1]), items=np.array([9]),
        clicked_at=np.array([NEVER]),
    )  # fmt: skip
    asked = held_out(replace(data, shown=shown), 9 * DAY, most=100, seed=0)
    assert asked.left_out.sum() == 3  # items 2, 3 and 9 came in the window
    assert not asked.left_out[[0, 1, 2, 3, 9]].any()
    every = held_out(replace(data, texts=["word"] * 5), 9 * DAY, most=100, seed=0)
    assert np.flatnonzero(every.left_out).tolist() == [4]  # two came, and one is all that nobody has seen


def test_what_is_left_out_stands_in_nobodys_way(shop, asked, tower):
    data = taken_later(shop, range(40))
    some = replace(asked, left_out=np.arange(40) >= 9)
    assert ranks_of(data, some, tower) == {1 + 7 // 2}


def ranks_of(data, asked, tower):
    """Where the targets stand among items of which nothing can be said."""
    found = asked_interest(data, asked, torch.zeros(40, 4), tower, 4)
    return {rank for part, _, interest in found for rank in target_ranks(interest, asked.targets[part]).tolist()}


NAN = float("nan")


@pytest.mark.parametrize(
    ("interest", "rank"),
    [
        ([NAN, NAN, NAN, NAN], 4),
        ([NAN, 1.0, 2.0, 3.0], 4),
        ([2.0, NAN, 3.0, 1.0], 1 + 2),  # one of more interest, and one of which nothing is known
        ([2.0, 2.0, 2.0, NAN], 1 + 1 + 2 // 2),
    ],
)
def test_interest_that_is_no_number_finds_nothing(interest, rank):
    """The first item is the target; a model that has diverged must not look like a perfect one."""
    scores, target = torch.tensor([interest]), np.array([0])
    assert target_ranks(scores, target).tolist() == [rank]
    for new in (np.zeros(4, bool), np.array([False, True, False, True])):
        shared = torch.zeros(1, int(new.sum()))
        assert TargetRanks(scores, target, new, shared).with_bonus(NO_BONUS) >= rank
