"""Skipped items as negatives: whose, from which request, and what they are worth in the loss."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch.nn import functional

from encoders.batches import Batches
from encoders.export import export_frames
from encoders.kinds import NO_KINDS
from encoders.losses import among_skips, next_item_loss, sampled_softmax
from encoders.sequences import Sequences, Shown, read_sequences
from encoders.skips import Skips
from encoders.step_input import step_input
from encoders.train import train
from encoders.trainer import Trainer, build, seed_torch
from ingest.moments import NEVER


def log(*users, requests=(), n_items=12, silent=()):
    """Make a log from each user's [(item, time)] or [(item, time, weight)] and (user, time, {item: clicked at})."""
    events = [(*event, 1)[:3] for user in users for event in user]
    shown = [list(slate.items()) for _, _, slate in requests]
    return Sequences(
        texts=["" if n in silent else f"text {n}" for n in range(n_items)],
        starts=np.cumsum([0, *(len(user) for user in users)]),
        items=np.array([item for item, _, _ in events]),
        weights=np.array([weight for _, _, weight in events], np.float32),
        times=np.array([time for _, time, _ in events]),
        codes=np.zeros(len(events), np.uint8),
        kinds=NO_KINDS,
        shown=Shown(
            users=np.array([user for user, _, _ in requests], np.int64),
            times=np.array([time for _, time, _ in requests], np.int64),
            starts=np.cumsum([0, *(len(slate) for slate in shown)]),
            items=np.array([item for slate in shown for item, _ in slate], np.int64),
            clicked_at=np.array([NEVER if at is None else at for slate in shown for _, at in slate], np.int64),
        ),
    )


def skipped(data, n=9, seed=0):
    """Return the set of what is drawn for each event."""
    skips = Skips(data, n=n)
    items, mask = skips.draw(np.arange(len(data.items)), np.random.default_rng(seed))
    for row, there in zip(items, mask, strict=True):
        assert len(set(row[there])) == there.sum(), "none twice"
    return [set(row[there].tolist()) for row, there in zip(items, mask, strict=True)]


def test_what_stood_beside_a_taken_item_are_its_skips():
    """Also in a request of the very same time, and where a later request came between showing and taking."""
    data = log(
        [(0, 10), (1, 20), (2, 33)],
        requests=[(0, 20, {1: 20, 3: None, 4: None}), (0, 30, {5: None, 2: 33}), (0, 31, {6: None})],
    )
    assert skipped(data) == [set(), {3, 4}, {5}]


@pytest.mark.parametrize(("moment", "expected"), [(29, {3}), (30, {3}), (31, {4})])
def test_without_a_request_that_showed_it_the_last_strictly_before_it_counts(moment, expected):
    data = log([(0, 10), (1, moment)], requests=[(0, 20, {3: None}), (0, 30, {4: None})])
    assert skipped(data)[1] == expected


def test_an_item_that_was_shown_and_not_clicked_was_found_elsewhere():
    data = log([(0, 10), (1, 40)], requests=[(0, 20, {1: None, 3: None}), (0, 30, {4: None})])
    assert skipped(data)[1] == {4}


def test_a_request_without_a_skip_leaves_it_to_the_one_before():
    data = log([(0, 10), (1, 30)], requests=[(0, 20, {3: None}), (0, 30, {1: 30})])
    assert skipped(data)[1] == {3}


def test_nothing_taken_refused_or_clicked_at_any_time_is_a_skip():
    requests = [
        (0, 20, {1: 20, 2: None, 3: None, 4: None, 5: None, 6: None, 7: None}),
        (0, 99, {5: 100}),  # clicked, though no event tells of it
        (1, 20, {7: 20}),  # by somebody else
    ]
    data = log([(2, 10), (1, 20), (3, 90), (4, 95, -1)], [(8, 1)], requests=requests, silent={6})
    assert skipped(data)[1] == {7}


