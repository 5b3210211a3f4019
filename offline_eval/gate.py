"""May a new model take the place of the one that serves? Decided by paired differences, segment by segment."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

import polars as pl

from offline_eval.compare import OVER, SEGMENTS

Verdict = Literal["no worse", "worse", "open"]
Decision = Literal["promoted", "refused", "waits"]

_CHANCE: Final = {"auc": 0.5}
"""What a metric has without any model, where that is not 0."""


@dataclass(frozen=True, kw_only=True)
class Check:
    """How a new model compares with another system in one segment."""

    segment: str
    metric: str
    """With its k where it has one: `ndcg@10`."""
    against: str
    """Name of the other system."""
    value: float
    """The new model's metric less the other's, question by question."""
    low: float | None
    """Lower end of its 95 % interval; None where there is none."""
    high: float | None
    n: int
    """Questions in the segment."""
    allowed: float
    """How much lower the new model may be."""
    must_show: bool
    """Whether the new model has to be shown to be no worse; otherwise it must not be shown to be worse."""

    @property
    def verdict(self) -> Verdict:
        """Say what the interval shows.

        No worse: it lies above `-allowed` as a whole, which makes the new model non-inferior (Piaggio et al., JAMA
        2012). Worse: below zero as a whole, and by more than is allowed. Open: neither can be told.
        """
        if self.low is None or self.high is None:
            return "open"
        if self.low >= -self.allowed:
            return "no worse"
        return "worse" if self.high < 0 and self.value < -self.allowed else "open"

    def __str__(self) -> str:
        bounds = "" if self.low is None else f" [{self.low:+.4f}, {self.high:+.4f}]"
        return (
            f"{self.segment}, {self.metric}: {self.value:+.4f}{bounds} against {self.against}, "
            f"{self.allowed:.4f} less allowed, n = {self.n:,}: {self.verdict}"
        )


def checks(
    rows: pl.DataFrame, ours: str, serving: str | None, floor: str, *, margin: float, enough: int
) -> list[Check]:
    """Lay out what decides, from the `rows` of a comparison (`compare.SCHEMA`) of `ours` with the others.

    `serving` is the system that serves, None while none does. The new model may be lower by the share `margin` of what
    that one has (of an AUC: has above one half). It has to be shown to be no worse over all questions, and in every
    segment of `enough` questions; smaller segments prove nothing, so that there it must only not be shown to be worse.
    `floor` is a simple system than which no model may be shown to be worse, over all questions.
    """
    found = []
    for segment in SEGMENTS:
        part = rows.filter(pl.col("segment") == segment)
        for row in part.filter(pl.col("system") == ours, pl.col("metric").str.contains(OVER)).iter_rows(named=True):
            metric, against = row["metric"].split(OVER, 1)
            if against not in (serving, floor) or (against == floor and segment != "all"):
                continue
            theirs = part.filter(pl.col("system") == against, pl.col("metric") == metric)["value"][0]
            found.append(
                Check(
                    segment=segment,
                    metric=metric if row["k"] is None else f"{metric}@{row['k']}",
                    against=against,
                    value=row["value"],
                    low=row["low"],
                    high=row["high"],
                    n=row["n"],
                    allowed=margin * max(theirs - _CHANCE.get(metric, 0.0), 0.0),
                    must_show=against == serving and (segment == "all" or row["n"] >= enough),
                )
            )
    return found


def decide(found: Sequence[Check]) -> tuple[Decision, list[Check]]:
    """Return what becomes of a new model, and the checks that say so: all of them when it is promoted.

    >>> from dataclasses import replace
    >>> check = Check(segment="all", metric="ndcg@10", against="live", value=0.001, low=-0.004, high=0.006, n=900,
    ...     allowed=0.005, must_show=True)
    >>> [decide([replace(check, low=low)])[0] for low in (-0.005, -0.006)]
    ['promoted', 'waits']
    >>> decide([replace(check, value=-0.006, low=-0.009, high=-0.001)])[0]
    'refused'
    """
    worse = [check for check in found if check.verdict == "worse"]
    if worse:
        return "refused", worse
    open_ = [check for check in found if check.must_show and check.verdict == "open"]
    return ("waits", open_) if open_ else ("promoted", list(found))
