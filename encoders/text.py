"""What does an item say? One text an item, from its fields, in the order of the settings and within a length budget."""

from __future__ import annotations

import json
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from encoders.scripts import MARKS, has_unspaced, pieces, terms
from ingest import columns as c
from ingest.bounds import Positive, Size, check_bounds

if TYPE_CHECKING:
    import polars as pl

FIELDS = (c.TITLE, c.CATEGORIES, c.DESCRIPTION, c.ATTRIBUTES)
_LETTER = rf"(?:[^\W\d_]|[{MARKS}])"
_WORD = re.compile(rf"{_LETTER}+(?:['’.&·״׳\u200c\u200d-]+{_LETTER}+)*\.?")
_AROUND_WORDS = ",;:!?()[]\"'،؛؟«»„“”‚‘¿¡"
_FULL_STOPS = ".。．।۔"
_INVISIBLE = re.compile("[\u00ad\u200e\u200f\u202a-\u202e\u2066-\u2069\ufeff]")
_OTHER_WIDTH = re.compile("[\uff01-\uffef]+")
_NO_WORDS = re.compile(r"[\d_/@]")
_MIN_RECURRING = 0.5
_MIN_WORDLIKE = 0.7


@dataclass(frozen=True, kw_only=True)
class TextConfig:
    """How an item's fields become the text that the encoder reads."""

    fields: tuple[str, ...] = FIELDS
    """Fields in the order in which they are read; one left out is not, of attributes only those made of words are."""
    max_words: Positive = 160
    """Longest text in words (two Chinese or four Thai characters are one); a description is cut first, then the end."""
    min_attribute_items: Size = 2
    """An attribute is read only if at least this many items have it."""

    def __post_init__(self) -> None:
        check_bounds(self)
        wrong = [name for name in self.fields if name not in FIELDS]
        if wrong or not self.fields or len(set(self.fields)) < len(self.fields):
            got = ", ".join(wrong or self.fields) or "none"
            raise ValueError(f"fields: wanted some of {', '.join(FIELDS)}, each once, got {got}")


def item_texts(
    items: pl.DataFrame, config: TextConfig | None = None, attributes: Sequence[str] | None = None
) -> list[str]:
    """Return one text a row, from the fields in the order of `config.fields`.

    Fields that are null, empty or missing as a column are left out, so an item without any text gives `""`.
    Which attributes count is decided by `word_attributes` over all the rows given, unless `attributes` names them.
    """
    config = config or TextConfig()
    n = items.height
    parsed = _parse_all(items[c.ATTRIBUTES].to_list()) if c.ATTRIBUTES in items.columns else [{}] * n
    names: Sequence[str] = ()
    if c.ATTRIBUTES in config.fields:
        names = attributes if attributes is not None else word_attributes(parsed, config)

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


def attributes_read(items: pl.DataFrame, config: TextConfig | None = None) -> tuple[str, ...]:
    """Return the names of the attributes that `item_texts` reads in this catalogue."""
    config = config or TextConfig()
    if c.ATTRIBUTES not in config.fields or c.ATTRIBUTES not in items.columns:
        return ()
    return word_attributes(_parse_all(items[c.ATTRIBUTES].to_list()), config)


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
    parts = {
        c.TITLE: _clean(title),
        c.CATEGORIES: ", ".join(filter(None, map(_clean, categories or ()))),
        c.DESCRIPTION: _clean(description),
        c.ATTRIBUTES: ", ".join(filter(None, map(_clean, extra))),
    }
    read = {name: parts[name] for name in config.fields}
    others = sum(len(pieces(part)) for name, part in read.items() if name != c.DESCRIPTION)
    if c.DESCRIPTION in read:
        read[c.DESCRIPTION] = _cut(read[c.DESCRIPTION], max(config.max_words - others, 0))
    text = _cut(". ".join(part.rstrip(_FULL_STOPS) for part in read.values() if part), config.max_words)
    return f"{text}." if text else ""


def word_attributes(parsed: Sequence[Mapping[str, Any]], config: TextConfig | None = None) -> tuple[str, ...]:
    """Return the names of the attributes that read as words, in order of first appearance.

    An attribute does when its values are strings or lists of strings, at least 70 % of the tokens are words (letters of
    any script, perhaps joined by an apostrophe, a dot or a hyphen; so neither ids nor addresses nor file names), at
    least half of those words occur in more than one item (a word seen once teaches nothing), and it is not the same for
    every item. Where words are written without spaces, pairs of characters stand for them.
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
        found = [word for text in row for token in _clean(text).split() for word in _words(token)]
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


def _words(token: str) -> list[str]:
    """Return the words of what stands between two spaces: itself, or pairs of letters where words stand unparted."""
    token = token.strip(_AROUND_WORDS).lower()
    return terms(token) if has_unspaced(token) and not _NO_WORDS.search(token) else [token]


def _cut(text: str, words: int) -> str:
    return "".join(pieces(text)[:words]).strip()


def _clean(text: str | None) -> str:
    """Put letters into one form and spaces into one: composed, of usual width, without marks that nobody sees."""
    if not text:
        return ""
    if not text.isascii():
        text = _INVISIBLE.sub("", unicodedata.normalize("NFC", text))
        text = _OTHER_WIDTH.sub(lambda found: unicodedata.normalize("NFKC", found[0]), text)
    return " ".join(text.split())
