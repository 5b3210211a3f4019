"""What is a good interest? Softmax over what could have been chosen, listwise loss over what was shown."""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from encoders.step_input import PairTensors, ShownTensors
from encoders.tower import UserTower


def next_item_loss(
    tower: UserTower, pairs: PairTensors, vectors: Tensor, *, correction: float, cut_dims: tuple[int, ...] = ()
) -> Tensor:
    """Return the mean cross-entropy of the targets among the batch's candidates.

    Each candidate's logit is lowered by `correction` times the log of its chance to be a candidate (logQ; Bengio and
    Senecal, 2008; Yi et al., 2019). Gradients reach the text through `vectors` [n, dim], one for each distinct item of
    the batch, so that encoder and tower learn end to end, as in MoRec (Yuan et al., SIGIR 2023). Late pairs count more:
    tastes and catalogue move. Each of `cut_dims` adds the same loss over vectors cut to that length (Matryoshka;
    Kusupati et al., 2022).
    """
    users = _users_at(tower, pairs, vectors)
    items = functional.embedding(pairs.candidates, vectors)
    skips = functional.embedding(pairs.skips, vectors)
    lowered, barred = correction * pairs.log_odds, pairs.barred()
    losses = []
    for dim in (*cut_dims, items.shape[1]):
        asking, cut = users[:, :dim], _cut(items, dim)
        loss = sampled_softmax(asking, cut, lowered, barred, pairs.target)
        if pairs.has_skips:
            taken = functional.embedding(pairs.target, cut)
            loss = among_skips(loss, asking, taken, _cut(skips, dim), pairs.skipped)
        losses.append(loss * pairs.importance)
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


def shown_loss(tower: UserTower, shown: ShownTensors, vectors: Tensor) -> Tensor:
    """Return the mean cross-entropy of clicked items among those of the same request (ListNet's top-one form)."""
    mean, state = tower.states(functional.embedding(shown.events, vectors), *shown.history, shown.place)
    users = tower.users(mean[:, 0], state[:, 0], shown.gap)
    items = functional.embedding(shown.items, vectors)
    logits = (items @ users[:, :, None])[..., 0]
    logits = logits.masked_fill(~shown.mask, -1e9)
    clicked = shown.clicked.float()
    return -(functional.log_softmax(logits, dim=1) * clicked).sum(dim=1).div(clicked.sum(dim=1)).mean()


def _users_at(tower: UserTower, pairs: PairTensors, vectors: Tensor) -> Tensor:
    mean, state = tower.states(functional.embedding(pairs.events, vectors), *pairs.history)
    return tower.users(
        functional.embedding(pairs.state, mean.flatten(0, 1)),
        functional.embedding(pairs.state, state.flatten(0, 1)),
        pairs.gap,
    )
