from datetime import datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from ingest import columns as c
from ingest.load import load_files
from ingest.store import Store
from offline_eval.compare import compare_scores
from offline_eval.questions import EvaluationConfig, impressions_by_request, shown_requests
from offline_eval.windows import Window, replay_window

CUTOFF = datetime(2024, 5, 1)


@pytest.fixture
def window() -> Window:
    log = pl.DataFrame({c.USER_ID: "a", c.ITEM_ID: "x", c.WEIGHT: 1.0, c.OCCURRED_AT: [CUTOFF]})
    return replay_window(log, CUTOFF)


@pytest.fixture
def impressions(tmp_path: Path) -> pl.DataFrame:
    """r1 comes into sight item by item and goes to two users, r2 begins before the cutoff, r3 has no click."""
    rows = [
        ("r1", "a", "x", CUTOFF, True),
        ("r1", "b", "y", CUTOFF + timedelta(seconds=1), True),
        ("r1", "a", "y", CUTOFF + timedelta(seconds=2), False),
        ("r1", "b", "x", CUTOFF + timedelta(seconds=3), False),
        ("r2", "a", "z", CUTOFF - timedelta(seconds=1), False),
        ("r2", "a", "x", CUTOFF, True),
        ("r2", "a", "y", CUTOFF, False),
        ("r3", "a", "x", CUTOFF, False),
    ]
    schema = [c.REQUEST_ID, c.USER_ID, c.ITEM_ID, c.OCCURRED_AT, c.CLICKED]
    pl.DataFrame(rows, schema=schema, orient="row").write_parquet(tmp_path / "shown.parquet")
    with Store.open(tmp_path / "readrank.duckdb") as store:
        load_files(store, [tmp_path / "shown.parquet"])
        return impressions_by_request(store)


def test_shown_requests_are_of_one_moment_and_one_user_each(window: Window, impressions: pl.DataFrame) -> None:
    """Asked as its later items came into sight, a request would know what had been clicked above them."""
    shown = shown_requests(window, impressions, EvaluationConfig())
    told = shown.group_by(c.REQUEST_ID, c.USER_ID, c.OCCURRED_AT).agg(pl.col(c.ITEM_ID).sort()).sort(c.USER_ID)
    assert told.select(c.USER_ID, c.OCCURRED_AT, c.ITEM_ID).rows() == [
        ("a", CUTOFF, ["x", "y"]),
        ("b", CUTOFF + timedelta(seconds=1), ["x", "y"]),
    ]
    likes = pl.when((pl.col(c.ITEM_ID) == "x") == (pl.col(c.USER_ID) == "a")).then(1.0).otherwise(0.0)
    scored = shown.select(c.REQUEST_ID, c.ITEM_ID, likes.alias(c.SCORE))
    compared = compare_scores(window, shown, {"ours": scored}, "ours")
    assert compared.select("metric", "value", "n").rows() == [("auc", 1.0, 2)]


def test_of_many_shown_requests_a_sample_is_taken(window: Window, impressions: pl.DataFrame) -> None:
    assert shown_requests(window, impressions, EvaluationConfig(max_requests=1))[c.USER_ID].n_unique() == 1
