"""What is a good interest? Softmax over what could have been chosen, listwise loss over what was shown."""

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from encoders.batches import Batch, Histories, Ints
from encoders.encoder import Encoder
from encoders.impressions import ShownBatch
from encoders.measure import tower_inputs
from encoders.tower import UserTower


def next_item_loss(
    encoder: Encoder,
    tower: UserTower,
    batch: Batch,
    *,
    correction: float,
    cold_share: float,
    cut_dims: tuple[int, ...] = (),
) -> Tensor:
    """Return the mean cross-entropy of the targets among the batch's candidates.

    Each candidate's logit is lowered by `correction` times the log of its chance to be a candidate (logQ; Bengio and
    Senecal, 2008; Yi et al., 2019). Gradients reach the text, so that encoder and tower learn end to end, as in MoRec
    (Yuan et al., SIGIR 2023): every distinct item of the batch is encoded once, and a random `cold_share` of them as if
    nobody had ever touched them. Late pairs count more: tastes and catalogue move.
    Each of `cut_dims` adds the same loss over vectors cut to that length (Matryoshka; Kusupati et al., 2022).
    """
    device = tower.gate.device
    rows = np.concatenate([batch.candidates, batch.skips.ravel()])
    events, others, vectors = _encode(encoder, batch.histories, rows, cold_share, device)
    row, place = _to(batch.row, device), _to(batch.place, device)
    users = _users_at(tower, batch.histories, events, row, place, _to(batch.gap, device), vectors)
    items = functional.embedding(others[: len(batch.candidates)], vectors)
    skips = functional.embedding(others[len(batch.candidates) :].view(batch.skips.shape), vectors)
    lowered = correction * torch.from_numpy(batch.log_odds).to(device)
    barred, importance = torch.from_numpy(batch.barred).to(device), torch.from_numpy(batch.importance).to(device)
    target, skipped = _to(batch.target, device), torch.from_numpy(batch.skipped).to(device)
    losses = []
    for dim in (*cut_dims, items.shape[1]):
        asking, cut = users[:, :dim], _cut(items, dim)
        loss = sampled_softmax(asking, cut, lowered, barred, target)
        if batch.skipped.any():
            taken = functional.embedding(target, cut)
            loss = among_skips(loss, asking, taken, _cut(skips, dim), skipped)
        losses.append(loss * importance)
    return torch.stack(losses).mean()


def _cut(vectors: Tensor, dim: int) -> Tensor:
    return vectors if dim == vectors.shape[-1] else functional.normalize(vectors[..., :dim], dim=-1, eps=1e-6)


def sampled_softmax(users: Tensor, items: Tensor, lowered: Tensor, barred: Tensor, target: Tensor) -> Tensor:
    """Return the cross-entropy [p] of each user's target among the items that are not barred for the user.

    `users` [p, dim] and `items` [c, dim] give the logits, `lowered` [c] is taken from them, `barred` [p, c]; `target`
    [p] are columns. One matrix [p, c] serves from logits to gradient, so `backward` can be called once.
    """
    out: Tensor = _SampledSoftmax.apply(users, items, lowered, barred, target)  # type: ignore[no-untyped-call]
    return out


def among_skips(loss: Tensor, users: Tensor, targets: Tensor, skips: Tensor, skipped: Tensor) -> Tensor:
    """Return `sampled_softmax`'s cross-entropy [p] with each pair's own skips among the candidates, too.

    `users` and `targets` are [p, dim], `skips` [p, k, dim], of which those count that are `skipped` [p, k]. No chance
    brought them there: their user saw them as well as the target, and left them. So their logits are lowered by as much
    as the target's: between the two, popularity has no say.
    """
    more = (skips @ users[:, :, None])[..., 0] - (users * targets).sum(dim=1, keepdim=True)
    more = more.masked_fill(~skipped, -1e9).logsumexp(dim=1)  # finite: nothing comes back to a pair without skips
    return torch.logaddexp(loss, more)


class _SampledSoftmax(torch.autograd.Function):
    """Logits become odds, and odds the loss's pull on each pair, in the same matrix."""

    @staticmethod
    def forward(ctx: Any, users: Tensor, items: Tensor, lowered: Tensor, barred: Tensor, target: Tensor) -> Tensor:
        logits = (users @ items.T).sub_(lowered).masked_fill_(barred, -torch.inf)
        own = logits.gather(1, target[:, None])[:, 0]
        highest = logits.amax(dim=1)
        odds = logits.sub_(highest[:, None]).exp_()
        total = odds.sum(dim=1)
        ctx.save_for_backward(users, items, target, odds, total)
        return highest + total.log() - own

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, None, None, None]:
        users, items, target, odds, total = ctx.saved_tensors
        pull = odds.mul_((grads[0] / total)[:, None])
        pull[torch.arange(len(target), device=target.device), target] -= grads[0]
        return pull @ items, pull.T @ users, None, None, None


def shown_loss(encoder: Encoder, tower: UserTower, batch: ShownBatch) -> Tensor:
    """Return the mean cross-entropy of clicked items among those of the same request (ListNet's top-one form)."""
    device = tower.gate.device
    events, shown, vectors = _encode(encoder, batch.histories, batch.items.ravel(), 0.0, device)
    place, gap = _to(batch.place, device), _to(batch.gap, device)
    mean, state = tower.states(functional.embedding(events, vectors), *tower_inputs(batch.histories, device), place)
    users = tower.users(mean[:, 0], state[:, 0], gap)
    items = functional.embedding(shown.view(batch.items.shape), vectors)
    logits = (items @ users[:, :, None])[..., 0]
    logits = logits.masked_fill(~torch.from_numpy(batch.mask).to(device), -1e9)
    clicked = torch.from_numpy(batch.clicked).to(device).float()
    return -(functional.log_softmax(logits, dim=1) * clicked).sum(dim=1).div(clicked.sum(dim=1)).mean()


def _encode(
    encoder: Encoder, histories: Histories, others: Ints, cold_share: float, device: torch.device
) -> tuple[Tensor, Tensor, Tensor]:
    """Encode the distinct items once; return where events and others stand among them, and their vectors."""
    rows, inverse = np.unique(np.concatenate([histories.items.ravel(), others]), return_inverse=True)
    where = _to(inverse, device)
    split = histories.items.size
    cold = torch.rand(len(rows), device=device) < cold_share if cold_share else None
    vectors = encoder.vectors(_to(rows, device), cold=cold).float()
    return where[:split].view(histories.items.shape), where[split:], vectors


def _users_at(
    tower: UserTower, histories: Histories, events: Tensor, row: Tensor, place: Tensor, gap: Tensor, vectors: Tensor
) -> Tensor:
    mean, state = tower.states(functional.embedding(events, vectors), *tower_inputs(histories, gap.device))
    flat = row * histories.items.shape[1] + place
    return tower.users(
        functional.embedding(flat, mean.flatten(0, 1)), functional.embedding(flat, state.flatten(0, 1)), gap
    )


def _to(array: Ints, device: torch.device) -> Tensor:
    return torch.from_numpy(array).to(device)
