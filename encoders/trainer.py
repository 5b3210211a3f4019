"""How does one epoch change encoder and tower? The optimiser's steps, and what they start from."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from encoders.accumulate import Accumulated
from encoders.base import Base, find_base
from encoders.batches import Batch, Batches
from encoders.cuts import cut_dims
from encoders.distil import distil
from encoders.distributed import Ranks
from encoders.encoder import Encoder, all_vectors
from encoders.errors import EncoderError
from encoders.impressions import ShownBatch, ShownBatches
from encoders.interest import InterestModel, read_tower
from encoders.journal import EpochTotals, Journal, Step
from encoders.kinds import NO_KINDS, Kinds
from encoders.losses import next_item_loss, shown_loss
from encoders.memory import advised, step_advice
from encoders.newcomer_bonus import NewcomerBonus
from encoders.precision import LowerTower, is_lower
from encoders.sequences import Sequences
from encoders.static import StaticEncoder
from encoders.step_input import StepInput, step_input
from encoders.to_device import pinned, sent
from encoders.tower import UserTower
from encoders.transformer import TransformerEncoder
from ingest.ahead import ahead
from ingest.progress import Progress, silent

if TYPE_CHECKING:
    from encoders.train import EncoderConfig


def build(
    config: EncoderConfig, texts: Any, *, kinds: Kinds = NO_KINDS, progress: Progress = silent
) -> tuple[Encoder, UserTower, Base]:
    """Return an untuned encoder over the texts, its tower, and the base that was found."""

    base = find_base(config.base)
    encoder: Encoder
    if config.kind == "static":
        tokenizer, vectors = distil(
            base, texts, config.dim, own_direction=config.own_direction, seed=config.seed, progress=progress
        )
        encoder = StaticEncoder(
            tokenizer,
            vectors,
            texts,
            max_tokens=config.max_tokens,
            token_dropout=config.token_dropout,
            tuned=config.tuning != "none",
        )
    else:
        encoder = TransformerEncoder.open(
            base,
            texts,
            tuning=config.tuning,
            max_tokens=config.max_tokens,
            precision=config.precision,
            lora_rank=config.lora_rank,
            rates=(config.transformer_rate, config.embedding_rate),
        )
        if config.compile_layers:
            encoder.compile_layers()
    tower = UserTower(
        encoder.dim,
        width=config.width,
        heads=config.heads,
        layers=config.layers,
        dropout=config.dropout,
        read_kinds_and_ages=config.read_kinds_and_ages,
        kinds=len(kinds),
    )
    return encoder, tower, base


def seed_torch(seed: int) -> None:
    """Set torch's generator; NumPy's generators are made where they are used."""
    torch.manual_seed(seed)


class Trainer:
    """Encoder, tower and optimiser, moved along an epoch at a time."""

    def __init__(
        self,
        config: EncoderConfig,
        encoder: Encoder,
        tower: UserTower,
        data: Sequences,
        *,
        continued: bool,
        ranks: Ranks | None = None,
    ) -> None:
        self.config = config
        self.encoder = encoder
        self.ranks = ranks or Ranks()
        self.device = self.ranks.device
        encoder.module.to(self.device)
        self.tower = tower.to(self.device)
        self._tower: Any = LowerTower(tower) if is_lower(config.precision, self.device) else tower
        self._shrink = shrink = 8 if config.kind == "transformer" and self.device.type == "cpu" else 1
        self.batches = Batches(
            data,
            length=config.history,
            pairs_at_once=max(config.pairs_at_once // shrink, 1),
            pairs_per_epoch=config.pairs_per_epoch,
            negatives=-(-config.negatives // shrink),
            negatives_power=config.negatives_power,
            hard_negatives=-(-config.hard_negatives // shrink),
            skipped_negatives=config.skipped_negatives,
            recent_half=config.recent_half,
            least_steps=config.least_steps * self.ranks.world,  # they share the steps out
        )
        self.shown = ShownBatches(data, length=config.history)
        rate = config.learning_rate * (0.5 if continued else 1.0)
        # what is frozen has no gradient, and an optimiser needs none of it
        groups = [*encoder.groups(rate), {"params": list(tower.parameters()), "lr": rate, "weight_decay": 0.01}]
        self.rates = [group["lr"] for group in groups]
        self.optimizer = torch.optim.AdamW(groups, fused=True)
        self.parameters = [value for group in groups for value in group["params"]]
        self.ranks.copy_first([*encoder.module.parameters(), *tower.parameters()])
        self._cut_dims = cut_dims(config.cut_dims, encoder.dim)
        self.steps = 0
        self._texts = 0

    @property
    def steps_an_epoch(self) -> int:
        """About how many steps each process makes in an epoch."""
        return -(-self.batches.steps // self.ranks.world)

    def epoch(self, number: int, total: int, journal: Journal) -> EpochTotals:
        """Run one epoch and return what it adds up to."""
        for done, step in enumerate(self.run(number, total), start=1):
            journal.step(step, done, self.steps_an_epoch)
        return journal.end_of_steps()

    def run(self, number: int, total: int) -> Iterator[Step]:
        """Make the steps of one epoch, one at a time; its random draws depend on seed, number and rank alone."""
        # all ranks cut the same batches and share them out; dropout and shown requests differ from rank to rank
        seed_torch(self.config.seed * 1000 + number + 1_000_003 * self.ranks.rank)
        rng = np.random.default_rng((self.config.seed, number))
        shown_rng = np.random.default_rng((self.config.seed, number, 1 + self.ranks.rank))
        if self.batches.negatives.n_near:
            self.batches.negatives.look_around(all_vectors(self.encoder, self.batches.data.n_items), rng)
        self.encoder.module.train()
        self.tower.train()
        # cutting a batch takes a CPU as long as a GPU takes for a step: one waits for the other only at the start
        drawn = self._drawn(rng, shown_rng)
        with advised(self._wanted, lambda: step_advice(self._as_run, self._texts)):
            for step, given in enumerate(ahead(drawn, depth=2) if self.device.type == "cuda" else drawn):
                self._set_rate((number + step / self.steps_an_epoch) / total)
                yield self._step(given)

    def _drawn(self, rng: np.random.Generator, shown_rng: np.random.Generator) -> Iterator[StepInput]:
        """Yield this process's steps: each a batch, and the requests that are learned from beside it."""
        for batch in self.ranks.share(self.batches.epoch(rng)):
            yield self._ready(batch, self.shown.draw(shown_rng) if self.config.impressions_share else None)

    def _ready(self, batch: Batch, shown: ShownBatch | None) -> StepInput:
        """Return a step with nothing left to be done but to copy and compute."""
        return pinned(step_input(batch, shown, self.encoder), self.device)

    def _set_rate(self, share: float) -> None:
        """Warm up over the first steps, then go down evenly to a twentieth."""
        self.steps += 1
        factor = min(1.0, self.steps / max(self.config.warmup_steps, 1)) * max(0.05, 1.0 - share)
        for group, rate in zip(self.optimizer.param_groups, self.rates, strict=True):
            group["lr"] = rate * factor

    def _step(self, given: StepInput) -> Step:
        once = Accumulated(self.encoder, self.config.texts_at_once)
        try:
            loss = self._loss(once, given)
            self.optimizer.zero_grad(set_to_none=True)
            once.backward(loss)
        finally:
            self._texts = once.texts
        self.ranks.average_gradients(self.parameters)
        self.optimizer.step()
        return Step(
            number=self.steps,
            loss=loss.detach(),
            tokens=once.tokens,
            texts=once.texts,
            rate=self.optimizer.param_groups[-1]["lr"],
        )

    def _loss(self, once: Accumulated, given: StepInput) -> Tensor:
        """Return the loss of what was taken, and a share of that of what was shown."""
        config = self.config
        pairs, shown = sent((given.pairs, given.shown), self.device)
        vectors = once.vectors(given.rows, cold=self._cold(len(given.rows))).float()
        loss = next_item_loss(
            self._tower, pairs, vectors, correction=config.popularity_correction, cut_dims=self._cut_dims
        )
        if shown is None:
            return loss
        if given.shown_rows is not None:
            vectors = once.vectors(given.shown_rows).float()
        return loss + config.impressions_share * shown_loss(self._tower, shown, vectors)

    def _cold(self, n: int) -> Tensor | None:
        """Draw which of a step's items are read as if nobody had ever touched them."""
        if not self.config.cold_share or not self.encoder.forgets:
            return None
        return torch.rand(n, device=self.tower.gate.device) < self.config.cold_share

    @property
    def _as_run(self) -> EncoderConfig:
        """The settings with as many pairs as a step of this log has: what is to be lowered where memory is full."""
        return replace(
            self.config, pairs_at_once=min(self.config.pairs_at_once, self._shrink * self.batches.pairs_at_once)
        )

    def _wanted(self) -> str:
        batches = self.batches
        return (
            f"a step over {self._texts} texts of up to {self.config.max_tokens} tokens ({batches.pairs_at_once} pairs, "
            f"{batches.negatives.n} negatives) on {self.device}"
        )


