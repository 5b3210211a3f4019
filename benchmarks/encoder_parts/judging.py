"""What does the judge say of a system's answers, and how sure is it? Figures with 95 % intervals over queries."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from benchmarks.encoder_parts.cases import Prepared, judge_module
from ingest import columns as c

NDCG, AUC, RECALL = "NDCG@10", "AUC", "recall@10"
ONE_EVENT = "users with one event"
COLD_RECALL = "cold items' recall@10"
_DRAWS = 2000


@dataclass(frozen=True, kw_only=True)
class Line:
    """One figure over the queries that it concerns: the sum of `values` by the sum of `counts`."""

    values: NDArray[np.float64]
    counts: NDArray[np.float64]
    """1 for a mean over queries; for recall over true items, each query's number of them."""

    @property
    def n(self) -> int:
        """Queries, or true items."""
        return int(self.counts.sum())

    @property
    def value(self) -> float:
        """The figure."""
        return float(self.values.sum() / self.counts.sum())

    @cached_property
    def interval(self) -> tuple[float, float]:
        """The 95 % bootstrap interval over queries, drawn as the judge draws it."""
        n = len(self.values)
        drawn = np.random.default_rng(0).integers(0, n, (_DRAWS, n))
        low, high = np.quantile(self.values[drawn].sum(1) / self.counts[drawn].sum(1), [0.025, 0.975])
        return float(low), float(high)

    def minus(self, other: "Line") -> "Line":
        """Return the paired difference."""
        return Line(values=self.values - other.values, counts=self.counts)


@dataclass(frozen=True, kw_only=True)
class Judged:
    """One system's answers and its figures by name."""

    answers: pl.DataFrame
    lines: dict[str, Line]


@dataclass(frozen=True, kw_only=True)
class Difference:
    """What a system has more than another, over the same queries."""

    value: float
    low: float
    high: float


class Judge:
    """The judge's programs, put to one case."""

    def __init__(self, folder: Path, prepared: Prepared) -> None:
        self._case = prepared.judged
        self._rank = prepared.rank
        self._program: ModuleType = judge_module(folder / ("score_rank.py" if self._rank else "score.py"))
        asked = prepared.asked
        queries = asked.queries.select(c.QUERY_ID, c.USER_ID, c.AS_OF).unique([c.QUERY_ID])
        events = queries.join(asked.log.select(c.USER_ID, c.OCCURRED_AT), on=c.USER_ID, how="left")
        before = (pl.col(c.OCCURRED_AT) < pl.col(c.AS_OF)).sum().alias("events")
        self._events = events.group_by(c.QUERY_ID).agg(before)
        self._cutoff = asked.cutoff

    def judge(self, answers: pl.DataFrame) -> Judged:
        """Return the figures of a system's answers."""
        lines = self._ranked(answers) if self._rank else self._recommended(answers)
        return Judged(answers=answers, lines={name: line for name, line in lines.items() if line.n})

    def difference(self, name: str, ours: Judged, other: Judged) -> Difference:
        """Return the paired difference of one figure with its interval; the judge's own where it has one."""
        if name == NDCG:
            return Difference(**dict(zip(("value", "low", "high"), self._paired(ours, other), strict=True)))
        line = ours.lines[name].minus(other.lines[name])
        low, high = line.interval
        return Difference(value=line.value, low=low, high=high)

    def _paired(self, ours: Judged, other: Judged) -> tuple[float, ...]:
        return tuple(float(x) for x in self._program.paired(self._case, ours.answers, other.answers))

    def _recommended(self, answers: pl.DataFrame) -> dict[str, Line]:
        rows = self._program.per_query(self._case, answers).join(self._events, on=c.QUERY_ID, maintain_order="left")
        warm = rows.filter("warm")
        lines = {
            NDCG: _mean(rows, "ndcg"),
            f"{NDCG}, warm users": _mean(warm, "ndcg"),
            f"{NDCG}, {ONE_EVENT}": _mean(rows.filter(pl.col("events") == 1), "ndcg"),
            RECALL: _mean(rows, "recall"),
            COLD_RECALL: self._cold(answers),
        }
        told = self._program.report(self._case, answers)
        _agree(NDCG, lines[NDCG], told["all"]["ndcg@10"])
        _agree(COLD_RECALL, lines[COLD_RECALL], told["cold items"]["recall@10"])
        return lines

    def _cold(self, answers: pl.DataFrame) -> Line:
        """Count for each query the true items that nobody had touched before the cutoff, and those found."""
        log = pl.read_parquet(self._case / "interactions.parquet").filter(pl.col("occurred_at") < self._cutoff)
        cold = pl.read_parquet(self._case / "truth.parquet").join(log, on="item_id", how="anti")
        found = answers.filter(pl.col("rank") <= 10).select("query_id", "item_id").with_columns(found=1)
        counted = (
            cold.join(found, on=["query_id", "item_id"], how="left")
            .group_by("query_id")
            .agg(values=pl.col("found").fill_null(0).sum().cast(pl.Float64), counts=pl.len().cast(pl.Float64))
            .sort("query_id")
        )
        return Line(values=counted["values"].to_numpy(), counts=counted["counts"].to_numpy())

    def _ranked(self, answers: pl.DataFrame) -> dict[str, Line]:
        truth = pl.read_parquet(self._case / "truth.parquet")
        rows = truth.join(answers, on=["request_id", "item_id"], how="left").with_columns(
            pl.col("score").fill_null(-1e30)
        )
        values: dict[str, float] = {}
        for (request,), group in rows.group_by("request_id", maintain_order=True):
            clicked = group["clicked"].to_numpy()
            if clicked.any() and not clicked.all():
                values[str(request)] = float(self._program.request_metrics(clicked, group["score"].to_numpy())[0])
        found = pl.DataFrame({c.QUERY_ID: list(values), "auc": list(values.values())}).sort(c.QUERY_ID)
        found = found.join(self._events, on=c.QUERY_ID, maintain_order="left")
        lines = {
            AUC: _mean(found, "auc"),
            f"{AUC}, warm users": _mean(found.filter(pl.col("events") > 0), "auc"),
            f"{AUC}, {ONE_EVENT}": _mean(found.filter(pl.col("events") == 1), "auc"),
        }
        _agree(AUC, lines[AUC], self._program.report(truth, answers)["auc"])
        return lines


def _mean(rows: pl.DataFrame, name: str) -> Line:
    values = rows[name].to_numpy().astype(np.float64)
    return Line(values=values, counts=np.ones(len(values)))


def _agree(name: str, line: Line, told: Any) -> None:
    """Stop when what we count is not what the judge says, to its four digits."""
    if line.n and abs(line.value - told) > 6e-5:
        raise SystemExit(f"{name}: the judge says {told}, we count {line.value:.6f}; correct benchmarks/encoder_parts")
