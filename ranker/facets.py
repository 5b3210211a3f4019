"""Which attribute values do items share: a brand, an author, a year?"""

import json
from collections import Counter
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from scipy import sparse

ITEMS_A_VALUE: Final = 3
"""An attribute counts when its values are shared by this many items on average; ids and free text are not."""
VALUES_AN_ITEM: Final = 20
"""Of a list, such as tags, this many values count."""

Value = tuple[str, str]


def facet_matrix(attributes: Sequence[str | None]) -> sparse.csr_matrix:
    """Return the values that each item has [n_items, n_values], 1 each, from one JSON object an item.

    >>> rows = ['{"brand": "Acme", "sku": 1}', '{"brand": "Acme", "sku": 2}', '{"brand": "Acme", "sku": 3}', None]
    >>> facet_matrix(rows).toarray().tolist()
    [[1.0], [1.0], [1.0], [0.0]]
    """
    held = [_values(text) for text in attributes]
    counts = Counter(value for values in held for value in values)
    items: Counter[str] = Counter()
    values_of: Counter[str] = Counter(name for name, _ in counts)
    for values in held:
        items.update({name for name, _ in values})
    shared = {name for name, n in items.items() if n >= ITEMS_A_VALUE * values_of[name]}
    column = {value: place for place, value in enumerate(sorted(v for v in counts if v[0] in shared and counts[v] > 1))}
    rows = [[column[value] for value in values if value in column] for values in held]
    indptr = np.cumsum([0] + [len(row) for row in rows])
    indices = np.fromiter((place for row in rows for place in row), np.int32, int(indptr[-1]))
    return sparse.csr_matrix((np.ones(len(indices), np.float32), indices, indptr), shape=(len(rows), len(column)))


def _values(text: str | None) -> list[Value]:
    try:
        parsed = json.loads(text or "{}")
    except ValueError:  # told by somebody else's file: no JSON says nothing
        return []
    if not isinstance(parsed, dict):
        return []
    found: dict[Value, None] = {}
    for name, value in parsed.items():
        members = value[:VALUES_AN_ITEM] if isinstance(value, list) else [value]
        found.update(dict.fromkeys((name, _written(member)) for member in members if _plain(member)))
    return list(found)


def _plain(value: Any) -> bool:
    return isinstance(value, str | int | float) and value != ""


def _written(value: str | float) -> str:
    return value.strip().casefold() if isinstance(value, str) else repr(value)
