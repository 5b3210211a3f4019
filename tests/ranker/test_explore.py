import numpy as np
import pytest

from ranker.explore import explore, generator

MAY = np.array([False, False, False, True, False, True, True])


def test_nothing_is_drawn_without_a_share_or_a_pool():
    for pool, share in ((5, 0.0), (0, 0.9)):
        found = explore(MAY, pool, share, generator("r"))
        assert found.drawn.tolist() == [-1] * 7
        assert found.propensity.tolist() == [1.0] * 7


def test_propensity_is_that_of_the_draw_at_the_place():
    may = np.tile(MAY, 10)
    found = explore(may, 50, 0.4, generator("r"))
    taken = found.drawn >= 0
    assert not taken[~may].any()
    assert set(found.propensity[taken].tolist()) == {0.4 / 50}
    assert set(found.propensity[may & ~taken].tolist()) == {1 - 0.4}
    assert set(found.propensity[~may].tolist()) == {1.0}


def test_one_request_draws_the_same_every_time_and_another_something_else():
    drawn = [explore(MAY, 50, 0.9, generator(name)).drawn.tolist() for name in ("r1", "r1", "r2", "")]
    assert drawn[0] == drawn[1] != drawn[2]


def test_no_item_is_drawn_twice_in_an_answer():
    for n in range(200):
        drawn = explore(MAY, 3, 1.0, generator(str(n))).drawn
        assert sorted(drawn[MAY].tolist()) == [0, 1, 2]


def test_where_the_pool_is_small_only_the_last_places_change():
    found = explore(MAY, 2, 1.0, generator("r"))
    assert (found.drawn >= 0).tolist() == [False] * 5 + [True] * 2
    assert found.propensity.tolist() == [1.0] * 5 + [1 / 2] * 2


@pytest.mark.parametrize(("share", "pool"), [(0.3, 4), (1.0, 3), (0.7, 2)])
def test_propensities_are_the_frequencies(share, pool):
    """Draw many times: each item stands at each place as often as it says when it stands there."""
    n = 4_000
    counts, told = np.zeros((len(MAY), pool + 1)), np.full((len(MAY), pool + 1), np.nan)
    places = np.arange(len(MAY))
    for number in range(n):
        found = explore(MAY, pool, share, generator(str(number)))
        counts[places, found.drawn] += 1
        told[places, found.drawn] = found.propensity
    frequency = counts / n
    # Five standard errors of a frequency; the true one is what was told, or 0 for what never came.
    expected = np.nan_to_num(told)
    error = np.sqrt(np.maximum(expected * (1 - expected), 1e-9) / n)
    assert (np.abs(frequency - expected) <= 5 * error + 1e-9).all()
    assert expected.sum(axis=1).tolist() == pytest.approx([1.0] * len(MAY))
