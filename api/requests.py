"""What may a request over HTTP say? Anything else is refused, with what was wanted instead."""

import difflib
from typing import Annotated, Any, ClassVar, Self

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
MAX_MISTYPED = 64
"""Longest name in characters that is compared with the fields there are: what it takes grows with the name."""


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
    str,
    # Blanks around an id are stripped as `ingest.values.as_id` strips those in files: all doors must know it as one.
    StringConstraints(strict=True, strip_whitespace=True, min_length=1, max_length=MAX_ID),
    BeforeValidator(_id_text),
    ENCODABLE,
]
Label = Annotated[str, StringConstraints(strict=True, min_length=1, max_length=MAX_ID), ENCODABLE]
Title = Annotated[str, StringConstraints(strict=True, max_length=MAX_TITLE), ENCODABLE]
Description = Annotated[str, StringConstraints(strict=True, max_length=MAX_DESCRIPTION), ENCODABLE]
Price = Annotated[float, Field(strict=True, ge=0, allow_inf_nan=False)]


def _different(ids: list[str]) -> list[str]:
    if ids[0] == ids[1]:
        raise PydanticCustomError("same_item", "wanted two different items, got one twice; correct it")
    return ids


Two = Annotated[list[Id], Field(min_length=2, max_length=2), AfterValidator(_different)]


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
                near = len(str(name)) <= MAX_MISTYPED
                close = difflib.get_close_matches(str(name), cls.model_fields, n=1) if near else []
                raise PydanticCustomError(
                    "unknown_field",
                    "nothing reads the field '{name}'; {hint}",
                    {
                        # As a lone surrogate it could not be encoded into the answer that complains about it.
                        "name": str(name)[:80].encode("utf-8", "backslashreplace").decode(),
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
    exclude: Annotated[tuple[Id, ...], Field(max_length=MAX_LIST)] = ()
    """Items that must not come."""
    categories: Annotated[tuple[Label, ...], Field(max_length=100)] = ()
    """When not empty, only items in at least one of these categories come."""
    min_price: Price | None = None
    """When given, only items whose price is known and at least this come."""
    max_price: Price | None = None
    """When given, only items whose price is known and at most this come."""
    session: Annotated[tuple[Id, ...], Field(max_length=1_000)] = ()
    """Items looked at in this session, oldest first, sent as events or not."""
    diversity: Annotated[float, Field(strict=True, ge=0, le=1)] | None = None
    """How much the items shall differ from each other: 0 not at all, 1 above all; left out: as the settings say."""
    explain: StrictBool = False
    """Whether items come with their reasons: those of the first 50 places."""
    compare: Two | None = None
    """Two items of which the answer says why the first scores higher than the second; they need not be shown."""

    @validates(mode="after")
    def _prices_in_order(self) -> Self:
        if self.min_price is not None and self.max_price is not None and self.min_price > self.max_price:
            raise PydanticCustomError(
                "price_range",
                "wanted min_price at most max_price, got {low} and {high}; correct them",
                {"low": f"{self.min_price:g}", "high": f"{self.max_price:g}"},
            )
        return self

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
        "varied, in a price range": {
            "summary": "Ten items that differ, priced between 5 and 20, and why one scores higher than another",
            "value": {
                "user_id": "u1",
                "k": 10,
                "min_price": 5,
                "max_price": 20,
                "diversity": 0.3,
                "compare": ["i7", "i4"],
            },
        },
    }


class GivenItemIn(Request):
    """An item to be ranked; one that the model has never seen is read from its text."""

    item_id: Id
    title: Title | None = None
    description: Description | None = None
    categories: Annotated[tuple[Label, ...], Field(max_length=100)] = ()


class RankingsIn(Request):
    """Ask in which order items already chosen suit a user."""

    user_id: Id
    items: Annotated[list[GivenItemIn], Field(min_length=1, max_length=MAX_GIVEN)]
    """The items; of one id given twice the first counts."""
    session: Annotated[tuple[Id, ...], Field(max_length=1_000)] = ()
    """Items looked at in this session, oldest first, sent as events or not."""
    explain: StrictBool = False
    """Whether items come with their reasons: those of the first 50 places."""
    compare: Two | None = None
    """Two of the items, of which the answer says why the first scores higher than the second."""

    @validates(mode="after")
    def _compares_given_items(self) -> Self:
        for wanted in self.compare or ():
            if all(item.item_id != wanted for item in self.items):
                raise PydanticCustomError(
                    "not_given",
                    "wanted two of the items to compare, got {item}; add it to them",
                    {"item": repr(wanted)},
                )
        return self

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
