"""Which attribute values do items share: a brand, an author, a year?"""

import json
from collections import Counter
from collections.abc import Sequence
from typing import Any, Final

from scipy import sparse

from ranker.multi_hot import multi_hot

SHARED: Final = 0.5
"""An attribute counts when another item has, too, this share of what its items hold; ids and free text have not."""
VALUES_AN_ITEM: Final = 20
"""Of a list, such as tags, this many values count."""

Value = tuple[str, str]


def facet_matrix(
    attributes: Sequence[str | None], facets: Sequence[Value] | None = None
) -> tuple[sparse.csr_matrix, list[Value]]:
    """Return the values that each item has [n_items, n_values], 1 each, from one JSON object an item; and the values.

    `facets` says which values count, as an earlier catalogue had them; else they are chosen from these items.

    >>> rows = ['{"brand": "Acme", "sku": 1}', '{"brand": "Acme", "sku": 2}', '{"brand": "Acme", "sku": 3}', None]
    >>> matrix, facets = facet_matrix(rows)
    >>> matrix.toarray().tolist(), facets
    ([[1.0], [1.0], [1.0], [0.0]], [('brand', 'acme')])
    """
    held = [_values(text) for text in attributes]
    chosen = _shared(held) if facets is None else list(facets)
    column = {value: place for place, value in enumerate(chosen)}
    rows = [[column[value] for value in values if value in column] for values in held]
    return multi_hot(rows, len(column)), chosen


def folded(value: str) -> str:
    """Return a value as it is compared: nobody means another brand by other capitals or a blank at the end."""
    return value.strip().casefold()


def _shared(held: Sequence[Sequence[Value]]) -> list[Value]:
    counts = Counter(value for values in held for value in values)
    entries: Counter[str] = Counter()
    shared: Counter[str] = Counter()
    for (name, _), n in counts.items():
        entries[name] += n
        shared[name] += n if n > 1 else 0
    return sorted(value for value, n in counts.items() if n > 1 and shared[value[0]] >= SHARED * entries[value[0]])


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
    return isinstance(value, int | float) or (isinstance(value, str) and bool(value.strip()))


def _written(value: str | float) -> str:
    return folded(value) if isinstance(value, str) else repr(value)
