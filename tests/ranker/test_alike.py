import numpy as np

from ranker.alike import ALIKE, fit_alike

EAST, NORTH, NEARLY_EAST, SILENT = [1.0, 0.0], [0.0, 1.0], [0.8, 0.6], [0.0, 0.0]


def test_neighbours_are_other_items_that_somebody_touched():
    vectors = np.array([EAST, NORTH, NEARLY_EAST, EAST], np.float32)
    found = fit_alike(vectors, np.array([5, 3, 2, 0]))
    assert found.shape == (4, ALIKE)
    # two neighbours at most: three items were touched, and none is its own
    assert sorted(found[0][:2].tolist()) == [1, 2]
    assert sorted(found[1][:2].tolist()) == [0, 2]
    assert set(found[3][:2].tolist()) == {0, 2}
    assert (found[:, 2:] == -1).all()


def test_items_without_text_have_no_neighbours_and_are_none():
    found = fit_alike(np.array([EAST, SILENT, NORTH], np.float32), np.array([1, 9, 1]))
    assert (found[1] == -1).all()
    assert 1 not in found


def test_neighbours_of_some_are_those_among_all(rng):
    vectors = rng.normal(size=(60, 4)).astype(np.float32)
    counts = rng.integers(0, 3, 60)
    wanted = np.array([7, 3, 59])
    np.testing.assert_array_equal(fit_alike(vectors, counts, wanted), fit_alike(vectors, counts)[wanted])
