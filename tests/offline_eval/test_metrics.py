from math import log2

import numpy as np
import polars as pl
import pytest

from encoders.intervals import mean_intervals, paired_interval
from ingest import columns as c
from offline_eval import metrics


def shown(**lists: str) -> pl.DataFrame:
    rows = [(query, item, rank) for query, items in lists.items() for rank, item in enumerate(items.split(), 1)]
    return pl.DataFrame(rows, schema=[c.QUERY_ID, c.ITEM_ID, c.RANK], orient="row")


def taken(**lists: str) -> pl.DataFrame:
    return shown(**lists).drop(c.RANK)


@pytest.mark.parametrize(
    ("recommended", "relevant", "k", "expected"),
    [
        ("a b c", "a", 3, (1 / log2(2), 1 / 1, 1 / 1, 1)),
        ("a b c", "c", 3, (1 / log2(4), 1 / 1, 1 / 3, 1)),
        ("a b c", "c", 2, (0, 0, 0, 0)),
        ("a b c", "b c", 3, ((1 / log2(3) + 1 / log2(4)) / (1 + 1 / log2(3)), 2 / 2, 1 / 2, 1)),
        ("a b c", "a x y z", 2, (1 / (1 + 1 / log2(3)), 1 / 2, 1 / 1, 1)),
        ("a b c", "x", 3, (0, 0, 0, 0)),
        ("a", "a b c", 3, (1 / (1 + 1 / log2(3) + 1 / log2(4)), 1 / 3, 1, 1)),
    ],
)
def test_list_metrics_as_arithmetic(recommended: str, relevant: str, k: int, expected: tuple[float, ...]) -> None:
    row = metrics.per_query(shown(q=recommended), taken(q=relevant), k).row(0, named=True)
    assert [row[metric] for metric in metrics.PER_QUERY] == pytest.approx(expected)
    assert row["n_relevant"] == len(relevant.split())


def test_a_query_without_recommendations_scores_nought_and_one_without_truth_is_counted() -> None:
    rows = metrics.per_query(shown(q1="a", q3="a"), taken(q1="a", q2="b"), 5)
    assert rows.select(c.QUERY_ID, "ndcg").rows() == [("q1", 1.0), ("q2", 0.0)]
    assert metrics.without_truth(pl.DataFrame({c.QUERY_ID: ["q1", "q2", "q3"]}), taken(q1="a", q2="b")) == 1


def test_an_item_listed_twice_counts_once() -> None:
    rows = metrics.per_query(shown(q="a a b"), taken(q="a b"), 3)
    assert rows["recall"].to_list() == [2 / 2]
    assert rows["ndcg"].to_list() == pytest.approx([(1 + 1 / log2(4)) / (1 + 1 / log2(3))])


def test_recall_over_items_is_not_the_mean_over_queries() -> None:
    found = metrics.found_items(shown(q1="a", q2="b"), taken(q1="a x y", q2="b"), 1)
    assert found["found"].sum() / found["true"].sum() == (1 + 1) / (3 + 1)


def test_coverage_of_an_empty_catalogue_is_nought() -> None:
    assert metrics.coverage(shown(q="a"), 0, 10) == 0.0
    assert metrics.coverage(shown(q1="a b", q2="b c"), 6, 2) == 3 / 6


def test_auc_agrees_with_counting_pairs() -> None:
    rng = np.random.default_rng(1)
    scores, clicked = rng.integers(0, 5, 60), rng.random(60) < 0.3
    rows = pl.DataFrame({c.REQUEST_ID: ["r"] * 60, c.CLICKED: clicked, c.SCORE: scores})
    pairs = [(a > b) + 0.5 * (a == b) for a in scores[clicked] for b in scores[~clicked]]
    assert metrics.auc(rows)["auc"].to_list() == pytest.approx([sum(pairs) / len(pairs)])


def test_interval_of_a_mean_agrees_with_the_textbook() -> None:
    values = np.random.default_rng(2).normal(3.0, 2.0, 2000)
    interval = mean_intervals(values)[0]
    half = 1.96 * values.std() / np.sqrt(2000)
    assert interval.value == pytest.approx(values.mean())
    assert interval.low == pytest.approx(values.mean() - half, abs=0.02)
    assert interval.high == pytest.approx(values.mean() + half, abs=0.02)


def test_columns_share_draws_and_blocks_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    from encoders import intervals

    values = np.random.default_rng(3).random((50, 3))
    together = mean_intervals(values)
    alone = mean_intervals(values[:, 1])[0]
    assert (together[1].low, together[1].high) == pytest.approx((alone.low, alone.high))
    monkeypatch.setattr(intervals, "_CELLS", 50 * 7)
    for one, other in zip(together, mean_intervals(values), strict=True):
        assert (one.low, one.high) == pytest.approx((other.low, other.high), abs=0.02)


def test_ratio_interval_is_over_sums() -> None:
    interval = mean_intervals([1.0, 0.0, 0.0], denominators=[4.0, 1.0, 0.0])[0]
    assert interval.value == 1 / 5
    assert (interval.low, interval.high) == (0.0, pytest.approx(1 / 4))


def test_pairing_sees_what_separate_intervals_hide() -> None:
    rng = np.random.default_rng(4)
    hard = rng.random(300)
    ours, theirs = hard + 0.02 + 0.01 * rng.random(300), hard
    assert paired_interval(ours, theirs).low > 0
    assert mean_intervals(ours)[0].low < mean_intervals(theirs)[0].high


def test_no_queries_give_nan_and_n_nought() -> None:
    interval = mean_intervals(np.zeros(0))[0]
    assert np.isnan(interval.value)
    assert interval.n == 0
