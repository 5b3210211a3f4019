"""Does a text name this person, or only a longer id that holds theirs?

An id counts where it stands alone: no letter, digit or underscore touches it, nor does one through a single `-`, `.`,
`@` or `+` (the ending of a file's name aside). So `ann` is named in `"user": "ann"`, `for ann.` and `ann.csv`, but not
in `joanna`, `ann-2` or `ann@example.com`. A bare number of few digits could be anything, so in free text it counts only
right after a word with `user`; after `users`, which is followed by how many there are, only as a quoted value.
"""

import html
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from urllib.parse import quote

HOW_IT_DECIDES = (
    "an id counts where it stands alone: not beside a letter, digit or underscore, nor joined to one by - . @ or +; "
    "a bare number counts only in columns of user ids and right after a word with 'user', but not after 'users'"
)
BARE_NUMBER_DIGITS = 7
"""A number of up to so many digits is no evidence by itself: pages and tables are full of them."""
SHORTEST_IN_BYTES = 6
"""In compressed or binary bytes a shorter id turns up by chance."""

# Read as Latin-1: a byte from 80 on is part of a letter, unless it ends or begins a punctuation mark (U+00A0-00BF,
# U+2000-207F) or a byte order mark. Escapes end in letters or digits that are no part of what follows: \n, %3D.
_WORD = r"[A-Za-z0-9_\x80-\xff]"
_MARK_BEFORE = r"(?<=\xc2[\xa0-\xbf])|(?<=\xe2[\x80\x81][\x80-\xbf])|(?<=\xef\xbb\xbf)"
_MARK_AFTER = r"(?=\xc2[\xa0-\xbf]|\xe2[\x80\x81][\x80-\xbf])"
_OPEN = rf"(?:(?<!{_WORD})(?<!{_WORD}[-.@+])|(?<=\\[nrt])|(?<=%[0-9A-Fa-f][0-9A-Fa-f])|{_MARK_BEFORE})"
_ENDING = r"\.(?:csv|tsv|jsonl?|ndjson|parquet|txt|log|html?|xml|pdf|png|jpe?g|gz|zst|zip)"
_CLOSED = rf"(?:(?!{_WORD})(?![-.@+]{_WORD})|{_MARK_AFTER}|(?={_ENDING}(?!{_WORD})))"

_SQL_WORD = r"\p{L}\p{N}_"
_SQL_OPEN = rf"(?:^|[^{_SQL_WORD}\-.@+]|(?:^|[^{_SQL_WORD}])[\-.@+]|\\[nrt]|%[0-9A-Fa-f][0-9A-Fa-f])"
_SQL_CLOSED = rf"(?:$|[^{_SQL_WORD}\-.@+]|[\-.@+](?:$|[^{_SQL_WORD}])|{_ENDING}(?:$|[^{_SQL_WORD}]))"

# Neither a digit nor an underscore may touch the number: `user_17` is not user 17, nor `user 1500` user 500. RE2 has no
# lookbehind, so what may stand before the number is spelled out.
# A name with a digit counts with its sign (`user_id_1=17`), and `users` where its value is quoted: `"users": "17"`.
_AFTER_USER = (
    r"(?:(?i:user(?:[a-rt-z_ -][a-z_ -]{0,11}|s[a-z_][a-z_ -]{0,10})?)[\"'\\\s:=]+"
    r"|(?i:user[a-z_-]{0,12}\d[A-Za-z0-9_-]{0,10})[\"'\\]*\s*[:=][\"'\\\s]*"
    r"|(?i:users)[\"'\\]+\s*:\s*[\"'\\]+)"
)


