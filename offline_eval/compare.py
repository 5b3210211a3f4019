"""How do systems compare on one window? Metrics by segment, each with its interval, ours beside the baselines."""

from collections.abc import Mapping

import numpy as np
import polars as pl

from encoders.intervals import Interval, mean_intervals, paired_interval
from ingest import columns as c
from offline_eval import metrics
from offline_eval.windows import Window

SEGMENTS = ("all", "warm users", "users with one event", "cold users", "cold items", "shown requests")
"""Parts of a window, in the order of a report; users are cold without history, those with one event also count as warm,
items are cold when untouched at the cutoff."""

OVER = " over "
"""Between the names of a metric and of a system, where a row tells how much better ours is than that one."""

SCHEMA: dict[str, pl.DataType | type[pl.DataType]] = {
    "protocol": pl.String,
    "cutoff": pl.Datetime("us"),
    "segment": pl.String,
    "system": pl.String,
    "metric": pl.String,
    "k": pl.Int32,
    "value": pl.Float64,
    "low": pl.Float64,
    "high": pl.Float64,
    "n": pl.Int64,
}
"""Columns of a comparison: one row a segment, system, metric and k."""


def compare_lists(window: Window, answers: Mapping[str, pl.DataFrame], n_items: int, k: int, ours: str) -> pl.DataFrame:
    """Score each system's answers (query_id, item_id, rank) to a window's queries; columns as `SCHEMA`.

    Metrics are means over queries with 95 % bootstrap intervals, for which users are drawn with all their queries;
    recall of cold items is over items (`metrics.found_items`). For the system named `ours`, `ndcg over X` is the paired
    mean difference to system X, for every X and segment of users; `recall over X` is that of cold items. Segments
    without queries have no rows.
    """
    scored = {
        system: metrics.per_query(recommended, window.truth, k).join(
            window.queries.select(c.QUERY_ID, c.USER_ID, "n_before", "warm"), on=c.QUERY_ID, maintain_order="left"
        )
        for system, recommended in answers.items()
    }
    parts = {
        "all": pl.lit(True),
        "warm users": pl.col("warm"),
        "users with one event": pl.col("n_before") == 1,
        "cold users": ~pl.col("warm"),
    }
    rows = []
    for segment, belongs in parts.items():
        of_system = {system: frame.filter(belongs) for system, frame in scored.items()}
        for system, frame in of_system.items():
            if frame.is_empty():
                continue
            users = frame[c.USER_ID].to_numpy()
            found = mean_intervals(frame.select(metrics.PER_QUERY).to_numpy(), users=users)
            rows += [
                _row(window, segment, system, metric=name, k=k, interval=interval)
                for name, interval in zip(metrics.PER_QUERY, found, strict=True)
            ]
            if system != ours and ours in of_system:
                gain = paired_interval(of_system[ours]["ndcg"].to_numpy(), frame["ndcg"].to_numpy(), users=users)
                rows.append(_row(window, segment, ours, metric="ndcg" + OVER + system, k=k, interval=gain))
    rows += _cold_items(window, answers, k, ours)
    for system, recommended in answers.items():
        share = metrics.coverage(recommended, n_items, k)
        covered = Interval(share, np.nan, np.nan, window.queries.height)
        rows.append(_row(window, "all", system, metric="coverage", k=k, interval=covered))
    return _frame(rows)


def _cold_items(window: Window, answers: Mapping[str, pl.DataFrame], k: int, ours: str) -> list[dict[str, object]]:
    cold = window.truth.filter("cold")
    if cold.is_empty():
        return []
    counted = {
        system: metrics.found_items(recommended, cold, k).join(
            window.queries.select(c.QUERY_ID, c.USER_ID), on=c.QUERY_ID, maintain_order="left"
        )
        for system, recommended in answers.items()
    }
    rows = []
    for system, counts in counted.items():
        found, true, users = (counts[name].to_numpy() for name in ("found", "true", c.USER_ID))
        interval = mean_intervals(found, denominators=true, users=users)[0]
        rows.append(_row(window, "cold items", system, metric="recall", k=k, interval=interval))
        if system != ours and ours in counted:
            more = counted[ours]["found"].to_numpy() - found
            gain = mean_intervals(more, denominators=true, users=users)[0]
            rows.append(_row(window, "cold items", ours, metric="recall" + OVER + system, k=k, interval=gain))
    return rows


def compare_scores(window: Window, shown: pl.DataFrame, scored: Mapping[str, pl.DataFrame], ours: str) -> pl.DataFrame:
    """Score rankings of given items by AUC.

    `shown` has request_id, user_id, item_id, clicked; each of `scored` request_id, item_id, score. Only requests with a
    click and a skip count; intervals as in `compare_lists`; columns as `SCHEMA`, segment `shown requests`, k null.
    """
    rows = []
    asked_by = shown.select(c.REQUEST_ID, c.USER_ID).unique(c.REQUEST_ID, keep="first", maintain_order=True)
    of_system = {
        system: metrics.auc(
            shown.join(given.unique([c.REQUEST_ID, c.ITEM_ID]), on=[c.REQUEST_ID, c.ITEM_ID], how="left")
        ).join(asked_by, on=c.REQUEST_ID, maintain_order="left")
        for system, given in scored.items()
    }
    for system, frame in of_system.items():
        if frame.is_empty():
            continue
        values, users = frame["auc"].to_numpy(), frame[c.USER_ID].to_numpy()
        interval = mean_intervals(values, users=users)[0]
        rows.append(_row(window, "shown requests", system, metric="auc", k=None, interval=interval))
        if system != ours and ours in of_system:
            gain = paired_interval(of_system[ours]["auc"].to_numpy(), values, users=users)
            rows.append(_row(window, "shown requests", ours, metric="auc" + OVER + system, k=None, interval=gain))
    return _frame(rows)


def is_difference() -> pl.Expr:
    """Whether a row tells of a difference between two systems, instead of one system's metric."""
    return pl.col("metric").str.contains(OVER, literal=True)


def _row(
    window: Window, segment: str, system: str, *, metric: str, k: int | None, interval: Interval
) -> dict[str, object]:
    return {
        "protocol": window.protocol,
        "cutoff": window.cutoff,
        "segment": segment,
        "system": system,
        "metric": metric,
        "k": k,
        "value": interval.value,
        "low": interval.low,
        "high": interval.high,
        "n": interval.n,
    }


def _frame(rows: list[dict[str, object]]) -> pl.DataFrame:
    return pl.DataFrame(rows, schema=SCHEMA).with_columns(pl.col("value", "low", "high").fill_nan(None))
