"""What must never be shown? Hard rules, whatever the score says."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Annotated

import numpy as np
import numpy.typing as npt

from ingest.bounds import Bounds, Fraction, Size, check_bounds
from ranker.catalogue import Catalogue
from ranker.history import History
from ranker.moments import Moments


@dataclass(frozen=True, kw_only=True)
class RulesConfig:
    """What may be recommended."""

    repeats: bool = False
    """Whether items that the user already took may be recommended again."""
    fresh_every: Size = 10
    """At least one in this many places goes to an item that hardly anyone has touched; 0 keeps no place."""
    fresh_cost: Fraction = 0.08
    """Share of known items' NDCG@10 that more than one such place may cost on a later window. Training then keeps up
    to half of all places, for users who take new items or for everyone, and none where hardly anybody takes such
    items; 0 keeps one. This holds for answers at the bundle's cutoff; later ones keep one."""
    price_attribute: str = "price"
    """Attribute of the catalogue that a query's min_price and max_price look at."""
    diversity: Fraction = 0.0
    """How much the first hundred items differ from each other: 0 follows the score alone, 1 difference alone.
    A query may ask for another value."""
    caps: dict[str, int] = field(default_factory=dict)
    """How many items of an answer may share a value, such as { category = 4, brand = 3 }. `category` means the
    categories, except those that a query asks for; other names are attributes of the catalogue. 0 caps nothing."""
    explore_share: Fraction = 0.0
    """Probability with which the service gives a place, from the fourth on, to an item drawn at random. Its logs
    show what that costs. Files of queries are answered without it."""
    explore_top: Annotated[int, Bounds(least=1, way_out="explore_share = 0 switches off")] = 50
    """Such an item is drawn from this many candidates next below the answer, each equally likely."""

    def __post_init__(self) -> None:
        check_bounds(self)
        for name, limit in self.caps.items():
            if limit < 0:
                raise ValueError(f"caps: wanted 0 or more for {name}, got {limit}; 0 caps nothing")


def on_offer(catalogue: Catalogue, moments: Moments) -> npt.NDArray[np.bool_]:
    """Mark what could be had at each query's moment [q, n_items]: available then, and published at or before it."""
    available = catalogue.available_at(moments.as_of)
    if len(moments) and moments.as_of.min() >= catalogue.last_published:
        return np.array(np.broadcast_to(available, (len(moments), len(catalogue))))
    # Asked about a past moment, an item published later would be a leak and could not have been taken.
    offered: npt.NDArray[np.bool_] = catalogue.published_at[None] <= moments.as_of[:, None]
    offered &= available
    return offered


def allowed_items(
    history: History,
    moments: Moments,
    catalogue: Catalogue,
    config: RulesConfig | None = None,
    offered: npt.NDArray[np.bool_] | None = None,
) -> npt.NDArray[np.bool_]:
    """Mark what each query may be shown [q, n_items]: on offer, not hidden and, without repeats, not taken before.

    `offered` is what `on_offer` marks, where that is known already.
    """
    repeats = (config or RulesConfig()).repeats
    allowed = on_offer(catalogue, moments) if offered is None else offered.copy()
    past = history.taken(moments)
    blocked = past.weight < 0 if repeats else np.ones(len(past.weight), bool)
    allowed[past.query[blocked], past.item[blocked]] = False
    return allowed


def without(
    allowed: npt.NDArray[np.bool_],
    offered: npt.NDArray[np.bool_],
    catalogue: Catalogue,
    *,
    exclude: Iterable[str],
    categories: Iterable[str],
    prices: npt.NDArray[np.float64],
    min_price: float | None,
    max_price: float | None,
) -> tuple[npt.NDArray[np.bool_], dict[str, int]]:
    """Apply one query's own wishes to its row of `allowed` [n_items]; also say how many items each rule held back.

    Both bounds of the price belong to the range; where one is asked for, an item without a known price (NaN) is held
    back as `price_unknown`.
    """
    left = offered & allowed
    n_offered, n_left = int(np.count_nonzero(offered)), int(np.count_nonzero(left))
    held_back = {"unavailable": len(offered) - n_offered, "seen": n_offered - n_left}
    held_back |= dict.fromkeys(("excluded", "category", "price", "price_unknown"), 0)

    def hold_back(rule: str, broken: npt.NDArray[np.bool_]) -> None:
        held_back[rule] = int(np.count_nonzero(left & broken))
        left[broken] = False

    rows = catalogue.rows(exclude)
    rows = np.unique(rows[rows >= 0])
    held_back["excluded"] = int(np.count_nonzero(left[rows]))
    left[rows] = False
    if wanted := list(categories):
        hold_back("category", ~catalogue.in_categories(wanted))
    if min_price is not None or max_price is not None:
        lowest, highest = -np.inf if min_price is None else min_price, np.inf if max_price is None else max_price
        hold_back("price", (prices < lowest) | (prices > highest))
        hold_back("price_unknown", np.isnan(prices))
    return left, held_back
