"""What came of a training? Each epoch's record and base -> tuned figures."""

import logging
from dataclasses import asdict, dataclass
from pathlib import Path

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Figures:
    """Means over held-out next items; one relevant item a query, items already taken removed."""

    recall_at_10: float
    ndcg_at_10: float
    recall_at_50: float
    cold_recall_at_10: float | None
    """Recall over targets that nobody had touched before; None when there is none."""
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
    epochs: tuple[Epoch, ...]
    seconds: float
    note: str = ""
    """Why nothing was tuned, if so."""


def to_tensorboard(folder: Path, epoch: Epoch) -> None:
    """Add one epoch to the TensorBoard log, or say that TensorBoard is missing."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        log.warning("tensorboard is not installed: nothing is logged there epoch=%d", epoch.number)
        return
    with SummaryWriter(str(folder)) as writer:
        writer.add_scalar("loss", epoch.loss, epoch.number)
        for name, value in asdict(epoch.figures).items() if epoch.figures else ():
            if value is not None:
                writer.add_scalar(f"held out/{name}", value, epoch.number)
