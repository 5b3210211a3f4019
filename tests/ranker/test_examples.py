from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from ingest.store import END_OF_TIME, Store
from ranker.examples import Examples, all_later, known_items, labels_of, next_items
from ranker.given import impression_examples
from ranker.history import History
from tests.ranker.conftest import DAY, catalogue, log
from tests.ranker.test_gain import some_examples


def history(*rows: tuple[str, str, int]) -> History:
    return History.from_frames(catalogue("a", "b", "z"), log(*rows))


def test_next_items_ask_at_the_instant_and_skip_what_was_taken_before():
    truth = next_items(history(("ann", "a", 1), ("ann", "b", 2), ("ann", "a", 3)), 1 * DAY, 9 * DAY)
    assert truth.moments.as_of.tolist() == [1 * DAY, 2 * DAY]
    assert truth.item.tolist() == [0, 1]


def test_next_items_begin_at_the_boundary_and_end_before_it():
    log_of_ann = history(("ann", "a", 1), ("ann", "b", 2), ("ann", "z", 3))
    truth = next_items(log_of_ann, 2 * DAY, 3 * DAY)
    assert truth.item.tolist() == [1]


def test_all_later_asks_each_user_once_cold_ones_too():
    truth = all_later(history(("ann", "a", 1), ("ann", "b", 2), ("ann", "z", 3), ("eve", "a", 3)), 2 * DAY, 9 * DAY)
    assert truth.moments.as_of.tolist() == [2 * DAY, 2 * DAY]
    assert sorted(zip(truth.query.tolist(), truth.item.tolist(), strict=True)) == [(0, 1), (0, 2), (1, 0)]


def test_what_a_first_view_led_to_before_the_end_is_its_worth():
    """Ann views a, b and z and buys two of them; what lies at the end or later is not known."""
    told = [("ann", "a", 1, 1.0), ("ann", "b", 2, 0.0), ("ann", "z", 2, 1.0)]
    told += [("ann", "b", 3, 10.0), ("ann", "a", 4, 10.0), ("ann", "a", 5, 2.0), ("ann", "z", 9, 10.0)]
    frame = pl.concat([log((user, item, day), weight=weight) for user, item, day, weight in told])
    log_of_ann = History.from_frames(catalogue("a", "b", "z"), frame)
    truth = next_items(log_of_ann, 1 * DAY, 9 * DAY)
    asked = truth.moments.as_of[truth.query] // DAY
    found = zip(asked.tolist(), truth.item.tolist(), truth.weight.tolist(), strict=True)
    assert sorted(found) == [(1, 0, 10.0), (2, 1, 10.0), (2, 2, 1.0)]
    later = all_later(log_of_ann, 2 * DAY, 9 * DAY)
    assert (later.item.tolist(), later.weight.tolist()) == ([1, 2], [10.0, 1.0])
    hidden = pl.concat([log(("bob", "a", 1), weight=-1.0), log(("bob", "a", 2), weight=10.0)])
    assert not len(next_items(History.from_frames(catalogue("a"), hidden), 1 * DAY, 9 * DAY).moments)
    again = next_items(log_of_ann, 3 * DAY, 9 * DAY, repeats=True)
    assert (again.item.tolist(), again.weight.tolist()) == ([1, 0, 0], [10.0, 10.0, 2.0]), "each as it is"


def test_known_items_are_touched_strictly_before():
    log_of_ann = history(("ann", "a", 1), ("ann", "b", 2))
    known = known_items(log_of_ann, catalogue("a", "b", "z"), np.array([2 * DAY, 2 * DAY + 1]))
    assert known.tolist() == [[True, False, False], [True, True, False]]


def test_questions_know_new_items_only_where_a_window_tells(rng):
    log_of_ann = history(("ann", "a", 1), ("ann", "b", 2), ("ann", "z", 3))
    assert next_items(log_of_ann, 2 * DAY, 9 * DAY).known_by.tolist() == [2 * DAY, 3 * DAY]
    assert all_later(log_of_ann, 2 * DAY, 9 * DAY).known_by.tolist() == [9 * DAY]


def test_sample_keeps_what_followed_the_queries_it_keeps(rng):
    truth = all_later(history(*[(f"u{n}", "ab"[n % 2], 2) for n in range(10)]), 1 * DAY, 9 * DAY)
    kept = truth.sample(4, rng)
    assert len(kept.moments) == 4
    assert kept.query.tolist() == [0, 1, 2, 3]
    assert kept.item.tolist() == (kept.moments.users % 2).tolist()