def test_skips_are_the_users_own_and_later_requests_change_nothing():
    requests = [(0, 20, {1: 20, 3: None}), (1, 19, {4: None}), (-1, 18, {5: None})]
    users = [(0, 10), (1, 20)], [(0, 10), (2, 25)]
    now = skipped(log(*users, requests=requests))
    assert now == [set(), {3}, set(), {4}]
    assert skipped(log(*users, requests=[*requests, (0, 21, {6: None}), (1, 25, {7: None})])) == now


def test_of_a_long_request_each_epoch_draws_others():
    data = log([(0, 10), (1, 20)], requests=[(0, 20, {1: 20} | dict.fromkeys(range(2, 9)))])
    drawn = [skipped(data, n=3, seed=seed)[1] for seed in range(40)]
    assert {len(one) for one in drawn} == {3}
    assert set.union(*drawn) == set(range(2, 9))
    assert drawn == [skipped(data, n=3, seed=seed)[1] for seed in range(40)]


def batches(data, n):
    made = Batches(
        data, length=4, pairs_at_once=1000, pairs_per_epoch=1000, negatives=50, negatives_power=0.5, skipped_negatives=n
    )
    return list(made.epoch(np.random.default_rng(0)))


def barred_of(batch):
    """Return which candidates are no negatives [p, c]; an encoder only says how items are ordered."""
    encoder = SimpleNamespace(forgets=True)
    return step_input(batch, None, encoder).pairs.barred().numpy()


def test_a_skip_is_no_second_time_a_negative_of_its_pair_and_still_one_of_others():
    data = log(
        [(0, 10), (1, 20)], [(3, 10), (4, 20)], [(5, 9), (6, 20)], requests=[(0, 20, {1: 20, 3: None}), (1, 1, {9: 2})]
    )
    (batch,) = batches(data, 4)
    pair = {int(batch.candidates[t]): n for n, t in enumerate(batch.target)}
    (column,) = np.flatnonzero(batch.candidates == 3)
    assert batch.skips[pair[1]][batch.skipped[pair[1]]].tolist() == [3]
    barred = barred_of(batch)
    assert barred[pair[1], column]
    assert not barred[pair[6], column]
    assert not batch.skipped[pair[6]].any()
    assert not barred[np.arange(len(pair)), batch.target].any()


def same(one, other):
    assert len(one) == len(other) > 0
    for a, b in zip(one, other, strict=True):
        assert vars(a).keys() == vars(b).keys()
        for name in set(vars(a)) - {"histories"}:
            np.testing.assert_array_equal(getattr(a, name), getattr(b, name))
        for name, value in vars(a.histories).items():
            np.testing.assert_array_equal(value, getattr(b.histories, name))


def test_a_log_without_impressions_makes_the_same_batches(shop):
    data = replace(read_sequences(shop.folder), shown=Shown.nothing())
    same(batches(data, 8), batches(data, 0))


def test_without_impressions_training_is_the_same_to_the_last_bit(shop, small, tmp_path):
    export_frames(shop.items, shop.interactions, tmp_path / "data", before=shop.before)
    for n in (0, 8):
        train(tmp_path / "data", tmp_path / str(n), replace(small, epochs=1, skipped_negatives=n))
    for name in ("static.npz", "tower.npz", "token_vectors.npy"):
        assert (tmp_path / "0" / name).read_bytes() == (tmp_path / "8" / name).read_bytes()


def test_skips_change_a_training_and_the_same_seed_repeats_it(shop, small, tmp_path):
    for name, n in (("without", 0), ("with", 4), ("again", 4)):
        train(shop.folder, tmp_path / name, replace(small, epochs=1, skipped_negatives=n))
    without, with_skips, again = (
        (tmp_path / name / "static.npz").read_bytes() for name in ("without", "with", "again")
    )
    assert with_skips == again != without


