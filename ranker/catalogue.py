"""Which items are there, in which row, and what may be said of each?"""

import json
from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Final, Self

import numpy as np
import numpy.typing as npt
import polars as pl
from scipy import sparse

from ingest import columns as c
from ranker.arrays import Floats, Times
from ranker.availability import SCHEMA as ABSENCES
from ranker.availability import Absences
from ranker.facets import Value, facet_matrix
from ranker.multi_hot import multi_hot
from ranker.shared_words import rare_words
from ranker.sparse_files import is_saved, load_matrix, save_matrix

SCHEMA = pl.Schema(
    {
        c.ITEM_ID: pl.String(),
        c.TITLE: pl.String(),
        c.DESCRIPTION: pl.String(),
        c.CATEGORIES: pl.List(pl.String()),
        c.ATTRIBUTES: pl.String(),
        c.PUBLISHED_AT: pl.Datetime("us"),
        c.AVAILABLE: pl.Boolean(),
    }
)


_ABSENCES: Final = "absences.parquet"
_FACETS: Final = "facets"
UNDATED: Final = np.iinfo(np.int64).min
"""When an item was published whose publication time is not known: before everything."""


class Catalogue:
    """Items in rows sorted by id: what every array with an item axis follows."""

    def __init__(
        self,
        items: pl.DataFrame,
        facets: Sequence[Value] | None = None,
        absences: pl.DataFrame | None = None,
        *,
        facet_rows: sparse.csr_matrix | None = None,
    ):
        """Hold the items; `facets` are the attribute values that count, by default those that these items share.

        `facet_rows` says which of them each item has, where that is known already. `available` is as of now; `absences`
        (item_id, gone_after, gone_until) tell of the past, by default that nothing changed.
        """
        self.items = items
        self.ids: list[str] = items[c.ITEM_ID].to_list()
        self._row = {item_id: row for row, item_id in enumerate(self.ids)}
        self.available: npt.NDArray[np.bool_] = items[c.AVAILABLE].fill_null(True).to_numpy()
        self.absences = ABSENCES.to_frame() if absences is None else absences
        self._absences = Absences.of(self.rows(self.absences[c.ITEM_ID]), self.absences)
        self.published_at: npt.NDArray[np.int64] = items[c.PUBLISHED_AT].dt.epoch("us").fill_null(UNDATED).to_numpy()
        self.categories, self.category_names = _category_matrix(items[c.CATEGORIES])
        if facets is None or facet_rows is None:
            facet_rows, facets = facet_matrix(items[c.ATTRIBUTES].to_list(), facets)
        self.facets, self.facet_values = facet_rows, list(facets)
        held = np.bincount(self.facets.indices, minlength=self.facets.shape[1])
        self.facet_rarity: Floats = (len(self) / np.maximum(held, 1)).astype(np.float32)

    @classmethod
    def from_store(cls, items: pl.DataFrame, interactions: pl.DataFrame, absences: pl.DataFrame | None = None) -> Self:
        """Take the store's items; with an empty catalogue, the items that the log names, without text."""
        if items.is_empty():
            items = interactions.select(c.ITEM_ID).unique()
        missing = [pl.lit(None, dtype).alias(name) for name, dtype in SCHEMA.items() if name not in items.columns]
        whole = items.with_columns(missing).select(list(SCHEMA)).cast(SCHEMA).sort(c.ITEM_ID)
        return cls(whole, absences=absences)

    def __len__(self) -> int:
        return len(self.ids)

    def without_text(self) -> "Catalogue":
        """Return the same items with nothing to read: no title, description, category or attribute."""
        said = (c.TITLE, c.DESCRIPTION, c.CATEGORIES, c.ATTRIBUTES)
        silent = self.items.with_columns(pl.lit(None, SCHEMA[name]).alias(name) for name in said)
        return Catalogue(silent, absences=self.absences)

    @cached_property
    def last_published(self) -> int:
        """When the latest item was, or will be, published, in microseconds; `UNDATED` where none is known."""
        return int(self.published_at.max(initial=UNDATED))

    @cached_property
    def _by_category(self) -> sparse.csc_matrix:
        return self.categories.tocsc()

    @cached_property
    def items_by_facet(self) -> sparse.csr_matrix:
        """Return the items that hold each attribute value [n_values, n_items]; one of many values counts less for each.

        Rows of values so common that they tell nothing are empty.
        """
        facets = self.facets
        held = np.repeat(np.diff(facets.indptr), np.diff(facets.indptr))
        weights = (1 / np.sqrt(held)).astype(np.float32)
        return rare_words(sparse.csr_matrix((weights, facets.indices, facets.indptr), shape=facets.shape))

    def available_at(self, as_of: Times) -> npt.NDArray[np.bool_]:
        """Mark what could be had at each moment [q, n_items]; [1, n_items] where it is what can be had now."""
        return self._absences.available_at(as_of, self.available)

    def available_each_at(self, moments: Times) -> npt.NDArray[np.bool_]:
        """Mark the items that could be had each at a moment of its own [n_items]."""
        return self._absences.available_each_at(moments, self.available)

    def rows(self, item_ids: Iterable[str]) -> npt.NDArray[np.int32]:
        """Return the row of each id, -1 for ids not in the catalogue; a series of millions at once."""
        if isinstance(item_ids, pl.Series) and len(self):
            places = pl.int_range(len(self), dtype=pl.Int32, eager=True)
            found = item_ids.replace_strict(self.items[c.ITEM_ID], places, default=-1, return_dtype=pl.Int32)
            return found.to_numpy(writable=True)
        row_of = self._row.get
        return np.array([row_of(item_id, -1) for item_id in item_ids], np.int32)

    def in_categories(self, names: Iterable[str]) -> npt.NDArray[np.bool_]:
        """Mark the items that have at least one of the categories; shape [n_items]."""
        found = np.zeros(len(self), bool)
        for column in (self.category_names[name] for name in names if name in self.category_names):
            found[self._by_category.indices[slice(*self._by_category.indptr[column : column + 2])]] = True
        return found

    def category_rows(self, categories: Sequence[Iterable[str]]) -> sparse.csr_matrix:
        """Return the category matrix of items given by their category names, each once, unknown names left out."""
        known = self.category_names
        rows = [[known[name] for name in dict.fromkeys(names) if name in known] for names in categories]
        return multi_hot(rows, len(known))

    def save(self, folder: Path) -> None:
        """Write `items.parquet`, the attribute values that count (`facets.json`), who has which, and absences."""
        self.items.write_parquet(folder / "items.parquet")
        (folder / f"{_FACETS}.json").write_text(json.dumps(self.facet_values), encoding="utf-8")
        save_matrix(self.facets, folder, _FACETS)
        if len(self.absences):
            self.absences.write_parquet(folder / _ABSENCES)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what `save` wrote."""
        facets = json.loads((folder / f"{_FACETS}.json").read_text(encoding="utf-8"))
        absences = pl.read_parquet(folder / _ABSENCES) if (folder / _ABSENCES).is_file() else None
        return cls(
            pl.read_parquet(folder / "items.parquet"),
            [(name, value) for name, value in facets],
            absences,
            facet_rows=load_matrix(folder, _FACETS) if is_saved(folder, _FACETS) else None,
        )


def _category_matrix(categories: pl.Series) -> tuple[sparse.csr_matrix, dict[str, int]]:
    rows = pl.int_range(len(categories), eager=True)
    held = pl.DataFrame({"row": rows, "name": categories}).explode("name").filter(pl.col("name") != "")
    held = held.unique(maintain_order=True)
    names = held["name"].unique().sort()
    columns = held["name"].replace_strict(names, pl.int_range(len(names), eager=True), return_dtype=pl.Int32)
    ends = np.cumsum(np.bincount(held["row"].to_numpy() + 1, minlength=len(categories) + 1))
    matrix = sparse.csr_matrix(
        (np.ones(len(held), np.float32), columns.to_numpy(), ends), shape=(len(categories), len(names))
    )
    return matrix, {name: column for column, name in enumerate(names.to_list())}
