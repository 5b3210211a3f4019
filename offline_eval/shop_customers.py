"""What do the simulated shop's customers want, and when? Tastes over aspect words that change with time."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from offline_eval import shop_words as words
from offline_eval.shop_catalogue import ASPECTS, FIRST_WORD, VOCABULARY

_IMPORTANCE = {"department": 1.6, "material": 1.5, "style": 1.9, "value": 1.9, "use": 1.4, "brand": 0.7}
_N_PERSONAS = 24


@dataclass(frozen=True, kw_only=True)
class Customers:
    """Users by row. A user's taste at a moment lies between `before` and `after`, see `tastes`."""

    before: NDArray[np.float16]
    """[n_users, n_words] taste at first."""
    after: NDArray[np.float16]
    """[n_users, n_words] taste at last; equal to `before` for those who do not change."""
    drift_day: NDArray[np.float32]
    """Day on which a taste stands halfway."""
    drift_width: NDArray[np.float32]
    """Days that the change takes; near 0 for a sudden one."""
    joined_day: NDArray[np.int32]
    """First day on which the user comes; below 1 for those known from the start."""
    left_day: NDArray[np.int32]
    """Day from which the user never comes again."""
    activity: NDArray[np.float64]
    """How often the user comes, relative to others."""

    def tastes(self, users: NDArray[np.int64], day: NDArray[np.float64]) -> NDArray[np.float32]:
        """Give each user's taste at a day counted from the start, by row: [n, n_words] float32.

        before + (after - before) / (1 + exp(-(day - drift_day) / drift_width))
        """
        turn = (day - self.drift_day[users]) / self.drift_width[users]
        share = (1.0 / (1.0 + np.exp(-np.clip(turn, -30.0, 30.0)))).astype(np.float32)[:, None]
        first, last = self.before[users].astype(np.float32), self.after[users].astype(np.float32)
        return first + (last - first) * share


def make_customers(
    rng: np.random.Generator, n_users: int, days: int, late_share: float, drift_share: float
) -> Customers:
    """Draw users from personas; `late_share` of them first come while the simulation runs, `drift_share` change."""
    personas = _personas(rng)
    before = _users_of(rng, personas, n_users)
    drifts = rng.random(n_users) < drift_share
    after = before.copy()
    after[drifts] = _users_of(rng, personas, int(drifts.sum()))
    late = rng.random(n_users) < late_share
    joined = np.where(late, rng.integers(1, max(2, days), n_users), 0)
    stays = rng.exponential(1.5 * days, n_users).astype(np.int64) + 7
    return Customers(
        before=before,
        after=after,
        drift_day=rng.uniform(0.1 * days, 0.95 * days, n_users).astype(np.float32),
        drift_width=np.where(rng.random(n_users) < 0.5, 0.5, 0.06 * days).astype(np.float32),
        joined_day=joined.astype(np.int32),
        left_day=np.minimum(joined + stays, 2 * days + 7).astype(np.int32),
        activity=rng.lognormal(0.0, 0.9, n_users),
    )


def season(day_of_year: float) -> NDArray[np.float32]:
    """Give what the time of year adds to the taste for each word: [n_words] float32, up to 1.2 on the peak day."""
    wanted = np.zeros(len(VOCABULARY), dtype=np.float32)
    for word, peak in words.PEAK_DAY.items():
        wanted[VOCABULARY.index(word)] = 1.2 * np.cos(2 * np.pi * (day_of_year - peak) / 365.25)
    return wanted


def _personas(rng: np.random.Generator) -> NDArray[np.float32]:
    """Draw what each persona likes: a few loved and a few disliked words of each aspect, the others about 0."""
    tastes = rng.normal(0.0, 0.3, (_N_PERSONAS, len(VOCABULARY)))
    ends = [*list(FIRST_WORD.values())[1:], len(VOCABULARY)]
    for aspect, end in zip(ASPECTS, ends, strict=True):
        first = FIRST_WORD[aspect]
        for persona in tastes:
            order = first + rng.permutation(end - first)
            persona[order[:2]] += 1.8
            persona[order[2:4]] -= 1.3
        tastes[:, first:end] *= _IMPORTANCE[aspect]
    return tastes.astype(np.float32)


def _users_of(rng: np.random.Generator, personas: NDArray[np.float32], n_users: int) -> NDArray[np.float16]:
    mixed = np.empty((n_users, personas.shape[1]), dtype=np.float16)
    for first in range(0, n_users, 65_536):  # by blocks: the whole table in float64 would be gigabytes
        n = min(65_536, n_users - first)
        main, second = personas[rng.integers(0, len(personas), (2, n))]
        own = rng.standard_normal((n, personas.shape[1]), dtype=np.float32)
        mixed[first : first + n] = 0.8 * main + 0.3 * second + 0.3 * own
    return mixed