def prepared(shop, small, **changes):
    """Return a trainer that draws nothing within a step, and a batch of which some pairs have skips."""
    data = read_sequences(shop.folder)
    settings = {"skipped_negatives": 3, "cold_share": 0.0, "dropout": 0.0, "token_dropout": 0.0}
    config = replace(small, **(settings | changes))
    seed_torch(0)
    encoder, tower, _ = build(config, data.texts)
    trainer = Trainer(config, encoder, tower, data, continued=False)
    made = trainer.batches.epoch(np.random.default_rng(1))
    return trainer, next(batch for batch in made if 0 < batch.skipped.any(axis=1).sum() < len(batch.row))


def test_a_step_with_skips_is_the_same_in_pieces(shop, small):
    found = []
    for at_once in (0, 5):
        trainer, batch = prepared(shop, small, texts_at_once=at_once)
        trainer._step(trainer._ready(batch, None))
        found.append([value.grad.clone() for value in trainer.parameters if value.grad is not None])
    for whole, pieces in zip(*found, strict=True):
        torch.testing.assert_close(pieces, whole, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("cut_dims", [(), (8,)])
def test_a_step_pushes_skipped_items_away_from_their_users(shop, small, cut_dims):
    trainer, batch = prepared(shop, small)
    losses = []
    for one in (batch, replace(batch, skipped=np.zeros_like(batch.skipped))):
        ready = step_input(one, None, trainer.encoder)
        vectors = trainer.encoder.vectors(ready.rows)
        losses.append(next_item_loss(trainer.tower, ready.pairs, vectors, correction=0.5, cut_dims=cut_dims))
    assert losses[0] > losses[1]


@pytest.fixture
def step():
    draw = torch.Generator().manual_seed(0)
    users = (4 * torch.randn(7, 5, generator=draw, dtype=torch.float64)).requires_grad_()
    items = torch.randn(11, 5, generator=draw, dtype=torch.float64).requires_grad_()
    skips = torch.randn(7, 3, 5, generator=draw, dtype=torch.float64).requires_grad_()
    lowered = torch.randn(11, generator=draw, dtype=torch.float64)
    target = torch.randint(0, 11, (7,), generator=draw)
    barred = torch.rand(7, 11, generator=draw) < 0.4
    barred[torch.arange(7), target] = False
    skipped = torch.rand(7, 3, generator=draw) < 0.5
    skipped[0], skipped[1] = False, True
    return users, items, skips, lowered, target, barred, skipped


def ours(users, items, skips, lowered, target, barred, skipped):
    return among_skips(sampled_softmax(users, items, lowered, barred, target), users, items[target], skips, skipped)


def textbook(users, items, skips, lowered, target, barred, skipped):
    """One softmax over candidates and skips, in which a skip is lowered as the target is."""
    logits = (users @ items.T - lowered).masked_fill(barred, -torch.inf)
    more = torch.einsum("pd,pkd->pk", users, skips) - lowered[target][:, None]
    logits = torch.cat([logits, more.masked_fill(~skipped, -torch.inf)], dim=1)
    return functional.cross_entropy(logits, target, reduction="none")


def test_loss_and_gradients_are_those_of_cross_entropy_over_candidates_and_skips(step):
    importance = torch.arange(1, 8)
    found = []
    for loss in (ours, textbook):
        value = loss(*step)
        found.append([value, *torch.autograd.grad((value * importance).mean(), step[:3])])
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other)


def test_a_pair_without_skips_keeps_its_loss_and_gradient_to_the_last_bit(step):
    users, items, _, lowered, target, barred, skipped = step
    plain = sampled_softmax(users, items, lowered, barred, target)
    with_skips = ours(*step)
    assert with_skips[0] == plain[0]
    assert (with_skips[1:] > plain[1:])[skipped[1:].any(dim=1)].all()
    one, other = (torch.autograd.grad(loss[0], [users, items])[0] for loss in (with_skips, plain))
    assert torch.equal(one, other)


def test_large_logits_do_not_overflow(step):
    users, items, skips, lowered, target, barred, skipped = step
    large = ours((users * 1e3).float(), items.float(), skips.float(), lowered.float(), target, barred, skipped)
    large.sum().backward()
    assert torch.isfinite(large).all()
    assert all(torch.isfinite(value.grad).all() for value in (users, items, skips))
