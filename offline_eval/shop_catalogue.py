"""What does the simulated shop sell? Items as hidden aspects, and the text that reveals them."""

from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ingest import columns as c
from offline_eval import shop_words as words

ASPECTS = ("department", "material", "style", "value", "use", "brand")
"""Hidden aspects of an item, in the order of the columns of `Catalogue.item_words`."""

_SOLID, _HAIR = tuple(words.SOLID), tuple(words.INGREDIENTS)
_PER_ASPECT: dict[str, tuple[str, ...]] = {
    "department": tuple(words.DEPARTMENTS),
    "material": _SOLID + _HAIR,
    "style": tuple(words.STYLES),
    "value": tuple(words.VALUES),
    "use": tuple(words.USES),
    "brand": words.BRANDS,
}
VOCABULARY: tuple[str, ...] = tuple(word for aspect in ASPECTS for word in _PER_ASPECT[aspect])
"""Every aspect word; a taste is one number for each of them."""
FIRST_WORD: dict[str, int] = {
    aspect: sum(len(_PER_ASPECT[earlier]) for earlier in ASPECTS[:n]) for n, aspect in enumerate(ASPECTS)
}
"""Where each aspect's words begin in `VOCABULARY`."""


@dataclass(frozen=True, kw_only=True)
class Catalogue:
    """Items by row, sorted by department; nothing here but the text is ever shown to a recommender."""

    item_words: NDArray[np.int32]
    """[n_items, 6]: the item's word of each aspect, as an index into `VOCABULARY`."""
    item_types: NDArray[np.int32]
    """Product type within the department."""
    quality: NDArray[np.float32]
    """How much everyone likes the item, whatever their taste."""
    appeal: NDArray[np.float64]
    """Zipf weight with which the item comes before people's eyes."""
    published_day: NDArray[np.int32]
    """Whole day on which the item appears; below 0 before the simulation starts."""
    shown_day: NDArray[np.int32]
    """Day from which people come across the item, on or after `published_day`: until then it is cold."""

    @property
    def n_items(self) -> int:
        """How many items there are."""
        return len(self.item_words)

    def department_bounds(self) -> NDArray[np.int64]:
        """Give the first row of each department, and the end: [n_departments + 1]."""
        return np.searchsorted(self.item_words[:, 0], np.arange(len(words.DEPARTMENTS) + 1))


def make_catalogue(rng: np.random.Generator, n_items: int, days: int, fresh_share: float) -> Catalogue:
    """Draw the hidden aspects; `fresh_share` of the items appear while the simulation runs."""
    departments = np.sort(rng.integers(0, len(words.DEPARTMENTS), n_items))
    hair = departments == list(words.DEPARTMENTS).index("Hair")
    materials = np.where(
        hair, len(_SOLID) + rng.integers(0, len(_HAIR), n_items), rng.integers(0, len(_SOLID), n_items)
    )
    drawn = [departments, materials]
    drawn += [rng.integers(0, len(_PER_ASPECT[aspect]), n_items) for aspect in ASPECTS[2:]]
    item_words = np.stack(drawn, axis=1) + np.array(list(FIRST_WORD.values()))
    fresh = rng.random(n_items) < fresh_share
    published = np.where(fresh, rng.integers(1, max(2, days), n_items), -rng.integers(1, 720, n_items))
    waits = np.where(fresh, rng.exponential(12.0, n_items), 0.0)
    return Catalogue(
        item_words=item_words.astype(np.int32),
        item_types=rng.integers(0, min(map(len, words.DEPARTMENTS.values())), n_items).astype(np.int32),
        quality=rng.normal(0, 0.4, n_items).astype(np.float32),
        appeal=np.power(1.0 + rng.permutation(n_items), -0.6).astype(np.float64),
        published_day=published.astype(np.int32),
        shown_day=(published + waits).astype(np.int32),
    )


def item_ids(n_items: int) -> pl.Series:
    """Name the items by row: i0000000, i0000001, ..."""
    return pl.Series(c.ITEM_ID, [f"i{row:07d}" for row in range(n_items)], dtype=pl.String)


def describe(rng: np.random.Generator, catalogue: Catalogue, start: datetime) -> pl.DataFrame:
    """Write the shop window: item_id, title, description, categories, price, published_at.

    Categories name department and type, nothing else; material, style, value and use stand in title or description,
    each in one of several phrases.
    """
    n = catalogue.n_items
    names = list(words.DEPARTMENTS)
    dice = rng.integers(0, 1 << 30, (n, 16))
    prices = np.round(np.exp(rng.normal(3.2, 0.7, n)), 2)
    rows = catalogue.item_words.tolist()
    titles, descriptions, categories = [], [], []
    for row, (aspects, kind, die) in enumerate(zip(rows, catalogue.item_types.tolist(), dice.tolist(), strict=True)):
        department = names[aspects[0]]
        said = {aspect: _phrase(aspect, aspects[n], die[n]) for n, aspect in enumerate(ASPECTS) if n}
        said["type"] = words.DEPARTMENTS[department][kind]
        said["series"] = f"{words.SERIES[die[6] % len(words.SERIES)]} {row % 97 + 1}"
        title = words.TITLES[die[7] % len(words.TITLES)].format(**said)
        told = [
            words.SENTENCES[aspect][die[8 + n] % len(words.SENTENCES[aspect])].format(**said)
            for n, aspect in enumerate(("material", "style", "value", "use", "brand"))
        ]
        told.append(words.FILLERS[die[13] % len(words.FILLERS)])
        turn = die[14] % len(told)
        titles.append(title[0].upper() + title[1:])
        descriptions.append(" ".join(told[turn:] + told[:turn]))
        categories.append([department, f"{department} > {said['type']}"])
    published = [start + timedelta(days=day) for day in catalogue.published_day.tolist()]
    return pl.DataFrame(
        {
            c.ITEM_ID: item_ids(n),
            c.TITLE: titles,
            c.DESCRIPTION: descriptions,
            c.CATEGORIES: categories,
            "price": prices,
            c.PUBLISHED_AT: published,
        }
    ).with_columns(pl.col(c.PUBLISHED_AT).cast(pl.Datetime("us")))


def _phrase(aspect: str, word: int, die: int) -> str:
    name = VOCABULARY[word]
    if aspect == "brand":
        return name
    phrases = {
        "material": words.SOLID | words.INGREDIENTS,
        "style": words.STYLES,
        "value": words.VALUES,
        "use": words.USES,
    }[aspect][name]
    return phrases[die % len(phrases)]
