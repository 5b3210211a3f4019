"""What does an item say? One text an item, from its fields, in a fixed order and within a length budget."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ingest import columns as c

if TYPE_CHECKING:
    import polars as pl

_WORD = re.compile(r"[^\W\d_][^\W\d_'’.&-]*(?:['’.&-]+[^\W\d_]+)*\.?")
_MIN_RECURRING = 0.5
_MIN_WORDLIKE = 0.7


@dataclass(frozen=True, kw_only=True)
class TextConfig:
    """How an item's fields become the text that the encoder reads."""

    max_words: int = 160
    """Longest text in words; a longer description is cut first, then whatever stands last."""
    title: bool = True
    """Whether the title is read."""
    categories: bool = True
    """Whether the categories are read."""
    description: bool = True
    """Whether the description is read."""
    attributes: bool = True
    """Whether attributes made of words (director, tags, brand) are read after the description."""
    min_attribute_items: int = 2
    """An attribute is read only if at least this many items have it."""


def item_texts(items: pl.DataFrame, config: TextConfig | None = None) -> list[str]:
    """Return one text a row: title, categories, description, then the attributes made of words.

    Fields that are null, empty or missing as a column are left out, so an item without any text gives `""`.
    Which attributes count is decided by `word_attributes` over all the rows given.
    """
    config = config or TextConfig()
    n = items.height
    parsed = _parse_all(items[c.ATTRIBUTES].to_list()) if c.ATTRIBUTES in items.columns else [{}] * n
    names = word_attributes(parsed, config) if config.attributes else ()

    def field(name: str) -> list[Any]:
        return items[name].to_list() if name in items.columns else [None] * n

    rows = zip(field(c.TITLE), field(c.CATEGORIES), field(c.DESCRIPTION), parsed, strict=True)
    return [
        item_text(
            title=title,
            categories=categories,
            description=description,
            extra=[word for name in names for word in _strings(attributes.get(name))],
            config=config,
        )
        for title, categories, description, attributes in rows
    ]


def item_text(
    *,
    title: str | None = None,
    categories: Iterable[str] | None = None,
    description: str | None = None,
    extra: Sequence[str] = (),
    config: TextConfig | None = None,
) -> str:
    """Return the text of one item; the description gives way when the rest needs the room.

    >>> item_text(title="Red scarf", categories=["Wool", "Winter"], description="Soft and warm.")
    'Red scarf. Wool, Winter. Soft and warm.'
    >>> item_text()
    ''
    """
    config = config or TextConfig()
    head = _clean(title) if config.title else ""
    shelves = ", ".join(filter(None, map(_clean, categories or ()))) if config.categories else ""
    tail = ", ".join(filter(None, map(_clean, extra)))
    others = sum(len(part.split()) for part in (head, shelves, tail))
    room = max(config.max_words - others, 0)
    body = " ".join(_clean(description).split()[:room]) if config.description else ""
    parts = [part.rstrip(".") for part in (head, shelves, body, tail) if part]
    words = ". ".join(parts).split()[: config.max_words]
    return f"{' '.join(words)}." if words else ""


def word_attributes(parsed: Sequence[Mapping[str, Any]], config: TextConfig | None = None) -> tuple[str, ...]:
    """Return the names of the attributes that read as words, in order of first appearance.

    An attribute does when its values are strings or lists of strings, at least 70 % of the tokens are words (letters,
    perhaps joined by an apostrophe, a dot or a hyphen; so neither ids nor addresses nor file names), at least half of
    those words occur in more than one item (a word seen once teaches nothing), and it is not the same for every item.
    """
    config = config or TextConfig()
    values: dict[str, list[list[str]]] = {}
    for attributes in parsed:
        for name, value in attributes.items():
            found = _strings(value)
            if found:
                values.setdefault(name, []).append(found)
    return tuple(name for name, rows in values.items() if _reads_as_words(rows, config.min_attribute_items))


def _reads_as_words(rows: list[list[str]], min_items: int) -> bool:
    if len(rows) < min_items or len({tuple(row) for row in rows}) < 2:
        return False
    tokens = wordlike = 0
    items_with: Counter[str] = Counter()
    occurrences: Counter[str] = Counter()
    for row in rows:
        found = [token.strip(",;:!?()[]\"'").lower() for text in row for token in text.split()]
        words = [token for token in found if _WORD.fullmatch(token)]
        tokens += len(found)
        wordlike += len(words)
        occurrences.update(words)
        items_with.update(set(words))
    if not tokens or wordlike / tokens < _MIN_WORDLIKE:
        return False
    recurring = sum(count for word, count in occurrences.items() if items_with[word] > 1)
    return recurring / wordlike >= _MIN_RECURRING


def _strings(value: object) -> list[str]:
    if isinstance(value, str):
        return [value] if value.strip() else []
    if isinstance(value, list) and value and all(isinstance(part, str) for part in value):
        return [part for part in value if part.strip()]
    return []


def _parse_all(raw: Sequence[str | None]) -> list[dict[str, Any]]:
    out = []
    for text in raw:
        try:
            value = json.loads(text) if text else {}
        except ValueError:
            value = {}
        out.append(value if isinstance(value, dict) else {})
    return out


def _clean(text: str | None) -> str:
    return " ".join(text.split()) if text else ""
