"""A new model serves when it is shown to be no worse: intervals decide, and only where they can tell."""

from dataclasses import replace

import polars as pl
import pytest

from offline_eval.compare import SCHEMA
from offline_eval.gate import Check, checks, decide

ALL = Check(
    segment="all",
    metric="ndcg@10",
    against="live",
    value=0.0,
    low=-0.01,
    high=0.01,
    n=2_000,
    allowed=0.01,
    must_show=True,
)


@pytest.mark.parametrize(
    ("value", "low", "high", "verdict"),
    [
        (0.0, -0.01, 0.01, "no worse"),  # the interval touches what is allowed
        (0.0, -0.011, 0.011, "open"),
        (-0.005, -0.009, -0.001, "no worse"),  # surely lower, but by less than is allowed
        (-0.02, -0.03, -0.011, "worse"),
        (-0.011, -0.02, -0.001, "worse"),
        (-0.01, -0.02, -0.001, "open"),  # lower by just what is allowed
        (-0.02, -0.05, 0.0, "open"),  # perhaps by chance
        (0.03, None, None, "open"),  # one user only
    ],
)
def test_verdict_follows_from_the_interval(value, low, high, verdict):
    assert replace(ALL, value=value, low=low, high=high).verdict == verdict


def test_one_segment_that_is_worse_refuses():
    cold = replace(ALL, segment="cold users", value=-0.02, low=-0.03, high=-0.011, must_show=False)
    assert decide([ALL, cold]) == ("refused", [cold])


def test_open_small_segments_do_not_hold_a_model_back_and_an_open_whole_does():
    cold = replace(ALL, segment="cold users", low=-0.5, high=0.5, n=12, must_show=False)
    assert decide([ALL, cold]) == ("promoted", [ALL, cold])
    unsure = replace(ALL, low=-0.02, high=0.02)
    assert decide([unsure, cold]) == ("waits", [unsure])


def rows(*told) -> pl.DataFrame:
    """Rows of a comparison: segment, system, metric, k, value, low, high, n."""
    names = ["segment", "system", "metric", "k", "value", "low", "high", "n"]
    filled = [dict(zip(names, row, strict=True)) | {"protocol": "replay", "cutoff": None} for row in told]
    return pl.DataFrame(filled, schema=SCHEMA)


COMPARED = rows(
    ("all", "new", "ndcg", 10, 0.11, 0.1, 0.12, 2_500),
    ("all", "live", "ndcg", 10, 0.1, 0.09, 0.11, 2_500),
    ("all", "new", "ndcg over live", 10, 0.01, 0.0, 0.02, 2_500),
    ("all", "popular", "ndcg", 10, 0.05, 0.04, 0.06, 2_500),
    ("all", "new", "ndcg over popular", 10, 0.06, 0.05, 0.07, 2_500),
    ("cold users", "new", "ndcg", 10, 0.04, 0.02, 0.06, 1_999),
    ("cold users", "live", "ndcg", 10, 0.04, 0.02, 0.06, 1_999),
    ("cold users", "new", "ndcg over live", 10, 0.0, -0.01, 0.01, 1_999),
    ("cold users", "popular", "ndcg", 10, 0.04, 0.02, 0.06, 1_999),
    ("cold users", "new", "ndcg over popular", 10, 0.0, -0.01, 0.01, 1_999),
    ("shown requests", "new", "auc", None, 0.7, 0.68, 0.72, 2_000),
    ("shown requests", "live", "auc", None, 0.7, 0.68, 0.72, 2_000),
    ("shown requests", "new", "auc over live", None, 0.0, -0.01, 0.01, 2_000),
)


def test_what_may_be_lost_is_a_share_of_what_the_serving_model_has():
    found = {
        (check.segment, check.against): check
        for check in checks(COMPARED, "new", "live", "popular", margin=0.1, enough=2_000)
    }
    assert set(found) == {("all", "live"), ("all", "popular"), ("cold users", "live"), ("shown requests", "live")}
    assert found["all", "live"].metric == "ndcg@10"
    assert found["all", "live"].allowed == pytest.approx(0.1 * 0.1)
    assert found["shown requests", "live"].allowed == pytest.approx(0.1 * (0.7 - 0.5))  # a coin has an AUC of one half


def test_the_whole_and_large_segments_must_show_it():
    found = checks(COMPARED, "new", "live", "popular", margin=0.1, enough=2_000)
    assert [(check.segment, check.against) for check in found if check.must_show] == [
        ("all", "live"),
        ("shown requests", "live"),
    ]
    few = COMPARED.with_columns(n=pl.lit(30, pl.Int64))
    assert [
        check.segment for check in checks(few, "new", "live", "popular", margin=0.1, enough=2_000) if check.must_show
    ] == ["all"]


def test_a_first_model_is_held_against_the_popular_list_alone():
    found = checks(COMPARED, "new", None, "popular", margin=0.1, enough=2_000)
    assert [(check.segment, check.against, check.must_show) for check in found] == [("all", "popular", False)]
    worse = COMPARED.with_columns(
        value=pl.when(metric="ndcg over popular").then(-0.02).otherwise("value"),
        low=pl.when(metric="ndcg over popular").then(-0.03).otherwise("low"),
        high=pl.when(metric="ndcg over popular").then(-0.01).otherwise("high"),
    )
    assert decide(checks(worse, "new", None, "popular", margin=0.1, enough=2_000))[0] == "refused"


def test_a_check_says_all_that_decides():
    assert str(ALL) == "all, ndcg@10: +0.0000 [-0.0100, +0.0100] against live, 0.0100 less allowed, n = 2,000: no worse"
    assert str(replace(ALL, low=None, high=None)).startswith("all, ndcg@10: +0.0000 against live")
