"""Which of the facts that a tool keeps about an item are its title, its text, its categories? Their names tell."""

import json
from collections.abc import Iterable, Mapping
from typing import Any

import polars as pl

from ingest import columns as c
from ingest.mapping import ColumnsConfig

_OURS = (c.TITLE, c.DESCRIPTION, c.CATEGORIES, c.PUBLISHED_AT, c.AVAILABLE)


def item_columns(facts: Iterable[Mapping[str, Any]], columns: ColumnsConfig) -> pl.DataFrame:
    """Sort the facts of each item into our columns by the names of `[columns]`; all others go to `rest`.

    Every column is text, as in a file: null where the item lacks it, JSON where the value is a list.
    """
    names = {ours: (ours, *getattr(columns, ours)) for ours in _OURS}
    rows = [_row(facts_of_one, names) for facts_of_one in facts]
    return pl.DataFrame(rows, schema=dict.fromkeys((*_OURS, c.REST), pl.String), orient="row")


def _row(facts: Mapping[str, Any], names: Mapping[str, tuple[str, ...]]) -> tuple[str | None, ...]:
    found = {ours: next((name for name in known if facts.get(name) is not None), None) for ours, known in names.items()}
    rest = {name: value for name, value in facts.items() if name not in found.values() and value is not None}
    values = [None if name is None else _text(facts[name]) for name in found.values()]
    return *values, json.dumps(rest, ensure_ascii=False) if rest else None


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
