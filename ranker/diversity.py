"""How do the first items of an answer come to differ from each other? Maximal marginal relevance."""

import numpy as np
import numpy.typing as npt

from ranker.arrays import Floats
from ranker.caps import Tally

PLACES = 100
"""Places that are filled with an eye to what stands above; those below follow the score."""
POOL = 2
"""So many candidates are looked at for each place, LEAST_POOL at least."""
LEAST_POOL = 100


def pool_size(k: int) -> int:
    """Return how many of the best candidates are looked at for an answer of `k` items."""
    return max(POOL * min(k, PLACES), LEAST_POOL)


def diverse(
    score: npt.NDArray[np.float64],
    vectors: Floats,
    rows: npt.NDArray[np.integer],
    n: int,
    diversity: float,
    tally: Tally,
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
    """Return the places of `n` candidates (fewer when no other fits the caps), the next one first; counts them.

    Beside each stands whether difference chose it: where it is not the best one left that fits.

    Candidates come best first, as catalogue `rows` with scores and item vectors [m, d]. Each next one is that with the
    largest (1 - diversity) x relevance - diversity x its largest similarity to those above it (maximal marginal
    relevance; Carbonell and Goldstein, The use of MMR, SIGIR 1998). Relevance is the score brought to 0..1 within
    the candidates given, for scores have no unit; similarity is the cosine. The best one stays first. An item without
    text is as similar to any other as two items are on average: it must not win by saying nothing.
    """
    worth = ((1 - diversity) * _unit(score)).astype(np.float32)
    worth[~tally.open[rows]] = -np.inf
    beside = worth - np.float32(diversity) * _similarities(vectors)  # [above, next]
    gain = worth
    chosen: list[int] = []
    by_difference: list[bool] = []
    for _ in range(min(n, len(rows))):
        best = int(gain.argmax())
        if gain[best] == -np.inf:
            break
        by_difference.append(best != (gain > -np.inf).argmax())
        # What is taken or closed is at -inf and stays there: the largest likeness above is the smallest gain.
        gain = np.minimum(gain, beside[best]) if chosen else beside[best].copy()
        gain[best] = -np.inf
        chosen.append(best)
        if tally.add(int(rows[best])):
            gain[~tally.open[rows]] = -np.inf
    return np.array(chosen, np.int64), np.array(by_difference, bool)


def _unit(score: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    lowest, highest = score.min(initial=np.inf), score.max(initial=-np.inf)
    return (score - lowest) / (highest - lowest) if highest > lowest else np.zeros(len(score))


def _similarities(vectors: Floats) -> Floats:
    length = np.sqrt(np.einsum("md,md->m", vectors, vectors))
    silent = length == 0
    unit: Floats = vectors / np.where(silent, 1, length).astype(np.float32)[:, None]
    cosine: Floats = unit @ unit.T
    if silent.any():
        n_telling = int((~silent).sum())
        pairs = n_telling * (n_telling - 1)
        average = (float(cosine.sum()) - n_telling) / pairs if pairs else 0.0
        cosine[silent], cosine[:, silent] = average, average
    return cosine
