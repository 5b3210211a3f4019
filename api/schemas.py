"""What does each request and answer look like over HTTP?"""

import difflib
from collections.abc import Sequence
from typing import Annotated, Any, ClassVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StrictBool,
    StrictInt,
    StringConstraints,
)
from pydantic import model_validator as validates
from pydantic_core import PydanticCustomError

MAX_ID = 10_000
"""Longest id in characters that is read at all; events are held to the `max_id_length` of the settings."""
MAX_TITLE = 2_000
MAX_DESCRIPTION = 50_000
MAX_K = 1_000
MAX_GIVEN = 2_000
MAX_EVENTS = 1_000
MAX_LIST = 10_000
"""Most ids in `exclude`."""


def _id_text(value: object) -> object:
    """Take a whole number for the text it is in a log: 17 and "17" are the same user."""
    return str(value) if isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**63 else value


def _encodable(value: str) -> str:
    """Refuse half a character (JSON can spell one): no database or file could hold it."""
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise PydanticCustomError("string_unicode", "wanted valid Unicode") from error
    return value


ENCODABLE = AfterValidator(_encodable)
Id = Annotated[
    str, StringConstraints(strict=True, min_length=1, max_length=MAX_ID), BeforeValidator(_id_text), ENCODABLE
]
Label = Annotated[str, StringConstraints(strict=True, min_length=1, max_length=MAX_ID), ENCODABLE]
Title = Annotated[str, StringConstraints(strict=True, max_length=MAX_TITLE), ENCODABLE]
Description = Annotated[str, StringConstraints(strict=True, max_length=MAX_DESCRIPTION), ENCODABLE]


class Request(BaseModel):
    """A request refuses what it does not know: an `exclude` mistyped and ignored would show excluded items."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)

    @validates(mode="before")
    @classmethod
    def _known_fields(cls, values: Any) -> Any:
        if not isinstance(values, dict):
            return values
        for name in values:
            if name not in cls.model_fields:
                close = difflib.get_close_matches(str(name), cls.model_fields, n=1)
                raise PydanticCustomError(
                    "unknown_field",
                    "nothing reads the field '{name}'; {hint}",
                    {
                        "name": str(name)[:80],
                        "hint": f"did you mean '{close[0]}'?"
                        if close
                        else f"allowed are {', '.join(cls.model_fields)}",
                    },
                )
        return values


class RecommendationsIn(Request):
    """Ask for the items that suit a user best now."""

    user_id: Id
    """A user never seen gets what suits newcomers; that is no error."""
    k: Annotated[StrictInt, Field(ge=1, le=MAX_K)] = 20
    """How many items at most."""
    exclude: Annotated[list[Id], Field(max_length=MAX_LIST)] = []
    """Items that must not come."""
    categories: Annotated[list[Label], Field(max_length=100)] = []
    """When not empty, only items in at least one of these categories come."""
    session: Annotated[list[Id], Field(max_length=1_000)] = []
    """Items looked at in this session, oldest first, sent as events or not."""
    explain: StrictBool = False
    """Whether each item comes with its reasons."""

    examples: ClassVar[dict[str, Any]] = {
        "known user": {
            "summary": "Twenty items for a user, with the reasons",
            "value": {"user_id": "u1", "k": 20, "explain": True},
        },
        "in a session": {
            "summary": "A newcomer who looked at two items, in one category, without an item",
            "value": {
                "user_id": "visitor-81",
                "k": 10,
                "exclude": ["i9"],
                "categories": ["Hair"],
                "session": ["i3", "i4"],
            },
        },
    }


class GivenItemIn(Request):
    """An item to be ranked; one that the model has never seen is read from its text."""

    item_id: Id
    title: Title | None = None
    description: Description | None = None
    categories: Annotated[list[Label], Field(max_length=100)] = []


class RankingsIn(Request):
    """Ask in which order items already chosen suit a user."""

    user_id: Id
    items: Annotated[list[GivenItemIn], Field(min_length=1, max_length=MAX_GIVEN)]
    """The items; of one id given twice the first counts."""
    session: Annotated[list[Id], Field(max_length=1_000)] = []
    """Items looked at in this session, oldest first, sent as events or not."""
    explain: StrictBool = False
    """Whether each item comes with its reasons."""

    examples: ClassVar[dict[str, Any]] = {
        "known and new items": {
            "summary": "One item of the catalogue and one that only its text tells of",
            "value": {
                "user_id": "u1",
                "items": [
                    {"item_id": "i1"},
                    {"item_id": "new", "title": "Argan oil shampoo", "description": "For dry hair, 250 ml"},
                ],
                "explain": True,
            },
        }
    }


class ReasonOut(BaseModel):
    """Why an item stands where it does."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    family: str
    """Family of features, such as `text interest`."""
    weight: float
    """What the family adds to the score; negative when it speaks against the item."""
    because: str | None
    """The item of the user's own history that speaks most for this one."""


class RankedItemOut(BaseModel):
    """One item of an answer."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    item_id: str
    rank: int
    score: float
    probability: float | None
    """How likely a user who takes something new next takes this one, or, of given items, how likely it is clicked when
    shown; never falls as the score rises. None where the bundle has learned no such thing, and in degraded answers."""
    reasons: Sequence[ReasonOut]


class AnswerOut(BaseModel):
    """The items, best first."""

    model_config = ConfigDict(
        use_attribute_docstrings=True,
        json_schema_extra={
            "examples": [
                {
                    "request_id": "7a0c4d6be5f24d0f8a41f0e9a3d1c002",
                    "model": "20240301T000000-1b2c3d",
                    "degraded": False,
                    "items": [
                        {
                            "item_id": "i7",
                            "rank": 1,
                            "score": 1.42,
                            "probability": 0.034,
                            "reasons": [{"family": "text interest", "weight": 0.81, "because": "i3"}],
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
    """The model knows what happened before this moment (UTC); later events count live."""
    live_events: int
    """Events accepted over HTTP that count in answers."""
    answers_not_logged: int
    """Answers given whose decision could not be written down."""
    problems: Sequence[str]
    """One sentence each: a bundle that does not load, an outbox that cannot be read."""


class ProblemOut(BaseModel):
    """What was wanted, what came, what to do."""

    detail: str
