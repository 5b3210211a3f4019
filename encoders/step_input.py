"""What does the device need for one step? Which texts to encode, and all else that the losses read, as tensors.

Made by the thread that cuts batches, so that the thread that launches a GPU's work never waits for it.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from encoders.batches import Batch, Ints, tower_inputs
from encoders.encoder import Encoder
from encoders.impressions import ShownBatch


@dataclass(frozen=True, kw_only=True)
class PairTensors:
    """A `Batch` as tensors; items stand here as places among the vectors of the texts that are encoded."""

    events: Tensor
    """Items of the histories [b, L]."""
    history: tuple[Tensor, Tensor, Tensor, Tensor]
    """What the tower reads of the histories beside the vectors."""
    state: Tensor
    """Which of the b * L states each pair begins from [p]."""
    gap: Tensor
    target: Tensor
    importance: Tensor
    candidates: Tensor
    log_odds: Tensor
    moment: Tensor
    first_seen: Tensor
    user: Tensor
    n_users: int
    taken: Tensor
    drawn_skips: Tensor
    skips: Tensor
    skipped: Tensor
    has_skips: bool

    def barred(self) -> Tensor:
        """Return which candidates are no negatives of each pair [p, c]; its target never is among them.

        They are what the pair's user took at any time, what nobody had yet seen at its moment, and its own skips,
        which count as such. Made where it is needed: the parts are a hundredth of it.
        """
        size = len(self.candidates)
        taken = torch.zeros(self.n_users * size, dtype=torch.bool, device=self.taken.device)
        taken.index_fill_(0, self.taken, True)
        barred = self.first_seen[None, :] > self.moment[:, None]
        barred |= taken.view(self.n_users, size).index_select(0, self.user)
        barred.view(-1).index_fill_(0, self.drawn_skips, True)
        return barred.scatter_(1, self.target[:, None], False)


@dataclass(frozen=True, kw_only=True)
class ShownTensors:
    """A `ShownBatch` as tensors; items stand here as places among the vectors of the texts that are encoded."""

    events: Tensor
    """Items of the histories [r, L]."""
    history: tuple[Tensor, Tensor, Tensor, Tensor]
    """What the tower reads of the histories beside the vectors."""
    place: Tensor
    gap: Tensor
    items: Tensor
    mask: Tensor
    clicked: Tensor


@dataclass(frozen=True, kw_only=True)
class StepInput:
    """One step's pairs and requests, and the distinct catalogue rows that are encoded for them."""

    rows: Tensor
    """These stay on the host, where the encoder cuts them into pieces."""
    pairs: PairTensors
    shown: ShownTensors | None = None
    shown_rows: Tensor | None = None
    """The requests' own rows, for an encoder that reads the pairs' items as if they were new; else they are among
    `rows`, and an item of both is encoded once."""


def step_input(batch: Batch, shown: ShownBatch | None, encoder: Encoder) -> StepInput:
    """Return what a step over the batch, and over the requests that were drawn beside it, needs."""
    asked = _items(batch)
    if shown is None:
        rows, places = _distinct(asked, encoder)
        return StepInput(rows=torch.from_numpy(rows), pairs=_pairs(batch, places))
    also = _items(shown)
    if encoder.forgets:
        rows, places = _distinct(asked, encoder)
        shown_rows, shown_places = _distinct(also, encoder)
        return StepInput(
            rows=torch.from_numpy(rows),
            pairs=_pairs(batch, places),
            shown=_shown(shown, shown_places),
            shown_rows=torch.from_numpy(shown_rows),
        )
    rows, places = _distinct(np.concatenate([asked, also]), encoder)
    return StepInput(
        rows=torch.from_numpy(rows),
        pairs=_pairs(batch, places[: len(asked)]),
        shown=_shown(shown, places[len(asked) :]),
    )


def _items(batch: Batch | ShownBatch) -> Ints:
    """Return all items of a batch: its events, and behind them what these choose among."""
    others = [batch.items] if isinstance(batch, ShownBatch) else [batch.candidates, batch.skips]
    return np.concatenate([batch.histories.items.ravel(), *(one.ravel() for one in others)])


def _distinct(items: Ints, encoder: Encoder) -> tuple[Ints, Ints]:
    """Return the distinct items, and where each stands among them.

    A transformer runs texts of like length together, so for it they are sorted by length, and need not be put back.
    """
    rows, places = np.unique(items, return_inverse=True)
    if encoder.forgets:
        return rows, places
    order = np.argsort(encoder.text_lengths[rows], kind="stable")
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    return rows[order], rank[places]


def _pairs(batch: Batch, places: Ints) -> PairTensors:
    ends = np.cumsum([batch.histories.items.size, len(batch.candidates)])
    events, candidates, skips = np.split(places, ends)
    return PairTensors(
        events=torch.from_numpy(events.reshape(batch.histories.items.shape)),
        history=tower_inputs(batch.histories),
        state=torch.from_numpy(batch.row * batch.histories.items.shape[1] + batch.place),
        gap=torch.from_numpy(batch.gap),
        target=torch.from_numpy(batch.target),
        importance=torch.from_numpy(batch.importance),
        candidates=torch.from_numpy(candidates),
        log_odds=torch.from_numpy(batch.log_odds),
        moment=torch.from_numpy(batch.moment),
        first_seen=torch.from_numpy(batch.first_seen),
        user=torch.from_numpy(batch.user),
        n_users=int(batch.user.max()) + 1,
        taken=torch.from_numpy(batch.taken),
        drawn_skips=torch.from_numpy(batch.drawn_skips),
        skips=torch.from_numpy(skips.reshape(batch.skips.shape)),
        skipped=torch.from_numpy(batch.skipped),
        has_skips=bool(batch.skipped.any()),
    )


def _shown(batch: ShownBatch, places: Ints) -> ShownTensors:
    events, items = np.split(places, [batch.histories.items.size])
    return ShownTensors(
        events=torch.from_numpy(events.reshape(batch.histories.items.shape)),
        history=tower_inputs(batch.histories),
        place=torch.from_numpy(batch.place),
        gap=torch.from_numpy(batch.gap),
        items=torch.from_numpy(items.reshape(batch.items.shape)),
        mask=torch.from_numpy(batch.mask),
        clicked=torch.from_numpy(batch.clicked),
    )
