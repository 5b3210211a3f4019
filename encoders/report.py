"""What came of a training? Each epoch's record, and base -> tuned figures beside words alone."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

from encoders.newcomer_bonus import NewcomerBonus

TO_DO: Final = (
    "recommendations weigh both; interest may rise with a longer log, a larger dim, or a transformer "
    "tuned where a GPU is"
)
"""What a person is told to do where text interest is below words alone."""


@dataclass(frozen=True, kw_only=True)
class Figures:
    """Means over held-out next items; one relevant item a query, items already taken removed."""

    recall_at_10: float
    ndcg_at_10: float
    recall_at_50: float
    cold_recall_at_10: float | None
    """Recall over targets that nobody had touched before the held-out window; None when there is none."""
    queries: int
    cold_queries: int

    def __str__(self) -> str:
        cold = "" if self.cold_recall_at_10 is None else f", new items' recall@10 {self.cold_recall_at_10:.4f}"
        return (
            f"NDCG@10 {self.ndcg_at_10:.4f}, recall@10 {self.recall_at_10:.4f}, recall@50 {self.recall_at_50:.4f}{cold}"
        )

    @property
    def goal(self) -> float:
        """What the best epoch has most of: recall at 10, and at 50, which varies less from draw to draw."""
        return self.recall_at_10 + self.recall_at_50


@dataclass(frozen=True, kw_only=True)
class Lead:
    """By how much one order of the same questions has a higher NDCG@10 than another."""

    value: float
    low: float
    high: float
    """Bounds of the mean difference: a paired 95 % bootstrap interval."""

    def __str__(self) -> str:
        return f"{self.value:+.4f} [{self.low:+.4f}, {self.high:+.4f}]"


@dataclass(frozen=True, kw_only=True)
class Epoch:
    """One epoch's record."""

    number: int
    loss: float
    seconds: float
    figures: Figures | None
    steps: int = 0
    training_s: float = 0.0
    """Seconds of its steps alone, without what was measured after them."""
    texts: int = 0
    """Texts that its steps encoded, on all processes together; an item counts in each step that holds it."""
    tokens: int = 0
    """Tokens of these texts, without padding."""

    @classmethod
    def read(cls, row: dict[str, Any]) -> Self:
        """Return the record that `dataclasses.asdict` made this of."""
        return cls(**{**row, "figures": Figures(**row["figures"]) if row["figures"] else None})


@dataclass(frozen=True, kw_only=True)
class TrainingReport:
    """What a training did: base -> tuned on held-out next items, and how it went there."""

    folder: Path
    kind: str
    base: str
    items: int
    users: int
    events: int
    requests: int
    untuned: Figures | None
    """Figures before any tuning; None when nothing was held out or nobody could be asked."""
    tuned: Figures | None
    words: Figures | None = None
    """Figures of a TF-IDF profile of the same users, asked the same."""
    over_words: Lead | None = None
    """By how much tuned is above the profile."""
    best_epoch: int
    """0 is the untuned model: when no epoch beat it, or nothing could be learned."""
    newcomers: NewcomerBonus
    """What is added to the interest in items that nobody has touched."""
    epochs: tuple[Epoch, ...]
    seconds: float
    note: str = ""
    """Why nothing was tuned, if so."""
    base_sha256: str | None = None
    """Checksum of the base's weights; None where there are none, or several files of them."""
    kinds: tuple[str, ...] = ()
    """Kinds of events of which more was learned than their weight says."""
    log: tuple[str, ...] = ()
    """What is remembered of the log that was learned from, to tell another one (`encoders.origin`)."""

    @property
    def to_repeat(self) -> int | None:
        """How many epochs a repetition runs: as many as ran, 0 if none beat the base, None where none could run."""
        if not self.epochs:
            return None
        return len(self.epochs) if self.best_epoch else 0


def report_lines(report: TrainingReport) -> Iterator[str]:
    """Tell how good text interest is on held-out next items, untuned and tuned, and beside words alone."""
    rows = {"untuned": report.untuned, "words alone": report.words, "tuned": report.tuned}
    ended = f"after epoch {report.best_epoch} in {report.seconds:.0f} s {report.note}".rstrip()
    for name, figures in rows.items():
        yield f"{name:<12} {figures or 'not measured'} {ended if name == 'tuned' else ''}".rstrip()
    if report.over_words is not None:
        yield words_line(report.over_words)


def words_line(over_words: Lead) -> str:
    """Say whether text interest is above words alone; where it is below, by how much, and what to do."""
    if over_words.value >= 0:
        return f"text interest over words alone: NDCG@10 {over_words}"
    sure = "" if over_words.high < 0 else ", which may be chance"
    return f"text interest is BELOW words alone: NDCG@10 {over_words}{sure}; {TO_DO}"
