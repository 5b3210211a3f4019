"""How is a raw column read as text, number, flag or list? Null means absent; unreadable is told apart from it."""

import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ingest.event_rules import DEFAULT_KIND

_TRUE = ("true", "t", "yes", "y", "1", "1.0")
_FALSE = ("false", "f", "no", "n", "0", "0.0")


def nulls(name: str, dtype: pl.DataType | type[pl.DataType], n_rows: int) -> pl.Series:
    """Return a column of nothing.

    >>> nulls("kind", pl.String, 2).to_list(), nulls("kind", pl.String, 0).dtype
    ([None, None], String)
    """
    return pl.Series(name, [None], dtype=dtype).new_from_index(0, n_rows)


def as_text(values: pl.Series) -> pl.Series:
    """Turn a column into strings; empty strings become null, as do floats that are no finite number.

    A whole float loses its `.0`, whatever stands in the rows beside it: they only share a batch by chance. A decimal
    number loses the zeros at the end of its fraction, which only its type brings along.

    >>> as_text(pl.Series([1.0, 2.5, 1e300, float("nan"), None])).to_list()
    ['1', '2.5', '1e+300', None, None]
    >>> as_text(pl.Series(["10", "2.5"]).cast(pl.Decimal(38, 10))).to_list()
    ['10', '2.5']
    >>> as_text(pl.Series([["soft", "red"], None])).to_list()
    ['["soft","red"]', None]
    """
    if values.dtype.is_float():
        return _digits(values)
    text = _as_string(values)
    if isinstance(values.dtype, pl.Decimal) and values.dtype.scale:
        return text.str.strip_chars_end("0").str.strip_suffix(".")
    if (text == "").any():
        text = text.set(text == "", None)
    return text


def as_id(values: pl.Series) -> pl.Series:
    """Turn a column into ids: text without blanks around, null where nothing is left.

    >>> as_id(pl.Series([" i1", "a b ", "  ", "i1"])).to_list()
    ['i1', 'a b', None, 'i1']
    """
    ids = as_text(values)
    return ids if is_plain(ids) else bare(ids)


def bare(texts: pl.Series) -> pl.Series:
    """Strip a String column of the white space around its texts; null where nothing is left.

    Costs some: where `is_plain` is true there is nothing to strip. `api.requests.Id` does the same to a single id.
    """
    stripped = texts.str.strip_chars()
    return stripped.set(stripped == "", None)


def is_absent(values: pl.Series) -> pl.Series:
    """Tell where a column says nothing: null, an empty text, or the NaN that data frames write for nothing.

    An infinite number is there, although `as_text` has no text for it.

    >>> is_absent(pl.Series(["", "x", None])).to_list(), is_absent(pl.Series([0.0, None, float("nan")])).to_list()
    ([True, False, True], [False, True, True])
    """
    if values.dtype.is_float():
        return values.is_null() | values.is_nan().fill_null(False)
    if values.dtype.is_numeric() or values.dtype.is_temporal():
        return values.is_null()
    return as_text(values).is_null()


def as_kind(values: pl.Series) -> pl.Series:
    """Turn a column of event kinds into lower case without blanks around; absent and blank ones are `DEFAULT_KIND`.

    `api.events.EventIn` does the same to a single kind.

    >>> as_kind(pl.Series([" View", "purchase", " ", None])).to_list()
    ['view', 'purchase', 'click', 'click']
    """
    kinds = as_text(values)
    if not is_plain(kinds):
        kinds = bare(kinds).str.to_lowercase()
    elif (_octets(kinds) - np.uint8(ord("A")) < 26).any():
        kinds = kinds.str.to_lowercase()
    return kinds.fill_null(DEFAULT_KIND) if kinds.null_count() else kinds


def is_plain(texts: pl.Series) -> bool:
    """Tell whether all texts are of visible ASCII characters, so neither blank nor with blanks or control characters.

    >>> [is_plain(pl.Series([text])) for text in ("u-1", "u 1", "ü1")]
    [True, False, False]
    """
    octets = _octets(texts)
    return octets.size == 0 or bool(octets.min() > 32 and octets.max() < 127)


def _as_string(values: pl.Series) -> pl.Series:
    """Write values of any type but floats."""
    if values.dtype.is_nested():
        return _as_json(values)
    return values.dt.to_string("iso") if values.dtype == pl.Duration else values.cast(pl.String, strict=False)


def _as_json(values: pl.Series) -> pl.Series:
    """Write lists and objects as JSON."""
    # Polars encodes structs alone; what it writes around the only member is taken off again.
    wrapped = values.to_frame("v").select(pl.struct("v").struct.json_encode()).to_series()
    text = wrapped.str.strip_prefix('{"v":').str.strip_suffix("}")
    return text.set(values.is_null(), None).alias(values.name)


