"""How well do words alone tell what is taken next? A TF-IDF profile: what text interest must not be below."""

from collections.abc import Iterator
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from torch import Tensor

from encoders.batches import histories_at
from encoders.intervals import paired_interval
from encoders.measure import HeldOut, at_once, bar_taken, gains, not_ranked, target_ranks
from encoders.past import past_rows, past_shares
from encoders.report import Lead
from encoders.sequences import Sequences

Ints = NDArray[np.int64]

EVENTS: Final = 20
"""A profile is the mean of the words of so many latest items."""
DECAY: Final = 0.9
"""Each older item counts this much of the next newer one."""
_AT_ONCE: Final = 128


def profiles(items: Ints, taken: NDArray[np.bool_], words: csr_matrix) -> csr_matrix:
    """Return the mean of the words of each past's latest items [q, n_words].

    `items` [q, L] are rows of `words` [n_items, n_words], oldest first, those that count where `taken`.

    >>> words = csr_matrix(np.eye(3))
    >>> rows = profiles(np.array([[0, 1, 2]]), np.array([[True, False, True]]), words).toarray()
    >>> np.allclose(rows, [[0.9 / 1.9, 0, 1 / 1.9]])
    True
    """
    back = taken[:, ::-1].cumsum(axis=1)[:, ::-1]
    shares = past_shares(np.ones(taken.shape), taken & (back <= EVENTS), DECAY)
    return past_rows(items, shares, words.shape[0]) @ words


def similarities(profile: csr_matrix, words: csr_matrix) -> NDArray[np.float32]:
    """Return products of profiles with all items [q, n_items]: cosines, but for the profiles' lengths."""
    # times dense columns: SciPy's product of two sparse matrices takes ten times as long
    return np.asarray((words @ profile.T.toarray()).T, np.float32)


def profile_ranks(data: Sequences, asked: HeldOut, words: csr_matrix) -> Ints:
    """Return the 1-based rank of each question's target among the same items as by interest."""
    ranks = np.zeros(len(asked.users), dtype=np.int64)
    for part, scores in asked_profiles(data, asked, words):
        ranks[part] = target_ranks(scores, asked.targets[part])
    return ranks


def asked_profiles(data: Sequences, asked: HeldOut, words: csr_matrix) -> Iterator[tuple[slice, Tensor]]:
    """Yield some questions at a time: which, and their profiles' similarity to all items; -inf for what is not ranked.

    A profile is made of what the user had taken strictly before the question; refusals are no part of it.
    """
    left_out = torch.from_numpy(not_ranked(data, asked))
    size = at_once(data.n_items, _AT_ONCE)
    for start in range(0, len(asked.users), size):
        part = slice(start, start + size)
        users, times = asked.users[part], asked.times[part]
        # refusals take places among the events read, so twice as many are read as count
        found, _, _ = histories_at(data, users, times, 2 * EVENTS)
        profile = profiles(found.items, found.mask & (found.weights > 0), words)
        scores = torch.from_numpy(np.ascontiguousarray(similarities(profile, words)))
        scores.masked_fill_(left_out, -torch.inf)
        bar_taken(data, users, times, scores)
        yield part, scores


def lead(ours: Ints, theirs: Ints, *, users: NDArray[np.integer], seed: int) -> Lead | None:
    """Return how far NDCG@10 by some ranks is above that by others of the same questions, each of a user.

    None with fewer than two users: one alone tells nothing of how far users differ.
    """
    if len(np.unique(users)) < 2:
        return None
    found = paired_interval(gains(ours), gains(theirs), users=users, seed=seed)
    return Lead(value=found.value, low=found.low, high=found.high)
