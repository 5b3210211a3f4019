"""Which of the events sent can be accepted, and what do they become?"""

import logging
import re
import uuid
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Annotated, Any, ClassVar

from pydantic import AfterValidator, BeforeValidator, Field, StringConstraints, ValidationError, WithJsonSchema
from pydantic_core import PydanticCustomError

from api.answers import RejectedOut
from api.requests import ENCODABLE, MAX_EVENTS, MAX_ID, Id, Request
from api.sentences import printable, sentence
from ingest import columns as c
from ingest.checks import ChecksConfig, KindsConfig
from ingest.event_rules import CONTROL_CHARACTER, DEFAULT_KIND, DEFAULT_WEIGHT, MOST_WEIGHT
from ingest.moments import EPOCH, naive_utc
from ingest.outbox import OnlineEvent

log = logging.getLogger(__name__)

IDS = (c.USER_ID, c.ITEM_ID, c.EVENT_ID, c.REQUEST_ID, c.SESSION_ID, c.KIND)


def read_moment(value: object) -> datetime | None:
    """Read an ISO 8601 text as naive UTC; an offset is converted, a time without one is UTC; null stays None.

    >>> read_moment("2024-03-01T13:30:00+01:00")
    datetime.datetime(2024, 3, 1, 12, 30)
    """
    if value is None:
        return None
    if isinstance(value, str) and len(value) <= 64:
        try:
            moment = naive_utc(datetime.fromisoformat(value))
        except (ValueError, OverflowError):
            pass
        else:
            return moment
    raise PydanticCustomError(
        "not_a_time",
        "wanted an ISO 8601 time such as 2024-03-01T12:30:00Z, got {shown}; correct it",
        {"shown": printable(value)},
    )


Kind = Annotated[
    str,
    # As `ingest.values.as_kind` reads those in files: all doors must know it as one.
    BeforeValidator(lambda value: "" if value is None else value),
    StringConstraints(strict=True, strip_whitespace=True, to_lower=True, max_length=MAX_ID),
    AfterValidator(lambda kind: kind or DEFAULT_KIND),
    ENCODABLE,
]


class EventIn(Request):
    """Something a user did with an item."""

    user_id: Id
    item_id: Id
    kind: Kind = DEFAULT_KIND
    """One of the kinds in the settings; any other counts 1. Left out or blank it is a click."""
    weight: Annotated[float, Field(strict=True, ge=-MOST_WEIGHT, le=MOST_WEIGHT, allow_inf_nan=False)] | None = None
    """What the event counts; by default what the settings say of its kind."""
    occurred_at: Annotated[
        datetime | None,
        BeforeValidator(read_moment),
        WithJsonSchema({"anyOf": [{"type": "string", "format": "date-time"}, {"type": "null"}]}),
    ] = None
    """ISO 8601; by default the moment of arrival."""
    event_id: Id | None = None
    """Send one and repeat it when you send again: an id already known is a duplicate and counts once."""
    request_id: Id | None = None
    """Of the answer that led to it."""
    session_id: Id | None = None


class EventsIn(Request):
    """Up to 1,000 events; each is judged by itself."""

    events: Annotated[
        list[Any],
        Field(max_length=MAX_EVENTS),
        WithJsonSchema({"type": "array", "maxItems": MAX_EVENTS, "items": EventIn.model_json_schema()}),
    ]

    examples: ClassVar[dict[str, Any]] = {
        "click": {
            "summary": "A click on an item of an answer",
            "value": {
                "events": [
                    {
                        "event_id": "e-1001",
                        "user_id": "u1",
                        "item_id": "i7",
                        "kind": "click",
                        "occurred_at": "2024-03-01T12:30:00Z",
                        "request_id": "7a0c4d6be5f24d0f8a41f0e9a3d1c002",
                    }
                ]
            },
        },
        "least": {
            "summary": "Only the ids: a click, now",
            "value": {"events": [{"user_id": "u1", "item_id": "i7"}]},
        },
    }


class Desk:
    """Judges events by the rules of the settings, the same that files are held to."""

    def __init__(self, checks: ChecksConfig, kinds: KindsConfig, name_user: Callable[[str], str] = str):
        self._longest = checks.max_id_length
        self._ahead = timedelta(days=checks.future_tolerance_days)
        self._weights = kinds.weights
        self._name_user = name_user
        self._strange: set[str] = set()

    def sort_out(self, sent: Sequence[Any], arrived: datetime) -> tuple[list[OnlineEvent], list[RejectedOut]]:
        """Return the events that can be accepted, completed, and those that cannot, each with its place and reason."""
        accepted, rejected = [], []
        for index, value in enumerate(sent):
            try:
                event = EventIn.model_validate(value)
            except ValidationError as error:
                problems = error.errors(include_url=False)
                rejected.append(
                    RejectedOut(index=index, reason_code=_code(problems[0]), detail=sentence(problems, whole="event"))
                )
                continue
            broken = self._broken_rule(event, arrived)
            if broken:
                rejected.append(RejectedOut(index=index, reason_code=broken[0], detail=broken[1]))
            else:
                accepted.append(self._completed(event, arrived))
        return accepted, rejected

    def _broken_rule(self, event: EventIn, arrived: datetime) -> tuple[str, str] | None:
        """Return the code and the sentence of the first rule that an event breaks."""
        for name in IDS:
            value = getattr(event, name)
            if value is None:
                continue
            if len(value) > self._longest:
                return "long_id", f"{name}: wanted at most {self._longest} characters, got {len(value):,}; shorten it"
            if re.search(CONTROL_CHARACTER, value):
                return "control_character", f"{name}: wanted no control characters, got {value[:60]!r}; remove them"
        moment = event.occurred_at
        if moment is not None and moment < EPOCH:
            return "before_1970", f"occurred_at: wanted a moment since 1970, got {moment.isoformat()}; correct it"
        if moment is not None and moment > arrived + self._ahead:
            latest = f"at most {self._ahead / timedelta(days=1):g} days ahead of {arrived.isoformat()} UTC"
            return (
                "future_time",
                f"occurred_at: wanted {latest}, got {moment.isoformat()} UTC; set the sender's clock",
            )
        return None

    def _completed(self, event: EventIn, arrived: datetime) -> OnlineEvent:
        weight = event.weight
        if weight is None:
            weight = self._weights.get(event.kind, DEFAULT_WEIGHT)
            self._report(event.kind)
        return OnlineEvent(
            event_id=event.event_id or uuid.uuid4().hex,
            user_id=self._name_user(event.user_id),
            item_id=event.item_id,
            kind=event.kind,
            weight=weight,
            # A sender's clock may be ahead; what has been told has happened, and acts at once.
            occurred_at=min(event.occurred_at or arrived, arrived),
            request_id=event.request_id,
            session_id=event.session_id,
        )

    def _report(self, kind: str) -> None:
        # The set is bounded: kinds come from outside.
        if kind not in self._weights and kind not in self._strange and len(self._strange) < 1_000:
            self._strange.add(kind)
            log.warning("kind in no setting, counts 1 kind=%r", kind)


def _code(problem: Mapping[str, Any]) -> str:
    """Name the reason as the checks of files do: `missing_user_id`, `bad_time`, `unknown_field`, `not_an_object`."""
    if problem["type"] == "unknown_field":
        return "unknown_field"
    if not problem["loc"]:
        return "not_an_object"
    field = problem["loc"][0]
    if field == "occurred_at":
        return "bad_time"
    return f"missing_{field}" if problem["type"] in ("missing", "string_too_short") else f"bad_{field}"