def kinds_to_tell(config: EncoderConfig, fitted: Sequences, init_from: Path | None) -> Kinds:
    """Return the kinds that the tower learns beside weights; an earlier model goes on with those that it knows."""
    if init_from is not None:
        return InterestModel.load(init_from).kinds
    return fitted.kinds_beside_weights() if config.read_kinds_and_ages else NO_KINDS


def bonus_before(folder: Path) -> NewcomerBonus:
    """Return what an earlier model adds for items that nobody has touched."""
    return InterestModel.load(folder).newcomers


def start_from(encoder: Encoder, tower: UserTower, folder: Path) -> None:
    """Take over encoder and tower of an earlier model folder."""
    there = InterestModel.load(folder).config  # says what is wrong with a folder that is not whole
    encoder.start_from(folder)
    earlier = read_tower(folder)
    for name, wanted in tower.state_dict().items():
        got = earlier[name].shape if name in earlier else None
        if got != wanted.shape:
            raise _other_tower(folder, there, earlier, f"{name} of shape {tuple(wanted.shape)}, got {got or 'none'}")
    if more := earlier.keys() - tower.state_dict().keys():
        raise _other_tower(folder, there, earlier, f"a tower without {min(more)}, got {earlier[min(more)].shape}")
    tower.load_state_dict({name: torch.from_numpy(array) for name, array in earlier.items()})


def _other_tower(folder: Path, there: dict[str, Any], earlier: dict[str, Any], difference: str) -> EncoderError:
    """Say how an earlier model's tower differs, and which settings it was trained with."""
    return EncoderError(
        f"{folder}: wanted {difference}; set width = {len(earlier['enter.weight'])}, heads = {there['heads']} and "
        f"layers = {there['layers']} in [encoder], or train anew instead of continuing"
    )
