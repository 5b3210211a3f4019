"""Which items can be among the nearest to one vector? A look over all of them in eight bits, whose error is known.

For one query the time of a product with a whole catalogue is that of reading it from memory: eight bits a number are
read four times as fast as 32. Nobody is ranked by what comes out: it tells whose exact product is worth computing.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ranker.arrays import Floats

_LEVELS = 127
_AT_ONCE = 65_536


@dataclass(frozen=True, kw_only=True)
class CoarseVectors:
    """Vectors, each rounded to whole numbers from -127 to 127 times a number of its own."""

    rounded: npt.NDArray[np.int8]
    """[n, d]."""
    scale: Floats
    """What one is worth in each row [n]."""
    longest: float
    """Greatest length of a vector, rounded or not."""
    error: float
    """Greatest length of what rounding took away."""

    @classmethod
    def of(cls, vectors: Floats) -> "CoarseVectors":
        """Round vectors [n, d]."""
        rounded, scale = np.empty(vectors.shape, np.int8), np.empty(len(vectors), np.float32)
        longest = error = 0.0
        for start in range(0, len(vectors), _AT_ONCE):  # what each step makes is several times what is kept
            part = slice(start, start + _AT_ONCE)
            rounded[part], scale[part] = _rounded(vectors[part])
            back = rounded[part] * scale[part, None]
            longest = max(longest, _longest(vectors[part]), _longest(back))
            error = max(error, _longest(vectors[part] - back))
        return cls(rounded=rounded, scale=scale, longest=longest, error=error)

    def products(self, vector: Floats) -> tuple[Floats, float]:
        """Return approximate products of each row with a vector [d], and the most that any of them can be off.

        What rounding took away is at most as long as its product with the other vector is large (Cauchy and Schwarz).

        >>> coarse = CoarseVectors.of(np.array([[0.6, 0.8], [1.0, 0.0]], np.float32))
        >>> products, error = coarse.products(np.array([2.0, 1.0], np.float32))
        >>> bool((np.abs(products - [2.0, 2.0]) <= error).all()), error < 0.05
        (True, True)
        """
        from simsimd import cdist

        rounded, scale = _rounded(vector[None])
        lost = float(np.linalg.norm(vector - rounded[0] * scale[0]))
        # Single precision holds these sums of whole numbers exactly, up to a thousand numbers a vector.
        products = np.asarray(cdist(rounded, self.rounded, metric="inner", out_dtype="float32"))[0]
        products *= scale[0] * self.scale
        error = float(np.linalg.norm(vector)) * self.error + lost * self.longest
        return products, error * (1 + 1e-4)  # and the last digits of this arithmetic itself


def _rounded(vectors: Floats) -> tuple[npt.NDArray[np.int8], Floats]:
    scale = np.abs(vectors).max(axis=1, initial=0) / _LEVELS
    divisor = np.where(scale > 0, scale, 1)[:, None]
    return np.round(vectors / divisor).astype(np.int8), np.asarray(scale, np.float32)


def _longest(vectors: Floats) -> float:
    return float(np.sqrt(np.einsum("nd,nd->n", vectors, vectors).max(initial=0)))
