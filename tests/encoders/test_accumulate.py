import numpy as np
import pytest
import torch

from encoders.accumulate import Accumulated
from encoders.base import Base
from encoders.encoder import Encoder
from encoders.lexical import catalogue_tokens
from encoders.sequences import read_sequences
from encoders.static import StaticEncoder
from encoders.trainer import Trainer
from encoders.transformer import TransformerEncoder

TEXTS = ["rose tulip", "oven", "", "guitar drum chord melody", "map", "rose seed lawn", "cake tray", "soil"]
ROWS = torch.tensor([0, 1, 2, 3, 5, 6, 7])
COLD = torch.tensor([True, False, True, False, True, True, False])


def _static() -> Encoder:
    tokenizer, vectors = catalogue_tokens(TEXTS, 8, seed=0)
    encoder = StaticEncoder(tokenizer, vectors, TEXTS)
    torch.nn.init.normal_(encoder.learned)
    return encoder


def _transformer(folder, *, tuning="full", precision="float32") -> Encoder:
    base = Base(name="tiny", source="folder", folder=folder)
    return TransformerEncoder.open(base, TEXTS, tuning=tuning, max_tokens=32, precision=precision)


@pytest.fixture(params=["static", "transformer", "lora"])
def encoder(request, tiny_transformer) -> Encoder:
    torch.manual_seed(0)
    if request.param == "static":
        return _static()
    return _transformer(tiny_transformer, tuning="lora" if request.param == "lora" else "full")


def _loss(vectors: torch.Tensor) -> torch.Tensor:
    """Every vector meets every other, as negatives do: no share of the rows has a gradient of its own."""
    weights = torch.linspace(-1, 1, len(vectors))
    return (vectors @ vectors.T * 3).logsumexp(dim=1) @ weights / len(vectors)


def _gradients(encoder: Encoder) -> list[torch.Tensor]:
    found = [value.grad.clone() for value in encoder.module.parameters() if value.grad is not None]
    encoder.module.zero_grad(set_to_none=True)
    assert found
    return found


def _close(one: list[torch.Tensor], other: list[torch.Tensor]) -> None:
    assert len(one) == len(other)
    assert max(float(value.abs().max()) for value in one) > 1e-4
    for a, b in zip(one, other, strict=True):
        torch.testing.assert_close(a, b, atol=1e-6, rtol=1e-5)


def test_pieces_give_the_gradient_of_the_whole(encoder):
    encoder.module.eval()  # no draws: the whole and its pieces are then the same function
    _loss(encoder.vectors(ROWS)).backward()
    whole = _gradients(encoder)
    step = Accumulated(encoder, 3)
    step.backward(_loss(step.vectors(ROWS)))
    _close(_gradients(encoder), whole)


def test_both_passes_draw_the_same_dropout(encoder):
    encoder.module.train()
    torch.manual_seed(7)
    step = Accumulated(encoder, 3)
    step.backward(_loss(step.vectors(ROWS, cold=COLD)))
    pieces, after = _gradients(encoder), torch.rand(3)

    torch.manual_seed(7)
    # the same pieces with their graphs all held at once
    order = torch.argsort(encoder.lengths[ROWS], descending=True, stable=True)
    held = [encoder.vectors(ROWS[part], cold=COLD[part]) for part in torch.split(order, 3)]
    vectors = torch.zeros((len(ROWS), encoder.dim)).index_put((order,), torch.cat(held))
    _loss(vectors).backward()
    _close(pieces, _gradients(encoder))
    # and later draws go on as if there had been one pass
    torch.testing.assert_close(after, torch.rand(3))


def test_two_losses_over_one_step_add_up(encoder):
    encoder.module.eval()
    (_loss(encoder.vectors(ROWS)) + _loss(encoder.vectors(ROWS[:4]))).backward()
    whole = _gradients(encoder)
    step = Accumulated(encoder, 2)
    step.backward(_loss(step.vectors(ROWS)) + _loss(step.vectors(ROWS[:4])))
    _close(_gradients(encoder), whole)
    assert step.texts == len(ROWS) + 4
    assert int(step.tokens) == int(encoder.lengths[ROWS].sum() + encoder.lengths[ROWS[:4]].sum())


def test_only_so_many_texts_hold_a_graph():
    encoder = _static()
    seen = []
    inner = encoder.vectors

    def watched(rows, *, cold=None):
        seen.append((len(rows), torch.is_grad_enabled()))
        return inner(rows, cold=cold)

    encoder.vectors = watched
    step = Accumulated(encoder, 3)
    step.backward(_loss(step.vectors(ROWS)))
    assert [size for size, held in seen if held] == [3, 3, 1]
    assert [size for size, held in seen if not held] == [3, 3, 1]


def test_frozen_text_needs_no_pieces(tiny_transformer):
    step = Accumulated(_transformer(tiny_transformer, tuning="none"), 3)
    assert not step.vectors(ROWS).requires_grad


def test_a_step_of_training_is_the_same_in_pieces(shop, small):
    from dataclasses import replace

    from encoders.trainer import build, seed_torch

    data = read_sequences(shop.folder)
    weights = []
    for at_once in (0, 5):
        config = replace(small, texts_at_once=at_once, cold_share=0.0, dropout=0.0, token_dropout=0.0)
        seed_torch(0)
        encoder, tower, _ = build(config, data.texts)
        trainer = Trainer(config, encoder, tower, data, continued=False)
        batch = next(iter(trainer.batches.epoch(np.random.default_rng(1))))
        trainer._step(trainer._ready(batch, None))
        weights.append([value.grad.clone() for value in trainer.parameters if value.grad is not None])
    _close(weights[1], weights[0])
