"""How does a failed validation read as one sentence: what was wanted, what came, what to do?"""

import reprlib
from collections.abc import Mapping, Sequence
from typing import Any

_short = reprlib.Repr()
_short.maxstring = _short.maxother = 60

WANTED = {
    "string_type": "a text",
    "string_unicode": "a text of valid Unicode",
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "bool_type": "true or false",
    "float_type": "a number",
    "float_parsing": "a number",
    "finite_number": "a finite number",
    "list_type": "a list",
    "tuple_type": "a list",
    "dict_type": "an object",
    "model_type": "an object",
    "model_attributes_type": "an object",
    "string_too_short": "at least {min_length} character",
    "too_short": "at least {min_length}",
    "too_long": "at most {max_length:,} entries",
    "greater_than_equal": "at least {ge:,.12g}",
    "less_than_equal": "at most {le:,.12g}",
}
NO_BODY = "wanted a JSON object, got nothing; send one with the header Content-Type: application/json"
NO_OBJECT = ("model_attributes_type", "model_type", "dict_type")
WHOLE_SENTENCES = {"unknown_field", "not_a_time", "price_range", "same_item", "not_given"}
"""Our own validators, whose messages say it all."""

WORDS = {None: "null", True: "true", False: "false"}


def sentence(problems: Sequence[Mapping[str, Any]], *, whole: str = "request body") -> str:
    """Describe the first of pydantic's problems; how many more there are is said at the end.

    `whole` names what was validated, where the problem is not in one of its fields.
    """
    first = problems[0]
    where = path([part for part in first["loc"] if part not in ("body", "query", "path")])
    said = f"{where or whole}: {_told(first)}"
    more = len(problems) - 1
    return said if not more else f"{said} (and {more} more)"


def path(parts: Sequence[str | int]) -> str:
    """Write where in a body something is.

    >>> path(["items", 3, "title"])
    'items[3].title'
    """
    text = ""
    for part in parts:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else str(part)
    return text


def _told(problem: Mapping[str, Any]) -> str:
    kind, context = problem["type"], problem.get("ctx") or {}
    is_body = problem["loc"] == ("body",)
    if kind == "missing":
        return NO_BODY if is_body else "wanted a value, got nothing; add the field"
    if is_body and kind in NO_OBJECT and isinstance(problem.get("input"), bytes | str):
        return "wanted a JSON object, got text; send it with the header Content-Type: application/json"
    if kind == "string_too_long":
        return f"wanted at most {context['max_length']:,} characters, got {len(problem['input']):,}; shorten it"
    if kind in WANTED:
        wanted = WANTED[kind].format(**context)
        if kind == "too_short":
            wanted += " entry" if context["min_length"] == 1 else " entries"
        return f"wanted {wanted}, got {_came(kind, problem.get('input'), context)}; correct it"
    if kind in WHOLE_SENTENCES:
        return str(problem["msg"])
    return f"{problem['msg']}, got {printable(problem.get('input'))}; correct it"


def _came(kind: str, value: object, context: Mapping[str, Any]) -> str:
    if kind == "too_long":
        return f"{context['actual_length']:,}"
    if kind == "too_short":
        return f"{context['actual_length']:,}" if context["actual_length"] else "none"
    if kind == "string_too_short":
        return "none"
    return printable(value)


def printable(value: object) -> str:
    """Show a value as JSON would, shortened."""
    if value is None or isinstance(value, bool):
        return WORDS[value]
    # A lone surrogate could not be encoded into the answer that complains about it.
    return _short.repr(value).encode("utf-8", "backslashreplace").decode()