@dataclass(frozen=True)
class Person:
    """The ids under which one person may be written down: as given, and as a pseudonym where those are in use."""

    ids: tuple[str, ...]

    @cached_property
    def bare_numbers(self) -> tuple[str, ...]:
        """Those ids that are numbers so short that free text holds them by chance."""
        return tuple(name for name in self.ids if name.isdecimal() and len(name) <= BARE_NUMBER_DIGITS)

    @cached_property
    def spellings(self) -> list[str]:
        """Each id as it stands in plain text, in JSON, in HTML and in an address."""
        return _spelled(list(self.ids))

    @cached_property
    def literals(self) -> list[bytes]:
        """One of these is in every text that names the person: a quick look before the rule."""
        return [_bytes(form) for form in self.spellings]

    @cached_property
    def raw(self) -> "re.Pattern[bytes] | None":
        """The ids anywhere in bytes, delimited or not, in UTF-8, UTF-16 and UTF-32; None when all are too short."""
        codes = ("utf-8", "utf-16-le", "utf-32-le")
        forms = {_bytes(form, code) for form in _spelled(self._long_ids) for code in codes}
        return re.compile(b"|".join(map(re.escape, sorted(forms, key=len, reverse=True)))) if forms else None

    @cached_property
    def wide(self) -> "re.Pattern[bytes]":
        """Ids of six characters or more as words of their own in UTF-16 and UTF-32."""
        parts = []
        for code, zeros in (("utf-16-le", rb"\x00"), ("utf-32-le", rb"\x00\x00\x00")):
            word = rb"[A-Za-z0-9_]" + zeros
            forms = b"|".join(re.escape(_bytes(name, code)) for name in self._long_ids)
            parts.append(rb"(?<!" + word + rb")(?:" + (forms or b"(?!)") + rb")(?!" + word + rb")")
        return re.compile(b"|".join(parts))

    @cached_property
    def exact(self) -> "re.Pattern[bytes]":
        """The ids anywhere in UTF-8, however short."""
        return re.compile(b"|".join(re.escape(_bytes(name)) for name in sorted(self.ids, key=len, reverse=True)))

    @cached_property
    def alone(self) -> "re.Pattern[bytes]":
        """The ids as words of their own in the bytes of a text; a bare number only after a word with `user`."""
        distinct = [name for name in self.ids if name not in self.bare_numbers]
        return re.compile(_bytes("|".join(self._delimited(distinct, _OPEN, _CLOSED)), "latin-1"))

    @cached_property
    def number_alone(self) -> "re.Pattern[bytes] | None":
        """A bare number as a word of its own, wherever it stands; None where no id is one."""
        numbers = "|".join(self.bare_numbers)
        return re.compile(_bytes(f"{_OPEN}(?:{numbers}){_CLOSED}", "latin-1")) if numbers else None

    @cached_property
    def sql_alone(self) -> str:
        """The rule of `alone` as a regular expression of DuckDB (RE2), over text."""
        distinct = [name for name in self.ids if name not in self.bare_numbers]
        return "|".join(self._delimited(distinct, _SQL_OPEN, _SQL_CLOSED, in_bytes=False))

    @cached_property
    def sql_number_alone(self) -> str | None:
        """The rule of `number_alone` for DuckDB."""
        return f"{_SQL_OPEN}(?:{'|'.join(self.bare_numbers)}){_SQL_CLOSED}" if self.bare_numbers else None

    def is_named_in(self, text: str) -> bool:
        """Whether a text names the person.

        >>> ann = Person(("ann",))
        >>> [ann.is_named_in(text) for text in ('{"by": "ann"}', "seen by ann.", "joanna", "ann-2", "ann@example.com")]
        [True, True, False, False, False]
        >>> seven = Person(("7",))
        >>> [seven.is_named_in(text) for text in ('{"user_id": 7}', "user=7", '{"position": 7}', "user=71")]
        [True, True, False, False]
        >>> [seven.is_named_in(text) for text in ("user 7", "user 17", "user_7", "user 5 bought 7", "users 7")]
        [True, False, False, False, False]
        """
        return self.alone.search(_bytes(text)) is not None

    def may_be_named_in(self, text: str) -> bool:
        """Whether a text holds the id as a word of its own that could as well be something else: a bare number."""
        number = self.number_alone
        return self.is_named_in(text) or (number is not None and number.search(_bytes(text)) is not None)

    @cached_property
    def _long_ids(self) -> list[str]:
        return [name for name in self.ids if len(name) >= SHORTEST_IN_BYTES and name not in self.bare_numbers]

    def _delimited(self, distinct: list[str], opening: str, closing: str, *, in_bytes: bool = True) -> Iterable[str]:
        # As Latin-1 every byte is one character, so that one way of writing patterns serves text and bytes.
        forms = [_bytes(form).decode("latin-1") if in_bytes else form for form in _spelled(distinct)]
        if forms:
            yield f"{opening}(?:{'|'.join(map(re.escape, forms))}){closing}"
        if self.bare_numbers:
            yield f"{_AFTER_USER}(?:{'|'.join(self.bare_numbers)}){closing}"


def _spelled(names: list[str]) -> list[str]:
    forms = (
        form
        for name in names
        for form in (name, json.dumps(name)[1:-1], html.escape(name), quote(name), quote(name, safe=""))
    )
    return list(dict.fromkeys(forms))


def _bytes(text: str, code: str = "utf-8") -> bytes:
    return text.encode(code, "surrogatepass") if code != "latin-1" else text.encode("latin-1")
