"""Does a step of training learn by the settings that it was given?"""

from dataclasses import replace

import numpy as np
import pytest
import torch

from encoders import trainer as trainer_module
from encoders.encoder import all_vectors
from encoders.losses import next_item_loss, shown_loss
from encoders.sequences import read_sequences
from encoders.step_input import step_input
from encoders.trainer import Trainer, build, seed_torch


@pytest.fixture(scope="module")
def data(shop):
    return read_sequences(shop.folder)


@pytest.fixture
def calm(small):
    """No draws within a step, so that its loss can be taken twice."""
    return replace(small, dropout=0.0, token_dropout=0.0, cold_share=0.0)


def make(config, data) -> Trainer:
    seed_torch(0)
    encoder, tower, _ = build(config, data.texts)
    torch.nn.init.normal_(encoder.learned, std=0.1)  # or there would be nothing for a new item to lack
    return Trainer(config, encoder, tower, data, continued=False)


def first(trainer: Trainer):
    """Return the input of the first step."""
    return next(trainer._drawn(np.random.default_rng(0), np.random.default_rng(1)))


@pytest.mark.parametrize(
    "settings",
    [
        {"popularity_correction": 0.0},
        {"popularity_correction": 1.0},
        {"cut_dims": "4, 8"},
        {"cold_share": 0.5},
        {"impressions_share": 0.0},
        {"impressions_share": 2.0},
    ],
)
def test_a_step_has_the_loss_of_what_was_taken_and_a_share_of_that_of_what_was_shown(calm, data, settings):
    config = replace(calm, **settings)
    trainer = make(config, data)
    encoder, tower = trainer.encoder, trainer.tower
    given = first(trainer)
    torch.manual_seed(1)
    cold = torch.rand(len(given.rows)) < config.cold_share if config.cold_share else None
    expected = next_item_loss(
        tower,
        given.pairs,
        encoder.vectors(given.rows, cold=cold),
        correction=config.popularity_correction,
        cut_dims=(4, 8) if config.cut_dims else (),
    )
    if config.impressions_share:
        expected = expected + config.impressions_share * shown_loss(
            tower, given.shown, encoder.vectors(given.shown_rows)
        )
    torch.manual_seed(1)
    torch.testing.assert_close(trainer._step(given).loss, expected.detach())


@pytest.mark.parametrize(("share", "fewest", "most"), [(0.0, 0, 0), (0.3, 0.1, 0.5), (1.0, 1, 1)])
def test_a_share_of_the_items_that_were_taken_is_read_as_if_new_and_none_that_was_shown(
    calm, data, share, fewest, most
):
    trainer = make(replace(calm, cold_share=share), data)
    given = first(trainer)
    read, vectors = [], trainer.encoder.vectors

    def watched(rows, *, cold=None):
        read.append((rows, 0 if cold is None else int(cold.sum())))
        return vectors(rows, cold=cold)

    trainer.encoder.vectors = watched
    trainer._step(given)
    (rows, n_cold), (shown_rows, n_shown_cold) = read
    assert rows is given.rows
    assert fewest * len(rows) <= n_cold <= most * len(rows)
    assert shown_rows is given.shown_rows
    assert n_shown_cold == 0


def test_what_was_shown_is_learned_from_where_it_has_a_share(calm, data):
    assert first(make(replace(calm, impressions_share=0.5), data)).shown is not None
    assert first(make(replace(calm, impressions_share=0.0), data)).shown is None


def test_shown_lists_move_the_weights(calm, data):
    """A batch whose pairs count nothing leaves what was shown alone to learn from."""
    moved = []
    for share in (0.0, 0.5):
        trainer = make(replace(calm, impressions_share=share), data)
        given = first(trainer)
        unheard = replace(given.pairs, importance=torch.zeros_like(given.pairs.importance))
        trainer._step(replace(given, pairs=unheard))
        moved.append(float(trainer.encoder.learned.grad.abs().max()))
    assert moved[0] == 0 < moved[1]


def test_a_pair_counts_half_for_each_recent_half_of_the_log_after_it(calm, data):
    order = np.argsort(data.times, kind="stable")
    half, all_alike = (make(replace(calm, recent_half=share), data).batches for share in (0.25, 0.0))
    importance = half.importance[order]
    quarter = len(order) // 4
    assert (np.diff(importance) > 0).all()
    assert importance[2 * quarter] == pytest.approx(2 * importance[quarter], rel=1e-2)
    assert importance.mean() == pytest.approx(1, rel=1e-5)
    assert (all_alike.importance == 1).all()
    batch = next(half.epoch(np.random.default_rng(0)))
    assert len(np.unique(batch.importance)) > 1, "the batch has its pairs' weights"


def test_hard_negatives_are_near_by_the_vectors_that_the_epoch_begins_with(calm, data, monkeypatch):
    trainer = make(replace(calm, negatives=0, hard_negatives=64, pairs_at_once=4), data)
    vectors = all_vectors(trainer.encoder, data.n_items)
    batches = []

    def watched(batch, shown, encoder):
        batches.append(batch)
        return step_input(batch, shown, encoder)

    monkeypatch.setattr(trainer_module, "step_input", watched)
    next(trainer.run(0, 1))
    (batch,) = batches
    targets = np.unique(batch.candidates[batch.target])
    drawn = np.setdiff1d(batch.candidates, targets)
    assert len(drawn) > 10
    likeness = (vectors @ vectors.T)[targets].numpy()
    likeness[:, np.setdiff1d(np.arange(data.n_items), data.items)] = -np.inf  # never touched, so never drawn
    near = np.argsort(-likeness, axis=1)[:, 1:21]
    assert set(drawn) <= set(near.ravel())
