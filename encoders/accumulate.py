"""How does a step keep all its negatives when its texts do not fit? Vectors first, gradients a few texts at a time."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from encoders.encoder import Encoder
from encoders.to_device import sent


@dataclass(frozen=True, kw_only=True)
class _Piece:
    """Some of the rows that were asked for together, and the random state they were first encoded with."""

    places: Tensor
    """Where they stand among all rows, on the device."""
    rows: Tensor
    cold: Tensor | None
    vectors: Tensor
    """All rows' vectors, cut from the graph: where the loss leaves its gradient."""
    random: tuple[Tensor, Tensor | None]


class Accumulated:
    """An encoder for one step of training that holds the graph of at most `at_once` texts.

    GradCache (Gao et al., 2021, "Scaling Deep Contrastive Learning Batch Size under Memory Limited Setup"): all texts
    are encoded without gradient, the loss is taken on their vectors, and its gradient for the vectors is carried on by
    encoding the texts again, `at_once` at a time, with the same draws of dropout. So the loss sees every candidate, as
    it would not if the batch itself were split. Costs one more forward pass; with `at_once` 0 there is no piece and
    nothing more to do. Make one for each step: `vectors` as often as the loss asks, then `backward` once.
    """

    def __init__(self, encoder: Encoder, at_once: int) -> None:
        self.encoder = encoder
        learns = any(value.requires_grad for value in encoder.module.parameters())
        self.at_once = at_once if learns else 0
        self.texts = 0
        """Texts asked for so far, counted before they are encoded."""
        self.tokens = 0
        self._pieces: list[_Piece] = []

    def vectors(self, rows: Tensor, *, cold: Tensor | None = None) -> Tensor:
        """Return unit vectors of catalogue rows; with pieces they are leaves that wait for `backward`."""
        lengths = self.encoder.text_lengths[rows.numpy()]
        self.texts += len(rows)
        self.tokens += int(lengths.sum())
        if not self.at_once or not len(rows):
            return self.encoder.vectors(rows, cold=cold)
        device = next(self.encoder.module.parameters()).device
        out = torch.zeros((len(rows), self.encoder.dim), device=device)
        # longest first: texts of one piece are alike in length, and memory that is too small is so at the first
        order = torch.from_numpy(np.argsort(-lengths, kind="stable"))
        for some in torch.split(order, self.at_once):
            places = sent(some, device)
            part, chosen = rows[some], cold[places] if cold is not None else None
            random = _random_state(device)
            with torch.no_grad():
                out[places] = self.encoder.vectors(part, cold=chosen).float()
            self._pieces.append(_Piece(places=places, rows=part, cold=chosen, vectors=out, random=random))
        return out.requires_grad_()

    def backward(self, loss: Tensor) -> None:
        """Leave the loss's gradient at the encoder's parameters and all others that the loss came through."""
        loss.backward()  # type: ignore[no-untyped-call]
        pieces, self._pieces = self._pieces, []
        if not pieces:
            return
        device = pieces[0].vectors.device
        with torch.random.fork_rng([device] if device.type == "cuda" else []):
            for piece in pieces:
                if piece.vectors.grad is None:
                    continue
                _set_random_state(piece.random, device)
                again = self.encoder.vectors(piece.rows, cold=piece.cold).float()
                if again.requires_grad:
                    again.backward(piece.vectors.grad[piece.places])  # type: ignore[no-untyped-call]


def _random_state(device: torch.device) -> tuple[Tensor, Tensor | None]:
    return torch.get_rng_state(), torch.cuda.get_rng_state(device) if device.type == "cuda" else None


def _set_random_state(state: tuple[Tensor, Tensor | None], device: torch.device) -> None:
    torch.set_rng_state(state[0])
    if state[1] is not None:
        torch.cuda.set_rng_state(state[1], device)
