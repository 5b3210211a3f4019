"""What does a file hold, and which of its columns is which? Told by the column names alone."""

import json
from collections.abc import Iterable
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Literal

from ingest import columns as c
from ingest.errors import InputFileError

Table = Literal["items", "interactions", "impressions"]

_TEXT_COLUMNS = (c.TITLE, c.DESCRIPTION, c.CATEGORIES)
REQUIRED: dict[Table, tuple[str, ...]] = {
    "items": (c.ITEM_ID,),
    "interactions": (c.USER_ID, c.ITEM_ID, c.OCCURRED_AT),
    "impressions": (c.REQUEST_ID, c.USER_ID, c.ITEM_ID, c.OCCURRED_AT, c.CLICKED),
}
"""Without these no row of a table is good."""
_OTHERS: dict[Table, tuple[Table, ...]] = {
    "items": ("impressions", "interactions"),
    "interactions": ("impressions",),
    "impressions": (),
}
_HELD: dict[Table, tuple[str, ...]] = {
    "items": c.ITEM_COLUMNS,
    "interactions": c.INTERACTION_COLUMNS,
    "impressions": c.IMPRESSION_COLUMNS,
}


@dataclass(frozen=True, kw_only=True)
class ColumnsConfig:
    """Other names under which each column is accepted; our own name always wins, then the earlier in the list."""

    user_id: tuple[str, ...] = ("user", "userId", "uid", "visitorid", "visitor_id", "customer_id", "reviewerID")
    """Who."""
    item_id: tuple[str, ...] = ("item", "itemId", "itemid", "product_id", "movieId", "article_id", "asin", "sku")
    """With what."""
    occurred_at: tuple[str, ...] = ("timestamp", "time", "ts", "event_time", "datetime", "unixReviewTime")
    """When: ISO 8601 with or without zone, or Unix seconds, milliseconds or microseconds; without zone is UTC."""
    kind: tuple[str, ...] = ("event", "event_type", "eventType", "type", "action")
    """What was done; a log without it holds clicks."""
    weight: tuple[str, ...] = ("rating", "overall", "quantity")
    """How much it says; without it the weight of the kind counts."""
    event_id: tuple[str, ...] = ("event_uuid", "eventId")
    """Identity of the event; without it a hash of the row."""
    request_id: tuple[str, ...] = ("impression_id", "query_id")
    """The answer that showed the item."""
    session_id: tuple[str, ...] = ("session", "sessionId", "user_session")
    """The visit."""
    title: tuple[str, ...] = ("name", "headline", "product_name", "product_title")
    """Title of an item."""
    description: tuple[str, ...] = ("text", "body", "abstract", "summary", "plot")
    """Longer text of an item."""
    categories: tuple[str, ...] = ("category", "genres", "tags")
    """Category names: a list, a JSON array, or one string with `|` between them."""
    published_at: tuple[str, ...] = ("published", "release_date", "created_at", "publish_time")
    """When an item appeared."""
    available: tuple[str, ...] = ("in_stock", "is_available")
    """Whether an item may be recommended; without it, it may."""
    updated_at: tuple[str, ...] = ("last_updated", "modified_at", "last_modified", "updated")
    """Since when an item has been as the row says; without it, since the row was loaded."""
    clicked: tuple[str, ...] = ("click", "label", "was_clicked")
    """Whether a shown item was clicked; its presence makes a file one of impressions."""
    position: tuple[str, ...] = ("rank", "slot")
    """Place of a shown item, 1 first."""
    propensity: tuple[str, ...] = ("probability",)
    """Probability with which a shown item stood there."""
    score: tuple[str, ...] = ()
    """Score that a shown item had."""


