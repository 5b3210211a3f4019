import numpy as np

from ranker.candidates import _best

ALL = np.ones(5, bool)


def test_of_equal_scores_the_first_in_the_catalogue_stay():
    score = np.array([1, 2, 1, 3, 1], np.float32)
    assert sorted(_best(score, ALL, 3).tolist()) == [0, 1, 3]


def test_what_is_not_allowed_takes_no_place():
    score = np.array([9, 2, 1, 3, 1], np.float32)
    allowed = np.array([False, True, True, True, True])
    assert sorted(_best(score, allowed, 2).tolist()) == [1, 3]


def test_with_slack_all_stay_that_come_close_to_the_least():
    score = np.array([5.0, 3.0, 2.99, 2.9, 4.0], np.float32)
    assert sorted(_best(score, ALL, 3, 0.05).tolist()) == [0, 1, 2, 4]
    assert sorted(_best(score, ALL, 3, 0.005).tolist()) == [0, 1, 4]
