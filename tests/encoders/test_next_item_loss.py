"""What goes into the loss of a step: popularity, lateness, cut vectors."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional

from encoders.batches import Batch, Batches, tower_inputs
from encoders.impressions import ShownBatch, ShownBatches
from encoders.losses import next_item_loss, shown_loss
from encoders.sequences import read_sequences
from encoders.step_input import step_input
from encoders.trainer import build, seed_torch


@pytest.fixture(scope="module")
def data(shop):
    return read_sequences(shop.folder)


@pytest.fixture(scope="module")
def models(data, small):
    """An encoder and a tower that are not quite untuned, without dropout."""
    seed_torch(0)
    encoder, tower, _ = build(small, data.texts)
    torch.nn.init.normal_(tower.leave.weight, std=0.3)
    return encoder.eval().requires_grad_(False), tower.eval().requires_grad_(False)


@pytest.fixture(scope="module")
def batch(data) -> Batch:
    settings = {"length": 8, "pairs_at_once": 64, "pairs_per_epoch": 64, "negatives": 16, "negatives_power": 0.5}
    batches = Batches(data, **settings, skipped_negatives=1)
    return next(batches.epoch(np.random.default_rng(0)))


def without_skips(batch: Batch) -> Batch:
    nothing = batch.skips[:, :0]
    return replace(batch, skips=nothing, skipped=nothing.astype(bool))


def loss(models, batch: Batch, **given) -> float:
    encoder, tower = models
    ready = step_input(batch, None, encoder)
    return float(next_item_loss(tower, ready.pairs, encoder.vectors(ready.rows), **{"correction": 0.0, **given}))


def loss_of_shown(models, batch: Batch, shown: ShownBatch) -> float:
    encoder, tower = models
    ready = step_input(batch, shown, encoder)
    return float(shown_loss(tower, ready.shown, encoder.vectors(ready.shown_rows)))


def textbook(models, batch: Batch, *, correction: float, dim: int) -> torch.Tensor:
    """Cross-entropy of each pair over vectors cut to a length."""
    encoder, tower = models
    found = batch.histories
    events = encoder.vectors(torch.from_numpy(found.items.ravel())).view(*found.items.shape, -1)
    mean, state = tower.states(events, *tower_inputs(found))
    users = tower.users(mean[batch.row, batch.place], state[batch.row, batch.place], torch.from_numpy(batch.gap))
    items = functional.normalize(encoder.vectors(torch.from_numpy(batch.candidates))[:, :dim], dim=1)
    logits = users[:, :dim] @ items.T - correction * torch.from_numpy(batch.log_odds)
    logits = logits.masked_fill(step_input(batch, None, encoder).pairs.barred(), -torch.inf)
    return functional.cross_entropy(logits, torch.from_numpy(batch.target), reduction="none").detach()


@pytest.mark.parametrize("correction", [0.0, 0.5, 1.0])
def test_logits_are_lowered_by_the_share_of_the_log_odds(models, batch, correction):
    batch = without_skips(batch)
    expected = textbook(models, batch, correction=correction, dim=16).mean()
    assert loss(models, batch, correction=correction) == pytest.approx(float(expected), rel=1e-5)


def test_whole_vectors_count_also_beside_few_candidates(models, data):
    settings = {"length": 8, "pairs_at_once": 4, "pairs_per_epoch": 4, "negatives": 2, "negatives_power": 0.5}
    few = without_skips(next(Batches(data, **settings, skipped_negatives=1).epoch(np.random.default_rng(0))))
    assert len(few.candidates) < 16
    expected = textbook(models, few, correction=0.5, dim=16).mean()
    assert loss(models, few, correction=0.5) == pytest.approx(float(expected), rel=1e-5)


def test_a_negative_that_was_likely_to_be_drawn_counts_less(models, batch):
    barred = step_input(batch, None, models[0]).pairs.barred()
    column = next(n for n in range(len(batch.candidates)) if n not in batch.target and not barred[:, n].all())
    likelier = batch.log_odds.copy()
    likelier[column] += 3
    popular = replace(batch, log_odds=likelier)
    assert loss(models, popular, correction=1.0) < loss(models, batch, correction=1.0)
    assert loss(models, popular) == loss(models, batch)


def test_pairs_count_as_much_as_their_importance(models, batch):
    batch = without_skips(batch)
    importance = np.linspace(0, 3, len(batch.row)).astype(np.float32)
    expected = (textbook(models, batch, correction=0.5, dim=16) * torch.from_numpy(importance)).mean()
    found = loss(models, replace(batch, importance=importance), correction=0.5)
    assert found == pytest.approx(float(expected), rel=1e-5)
    assert found != pytest.approx(loss(models, batch, correction=0.5), rel=1e-2)


def test_each_cut_adds_the_loss_over_vectors_of_that_length(models, batch):
    batch = without_skips(batch)
    by_length = [textbook(models, batch, correction=0.5, dim=dim).mean() for dim in (4, 8, 16)]
    assert loss(models, batch, correction=0.5, cut_dims=(4, 8)) == pytest.approx(float(sum(by_length) / 3), rel=1e-5)


def test_a_request_with_the_clicked_and_the_skipped_exchanged_has_the_opposite_odds(models, batch, data):
    """Of two shown items, one clicked: the loss is log(1 + exp(-x)), and log(1 + exp(x)) the other way round."""
    shown = ShownBatches(data, length=8, requests=1).draw(np.random.default_rng(0))
    assert shown.mask.tolist() == [[True, True]]
    asked, exchanged = (loss_of_shown(models, batch, one) for one in (shown, replace(shown, clicked=~shown.clicked)))
    assert np.exp(-asked) + np.exp(-exchanged) == pytest.approx(1, rel=1e-5)
    assert asked != pytest.approx(exchanged)


def test_places_without_an_item_change_nothing_for_a_request_shorter_than_others(models, batch, data):
    shown = ShownBatches(data, length=8, requests=1).draw(np.random.default_rng(0))
    names = ("items", "mask", "clicked")
    padded = replace(shown, **{name: np.pad(getattr(shown, name), ((0, 0), (0, 3))) for name in names})
    assert loss_of_shown(models, batch, padded) == pytest.approx(loss_of_shown(models, batch, shown), rel=1e-5)