def test_labels_grow_as_the_weight_doubles():
    assert labels_of(np.array([0.0, -1.0, 0.1, 1.0, 3.0, 7.0, 1e6])).tolist() == [0, 0, 1, 1, 2, 3, 6]


def test_of_many_shown_requests_a_seeded_sample_is_learned_from(ranker, shop):
    with Store.open(shop.store_path, read_only=True) as store:
        shown = store.impressions(before=END_OF_TIME)

    def learned_from(max_requests: int, seed: int) -> Examples:
        return impression_examples(
            ranker.model.sources, ranker.history, shown, since=None, max_requests=max_requests, seed=seed
        )

    whole, some, again, other = (learned_from(*given) for given in ((10**9, 0), (7, 0), (7, 0), (7, 1)))
    assert len(whole.groups) > 7 == len(some.groups)
    np.testing.assert_array_equal(some.features, again.features)
    assert some.as_of.tolist() != other.as_of.tolist()
    assert set(some.as_of) <= set(whole.as_of)
    assert some.labels.sum() >= 7, "requests without a click teach nothing"


def test_a_request_is_one_question_also_where_each_item_came_into_sight_at_its_own_time(ranker, shop):
    with Store.open(shop.store_path, read_only=True) as store:
        shown = store.impressions(before=END_OF_TIME)
    scrolled = shown.with_columns(pl.col("occurred_at") + pl.duration(milliseconds=100 * (pl.col("position") - 1)))

    def learned_from(impressions: pl.DataFrame) -> Examples:
        sources, history = ranker.model.sources, ranker.history
        return impression_examples(sources, history, impressions, since=None, max_requests=50, seed=0)

    at_once, one_by_one = learned_from(shown), learned_from(scrolled)
    assert one_by_one.groups.tolist() == at_once.groups.tolist()
    assert one_by_one.as_of.tolist() == at_once.as_of.tolist()
    np.testing.assert_array_equal(one_by_one.features, at_once.features)


def test_examples_of_what_was_shown_know_the_places(ranker, shop):
    with Store.open(shop.store_path, read_only=True) as store:
        shown = store.impressions(before=END_OF_TIME).with_columns(
            position=pl.when(pl.col("position") > 2).then(pl.col("position"))
        )
    learned = impression_examples(ranker.model.sources, ranker.history, shown, since=None, max_requests=50, seed=0)
    whole = learned.positions[: learned.groups[0]]
    assert sorted(whole.tolist()) == [0, 0, *range(3, learned.groups[0] + 1)]
    assert learned.split(np.arange(len(learned.groups)) < 1)[0].positions.tolist() == whole.tolist()


def test_of_what_was_clicked_labels_grow_with_what_followed(ranker, shop):
    with Store.open(shop.store_path, read_only=True) as store:
        shown = store.impressions(before=END_OF_TIME)
    one = shown.filter(pl.col("request_id") == shown.filter("clicked")["request_id"][0]).sort("item_id")
    outcomes = [(True, 10.0), (True, None), (False, 10.0)]
    told = one[: len(outcomes)].with_columns(
        clicked=pl.Series([clicked for clicked, _ in outcomes]),
        strongest_weight=pl.Series([weight for _, weight in outcomes], dtype=pl.Float64),
    )
    learned = impression_examples(ranker.model.sources, ranker.history, told, since=None, max_requests=9, seed=0)
    assert learned.labels.tolist() == [3, 1, 0]


def test_what_candidates_held_of_several_parts_is_a_share_of_all_that_followed():
    """Of 10 items 9 were proposed, of 90 only 9: many queries of few items each do not make up for that."""
    few, many = (
        replace(some_examples(seed, n_queries), retrieved=retrieved, followed=followed)
        for seed, n_queries, retrieved, followed in ((1, 30, 9 / 10, 10), (2, 3, 9 / 90, 90))
    )
    both = Examples.concatenate([few, many])
    assert both.retrieved == pytest.approx((9 + 9) / (10 + 90))
    assert both.followed == 10 + 90
    assert Examples.concatenate([replace(few, retrieved=0.0, followed=0)]).retrieved == 0
