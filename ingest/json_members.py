"""Which members does a JSON object have, each as it is written? Nothing is read as a number and written otherwise."""

import json
from collections.abc import Collection
from dataclasses import dataclass

_DECODER = json.JSONDecoder(parse_int=str, parse_float=str, strict=False)
_BLANK = " \t\n\r"


@dataclass(frozen=True)
class Member:
    """One member of an object."""

    name: str
    key: str
    """The name as written, quotation marks included."""
    value: str
    """The value as written."""


def members(text: str) -> list[Member] | None:
    r"""Split an object into its members, in their order, repeated names too; None for anything else.

    >>> [(member.name, member.value) for member in members('{"a": 1.50, "\u0062" : {"c":[ ]}}')]
    [('a', '1.50'), ('b', '{"c":[ ]}')]
    """
    try:
        at = _skipped(text, 0)
        if text[at] != "{":
            return None
        found: list[Member] = []
        at = _skipped(text, at + 1)
        while text[at] != "}":
            if found:
                at = _after(",", text, at)
            begin = _after("", text, at)
            if text[begin] != '"':
                return None
            name, end = _DECODER.raw_decode(text, begin)
            start = _after(":", text, _skipped(text, end))
            _, at = _DECODER.raw_decode(text, start)
            found.append(Member(name, text[begin:end], text[start:at]))
            at = _skipped(text, at)
        return found if _skipped(text, at + 1) == len(text) else None
    except (ValueError, IndexError, RecursionError):
        return None


def value_of(member: Member) -> str | None:
    """Return the text of a string, null as None, and anything else as written."""
    if member.value.startswith('"'):
        return str(json.loads(member.value, strict=False))
    return None if member.value == "null" else member.value


def as_object(chosen: Collection[Member]) -> str:
    """Write members as one object again."""
    return "{" + ",".join(f"{member.key}:{member.value}" for member in chosen) + "}"


def only(text: str, names: Collection[str]) -> str:
    """Leave the members of these names; a text that is no object stays whole.

    >>> only('{"a": 1, "b": 2}', ("b", "c"))
    '{"b":2}'
    """
    found = members(text)
    return text if found is None else as_object([member for member in found if member.name in names])


def _skipped(text: str, at: int) -> int:
    while at < len(text) and text[at] in _BLANK:
        at += 1
    return at


def _after(mark: str, text: str, at: int) -> int:
    if not text.startswith(mark, at):
        raise ValueError(f"wanted {mark!r} at {at}")
    return _skipped(text, at + len(mark))
