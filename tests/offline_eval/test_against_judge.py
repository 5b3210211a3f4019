"""Our windows and metrics against a judge written apart from them, where one lies beside the repository."""

import importlib.util
from datetime import datetime, timedelta
from pathlib import Path
from types import ModuleType

import numpy as np
import polars as pl
import pytest

from encoders.intervals import mean_intervals, paired_interval
from ingest import columns as c
from offline_eval import metrics
from offline_eval.windows import choose_cutoff, cutoff_window, replay_window

JUDGE = Path(__file__).parents[3] / "shared" / "judge"
pytestmark = pytest.mark.skipif(not JUDGE.is_dir(), reason=f"no independent judge in {JUDGE}")


def judge(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, JUDGE / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def log() -> pl.DataFrame:
    rng = np.random.default_rng(5)
    n = 3_000
    start = datetime(2024, 1, 1)
    return pl.DataFrame(
        {
            c.USER_ID: [f"u{user}" for user in rng.integers(0, 150, n)],
            c.ITEM_ID: [f"i{item}" for item in rng.zipf(1.3, n) % 400],
            c.WEIGHT: 1.0,
            c.OCCURRED_AT: sorted(start + timedelta(seconds=int(s)) for s in rng.integers(0, 20_000, n)),
        }
    ).with_columns(pl.col(c.OCCURRED_AT).cast(pl.Datetime("us")))


def build(log: pl.DataFrame, folder: Path, protocol: str, max_queries: int) -> Path:
    (folder / "data").mkdir()
    log.select(
        c.USER_ID, c.ITEM_ID, c.WEIGHT, event=pl.lit("click"), timestamp=pl.col(c.OCCURRED_AT).dt.epoch("s")
    ).write_parquet(folder / "data" / "interactions.parquet")
    log.select(c.ITEM_ID).unique().write_parquet(folder / "data" / "items.parquet")
    judge("case").build(folder / "data", folder / "case", protocol=protocol, max_queries=max_queries)
    return folder / "case"


def answers(queries: pl.DataFrame, truth: pl.DataFrame, seed: int) -> pl.DataFrame:
    """Recommend for most queries 15 random items, some of them right, in random order."""
    rng = np.random.default_rng(seed)
    right = dict(truth.group_by(c.QUERY_ID).agg(c.ITEM_ID).iter_rows())
    rows = []
    for query in queries[c.QUERY_ID].sort():
        if rng.random() < 0.9:
            items = {f"i{item}" for item in rng.integers(0, 400, 13)} | set(sorted(right[query])[:2])
            rows += [(query, item, rank) for rank, item in enumerate(rng.permutation(sorted(items)), 1)]
    return pl.DataFrame(rows, schema=[c.QUERY_ID, c.ITEM_ID, c.RANK], orient="row")


@pytest.mark.parametrize("protocol", ["cutoff", "replay"])
@pytest.mark.parametrize("max_queries", [100_000, 60])
def test_windows_ask_what_the_judge_asks(log: pl.DataFrame, tmp_path: Path, protocol: str, max_queries: int) -> None:
    case = build(log, tmp_path, protocol, max_queries)
    lay = {"cutoff": cutoff_window, "replay": replay_window}[protocol]
    window = lay(log, choose_cutoff(log), max_queries=max_queries)
    key = [c.USER_ID, c.AS_OF]
    theirs = pl.read_parquet(case / "queries.parquet").with_columns(pl.col(c.AS_OF).cast(pl.Datetime("us")))
    assert window.queries.select(key).sort(key).equals(theirs.select(key).sort(key))
    ours = window.truth.join(window.queries, on=c.QUERY_ID).select(*key, c.ITEM_ID).sort(*key, c.ITEM_ID)
    right = pl.read_parquet(case / "truth.parquet").join(theirs, on=c.QUERY_ID).select(*key, c.ITEM_ID)
    assert ours.equals(right.sort(*key, c.ITEM_ID))


def test_metrics_and_segments_say_what_the_judge_says(log: pl.DataFrame, tmp_path: Path) -> None:
    case = build(log, tmp_path, "cutoff", 100_000)
    window = cutoff_window(log, choose_cutoff(log))
    recommended = answers(window.queries, window.truth, seed=1)
    theirs = judge("score").report(case, recommended)
    rows = metrics.per_query(recommended, window.truth, 10).join(window.queries, on=c.QUERY_ID)
    parts = {"all": rows, "warm users": rows.filter("warm"), "cold users": rows.filter(~pl.col("warm"))}
    for segment, part in parts.items():
        if part.height:
            means = [round(part[metric].mean(), 4) for metric in metrics.PER_QUERY]
            assert means == [theirs[segment][f"{metric}@10"] for metric in ("ndcg", "recall", "mrr", "hit")]
    found = metrics.found_items(recommended, window.truth.filter("cold"), 10)
    assert round(found["found"].sum() / found["true"].sum(), 4) == theirs["cold items"]["recall@10"]
    assert round(metrics.coverage(recommended, log[c.ITEM_ID].n_unique(), 10), 4) == theirs["coverage"]


def test_paired_interval_is_near_the_judges(log: pl.DataFrame, tmp_path: Path) -> None:
    case = build(log, tmp_path, "cutoff", 100_000)
    window = cutoff_window(log, choose_cutoff(log))
    one, other = (answers(window.queries, window.truth, seed) for seed in (1, 2))
    theirs = judge("score").paired(case, one, other)
    ndcgs = [metrics.ndcg(recommended, window.truth, 10)["ndcg"].to_numpy() for recommended in (one, other)]
    ours = paired_interval(*ndcgs)
    assert (ours.value, ours.low, ours.high) == pytest.approx(theirs, abs=0.003)


def test_auc_says_what_the_judge_says() -> None:
    rng = np.random.default_rng(6)
    truth = pl.DataFrame(
        {
            c.REQUEST_ID: [f"r{request}" for request in np.repeat(np.arange(200), 8)],
            c.ITEM_ID: [f"i{item}" for item in np.tile(np.arange(8), 200)],
            c.CLICKED: rng.random(1600) < 0.25,
        }
    )
    scored = truth.with_columns(pl.Series(c.SCORE, rng.integers(0, 6, 1600).astype(float))).sample(1500, seed=1)
    theirs = judge("score_rank").report(truth, scored)
    # The judge draws from requests in whatever order a grouping left them: each report has other bounds.
    bounds = np.mean([judge("score_rank").report(truth, scored)["auc_interval"] for _ in range(12)], axis=0)
    rows = metrics.auc(truth.join(scored.drop(c.CLICKED), on=[c.REQUEST_ID, c.ITEM_ID], how="left"))
    assert rows.height == theirs["requests"]
    interval = mean_intervals(rows["auc"].to_numpy())[0]
    assert round(interval.value, 4) == theirs["auc"]
    assert [interval.low, interval.high] == pytest.approx(bounds, abs=0.003)
