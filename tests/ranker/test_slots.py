import numpy as np
import pytest

from ranker.candidates import Candidates
from ranker.slots import order_pairs
from ranker.sources import SOURCES


def pairs(queries: list[int], fresh: list[bool]) -> Candidates:
    ranks = np.full((len(queries), len(SOURCES)), np.nan, np.float32)
    ranks[fresh, SOURCES.index("fresh")] = 1
    return Candidates(query=np.array(queries), item=np.arange(len(queries)), ranks=ranks)


@pytest.mark.parametrize(
    ("every", "kept", "expected"),
    [
        (0, 1, [0, 1, 2, 3]),
        (2, 1, [0, 4, 1, 5]),
        (3, 1, [0, 1, 4, 2]),
        (4, 1, [0, 1, 2, 4]),
        (4, 2, [0, 1, 4, 5]),
        (4, 3, [0, 1, 4, 5]),  # there is no third one
    ],
)
def test_last_of_every_few_places_go_to_the_best_new_items(every, kept, expected):
    asked = pairs([0] * 6, [False] * 4 + [True] * 2)
    order, rank = order_pairs(asked, np.array([6.0, 5, 4, 3, 2, 1]), 4, every, kept)
    assert order.tolist() == expected
    assert rank.tolist() == [1, 2, 3, 4]


def test_a_new_item_that_stands_last_by_its_score_counts():
    asked = pairs([0] * 6, [False, False, False, True, False, True])
    score = np.array([6.0, 5, 4, 3, 2, 1])
    assert order_pairs(asked, score, 4, 4, 2)[0].tolist() == [0, 1, 3, 5]
    assert order_pairs(asked, score, 6, 4, 2)[0].tolist() == [0, 1, 3, 5, 2, 4]


def test_a_shorter_stretch_has_its_share_rounded_down():
    asked = pairs([0] * 8, [False] * 5 + [True] * 3)
    by_place = -np.arange(8.0)
    assert order_pairs(asked, by_place, 5, 4, 2)[0].tolist() == [0, 1, 5, 6, 2]
    assert order_pairs(asked, by_place, 6, 4, 2)[0].tolist() == [0, 1, 5, 6, 2, 7]
    assert order_pairs(asked, by_place, 3, 4, 1)[0].tolist() == [0, 1, 2]


def test_no_place_is_kept_where_a_new_item_stands_by_its_score():
    asked = pairs([0] * 4, [False, True, False, True])
    assert order_pairs(asked, np.array([4.0, 3, 2, 1]), 3, 3)[0].tolist() == [0, 1, 2]


def test_a_stretch_with_its_share_says_nothing_of_the_next_one():
    asked = pairs([0] * 6, [False, True, False, False, False, True])
    assert order_pairs(asked, -np.arange(6.0), 4, 2)[0].tolist() == [0, 1, 2, 5]


def test_where_no_new_item_is_left_to_come_the_order_follows_the_score():
    asked = pairs([0] * 4, [False, True, False, False])
    assert order_pairs(asked, -np.arange(4.0), 4, 4, 2)[0].tolist() == [0, 1, 2, 3]


def test_each_query_has_places_of_its_own():
    asked = pairs([0, 0, 0, 1, 1], [False, False, True, False, False])
    order, rank = order_pairs(asked, np.array([3.0, 2, 1, 1, 2]), 2, 2)
    assert order.tolist() == [0, 2, 4, 3]
    assert rank.tolist() == [1, 2, 1, 2]


def test_queries_may_keep_different_numbers_of_places():
    asked = pairs([0] * 4 + [1] * 4, [False, False, True, True] * 2)
    order, _ = order_pairs(asked, np.array([4.0, 3, 2, 1] * 2), 2, 2, np.repeat([1, 2], 4))
    assert order.tolist() == [0, 2, 6, 7]


def test_no_pairs_give_no_places():
    assert order_pairs(pairs([], []), np.zeros(0), 5, 10)[0].tolist() == []
