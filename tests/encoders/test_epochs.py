"""When tuning ends and which epoch is kept: figures are given here, the epochs are real."""

from dataclasses import dataclass, field, replace

import numpy as np
import pytest
import torch

from encoders import epochs
from encoders.checkpoint import Checkpoint
from encoders.measure import held_out, held_out_from
from encoders.report import Figures
from encoders.sequences import read_sequences
from encoders.train import train
from encoders.trainer import Trainer, build, seed_torch
from ingest.progress import silent


@dataclass
class Measured:
    """Stands where epochs are measured: gives the recalls in turn, and keeps the weights that it was asked about."""

    recalls: list[float]
    weights: list[torch.Tensor] = field(default_factory=list)

    def __call__(self, data, asked, vectors, tower, length, **given) -> Figures:
        self.look(vectors, tower)
        recall = self.recalls[len(self.weights) - 1]
        return Figures(
            recall_at_10=recall, ndcg_at_10=0, recall_at_50=0, cold_recall_at_10=None, queries=9, cold_queries=0
        )

    def kept(self, data, asked, vectors, tower, length, **given) -> np.ndarray:
        """Stand where the model that is kept is asked at last: each target has the first rank."""
        self.look(vectors, tower)
        return np.ones(len(asked.users), np.int64)

    def look(self, vectors, tower):
        self.weights.append(torch.cat([vectors.ravel(), *(value.detach().ravel() for value in tower.parameters())]))


@pytest.fixture
def tuned(shop, small, tmp_path, monkeypatch):
    """Tune with the recalls of the untuned model and of each epoch."""
    data = read_sequences(shop.folder)
    since = held_out_from(data, None, hold_out=True)
    asked = held_out(data, since, most=50, seed=0)

    def run(recalls, *, total, patience, progress=silent):
        measured = Measured(recalls)
        monkeypatch.setattr(epochs, "measure", measured)
        monkeypatch.setattr(epochs, "interest_ranks", measured.kept)
        config = replace(small, patience=patience, pairs_per_epoch=200, newcomer_cost=-1)
        seed_torch(0)
        encoder, tower, _ = build(config, data.texts)
        trainer = Trainer(config, encoder, tower, data.before(since), continued=False)
        given = {"total": total, "resume": False, "logs": None, "progress": progress, "until": None}
        return epochs.tune(trainer, Checkpoint(tmp_path / "m", {}), data, asked, **given), measured

    return run


def test_tuning_ends_after_as_many_epochs_without_a_better_one_as_patience_has(tuned):
    found, _ = tuned([0.1, 0.3, 0.2, 0.3], total=6, patience=2)
    assert [epoch.figures.recall_at_10 for epoch in found.epochs] == [0.3, 0.2, 0.3]  # as good is no better
    assert found.best_epoch == 1


def test_a_better_epoch_gives_patience_anew(tuned):
    found, _ = tuned([0.1, 0.3, 0.2, 0.4, 0.2, 0.2], total=6, patience=2)
    assert (len(found.epochs), found.best_epoch) == (5, 3)


def test_a_tuning_that_ends_early_is_told_to_be_over(tuned):
    told = []
    tuned([0.1, 0.3, 0.2], total=6, patience=1, progress=lambda *report: told.append(report))
    assert told[-2][:3] == ("tune encoder", 2, 6)
    assert told[-1] == ("tune encoder", 2, 2, "epoch 1 is the best")


def test_the_weights_that_stay_are_those_of_the_best_epoch(tuned):
    _, measured = tuned([0.1, 0.2, 0.4, 0.3], total=3, patience=3)
    untuned, first, second, last, kept = measured.weights
    assert torch.equal(kept, second)
    assert not any(torch.equal(kept, other) for other in (untuned, first, last))


def test_without_a_better_epoch_the_untuned_weights_stay(tuned):
    found, measured = tuned([0.5, 0.2, 0.4], total=2, patience=3)
    assert found.best_epoch == 0
    assert torch.equal(measured.weights[-1], measured.weights[0])


@pytest.mark.parametrize(("minutes", "ran"), [(0.0, 2), (60.0, 2), (1e-9, 0)])
def test_no_epoch_begins_once_the_minutes_are_over(shop, small, tmp_path, minutes, ran):
    config = replace(small, epochs=2, patience=9, pairs_per_epoch=200, max_minutes=minutes)
    assert len(train(shop.folder, tmp_path / "m", config).epochs) == ran
