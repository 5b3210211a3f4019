"""What must never be shown? Hard rules, whatever the score says."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ranker.catalogue import Catalogue
from ranker.history import History, Moments


@dataclass(frozen=True, kw_only=True)
class RulesConfig:
    """What may be recommended."""

    repeats: bool = False
    """Whether items that the user already took may be recommended again."""
    fresh_every: int = 10
    """Of every so many places at least one goes to an item that hardly anyone has touched; 0 keeps no place."""


def on_offer(catalogue: Catalogue, moments: Moments) -> npt.NDArray[np.bool_]:
    """Mark what could be had at each query's moment [q, n_items]: available, and published at or before it."""
    # Asked about a past moment, an item published later would be a leak and could not have been taken.
    offered: npt.NDArray[np.bool_] = catalogue.available[None] & (
        catalogue.published_at[None] <= moments.as_of[:, None]
    )
    return offered


def allowed_items(
    history: History, moments: Moments, catalogue: Catalogue, config: RulesConfig | None = None
) -> npt.NDArray[np.bool_]:
    """Mark what each query may be shown [q, n_items]: on offer, not hidden and, without repeats, not taken before."""
    repeats = (config or RulesConfig()).repeats
    allowed = on_offer(catalogue, moments)
    query, item, weight = history.taken(moments)
    blocked = weight < 0 if repeats else np.ones(len(weight), bool)
    allowed[query[blocked], item[blocked]] = False
    return allowed


def without(
    allowed: npt.NDArray[np.bool_],
    offered: npt.NDArray[np.bool_],
    catalogue: Catalogue,
    *,
    exclude: Iterable[str],
    categories: Iterable[str],
) -> tuple[npt.NDArray[np.bool_], dict[str, int]]:
    """Apply one query's own wishes to its row of `allowed` [n_items]; also say how many items each rule held back."""
    wanted = list(categories)
    excluded = np.zeros(len(catalogue), bool)
    rows = catalogue.rows(exclude)
    excluded[rows[rows >= 0]] = True
    elsewhere = ~catalogue.in_categories(wanted) if wanted else np.zeros(len(catalogue), bool)
    held_back = {
        "unavailable": int((~offered).sum()),
        "seen": int((offered & ~allowed).sum()),
        "excluded": int((allowed & excluded).sum()),
        "category": int((allowed & ~excluded & elsewhere).sum()),
    }
    return allowed & ~excluded & ~elsewhere, held_back
