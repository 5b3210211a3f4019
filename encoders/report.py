"""What came of a training? Each epoch's record and base -> tuned figures."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from encoders.newcomer_gain import NewcomerGain


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

    @property
    def goal(self) -> float:
        """What the best epoch has most of: recall at 10, and at 50, which varies less from draw to draw."""
        return self.recall_at_10 + self.recall_at_50


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
    best_epoch: int
    """0 is the untuned model: when no epoch beat it, or nothing could be learned."""
    newcomers: NewcomerGain
    """What is added to the interest in items that nobody has touched."""
    epochs: tuple[Epoch, ...]
    seconds: float
    note: str = ""
    """Why nothing was tuned, if so."""
    base_sha256: str | None = None
    """Checksum of the base's weights; None where there are none, or several files of them."""
    kinds: tuple[str, ...] = ()
    """Kinds of events of which more was learned than their weight says."""
