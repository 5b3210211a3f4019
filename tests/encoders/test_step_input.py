"""What a step is given: each text once, the same barred candidates as by hand, and nothing that a GPU is waited for."""

import threading
from dataclasses import fields, is_dataclass, replace

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from encoders.batches import Batches
from encoders.distributed import Ranks
from encoders.sequences import read_sequences
from encoders.step_input import step_input
from encoders.to_device import sent
from encoders.trainer import Trainer, build, seed_torch
from ingest.ahead import ahead

HOST, META = torch.device("cpu"), torch.device("meta")


@pytest.fixture(scope="module")
def data(shop):
    return read_sequences(shop.folder)


@pytest.fixture
def tuned(small, tiny_transformer):
    """Settings of a transformer, whose step reads skips, too."""
    return replace(
        small, kind="transformer", base=str(tiny_transformer), precision="float32", skipped_negatives=2, cut_dims="8"
    )


def make(config, data, device=HOST) -> Trainer:
    seed_torch(0)
    encoder, tower, _ = build(config, data.texts)
    trainer = Trainer(config, encoder, tower, data, continued=False, ranks=Ranks(device=device))
    encoder.module.train()
    return trainer


def drawn(trainer: Trainer):
    """Return a batch and the requests that are drawn beside it."""
    batch = next(trainer.batches.epoch(np.random.default_rng(0)))
    return batch, trainer.shown.draw(np.random.default_rng(1))


def tensors(held):
    if isinstance(held, torch.Tensor):
        return [held]
    if is_dataclass(held):
        held = tuple(getattr(held, field.name) for field in fields(held))
    return [one for part in held for one in tensors(part)] if isinstance(held, tuple) else []


def items_of(batch):
    return np.concatenate([batch.histories.items.ravel(), batch.candidates, batch.skips.ravel()])


def items_shown(shown):
    return np.concatenate([shown.histories.items.ravel(), shown.items.ravel()])


def places_of(pairs):
    return torch.cat([pairs.events.ravel(), pairs.candidates, pairs.skips.ravel()])


def test_the_static_kind_encodes_each_item_once_for_each_loss(small, data):
    trainer = make(replace(small, skipped_negatives=2), data)
    batch, shown = drawn(trainer)
    given = step_input(batch, shown, trainer.encoder)
    assert given.rows.tolist() == np.unique(items_of(batch)).tolist()
    assert given.shown_rows.tolist() == np.unique(items_shown(shown)).tolist()
    np.testing.assert_array_equal(given.rows[places_of(given.pairs)], items_of(batch))
    places = torch.cat([given.shown.events.ravel(), given.shown.items.ravel()])
    np.testing.assert_array_equal(given.shown_rows[places], items_shown(shown))


def test_a_transformer_encodes_each_item_once_for_both_losses_from_short_to_long(tuned, data):
    trainer = make(tuned, data)
    batch, shown = drawn(trainer)
    given = step_input(batch, shown, trainer.encoder)
    assert given.shown_rows is None
    both = np.concatenate([items_of(batch), items_shown(shown)])
    assert sorted(given.rows.tolist()) == np.unique(both).tolist()
    assert (np.diff(trainer.encoder.text_lengths[given.rows]) >= 0).all()
    np.testing.assert_array_equal(given.rows[places_of(given.pairs)], items_of(batch))
    places = torch.cat([given.shown.events.ravel(), given.shown.items.ravel()])
    np.testing.assert_array_equal(given.rows[places], items_shown(shown))

    asked, vectors = [], trainer.encoder.vectors
    trainer.encoder.vectors = lambda rows, *, cold=None: asked.append(rows) or vectors(rows, cold=cold)
    step = trainer._step(given)
    assert len(asked) == 1
    assert (step.texts, step.tokens) == (len(given.rows), trainer.encoder.text_lengths[given.rows].sum())


def test_one_encoding_gives_the_loss_and_gradient_of_two(tuned, data):
    found = []
    for forgets in (True, False):
        trainer = make(replace(tuned, cold_share=0.0, dropout=0.0), data)
        trainer.encoder.eval()
        trainer.encoder.forgets = forgets
        loss = trainer._step(trainer._ready(*drawn(trainer))).loss
        found.append([loss, *(value.grad for value in trainer.parameters if value.grad is not None)])
    assert len(found[0]) == len(found[1]) > 20
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, atol=1e-6, rtol=1e-4)