@dataclass(frozen=True)
class Layout:
    """What one file holds and where."""

    table: Table
    names: dict[str, tuple[str, ...]]
    """Our name -> the file's names for it, the one that counts first; only for what this table holds."""

    @classmethod
    def of_text(cls, table: Table, text: str) -> "Layout":
        """Read what `as_text` wrote."""
        return cls(table, {ours: tuple(names) for ours, names in json.loads(text).items()})

    def as_text(self) -> str:
        """Write the names as JSON.

        >>> Layout("interactions", {"user_id": ("user", "uid")}).as_text()
        '{"user_id": ["user", "uid"]}'
        """
        return json.dumps(self.names, ensure_ascii=False)

    @cached_property
    def columns(self) -> dict[str, str]:
        """Our name -> the file's name that counts."""
        return {ours: names[0] for ours, names in self.names.items()}

    @property
    def user_columns(self) -> tuple[str, ...]:
        """The file's names of the columns that tell a user, the one that counts first."""
        return self.names.get(c.USER_ID, ())


def layout(names: Iterable[str], config: ColumnsConfig, *, path: object) -> Layout:
    """Tell what a file with these columns holds; InputFileError names what is missing.

    >>> layout(["user", "item_id", "ts", "event"], ColumnsConfig(), path="log.csv").table
    'interactions'
    """
    names = list(names)
    found = _found(names, config)
    if c.CLICKED in names or {c.CLICKED, c.REQUEST_ID, c.USER_ID, c.ITEM_ID} <= found.keys():
        table: Table = "impressions"
    elif {c.USER_ID, c.ITEM_ID, c.OCCURRED_AT} <= found.keys():
        table = "interactions"
    elif c.ITEM_ID in found and c.USER_ID not in found and any(name in found for name in _TEXT_COLUMNS):
        table = "items"
    else:
        raise InputFileError(f"{path}: {_missing(found, config)}; found {listed(names)}; {_WAY_OUT}")
    missing = [name for name in REQUIRED[table] if name not in found]
    if missing:
        clicked = found[c.CLICKED][0]
        raise InputFileError(
            f"{path}: holds {table} (it has '{clicked}') but lacks {listed(missing)}; found {listed(names)}; "
            f"{_WAY_OUT}; rename '{clicked}' if this is no log of impressions"
        )
    return columns_of(table, names, config)


def columns_of(table: Table, names: Iterable[str], config: ColumnsConfig) -> Layout:
    """Map the columns of a file already known to hold `table`."""
    found = _found(list(names), config)
    return Layout(table, {name: found[name] for name in _HELD[table] if name in found})


def other_table_of(table: Table, names: Iterable[str], config: ColumnsConfig, *, of_many: bool = False) -> Table | None:
    """Return the other table whose required columns a line with these names has, or None.

    Where it lacks what `table` needs, the checks reject it anyway; an item may have anything beside its text. With
    `of_many` the names are those of many lines: whether one of them may be such a row.

    >>> other_table_of("interactions", ["request_id", "user", "item", "ts", "clicked"], ColumnsConfig())
    'impressions'
    """
    found = _found(list(names), config).keys()
    if table == "items" and not of_many and not found.isdisjoint(_TEXT_COLUMNS):
        return None
    return next((other for other in _OTHERS[table] if found >= set(REQUIRED[other])), None)


def listed(names: list[str]) -> str:
    """Write the names of columns as a sentence may hold them."""
    shown = ", ".join(f"'{name[:60]}'" for name in names[:20]) or "no columns"
    return shown + (f" and {len(names) - 20} more" if len(names) > 20 else "")


_WAY_OUT = "rename the column, or name it under [columns] in readrank.toml"


def _found(names: list[str], config: ColumnsConfig) -> dict[str, tuple[str, ...]]:
    present = set(names)
    found = {}
    for field in fields(config):
        known = dict.fromkeys((field.name, *getattr(config, field.name)))
        sources = tuple(name for name in known if name in present)
        if sources:
            found[field.name] = sources
    return found


def _missing(found: dict[str, tuple[str, ...]], config: ColumnsConfig) -> str:
    if c.USER_ID in found or c.OCCURRED_AT in found:
        lacking = [name for name in REQUIRED["interactions"] if name not in found]
        return f"wanted interactions (user_id, item_id, occurred_at), but there is no column {listed(lacking)}"
    if c.ITEM_ID in found:
        return "wanted items, but there is no text: none of title, description, categories"
    return (
        "wanted items (item_id and title, description or categories), interactions (user_id, item_id, occurred_at) "
        "or impressions (request_id, user_id, item_id, occurred_at, clicked)"
    )
