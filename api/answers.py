"""What does each answer over HTTP look like? `/docs` shows it as it stands here."""

from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict

from ranker.query import PlacedBy


class FeatureWeightOut(BaseModel):
    """What one feature adds to an item's score; docs/features.md lists what they mean."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    name: str
    value: float | None
    """null where the feature is not defined for this item."""
    weight: float
    """What it adds to the score: a SHAP value, or the feature's part of fused ranks. `count_all` also bears what an
    item that nobody has touched loses in a live answer."""


class ReasonOut(BaseModel):
    """Why an item stands where it does."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    family: str
    """Family of features, such as `text interest`."""
    weight: float
    """What the family adds to the score; above 0, as what speaks against the item is no reason."""
    because: str | None
    """The item of the user's own history that speaks most for this one."""
    features: Sequence[FeatureWeightOut]
    """The features of the family that weigh most, for or against."""


class FeatureDifferenceOut(BaseModel):
    """What one feature does for the first item rather than for the second."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    name: str
    first: float | None
    """Value for the first item; null where not defined."""
    second: float | None
    weight: float
    """What it adds to the score of the first less what it adds to that of the second."""


class FamilyDifferenceOut(BaseModel):
    """What one family of features does for the first item rather than for the second."""

    family: str
    weight: float
    features: Sequence[FeatureDifferenceOut]


class ComparisonOut(BaseModel):
    """Why one item scores above another; below it where the difference is negative. A place may come from something
    else than the score: `placed_by` tells."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    first: str
    second: str
    difference: float
    """Score of the first less that of the second: what the families' weights sum to."""
    families: Sequence[FamilyDifferenceOut]


class RankedItemOut(BaseModel):
    """One item of an answer."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    item_id: str
    rank: int
    score: float
    probability: float | None
    """How likely a user who takes something new next takes this one, or, of given items, how likely it is clicked when
    shown; never falls as the score rises. None where the bundle has learned no such thing, and in degraded answers."""
    placed_by: PlacedBy
    """What put it at its place: its `score`; the order of a popularity `list`, for a user without a past; `diversity`:
    others that score higher are more like the items above; `new`: a place kept for new items; `explore`: drawn at
    random; `cap`: one held it back until nothing else was left; `newest`: it fills up what sources leave empty."""
    reasons: Sequence[ReasonOut]
    """The strongest first; none where `explain` was not asked, and after the first 50 places."""


class AnswerOut(BaseModel):
    """The items, best first."""

    model_config = ConfigDict(
        use_attribute_docstrings=True,
        json_schema_extra={
            "examples": [
                {
                    "request_id": "7a0c4d6be5f24d0f8a41f0e9a3d1c002",
                    "model": "20240301T000000123",
                    "degraded": False,
                    "items": [
                        {
                            "item_id": "i7",
                            "rank": 1,
                            "score": 1.42,
                            "probability": 0.034,
                            "placed_by": "score",
                            "reasons": [
                                {
                                    "family": "text interest",
                                    "weight": 0.81,
                                    "because": "i3",
                                    "features": [{"name": "interest", "value": 2.3, "weight": 0.78}],
                                }
                            ],
                        }
                    ],
                }
            ]
        },
    )

    request_id: str
    """Send it with the events that follow, so that they are joined with this answer."""
    model: str
    """Version of the bundle that answered."""
    degraded: bool
    """True when a part was broken or late and a simpler answer was given; the hard rules hold all the same."""
    items: Sequence[RankedItemOut]
    comparison: ComparisonOut | None = None
    """There when `compare` was asked; null where one of the two was no candidate, and in degraded answers."""


class RejectedOut(BaseModel):
    """An event that was not accepted, and why."""

    index: int
    reason_code: str
    detail: str


class EventsOut(BaseModel):
    """What became of the events; when this arrives, the accepted ones are on disk."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "accepted": 1,
                    "duplicates": 0,
                    "rejected": [
                        {
                            "index": 1,
                            "reason_code": "missing_item_id",
                            "detail": "item_id: wanted a value, got nothing; add the field",
                        }
                    ],
                }
            ]
        }
    )

    accepted: int
    duplicates: int
    rejected: Sequence[RejectedOut]


class ItemOut(BaseModel):
    """An item as the bundle that serves knows it."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"item_id": "i3", "title": "Argan oil shampoo", "categories": ["Hair"]}]}
    )

    item_id: str
    title: str | None
    categories: Sequence[str]


class ItemsOut(BaseModel):
    """The items found, in the order asked for."""

    items: Sequence[ItemOut]


class ReadyOut(BaseModel):
    """Whether answers can be given, and what is wrong although they can."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    ready: bool
    model: str | None
    """Version of the bundle that serves."""
    cutoff: str | None
    """The models have learned from what happened before this moment (UTC)."""
    live_events: int
    """Events accepted over HTTP that count in answers on top of the bundle's history."""
    answers_not_logged: int
    """Answers given whose decision could not be written down."""
    problems: Sequence[str]
    """One sentence each: a bundle that does not load, an outbox that cannot be read or written, answers that fail."""


class ProblemOut(BaseModel):
    """What was wanted, what came, what to do."""

    detail: str
