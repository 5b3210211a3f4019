"""Is the loss that is made in one matrix the one that the textbook has?"""

import pytest
import torch
from torch.nn import functional

from encoders.losses import sampled_softmax


@pytest.fixture
def step():
    draw = torch.Generator().manual_seed(0)
    users = (4 * torch.randn(7, 5, generator=draw, dtype=torch.float64)).requires_grad_()
    items = torch.randn(11, 5, generator=draw, dtype=torch.float64).requires_grad_()
    lowered = torch.randn(11, generator=draw, dtype=torch.float64)
    target = torch.randint(0, 11, (7,), generator=draw)
    barred = torch.rand(7, 11, generator=draw) < 0.4
    barred[torch.arange(7), target] = False
    return users, items, lowered, barred, target


def textbook(users, items, lowered, barred, target):
    logits = (users @ items.T - lowered).masked_fill(barred, -torch.inf)
    return functional.cross_entropy(logits, target, reduction="none")


def test_loss_and_gradients_are_those_of_cross_entropy_among_what_is_not_barred(step):
    importance = torch.arange(1, 8)
    found, wanted = [], []
    for loss, out in ((sampled_softmax, found), (textbook, wanted)):
        value = loss(*step)
        out += [value, *torch.autograd.grad((value * importance).mean(), step[:2])]
    for ours, theirs in zip(found, wanted, strict=True):
        torch.testing.assert_close(ours, theirs)


def test_a_second_backward_is_refused_because_the_first_used_up_the_matrix(step):
    loss = sampled_softmax(*step).sum()
    loss.backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="inplace"):
        loss.backward()


def test_only_the_target_left_is_certain(step):
    users, items, lowered, barred, target = step
    barred = torch.ones_like(barred)
    barred[torch.arange(7), target] = False
    loss = sampled_softmax(users, items, lowered, barred, target)
    loss.sum().backward()
    assert loss.abs().max() == 0
    assert users.grad.abs().max() < 1e-12


def test_large_logits_do_not_overflow(step):
    users, items, lowered, barred, target = step
    assert torch.isfinite(sampled_softmax(users.float() * 1e3, items.float(), lowered.float(), barred, target)).all()
