"""Whose histories are served when serving is measured? Those of a log's last users, or made-up ones of one length."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from encoders.interest import Floats, InterestModel
from encoders.kinds import Codes
from encoders.sequences import Sequences

EVENTS = 32
"""Most events of a history."""


@dataclass(frozen=True, kw_only=True)
class Histories:
    """The last events of some users before some moment, oldest first, padded behind."""

    items: NDArray[np.int64]
    weights: Floats
    codes: Codes
    """What each was, in the model's vocabulary of kinds."""
    ages: NDArray[np.float64]
    mask: NDArray[np.bool_]
    following: NDArray[np.int64]
    """What each user took next."""

    def users(self, model: InterestModel, vectors: Floats) -> Floats:
        """Return the users' vectors."""
        return model.user_vectors(vectors[self.items], self.weights, self.ages, self.mask, self.codes)


def histories(data: Sequences, n_users: int, exactly: int | None = None) -> Histories:
    """Return users of the log's last tenth before their last take, of something new to them.

    With `exactly`, made-up users of so many events each.
    """
    rng = np.random.default_rng(0)
    weights, seconds = np.asarray(data.weights, np.float32), data.times / 1e6
    if exactly:
        events = np.sort(rng.integers(0, len(data.items), size=(n_users, exactly)), axis=1)
        mask = np.ones(events.shape, bool)
        ages = np.sort(rng.uniform(0, 3e7, size=events.shape))[:, ::-1]
        following = data.items[events[:, -1]]
        return Histories(
            items=data.items[events],
            weights=weights[events],
            codes=data.codes[events],
            ages=ages,
            mask=mask,
            following=following,
        )
    late, lengths = np.quantile(seconds, 0.9), np.diff(data.starts)
    last = data.starts[1:] - 1
    again = [data.items[end] in data.items[start:end] for start, end in zip(data.starts, last, strict=False)]
    users = np.flatnonzero((lengths >= 5) & (seconds[last] >= late) & ~np.array(again))
    users = rng.choice(users, min(n_users, len(users)), replace=False)
    counts = np.minimum(lengths[users] - 1, EVENTS)
    events = (last[users] - counts)[:, None] + np.arange(EVENTS)
    mask = events < last[users][:, None]
    events = np.where(mask, events, 0)
    return Histories(
        items=data.items[events],
        weights=weights[events],
        codes=data.codes[events],
        ages=seconds[last[users]][:, None] - seconds[events],
        mask=mask,
        following=data.items[last[users]],
    )
