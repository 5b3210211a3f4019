"""How does one epoch change encoder and tower? The optimiser's steps, and what they start from."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from encoders.base import find_base
from encoders.batches import Batch, Batches
from encoders.encoder import Encoder
from encoders.errors import EncoderError, OutOfMemoryError
from encoders.impressions import ShownBatches
from encoders.interest import InterestModel
from encoders.losses import next_item_loss, shown_loss
from encoders.sequences import Sequences
from encoders.static import StaticEncoder, distil
from encoders.tower import UserTower
from encoders.transformer import TransformerEncoder
from ingest.progress import Progress, silent

if TYPE_CHECKING:
    from encoders.train import EncoderConfig


def build(config: EncoderConfig, texts: Any, *, progress: Progress = silent) -> tuple[Encoder, UserTower, str]:
    """Return an untuned encoder over the texts, its tower, and the name of the base that was found."""

    base = find_base(config.base)
    encoder: Encoder
    if config.kind == "static":
        tokenizer, vectors = distil(
            base, texts, config.dim, own_direction=config.own_direction, seed=config.seed, progress=progress
        )
        encoder = StaticEncoder(tokenizer, vectors, texts, max_tokens=config.max_tokens)
    else:
        encoder = TransformerEncoder.open(base, texts, tuning=config.tuning, max_tokens=config.max_tokens)
    tower = UserTower(encoder.dim, width=config.width, heads=config.heads, layers=config.layers, dropout=config.dropout)
    return encoder, tower, base.name


def seed_everything(seed: int) -> None:
    """Set torch's generator; NumPy's generators are made where they are used."""
    torch.manual_seed(seed)


class Trainer:
    """Encoder, tower and optimiser, moved along an epoch at a time."""

    def __init__(
        self, config: EncoderConfig, encoder: Encoder, tower: UserTower, data: Sequences, *, continued: bool
    ) -> None:
        self.config = config
        self.encoder = encoder
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        encoder.module.to(self.device)
        self.tower = tower.to(self.device)
        shrink = 8 if config.kind == "transformer" and self.device.type == "cpu" else 1
        self.batches = Batches(
            data,
            length=config.history,
            pairs_at_once=max(config.pairs_at_once // shrink, 1),
            pairs_per_epoch=config.pairs_per_epoch,
            negatives=max(config.negatives // shrink, 1),
            negatives_power=config.negatives_power,
            recent_half=config.recent_half,
        )
        self.shown = ShownBatches(data, length=config.history)
        rate = config.learning_rate * (0.5 if continued else 1.0)
        groups = [*encoder.groups(rate), {"params": list(tower.parameters()), "lr": rate, "weight_decay": 0.01}]
        self.rates = [group["lr"] for group in groups]
        self.optimizer = torch.optim.AdamW(groups, fused=True)
        self.continued = continued
        self.steps = 0

    def epoch(self, number: int, total: int, progress: Progress) -> float:
        """Run one epoch and return its mean loss; its random draws depend on seed and number alone."""
        seed_everything(self.config.seed * 1000 + number)
        rng = np.random.default_rng((self.config.seed, number))
        self.encoder.module.train()
        self.tower.train()
        expected = self.batches.steps
        losses = []
        for step, batch in enumerate(self.batches.epoch(rng)):
            self._set_rate((number + step / expected) / total)
            try:
                losses.append(self._step(batch, rng))
            except torch.OutOfMemoryError as error:
                raise OutOfMemoryError(
                    f"wanted a step of {self.config.pairs_at_once} pairs and {self.config.negatives} negatives, the "
                    f"memory of {self.device} is full; lower pairs_at_once or max_tokens in [encoder]"
                ) from error
            progress("epoch", step + 1, max(expected, step + 1), f"loss {losses[-1]:.3f}")
        return float(np.mean(losses)) if losses else 0.0

    def _set_rate(self, share: float) -> None:
        """Warm up over twenty steps, then go down evenly to a twentieth."""
        self.steps += 1
        factor = min(1.0, self.steps / 20) * max(0.05, 1.0 - share)
        for group, rate in zip(self.optimizer.param_groups, self.rates, strict=True):
            group["lr"] = rate * factor

    def _step(self, batch: Batch, rng: np.random.Generator) -> float:
        config = self.config
        loss = next_item_loss(
            self.encoder, self.tower, batch, correction=config.popularity_correction, cold_share=config.cold_share
        )
        shown = self.shown.draw(rng) if config.impressions_share else None
        if shown is not None:
            loss = loss + config.impressions_share * shown_loss(self.encoder, self.tower, shown)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        return float(loss.detach())


def start_from(encoder: Encoder, tower: UserTower, folder: Path) -> None:
    """Take over encoder and tower of an earlier model folder."""
    earlier = InterestModel.load(folder)
    encoder.start_from(folder)
    try:
        tower.load_state_dict({name: torch.from_numpy(value) for name, value in earlier.tower.items()})
    except RuntimeError as error:
        raise EncoderError(
            f"{folder}: wanted a tower of the present settings, got another shape; train anew instead of continuing"
        ) from error
