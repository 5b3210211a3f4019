"""What the test of distributed training runs under torchrun: one averaged gradient, one epoch, one whole training."""

import sys
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import torch

from encoders.accumulate import Accumulated
from encoders.command import leave
from encoders.distributed import Ranks, joined
from encoders.journal import Journal
from encoders.losses import next_item_loss
from encoders.sequences import read_sequences
from encoders.settings import with_settings
from encoders.step_input import step_input
from encoders.train import EncoderConfig, train
from encoders.trainer import Trainer, build, seed_torch
from ingest.progress import silent


def gradients(trainer: Trainer, batch) -> None:
    """Leave the gradients of one batch at the parameters."""
    step = Accumulated(trainer.encoder, 0)
    ready = step_input(batch, None, trainer.encoder)
    step.backward(next_item_loss(trainer.tower, ready.pairs, step.vectors(ready.rows), correction=0.5))


def trainer_and_batches(folder: Path, config: EncoderConfig, ranks: Ranks | None = None):
    """Return a trainer without dropout and the first two batches of an epoch, the same for any number of processes."""
    data = read_sequences(folder)
    seed_torch(0)
    config = replace(config, dropout=0.0, token_dropout=0.0, least_steps=0)
    encoder, tower, _ = build(config, data.texts)
    trainer = Trainer(config, encoder, tower, data, continued=False, ranks=ranks)
    tower.eval()
    return trainer, list(islice(trainer.batches.epoch(np.random.default_rng(1)), 2))


def main(data: Path, out: Path, settings: list[str]) -> None:
    """Write what each process ends with."""
    config = with_settings(EncoderConfig(), settings)
    with joined() as ranks:
        trainer, batches = trainer_and_batches(data, config, ranks)
        gradients(trainer, batches[ranks.rank])
        trainer.parameters[0].grad = trainer.parameters[0].grad if ranks.first else None  # not every process has each
        trainer.tower.gate.grad = None
        ranks.average_gradients(trainer.parameters)
        averaged = [None if value.grad is None else value.grad.clone() for value in trainer.parameters]
        trainer.epoch(0, 1, Journal(silent))
        weights = [value.detach() for value in trainer.parameters]
        torch.save({"averaged": averaged, "weights": weights}, out / f"rank{ranks.rank}.pt")
        report = train(data, out / "whole", config)
        assert (out / "whole" / "card.json").is_file(), "no process returns before the model is there"
        (out / f"report{ranks.rank}.txt").write_text(repr(report))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:])
    leave(0)
