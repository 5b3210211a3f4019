"""How do arrays reach a GPU without anybody waiting? By copies from pinned memory, which the GPU makes by itself."""

from collections.abc import Callable
from dataclasses import fields, is_dataclass, replace
from typing import Any, TypeVar

import torch
from torch import Tensor

T = TypeVar("T")


def pinned(held: T, device: torch.device) -> T:
    """Return a tensor, or a tuple or dataclass of them, in memory that a GPU can read by itself; else as it is."""
    return _each(held, Tensor.pin_memory) if device.type == "cuda" else held


def sent(held: T, device: torch.device) -> T:
    """Return a tensor, or a tuple or dataclass of them, on the device.

    A copy from memory that is not pinned would wait for all that the GPU has still to do, so it is pinned first.
    """

    def copied(tensor: Tensor) -> Tensor:
        return tensor.to(device, non_blocking=True)

    return _each(pinned(held, device), copied)


def _each(held: T, change: Callable[[Tensor], Tensor]) -> T:
    found: Any = held
    if isinstance(held, Tensor):
        found = change(held)
    elif isinstance(held, tuple):
        found = tuple(_each(one, change) for one in held)
    elif is_dataclass(held) and not isinstance(held, type):
        found = replace(held, **{field.name: _each(getattr(held, field.name), change) for field in fields(held)})
    out: T = found
    return out