def _digits(values: pl.Series) -> pl.Series:
    """Write floats as text, whole ones as whole numbers."""
    whole = values.cast(pl.Int64, strict=False)
    is_whole = whole.cast(pl.Float64) == values
    if is_whole.all() and whole.null_count() == values.null_count():
        return whole.cast(pl.String)
    text = values.set(~values.is_finite(), None).cast(pl.String)
    return whole.cast(pl.String).zip_with(is_whole.fill_null(False), text)


def _octets(texts: pl.Series) -> NDArray[np.uint8]:
    """Return the bytes of all texts of a String column, one after another."""
    offsets, data = texts.rechunk().to_arrow(compat_level=pl.CompatLevel.oldest()).buffers()[1:]
    if data is None or not len(texts):
        return np.empty(0, dtype=np.uint8)
    ends = np.frombuffer(offsets, dtype=np.int64, count=len(texts) + 1)
    return np.frombuffer(data, dtype=np.uint8)[ends[0] : ends[-1]]


def as_number(values: pl.Series) -> pl.Series:
    """Turn a column into Float64; null where it is absent, is no number, or is not finite. Moments are no numbers.

    >>> as_number(pl.Series(["1.5", " 2", "many", None])).to_list(), as_number(pl.Series([[1.0]])).to_list()
    ([1.5, 2.0, None, None], [None])
    """
    if not (values.dtype.is_numeric() or values.dtype in (pl.String, pl.Boolean, pl.Null)):
        values = as_text(values)
    number = values.cast(pl.Float64, strict=False)
    if values.dtype == pl.String and number.null_count() > values.null_count():
        left = (number.is_null() & values.is_not_null()).arg_true()
        number = number.scatter(left, values.gather(left).str.strip_chars().cast(pl.Float64, strict=False))
    finite = number.is_finite()
    return number if finite.all() else number.set(~finite.fill_null(True), None)


def as_flag(values: pl.Series) -> pl.Series:
    """Turn true/false, yes/no, 1/0 into Boolean; null where it is absent or neither.

    >>> as_flag(pl.Series(["yes", "0", "maybe", None])).to_list()
    [True, False, None, None]
    """
    if values.dtype == pl.Boolean:
        return values
    words = _as_string(values).str.strip_chars().str.to_lowercase()
    frame = words.rename("word").to_frame()
    flag = pl.when(pl.col("word").is_in(_TRUE)).then(True).when(pl.col("word").is_in(_FALSE)).then(False)
    return frame.select(flag.alias(values.name)).to_series()


def as_categories(values: pl.Series) -> pl.Series:
    """Turn lists, JSON arrays or `a|b` strings into List(String) without empty names; null stays null.

    Lists within the list are opened. Numbers are written as `as_text` writes them.

    >>> as_categories(pl.Series(["Drama|War", '["Hair", "Care"]', "Toys", None])).to_list()
    [['Drama', 'War'], ['Hair', 'Care'], ['Toys'], None]
    >>> as_categories(pl.Series([[["Hair", "Care"], ["Sets"]]])).to_list()
    [['Hair', 'Care', 'Sets']]
    """
    if isinstance(values.dtype, pl.List | pl.Array) and _is_written_alike(values.dtype.inner):
        lists = values.cast(pl.List(pl.String), strict=False)
    else:
        text = values if values.dtype == pl.String else as_text(values)
        is_json = text.str.contains(r"(?s)^\s*\[.*\]\s*$").fill_null(False)
        lists = text.str.split("|")
        if is_json.any():
            lists = _json_lists(text.set(~is_json, None)).zip_with(is_json, lists)
    frame = lists.rename("names").to_frame()
    named = pl.col("names").list.eval(
        pl.element().str.strip_chars().filter(pl.element().is_not_null() & (pl.element().str.strip_chars() != ""))
    )
    return frame.select(named.alias(values.name)).to_series()


def _is_written_alike(dtype: Any) -> bool:
    """Whether Polars casts values of this type to the text that JSON has for them."""
    return not (dtype.is_nested() or dtype.is_float() or dtype == pl.Duration)


def _json_lists(text: pl.Series) -> pl.Series:
    """Decode JSON arrays of strings; one that is not JSON is one category, brackets and all."""
    try:
        return text.str.json_decode(pl.List(pl.String))
    except pl.exceptions.PolarsError:
        decoded = [None if value is None else _json_list(value) for value in text]
        return pl.Series(text.name, decoded, dtype=pl.List(pl.String))


def _json_list(value: str) -> list[str]:
    try:
        return [_name(member) for member in _opened(json.loads(value)) if member is not None]
    except (ValueError, RecursionError):
        return [value]


def _opened(members: list[Any]) -> Iterator[Any]:
    for member in members:
        if isinstance(member, list):
            yield from _opened(member)
        else:
            yield member


def _name(member: Any) -> str:
    """Write a member of a JSON array as Polars would, which reads those of plain values alone."""
    if isinstance(member, str):
        return member
    is_whole = isinstance(member, float) and member.is_integer()
    return str(int(member)) if is_whole else json.dumps(member, ensure_ascii=False)
