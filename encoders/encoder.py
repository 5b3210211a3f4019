"""What must a text encoder offer to be tuned on behaviour? Rows of items in, unit vectors with gradient out."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn


class Encoder(Protocol):
    """A text encoder over a fixed catalogue of texts, ready for training and for being saved."""

    dim: int
    kind: str
    text_lengths: NDArray[np.int64]
    """Tokens of each catalogue text, on the host."""
    forgets: bool
    """Whether `cold` changes any vector."""

    @property
    def module(self) -> nn.Module:
        """Everything with parameters: what is put on a device and what a checkpoint holds."""

    def vectors(self, rows: Tensor, *, cold: Tensor | None = None) -> Tensor:
        """Return unit vectors [n, dim] of catalogue rows, on the module's device; zeros for texts without a token.

        The rows are on the host, or a GPU would have to be waited for. `cold`, one flag a row on the device, asks for
        the vector as it would be had nobody ever touched the item.
        """

    def groups(self, rate: float) -> Iterator[dict[str, Any]]:
        """Yield optimiser parameter groups around the tower's learning rate."""

    def save(self, folder: Path) -> dict[str, Any]:
        """Write what serving needs into the folder and return the encoder's part of `config.json`."""

    def start_from(self, folder: Path) -> None:
        """Take over what an earlier training wrote with `save`."""


def all_vectors(encoder: Encoder, n_items: int, *, at_once: int = 4096) -> Tensor:
    """Return the vectors of the whole catalogue, without gradient."""
    device = next(encoder.module.parameters()).device
    was_training = encoder.module.training
    encoder.module.eval()
    vectors = torch.empty((n_items, encoder.dim), device=device)
    with torch.no_grad():
        for start in range(0, n_items, at_once):
            rows = torch.arange(start, min(start + at_once, n_items))
            vectors[start : start + at_once] = encoder.vectors(rows)
    encoder.module.train(was_training)
    return vectors
