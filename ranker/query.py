"""What does a service ask, and what does it get? The question and the answer, as plain values."""

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

import numpy as np

from ranker.arrays import Floats


@dataclass(frozen=True, kw_only=True)
class Query:
    """One request for recommendations: user, moment and context."""

    user_id: str
    """Id as in the log; a user never seen is a cold user, not an error."""
    as_of: datetime
    """Naive UTC; only what occurred strictly before counts."""
    live: bool = False
    """Whether it is asked now. Then the rules know all that the user took or hid, also what lies after `as_of` because
    the clock was set back."""
    k: int = 20
    """How many items to return at most."""
    exclude: frozenset[str] = frozenset()
    """Item ids that must not be returned."""
    categories: frozenset[str] = frozenset()
    """When not empty, only items with at least one of these categories are returned."""
    session: tuple[str, ...] = ()
    """Item ids looked at in this session, oldest first; they count as views at `as_of`."""
    min_price: float | None = None
    """When given, only items of a known price that is at least this are returned."""
    max_price: float | None = None
    """When given, only items of a known price that is at most this are returned."""
    diversity: float | None = None
    """How much the items shall differ, 0 to 1; None: as the settings say."""
    explain: bool = False
    """Whether items come with their reasons: those of the first places, `EXPLAINED` in `ranker.explain`."""
    compare: tuple[str, str] | None = None
    """Two items of which it shall be said why the first scores higher than the second, or lower."""
    request_id: str | None = None
    """What the answer will be called; seeds exploration. None: nothing is explored, as nobody would log it."""


@dataclass(frozen=True, kw_only=True)
class GivenItem:
    """An item that the caller wants ranked; one unknown to the bundle is read from its text."""

    item_id: str
    title: str | None = None
    description: str | None = None
    categories: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class FeatureWeight:
    """What one feature adds to a score."""

    name: str
    value: float
    """NaN = not defined for this item."""
    weight: float
    """What it adds to the score: a SHAP value, or the feature's part of fused ranks. `count_all` also bears what an
    untouched item loses in a live answer; no unit."""


@dataclass(frozen=True, kw_only=True)
class Reason:
    """Why an item stands where it does."""

    family: str
    """Feature family, such as `text interest` or `popularity`."""
    weight: float
    """How much the family adds to the score: the sum over its features; no unit."""
    because: str | None = None
    """Id of the item in the user's own history that speaks most for this one, if any does."""
    features: tuple[FeatureWeight, ...] = ()
    """The family's features that weigh most, for or against, strongest first."""


@dataclass(frozen=True, kw_only=True)
class FeatureDifference:
    """What one feature does for the first of two items rather than for the second."""

    name: str
    first: float
    """Value for the first item; NaN = not defined."""
    second: float
    weight: float
    """What it adds to the score of the first less what it adds to that of the second."""


@dataclass(frozen=True, kw_only=True)
class FamilyDifference:
    """What one family does for the first of two items rather than for the second."""

    family: str
    weight: float
    """Sum of the features' weights."""
    features: tuple[FeatureDifference, ...]
    """Strongest first; those that weigh the same in both are left out."""


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Why one item scores above another, or below. A place may come from something else: `placed_by` tells."""

    first: str
    second: str
    difference: float
    """Score of the first less that of the second: the sum of the families' weights."""
    families: tuple[FamilyDifference, ...]
    """All families, strongest first."""


class PlacedBy(StrEnum):
    """What put an item at its place."""

    SCORE = "score"
    """The highest of what was left and fits the caps."""
    LIST = "list"
    """The order of a popularity list: the user has no past."""
    DIVERSITY = "diversity"
    """It differs more from the items above it than others that score higher."""
    NEW = "new"
    """A place kept for new items."""
    EXPLORE = "explore"
    """It was drawn at random."""
    CAP = "cap"
    """A cap held it back, and gave way when nothing else was left."""
    NEWEST = "newest"
    """No source proposed it: it fills up the answer."""


@dataclass(kw_only=True, slots=True)  # not frozen, which takes more than twice as long to make
class RankedItem:
    """One item of an answer."""

    item_id: str
    rank: int
    """1-based."""
    score: float
    """Higher is better within one answer, but where something else decides: `placed_by`; no unit."""
    placed_by: str = PlacedBy.SCORE
    """A value of `PlacedBy`."""
    probability: float | None = None
    """How likely it is taken next (recommended), or clicked when shown (given); None where nothing was learned."""
    propensity: float = 1.0
    """Probability with which it was shown at this place; 1 where nothing is drawn."""
    sources: tuple[str, ...] = ()
    """Candidate sources that proposed it, and `explore` if it was drawn; empty for given items."""
    reasons: tuple[Reason, ...] = ()
    """Strongest first; empty unless asked for."""
    features: Floats = field(default_factory=lambda: np.empty(0, np.float32), compare=False, repr=False)
    """Feature values in the order of the bundle's feature names; none where no model gave the score."""


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What was shown, and what was held back."""

    items: tuple[RankedItem, ...]
    comparison: Comparison | None = None
    """Only when asked for; None also where an item was no candidate, and in degraded answers."""
    degraded: bool = False
    """True when a part of the model could not be used and a simpler answer was given."""
    filtered: dict[str, int] = field(default_factory=dict)
    """How many items each hard rule held back, `unavailable`, `seen` (taken or hidden), `excluded`, `category`, `price`
    and `price_unknown`; an item that several hold back counts for the first of these."""
