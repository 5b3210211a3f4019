"""Learning stops by the later window, and the same seed gives the same model to the last character."""

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest

from ranker.boost import FEW_ROWS, LAST_POSITION, MIN_TREES, BlendConfig, dataset, fit, grow
from ranker.examples import Examples
from ranker.gain import ndcg_of_queries
from ranker.registry import FEATURE_NAMES
from tests.ranker.test_gain import some_examples

CONFIG = BlendConfig(trees=60, patience=15, min_rows=5, feature_share=0.2, leaves=7)


def text_of(model) -> str:
    return model.booster.model_to_string(num_iteration=-1)


def test_same_seed_gives_the_same_model_text_and_another_seed_another():
    train, later = some_examples(1), some_examples(2)
    first, again, other = (fit(train, later, replace(CONFIG, seed=seed)) for seed in (0, 0, 1))
    assert text_of(first.trees) == text_of(again.trees)
    assert text_of(first.earlier) == text_of(again.earlier)
    assert text_of(first.trees) != text_of(other.trees)


def test_learning_stops_when_the_later_window_gains_no_more():
    """What is learned does not hold later: labels there are of another feature."""
    train, later = some_examples(1), some_examples(2)
    turned = replace(later, features=later.features[:, ::-1].copy())
    seen = []
    model, ndcg = grow(dataset(train), dataset(turned), CONFIG, lambda trees, value: seen.append((trees, value)))
    best = int(np.argmax([value for _, value in seen])) + 1
    assert [trees for trees, _ in seen] == list(range(1, best + CONFIG.patience + 1))
    assert len(seen) < CONFIG.trees
    assert model.booster.best_iteration == MIN_TREES > best
    assert ndcg == seen[MIN_TREES - 1][1] < max(value for _, value in seen)


def test_what_is_told_of_learned_trees_is_the_ndcg_of_those_that_serve():
    """Fewer than serve may have been better on the later window."""
    train, later = some_examples(1), some_examples(2)
    turned = replace(later, features=later.features[:, ::-1].copy())
    for window, config in ((later, CONFIG), (turned, CONFIG), (turned, replace(CONFIG, patience=0))):
        fitted = fit(train, window, config)
        served = ndcg_of_queries(window.labels, fitted.earlier.score(window.features), window.groups).mean()
        assert fitted.measured["valid_ndcg@10"] == pytest.approx(served)


def test_without_patience_the_later_window_does_not_decide_the_size():
    train, later = some_examples(1), some_examples(2)
    turned = replace(later, features=later.features[:, ::-1].copy())
    model, ndcg = grow(dataset(train), dataset(turned), replace(CONFIG, patience=0))
    assert model.booster.best_iteration == model.booster.num_trees() == CONFIG.trees
    assert ndcg == pytest.approx(ndcg_of_queries(turned.labels, model.score(turned.features), turned.groups).mean())
    fitted = fit(train, turned, replace(CONFIG, patience=0))
    assert fitted.trees.booster.num_trees() == fitted.measured["trees"] == CONFIG.trees


def test_the_later_window_alone_decides_the_size():
    train, later = some_examples(1), some_examples(2)
    turned = replace(later, features=later.features[:, ::-1].copy())
    sizes = [fit(train, window, CONFIG).measured["trees"] for window in (later, turned)]
    assert sizes == [pytest.approx(sizes[0]), MIN_TREES]
    assert sizes[0] > MIN_TREES


def test_final_model_has_the_chosen_size_and_learns_from_both_windows():
    train, later = some_examples(1), some_examples(2)
    fitted = fit(train, later, replace(CONFIG, trees=500))
    assert fitted.trees.booster.num_trees() == fitted.measured["trees"]
    assert fitted.earlier.booster.num_trees() > fitted.measured["trees"]
    assert fitted.measured["rows"] == len(train.labels) + len(later.labels)
    assert not np.allclose(fitted.trees.score(later.features), fitted.earlier.score(later.features))


def test_scores_before_are_those_of_the_chosen_size():
    train, later = some_examples(1), some_examples(2)
    fitted = fit(train, later, CONFIG)
    cut = fitted.earlier.booster.predict(later.features, num_iteration=int(fitted.measured["trees"]))
    begun = fitted.earlier.initial.score(later.features)
    assert fitted.earlier.score(later.features).tolist() == pytest.approx((begun + cut).tolist())


def test_one_data_set_serves_trainings_of_any_settings():
    train, later = some_examples(1), some_examples(2)
    shared = dataset(train), dataset(later)
    for config in (CONFIG, replace(CONFIG, min_rows=200, leaves=7), CONFIG):
        model, _ = grow(*shared, config)
        alone, _ = grow(dataset(train), dataset(later), config)
        assert text_of(model) == text_of(alone)


def test_few_rows_of_given_items_are_learned_from_in_smaller_steps_of_a_set_number():
    config = BlendConfig()
    few, many = config.for_given(FEW_ROWS - 1), config.for_given(FEW_ROWS)
    assert few.learning_rate == pytest.approx(many.learning_rate / 4)
    assert many.learning_rate < config.learning_rate
    assert (few.trees, few.patience) == (config.given_trees, 0)
    assert (many.trees, many.patience) == (config.trees, config.patience / 0.4)
    assert few.leaves == many.leaves == config.given_leaves


def shown_in_order(seed: int, n_requests: int = 1500, places: int = 8) -> tuple[Examples, npt.NDArray[np.float64]]:
    """Lists ordered by a habit of who made them; a click wants a look at the place, and liking. Returns liking, too."""
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(n_requests * places, len(FEATURE_NAMES))).astype(np.float32)
    habit, taste = features[:, 0].reshape(n_requests, places), features[:, 1]
    position = (-habit).argsort(axis=1).argsort(axis=1).ravel() + 1
    liking = 1 / (1 + np.exp(1 - taste))
    clicked = rng.random(len(liking)) < liking * position**-1.0
    shown = Examples(
        features=features,
        labels=clicked.astype(np.int32),
        positions=position.astype(np.int32),
        groups=np.full(n_requests, places),
        as_of=np.arange(n_requests),
        users=np.arange(n_requests),
        negative_weight=np.ones(n_requests, np.float32),
        retrieved=1.0,
    )
    return shown, liking


def test_what_was_clicked_for_its_place_is_not_taken_for_liking():
    train, _ = shown_in_order(1)
    later, liking = shown_in_order(2)
    config = replace(CONFIG, feature_share=1.0, patience=0)
    blind = replace(train, positions=np.zeros_like(train.positions))
    seen, unseen = (grow(dataset(part), dataset(later), config)[0].score(later.features) for part in (train, blind))
    habit = later.features[:, 0]
    assert np.corrcoef(unseen, habit)[0, 1] > 0.5, "else places would teach nothing wrong here"
    assert np.corrcoef(seen, habit)[0, 1] < np.corrcoef(unseen, habit)[0, 1] - 0.2
    assert np.corrcoef(seen, liking)[0, 1] > np.corrcoef(unseen, liking)[0, 1] + 0.1


def test_places_that_are_not_known_change_nothing():
    train = some_examples(1)
    assert dataset(train).rows.position is None


def test_places_far_down_count_as_one():
    train = some_examples(1)
    assert set(dataset(replace(train, positions=train.positions + 500)).rows.position.tolist()) == {LAST_POSITION}
