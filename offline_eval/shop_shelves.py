"""What can the simulated shop show today, and how does a slate come about?"""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from offline_eval.shop_catalogue import Catalogue

Ints = NDArray[np.int64]

PLACES = 1 << 14
"""Places of a department's table; an item lighter than one place has one on some days only."""


@dataclass(frozen=True, kw_only=True)
class Shelves:
    """Today's goods: a department's table of item rows, in which a place is drawn evenly."""

    table: NDArray[np.int32]
    """[n_departments, PLACES]."""
    weight: NDArray[np.float64]
    """[n_items] share of the places of its department that an item has."""
    open: NDArray[np.int64]
    """Departments that have anything to sell today."""


def lay_out(rng: np.random.Generator, catalogue: Catalogue, day: int) -> Shelves:
    """Lay out the goods on show by that day.

    A table with as many places as the weight allows turns a weighted draw into one look-up. An item's weight falls
    with its age, and fresh items are shown more.
    """
    age = (day - catalogue.shown_day).astype(np.float64)
    shine = 0.4 + 0.6 * np.exp(-np.maximum(age, 0) / 240.0) + 2.0 * np.exp(-np.maximum(age, 0) / 15.0)
    weight = np.where(age < 0, 0.0, catalogue.appeal * shine)
    bounds = catalogue.department_bounds()
    table = np.zeros((len(bounds) - 1, PLACES), dtype=np.int32)
    share = np.zeros(catalogue.n_items)
    filled = []
    for department, (first, end) in enumerate(pairwise(bounds)):
        reach = np.cumsum(weight[first:end])
        if not len(reach) or reach[-1] <= 0.0:
            continue
        # One random offset a day lets even an item too light for a whole place have its turn.
        marks = np.floor(reach / reach[-1] * PLACES + 0.999 * rng.random()).astype(np.int64)
        marks = np.where(reach >= reach[-1], PLACES, np.minimum(marks, PLACES))
        places = np.diff(marks, prepend=0)
        table[department] = np.repeat(np.arange(first, end), places)
        share[first:end] = places / PLACES
        filled.append(department)
    return Shelves(table=table, weight=share, open=np.array(filled, dtype=np.int64))


def fill_slates(
    rng: np.random.Generator, shelves: Shelves, department: Ints, size: int
) -> tuple[NDArray[np.int32], NDArray[np.bool_], NDArray[np.float64]]:
    """Fill slates: draws [n, m], which of them stand in the slate, and each one's propensity given those above it.

    Distinct values of weighted draws with replacement, in order of first sight, are a Plackett-Luce sample (Plackett
    1975), so the propensity is exact: weight / (1 - weights of the items above).
    """
    draws = shelves.table[department[:, None], rng.integers(0, PLACES, (len(department), size + size // 2 + 1))]
    new = np.ones(draws.shape, dtype=np.bool_)
    for column in range(1, draws.shape[1]):
        new[:, column] = (draws[:, :column] != draws[:, column : column + 1]).all(axis=1)
    stands = new & (new.cumsum(axis=1) <= size)
    weight = shelves.weight[draws]
    standing = np.where(stands, weight, 0.0)
    above = np.cumsum(standing, axis=1) - standing
    return draws, stands, weight / np.maximum(1.0 - above, 1e-12)
