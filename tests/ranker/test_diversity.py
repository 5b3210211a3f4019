import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ranker.caps import Caps
from ranker.catalogue import Catalogue
from ranker.diversity import LEAST_POOL, PLACES, POOL, diverse, pool_size
from tests.ranker.conftest import catalogue

NORTH, EAST, NORTH_EAST = [1.0, 0.0], [0.0, 1.0], [np.sqrt(0.5), np.sqrt(0.5)]


def order(score, vectors, diversity, n=None, items: Catalogue | None = None, caps=None) -> list[int]:
    items = items or catalogue(*[f"i{n:03}" for n in range(len(score))])
    tally = Caps(items, caps or {}).tally()
    scores = np.array(score, np.float64)
    chosen, _ = diverse(
        scores, np.array(vectors, np.float32), np.arange(len(scores)), n or len(scores), diversity, tally
    )
    return chosen.tolist()


def test_the_next_item_is_worth_its_relevance_less_its_likeness():
    vectors = [NORTH, NORTH, NORTH_EAST, EAST]
    # Relevance 1, 0.9, 0.5, 0. At 0.5 after the first: 0.45 - 0.5, 0.25 - 0.5 * 0.71, 0 - 0: the last one wins.
    # Then 0.45 - 0.5 * 1 = -0.05 against 0.25 - 0.5 * 0.71 = -0.1.
    assert order([10, 9, 5, 0], vectors, 0.5) == [0, 3, 1, 2]
    # At 0.2: 0.72 - 0.2 = 0.52, 0.4 - 0.14 = 0.26, 0; then 0.4 - 0.14 against 0 - 0.
    assert order([10, 9, 5, 0], vectors, 0.2) == [0, 1, 2, 3]


def test_all_diversity_looks_at_likeness_alone():
    assert order([10, 9, 5, 0], [NORTH, NORTH, NORTH_EAST, EAST], 1.0) == [0, 3, 2, 1]


def test_only_the_largest_likeness_counts():
    # After north and east, north-east is 0.71 like both; the second north is 1 like one and 0 like the other.
    assert order([3, 2, 1, 0], [NORTH, EAST, NORTH, NORTH_EAST], 1.0) == [0, 1, 3, 2]


def test_what_is_contrary_to_those_above_gains_by_it():
    # 0.5 * 0.2 against 0.5 * 0 + 0.5 * 1
    assert order([10, 2, 0], [NORTH, EAST, [-1.0, 0.0]], 0.5) == [0, 2, 1]


def test_equal_scores_leave_it_to_likeness():
    assert order([1, 1, 1], [NORTH, NORTH, EAST], 0.5) == [0, 2, 1]


def test_it_is_told_which_places_went_by_difference():
    """The best one left is no longer the first of all."""
    vectors = np.array([NORTH, NORTH, NORTH_EAST, EAST], np.float32)
    tally = Caps(catalogue("a", "b", "c", "d"), {}).tally()
    chosen, by_difference = diverse(np.array([10.0, 9, 5, 0]), vectors, np.arange(4), 4, 0.5, tally)
    assert chosen.tolist() == [0, 3, 1, 2]
    assert by_difference.tolist() == [False, True, False, False]


def test_length_of_vectors_and_unit_of_scores_do_not_matter():
    rng = np.random.default_rng(0)
    score, vectors = -np.sort(-rng.normal(size=30)), rng.normal(size=(30, 8))
    plain = order(score, vectors, 0.4)
    assert plain != list(range(30))
    assert order(1000 * score - 7, vectors * rng.uniform(1, 9, (30, 1)), 0.4) == plain


def test_an_item_without_text_is_as_like_as_two_items_are_on_average():
    # Likeness among the telling: (1 + 0 + 0) / 3; the silent one comes after the different one, before the same one.
    assert order([3, 2, 1, 0], [NORTH, [0, 0], NORTH, EAST], 1.0) == [0, 3, 1, 2]


def test_that_average_is_over_pairs_of_different_items():
    # Two that tell something, 0.6 alike: the silent one is as like the first as the other is, and relevance decides.
    first, other, silent = NORTH, [0.6, 0.8], [0, 0]
    assert order([10, 1, 0], [first, other, silent], 0.5) == [0, 1, 2]
    assert order([10, 1, 0], [first, silent, other], 0.5) == [0, 1, 2]


def test_items_that_exceed_a_cap_are_passed_over():
    items = catalogue("a", "b", "c", "d")
    told = items.items.with_columns(attributes=pl.Series(['{"brand": "p"}'] * 2 + ["{}"] * 2))
    assert order([4, 3, 2, 1], np.eye(4), 0.1, items=Catalogue(told), caps={"brand": 1}) == [0, 2, 3]


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 40), st.floats(0.01, 1), st.integers(0, 9))
def test_every_candidate_comes_once_and_the_best_first(n, diversity, seed):
    rng = np.random.default_rng(seed)
    found = order(-np.sort(-rng.normal(size=n)), rng.normal(size=(n, 4)), diversity)
    assert found[0] == 0
    assert sorted(found) == list(range(n))


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 99))
def test_more_diversity_makes_the_first_places_less_alike(seed):
    rng = np.random.default_rng(seed)
    score, vectors = -np.sort(-rng.normal(size=100)), rng.normal(size=(100, 3))

    def largest_likeness(diversity: float) -> float:
        unit = vectors[order(score, vectors, diversity, 10)]
        unit = unit / np.linalg.norm(unit, axis=1)[:, None]
        return float(np.tril(unit @ unit.T, -1)[1:].max(axis=1).mean())

    assert largest_likeness(1.0) < largest_likeness(0.001)


@pytest.mark.parametrize(("k", "size"), [(1, LEAST_POOL), (50, POOL * 50), (1_000, POOL * PLACES)])
def test_the_pool_grows_with_the_answer_up_to_a_bound(k, size):
    assert pool_size(k) == size
