"""Do intervals hold what they promise where one user asks many questions?"""

from datetime import datetime, timedelta

import numpy as np
import polars as pl
import pytest

from encoders.intervals import mean_intervals, paired_interval
from ingest import columns as c
from offline_eval.compare import compare_lists, compare_scores
from offline_eval.windows import Window


def share_of_worlds_held(worlds: int, *, told: bool) -> float:
    """Draw worlds without a true difference: users differ by 0.05, their 10 to 30 questions by another 0.15."""
    rng = np.random.default_rng(5)
    held = 0
    for world in range(worlds):
        users = np.repeat(np.arange(60), rng.integers(10, 31, 60))
        difference = rng.normal(0, 0.05, 60)[users] + rng.normal(0, 0.15, len(users))
        nothing = np.zeros(len(users))
        found = paired_interval(difference, nothing, draws=300, seed=world, users=users if told else None)
        held += found.low <= 0 <= found.high
    return held / worlds


def test_interval_of_95_holds_the_truth_in_about_95_of_100_worlds() -> None:
    assert 0.90 <= share_of_worlds_held(200, told=True) <= 0.98


def test_worlds_can_tell_users_from_questions() -> None:
    assert share_of_worlds_held(40, told=False) < 0.8


def test_one_question_a_user_is_as_without_users() -> None:
    rng = np.random.default_rng(6)
    values, true = rng.integers(0, 3, (80, 2)), rng.integers(3, 6, (80, 2))
    users = [f"u{user}" for user in rng.permutation(80)]
    assert mean_intervals(values, users=users) == mean_intervals(values)
    assert mean_intervals(values, denominators=true, users=users) == mean_intervals(values, denominators=true)


def test_order_of_questions_does_not_matter_within_users() -> None:
    values, users = np.array([0.0, 0.5, 1.0, 0.2, 0.4]), np.array(["b", "a", "b", "c", "a"])
    order = [0, 2, 1, 4, 3]
    one, other = mean_intervals(values, users=users)[0], mean_intervals(values[order], users=users[order])[0]
    assert (one.value, one.low, one.high) == pytest.approx((other.value, other.low, other.high))


def test_ratio_is_of_the_sums_of_users() -> None:
    """Drawn are ann alone (3 of 4), bob alone (0 of 2), or both."""
    found = mean_intervals([1.0, 2.0, 0.0], denominators=[2.0, 2.0, 2.0], users=["ann", "ann", "bob"])[0]
    assert (found.value, found.low, found.high, found.n) == (3 / 6, 0 / 2, 3 / 4, 3)


@pytest.mark.parametrize(("values", "users"), [([0.0, 1.0, 1.0, 1.0], ["ann"] * 4), ([0.75], ["ann"]), ([0.75], None)])
def test_one_user_tells_nothing_of_others(values: list[float], users: list[str] | None) -> None:
    found = mean_intervals(values, users=users)[0]
    assert (found.value, found.n) == (3 / 4, len(values))
    assert np.isnan([found.low, found.high]).all()


@pytest.fixture
def window() -> Window:
    """Ann and Bob ask eight questions each, and each question is for an item that nobody had touched."""
    cutoff = datetime(2024, 1, 1)
    asked = [(f"{user}{n}", user, cutoff + timedelta(days=n)) for user in ("ann", "bob") for n in range(8)]
    queries = pl.DataFrame(asked, schema=[c.QUERY_ID, c.USER_ID, c.AS_OF], orient="row").with_columns(
        n_before=pl.lit(2), warm=pl.lit(True)
    )
    truth = queries.select(c.QUERY_ID, pl.lit("x").alias(c.ITEM_ID), cold=pl.lit(True))
    return Window(protocol="replay", cutoff=cutoff, queries=queries, truth=truth, n_before_cap=16)


def bounds(rows: pl.DataFrame, segment: str, metric: str) -> list[tuple[float, float]]:
    return rows.filter(segment=segment, metric=metric, system="ours").select("low", "high").rows()


def test_every_interval_of_lists_draws_users(window: Window) -> None:
    """Ours is right for all of Ann's questions and none of Bob's: drawn are one of the two, or both."""
    answers = {
        name: window.queries.select(c.QUERY_ID, pl.lit(item).alias(c.ITEM_ID), pl.lit(1).alias(c.RANK))
        for name, item in (("ours", "x"), ("theirs", "y"))
    }
    answers["ours"] = answers["ours"].filter(pl.col(c.QUERY_ID).str.starts_with("ann"))
    rows = compare_lists(window, answers, 2, 10, "ours")
    for metric in ("ndcg", "recall", "mrr", "hit_rate", "ndcg over theirs"):
        assert bounds(rows, "all", metric) == bounds(rows, "warm users", metric) == [(0.0, 1.0)], metric
    assert bounds(rows, "cold items", "recall") == [(0.0, 1.0)]


def test_every_interval_of_rankings_draws_users(window: Window) -> None:
    shown = window.queries.select(pl.col(c.QUERY_ID).alias(c.REQUEST_ID), c.USER_ID).join(
        pl.DataFrame({c.ITEM_ID: ["x", "y"], c.CLICKED: [True, False]}), how="cross"
    )
    right = pl.when(c.CLICKED).then(1.0).otherwise(0.0)
    of_ann = pl.when(pl.col(c.USER_ID) == "ann").then(right).otherwise(-right)
    scored = {
        name: shown.select(c.REQUEST_ID, c.ITEM_ID, score.alias(c.SCORE))
        for name, score in (("ours", of_ann), ("theirs", -right))
    }
    rows = compare_scores(window, shown, scored, "ours")
    assert bounds(rows, "shown requests", "auc") == [(0.0, 1.0)]
    assert bounds(rows, "shown requests", "auc over theirs") == [(0.0, 1.0)]
