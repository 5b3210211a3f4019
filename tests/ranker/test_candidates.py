"""The best of every source are found exactly, however they are looked for."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse

from ranker import shared_words
from ranker.best import best, best_from_approximate
from ranker.timeline import Timeline


def test_of_equal_scores_the_first_in_the_catalogue_stay():
    assert sorted(best(np.array([1, 2, 1, 3, 1], np.float32), 3).tolist()) == [0, 1, 3]


def test_what_is_not_allowed_takes_no_place():
    assert sorted(best(np.array([-np.inf, 2, 1, 3, 1], np.float32), 2).tolist()) == [1, 3]
    assert sorted(best(np.array([-np.inf, 2, -np.inf, 3, -np.inf], np.float32), 4).tolist()) == [1, 3]


@given(seed=st.integers(0, 1_000), size=st.integers(1, 60), off=st.floats(0, 1), shut=st.floats(0, 1))
def test_a_look_that_is_off_misses_none_of_the_best(seed, size, off, shut):
    """Values of one decimal, so that many are equal, and a look at them that is off by up to `off`."""
    rng = np.random.default_rng(seed)
    exact = np.round(rng.standard_normal(200), 1).astype(np.float32)
    about = (exact + off * rng.uniform(-1, 1, 200) * 0.999).astype(np.float32)
    out = rng.random(200) < shut
    places, values = best_from_approximate(about, off + 1e-6, size, lambda places: exact[places], ~out)
    order = np.lexsort((np.arange(200), np.where(out, np.inf, -exact)))[: min(size, int((~out).sum()))]
    found = places[np.lexsort((places, -values))][:size]
    assert found.tolist() == order.tolist()
    assert values.tolist() == exact[places].tolist()


@pytest.mark.parametrize("n_values", [2, 50, 100_000])
@given(seed=st.integers(0, 1_000), size=st.integers(1, 300), shut=st.floats(0, 1), decimals=st.integers(0, 3))
def test_best_are_those_of_sorting(n_values, seed, size, shut, decimals):
    """Also where many are equal, hardly any is allowed, or the greatest all stand together."""
    rng = np.random.default_rng(seed)
    score = np.round(rng.standard_normal(n_values), decimals).astype(np.float32)
    score[rng.random(n_values) < shut] = -np.inf
    if seed % 3 == 0:
        score.sort()
    order = np.lexsort((np.arange(n_values), -score))
    wanted = order[score[order] > -np.inf]
    assert sorted(best(score, size).tolist()) == sorted(wanted[:size].tolist())
    among = rng.random(n_values) < rng.random()
    assert sorted(best(score, size, among).tolist()) == sorted(wanted[among[wanted]][:size].tolist())


def test_words_that_every_fifth_item_has_find_nothing(monkeypatch):
    monkeypatch.setattr(shared_words, "_COMMON_FROM", 2)
    words = sparse.csr_matrix(np.array([[1, 1, 0], [1, 0, 2], [1, 0, 0], [1, 3, 0]], np.float32))
    assert shared_words.rare_words(words).toarray().tolist() == [[0, 0, 0, 0], [1, 0, 0, 3], [0, 2, 0, 0]]


def test_only_the_weightiest_words_are_looked_for(monkeypatch):
    monkeypatch.setattr(shared_words, "WEIGHTIEST", 2)
    profile = sparse.csr_matrix(np.array([[0, 1, 3, 2], [4, 0, 0, 0], [5, 6, 0, 7]], np.float32))
    by_word = sparse.csr_matrix(np.array([[1, 0], [1, 1], [0, 1], [0, 0]], np.float32))
    found = shared_words.weightiest(profile, by_word).toarray().tolist()
    assert found == [[0, 1, 3, 0], [4, 0, 0, 0], [5, 6, 0, 0]]


def test_words_are_looked_for_until_enough_is_read(monkeypatch):
    monkeypatch.setattr(shared_words, "READ_AT_MOST", 3)
    by_word = sparse.csr_matrix(np.array([[1, 1, 1, 1], [1, 1, 0, 0], [0, 1, 0, 0], [0, 0, 0, 1]], np.float32))
    profile = sparse.csr_matrix(np.array([[0, 3, 2, 1], [4, 1, 0, 0]], np.float32))
    found = shared_words.weightiest(profile, by_word).toarray().tolist()
    assert found == [[0, 3, 2, 0], [4, 0, 0, 0]]  # one word is looked for, however many items have it


def test_most_taken_of_an_hour_come_in_order():
    taken = np.array([3, 1, 1, 3, 3, 0], np.int32)
    (hour,), _ = Timeline(np.arange(6), taken).hours(5, np.array([3_600_000_000]))
    assert hour.most["evergreen"].tolist() == [3, 1, 0]
    assert not hour.has_more("evergreen")
    assert np.flatnonzero(hour.fresh).tolist() == [0, 1, 2, 4]
