"""In which precision does training multiply? float32, or bfloat16 with weights and optimiser kept in float32."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from encoders.tower import UserTower

Weights = Mapping[str, Tensor] | None
"""Other weights than a model's own to run it with, by name."""


def is_lower(precision: str, device: torch.device) -> bool:
    """Say whether matrices are multiplied in bfloat16: when asked for, or `auto` on a GPU that has it."""
    if precision == "auto":
        return device.type == "cuda" and torch.cuda.is_bf16_supported()
    return precision == "bfloat16"


def in_bfloat16(values: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """Return bfloat16 copies through which gradients pass to float32, all in one pass: there are many small ones.

    What several pieces of a step that share a copy teach adds up in bfloat16, and reaches float32 as one sum.
    """
    found: tuple[Tensor, ...] = _InBfloat16.apply(*values)  # type: ignore[no-untyped-call]
    return found


class _InBfloat16(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, *values: Tensor) -> tuple[Tensor, ...]:
        ctx.set_materialize_grads(False)
        return _copied(values, torch.bfloat16)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, ...]:
        raised = iter(_copied([one for one in gradients if one is not None], torch.float32))
        return tuple(None if one is None else next(raised) for one in gradients)


def _copied(values: Sequence[Tensor], kind: torch.dtype) -> tuple[Tensor, ...]:
    out = [torch.empty_like(value, dtype=kind) for value in values]
    if out:
        torch._foreach_copy_(out, list(values))
    return tuple(out)


def run_with(model: Any, weights: Weights, run: Callable[[Any], Tensor]) -> Tensor:
    """Return what `run` makes of the model while it holds these weights, or its own without any."""
    if weights is None:
        return run(model)
    held = {f"model.{name}": value for name, value in weights.items()}
    found: Tensor = torch.func.functional_call(_Holder(model), held, (run,))
    return found


class _Holder(nn.Module):
    """Makes of a function of a model a call of a module, which is what torch can run with other weights."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, run: Callable[[Any], Tensor]) -> Tensor:
        """Return what the function makes of the model."""
        return run(self.model)


class LowerTower:
    """A user tower whose layers multiply in bfloat16; what comes out is float32, and all else is the tower's own."""

    def __init__(self, tower: UserTower) -> None:
        self._tower = tower

    def __getattr__(self, name: str) -> Any:
        return getattr(self._tower, name)

    def states(self, v: Tensor, *given: Tensor) -> tuple[Tensor, Tensor]:
        """Return what the tower's `states` returns."""
        with torch.autocast(v.device.type, dtype=torch.bfloat16):
            mean, state = self._tower.states(v, *given)
        return mean.float(), state.float()

    def users(self, mean: Tensor, state: Tensor, gap: Tensor) -> Tensor:
        """Return what the tower's `users` returns."""
        with torch.autocast(mean.device.type, dtype=torch.bfloat16):
            return self._tower.users(mean, state, gap).float()