def test_barred_candidates_are_those_found_one_by_one(data):
    batches = Batches(
        data, length=8, pairs_at_once=64, pairs_per_epoch=64, negatives=60, negatives_power=0.5, skipped_negatives=2
    )
    batch = next(batches.epoch(np.random.default_rng(0)))
    encoder = type("Encoder", (), {"forgets": True})()
    first_seen, histories = data.first_seen(), batch.histories
    expected = np.zeros((len(batch.row), len(batch.candidates)), bool)
    for pair, (row, target) in enumerate(zip(batch.row, batch.target, strict=True)):
        # a user of the shop has ten events, each at a moment of its own, so that windows tell whose they are
        (user,) = {u for u, time in zip(data.users, data.times, strict=True) if time == histories.times[row, 0]} & {
            u for u, time in zip(data.users, data.times, strict=True) if time == batch.moment[pair]
        }
        own = set(data.items[data.starts[user] : data.starts[user + 1]])
        skips = set(batch.skips[pair][batch.skipped[pair]])
        for column, item in enumerate(batch.candidates):
            late = first_seen[item] > batch.moment[pair]
            expected[pair, column] = column != target and (late or item in own or item in skips)
    assert expected.any(axis=1).all()
    np.testing.assert_array_equal(step_input(batch, None, encoder).pairs.barred(), expected)


class Copies(TorchDispatchMode):
    """Keeps what goes from the host to the device, and whether anybody waits for it."""

    def __init__(self) -> None:
        super().__init__()
        self.made = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        out = function(*args, **(kwargs or {}))
        if function is torch.ops.aten._to_copy.default and args[0].device == HOST and out.device == META:
            self.made.append((args[0].data_ptr(), (kwargs or {}).get("non_blocking", False)))
        elif function is torch.ops.aten.copy_.default and {args[0].device, args[1].device} == {HOST, META}:
            self.made.append((args[1].data_ptr(), len(args) > 2 and args[2]))
        return out


@pytest.mark.parametrize("texts_at_once", [0, 40])
def test_a_step_waits_for_nothing_that_a_device_computes(tuned, data, monkeypatch, texts_at_once):
    """On the device `meta` nothing is computed: what asks for a number, a size or a copy of it raises."""
    adam = torch.optim.AdamW
    monkeypatch.setattr(torch.optim, "AdamW", lambda groups, fused: adam(groups, foreach=True))  # none is fused there
    # a GPU runs texts without padding, by an attention of its own
    monkeypatch.setattr("encoders.packed.packed_attention", lambda module, q, k, v, *given, **named: (v.mT, None))
    trainer = make(replace(tuned, texts_at_once=texts_at_once), data, META)
    trainer.encoder.packs = True
    given = trainer._ready(*drawn(trainer))
    expected = {one.data_ptr() for one in tensors((given.rows, given.pairs, given.shown)) if one.numel()}
    with Copies() as copies:
        step = trainer._step(given)
    assert step.loss.device == META
    assert all(without_waiting for _, without_waiting in copies.made)
    copied = {place for place, _ in copies.made}
    if texts_at_once:
        assert expected - {given.rows.data_ptr()} <= copied
    else:
        assert copied - {0} == expected, "nothing but what was ready before the step; an empty array lies at 0"
    with pytest.raises(RuntimeError, match="meta"):
        step.loss.item()  # the device does refuse


def test_what_goes_to_a_gpu_is_pinned_by_the_thread_that_cuts_batches(tuned, data, monkeypatch):
    held = []

    def pin(tensor):
        held.append((tensor, threading.current_thread().name))
        return tensor

    monkeypatch.setattr(torch.Tensor, "pin_memory", pin)
    trainer = make(tuned, data)
    trainer.device = torch.device("cuda")
    steps = ahead(trainer._drawn(np.random.default_rng(0), np.random.default_rng(1)), depth=2)
    given = next(steps)
    steps.close()
    assert {name for _, name in held} == {"ahead"}
    found = {id(tensor) for tensor, _ in held}
    assert {id(tensor) for tensor in tensors((given.rows, given.pairs, given.shown))} <= found


def test_what_is_not_pinned_yet_is_pinned_before_it_is_sent(monkeypatch):
    pinned = []
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda tensor: pinned.append(tensor) or tensor)
    monkeypatch.setattr(torch.Tensor, "to", lambda tensor, device, *, non_blocking: (tensor, device, non_blocking))
    rows = torch.arange(3)
    assert sent(rows, torch.device("cuda")) == (rows, torch.device("cuda"), True)
    assert pinned == [rows]
