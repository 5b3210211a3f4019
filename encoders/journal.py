"""How is a training told while it runs? Notes for a progress bar, and a TensorBoard log."""

from __future__ import annotations

import logging
import math
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from encoders.errors import DivergedError
from ingest.progress import Progress

if TYPE_CHECKING:
    from encoders.report import Epoch

log = logging.getLogger(__name__)

_EVERY_S = 0.5


@dataclass(frozen=True, kw_only=True)
class Step:
    """What one step leaves to be told; numbers that a GPU still computes are asked for later, many at once."""

    number: int
    """Steps since the training began."""
    loss: Tensor
    tokens: int
    texts: int
    rate: float


@dataclass
class EpochTotals:
    """What the steps of one epoch add up to, in this process."""

    loss: float = 0.0
    steps: int = 0
    texts: int = 0
    tokens: int = 0
    seconds: float = 0.0


class Journal:
    """Tells a training's steps and epochs: loss, texts and tokens a second, learning rate, held-out figures.

    `folder` is where TensorBoard's log goes, None for none. A resumed training goes on after `done_steps`: what its
    killed run logged beyond is dropped, for these steps are done again. `world` processes do alike, so speeds are times
    that. Waiting for a GPU's numbers at each step would leave it idle; they are fetched about twice a second.
    """

    def __init__(self, progress: Progress, folder: Path | None = None, *, done_steps: int = 0, world: int = 1) -> None:
        self.progress = progress
        self.world = world
        self._writer = _writer(folder, done_steps) if folder is not None else None
        self._told = 0.0
        self._begin()

    def step(self, step: Step, done: int, total: int) -> None:
        """Take one step's numbers, and tell those since the last telling when it is time."""
        self._waiting.append(step)
        now = time.monotonic()
        if step.loss.device.type == "cpu" or now - self._told >= _EVERY_S:
            self._told = now
            self._settle()
            self.progress("epoch", done, max(total, done), self._note())

    def end_of_steps(self) -> EpochTotals:
        """Return what the epoch's steps add up to and begin anew."""
        self._settle()
        totals = self._totals
        self._begin()
        return totals

    def epoch(self, epoch: Epoch) -> None:
        """Log one epoch's figures."""
        if self._writer is None:
            return
        self._writer.add_scalar("epoch/loss", epoch.loss, epoch.number)
        for name, value in asdict(epoch.figures).items() if epoch.figures else ():
            if value is not None:
                self._writer.add_scalar(f"held out/{name}", value, epoch.number)
        self._writer.flush()

    def close(self) -> None:
        """Finish the log."""
        if self._writer is not None:
            self._writer.close()

    def _begin(self) -> None:
        self._totals = EpochTotals()
        self._waiting: list[Step] = []
        self._last_loss = 0.0
        self._began = self._told = time.monotonic()

    def _settle(self) -> None:
        """Fetch what the steps left, with one wait for all of them; `DivergedError` for a loss that is not finite."""
        waiting, self._waiting = self._waiting, []
        if not waiting:
            return
        losses = torch.stack([step.loss for step in waiting]).tolist()
        for step, loss in zip(waiting, losses, strict=True):
            if not math.isfinite(loss):
                raise DivergedError(
                    f"wanted a finite loss, got {loss} in step {step.number}; lower learning_rate in [encoder]"
                )
        totals = self._totals
        totals.tokens += sum(step.tokens for step in waiting)
        totals.texts += sum(step.texts for step in waiting)
        totals.loss += sum(losses)
        totals.steps += len(waiting)
        totals.seconds = time.monotonic() - self._began
        self._last_loss = losses[-1]
        if self._writer is not None:
            for step, loss in zip(waiting, losses, strict=True):
                self._writer.add_scalar("step/loss", loss, step.number)
                self._writer.add_scalar("step/learning rate", step.rate, step.number)
            self._writer.add_scalar("step/items a second", self._a_second(totals.texts), waiting[-1].number)
            self._writer.add_scalar("step/tokens a second", self._a_second(totals.tokens), waiting[-1].number)

    def _note(self) -> str:
        totals = self._totals
        return (
            f"loss {self._last_loss:.3f} {_short(self._a_second(totals.texts))} items/s "
            f"{_short(self._a_second(totals.tokens))} tokens/s"
        )

    def _a_second(self, count: int) -> float:
        return count * self.world / max(self._totals.seconds, 1e-9)


def _short(number: float) -> str:
    """Return three digits or so.

    >>> _short(7.25), _short(950.4), _short(13_240), _short(2_500_000)
    ('7.2', '950', '13.2k', '2.5M')
    """
    for size, letter in ((1e6, "M"), (1e3, "k")):
        if number >= size:
            return f"{number / size:.1f}{letter}"
    return f"{number:.0f}" if number >= 100 else f"{number:.1f}"


def _writer(folder: Path, done_steps: int) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        log.warning("tensorboard is not installed: nothing is logged there folder=%s", folder)
        return None
    return SummaryWriter(str(folder), purge_step=done_steps + 1 if done_steps else None)
