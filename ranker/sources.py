"""What does each source know of an item for a user at a moment? One score matrix a source, for any items.

Candidate generation takes the best of each matrix, features take the values at the candidates: retrieval, training,
evaluation and service read the same numbers.
"""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Final, Self

import numpy as np
import numpy.typing as npt
from scipy import sparse

from encoders.interest import InterestModel
from encoders.lexical import Words
from encoders.vectors import CatalogueVectors
from ranker.alike import fit_alike
from ranker.attributes import numbers
from ranker.catalogue import Catalogue
from ranker.counter import Rows, Times
from ranker.factors import Factors, FactorsConfig
from ranker.history import Floats, History, Moments, Recent
from ranker.neighbours import NeighboursConfig, fit_following, fit_together, history_weights, last_items

POPULAR_SHARES: Final = {"trending": 0.01, "popular": 0.05, "evergreen": 1.0}
"""Popularity sources: each counts the interactions of this latest share of the log."""

PERSONAL: Final = ("interest", "words", "together", "following", "factors", "category")
"""Sources that need a history; they propose nothing to a user without one."""

SOURCES: Final = (*PERSONAL, *POPULAR_SHARES, "fresh")
HISTORY_LENGTH: Final = 50
DECAY: Final = 0.8
"""Each older item of a user's history counts this much of the next newer one, in sums over the history."""
FRESH_BELOW: Final = 3
"""An item with fewer interactions than this counts as fresh."""


@dataclass(frozen=True, kw_only=True)
class ItemSet:
    """Items to be scored: the whole catalogue, some of it, or items known by their text alone."""

    rows: npt.NDArray[np.int32]
    """Row in the catalogue; -1 for an item outside it."""
    vectors: Floats
    """Text vectors [n, d]."""
    words: sparse.csr_matrix
    """TF-IDF [n, n_words]."""
    categories: sparse.csr_matrix
    """Multi-hot [n, n_categories]."""

    @cached_property
    def speaks(self) -> npt.NDArray[np.bool_]:
        """True where an item has a text vector."""
        return np.asarray(self.vectors.any(axis=1))

    @cached_property
    def in_categories(self) -> Floats:
        """Square root of each item's number of categories, at least 1."""
        return np.asarray(np.sqrt(np.maximum(np.diff(self.categories.indptr), 1)), np.float32)

    def __len__(self) -> int:
        return len(self.rows)


@dataclass(frozen=True, kw_only=True)
class Situation:
    """What is known of each query before any item is looked at."""

    moments: Moments
    history: History
    recent: Recent
    interest: Floats
    """User vectors by the text encoder [q, d]."""
    factors: npt.NDArray[np.float64]
    """User factors [q, f]."""
    past: sparse.csr_matrix
    """Weights of past items, summing to 1 in each row with history [q, n_items]."""
    last: sparse.csr_matrix
    """1 for each query's latest item [q, n_items]."""
    vectors: Floats
    """Text vectors of the catalogue [n_items, d]."""
    typical: npt.NDArray[np.float64]
    """Each user's mean interest in the catalogue, as it was at the training [q]."""
    newcomers: Floats
    """What interest gains in an item that nobody had touched [q]."""
    item_factors: npt.NDArray[np.float64]
    """Collaborative factors of the catalogue [n_items, f]."""
    longest_factors: float
    """Greatest length of an item's factors."""
    new_from: Times
    """An item first touched at or after this moment counts as touched by nobody [q]."""

    def interest_in(self, query: int, rows: npt.NDArray[np.integer], vectors: Floats) -> Floats:
        """Return one query's interest in items given by row (-1: outside the catalogue) and vector.

        In double precision, so that it is the same number for one item as among all of them.
        """
        interest = vectors.astype(np.float64) @ self.interest[query].astype(np.float64)
        if self.newcomers[query]:
            first = self.history.first_touches(len(self.vectors))
            new = ((rows < 0) | (first[rows] >= self.new_from[query])) & vectors.any(axis=1)
            interest += np.where(new, self.newcomers[query], 0)
        return np.asarray(interest, np.float32)

    def factors_in(self, query: int, rows: npt.NDArray[np.integer]) -> Floats:
        """Return one query's product with the collaborative factors of items given by row, in double precision."""
        products = self.item_factors[rows] @ self.factors[query]
        return np.asarray(np.where(rows >= 0, products, 0), np.float32)

    def past_vectors(self, rows: npt.NDArray[np.int32]) -> Floats:
        """Return the text vectors of catalogue rows."""
        return self.vectors[rows]

    def __len__(self) -> int:
        return len(self.moments)


class Sources:
    """Everything fitted on the log before a moment that can speak for an item."""

    def __init__(
        self,
        catalogue: Catalogue,
        interest: InterestModel,
        item_vectors: CatalogueVectors,
        words: Words,
        item_words: sparse.csr_matrix,
        together: sparse.csr_matrix,
        following: sparse.csr_matrix,
        factors: Factors,
        alike: Rows,
        mean_vector: npt.NDArray[np.float64],
        *,
        price_attribute: str = "price",
    ):
        """Hold what was fitted; `item_vectors` are whole, an `interest` cut to fewer numbers scores items by these."""
        self.catalogue = catalogue
        self.interest = interest
        self.item_vectors = item_vectors
        self.words = words
        self.factors = factors
        self.together = together
        self.following = following
        self.alike = alike
        self.price_attribute = price_attribute
        prices = numbers(catalogue, price_attribute)
        self.log_prices = np.log1p(np.where(prices >= 0, prices, np.nan))
        self.everything = ItemSet(
            rows=np.arange(len(catalogue), dtype=np.int32),
            vectors=item_vectors.floats(interest.dim),
            words=item_words,
            categories=catalogue.categories,
        )
        self.mean_vector = mean_vector

    @classmethod
    def fit(
        cls,
        catalogue: Catalogue,
        texts: list[str],
        interest: InterestModel,
        history: History,
        before: int,
        neighbours: NeighboursConfig,
        factors: FactorsConfig,
        *,
        vectors: str = "float16",
        serve_dim: int = 0,
        price_attribute: str = "price",
        words: tuple[Words, sparse.csr_matrix] | None = None,
    ) -> Self:
        """Fit the behavioural sources on what happened before a moment (microseconds); the encoder comes trained.

        `vectors` is the form that item vectors are kept in, `serve_dim` the length that they are cut to for scoring (0:
        whole): what is learned from them knows them as they will serve. `words` are those of `texts`, where known.
        """
        users, items, weights, times = history.events(before=before)
        liked = weights > 0
        users, items, times = users[liked], items[liked], times[liked]
        n_items = len(catalogue)
        vocabulary, item_words = words or Words.fit_rows(texts)
        item_vectors = CatalogueVectors.encode(interest, catalogue.ids, texts, vectors)
        return cls(
            catalogue,
            interest.cut(serve_dim or interest.dim),
            item_vectors,
            vocabulary,
            item_words,
            fit_together(users, items, times, n_items, neighbours),
            fit_following(users, items, times, n_items, neighbours),
            Factors.fit(users, items, n_items, factors),
            fit_alike(item_vectors.floats(), np.bincount(items, minlength=n_items)),
            item_vectors.floats().sum(axis=0, dtype=np.float64) / max(n_items, 1),
            price_attribute=price_attribute,
        )

    def situation(self, history: History, moments: Moments) -> Situation:
        """Look up each query's past and turn it into user vectors."""
        recent = history.recent(moments, HISTORY_LENGTH)
        users = self._users(recent)
        return Situation(
            moments=moments,
            history=history,
            recent=recent,
            interest=users,
            factors=self.factors.user_vectors(recent),
            past=history_weights(recent, len(self.catalogue), DECAY),
            last=last_items(recent, len(self.catalogue)),
            vectors=self.everything.vectors,
            typical=users @ self.mean_vector[: users.shape[1]],
            newcomers=self.interest.newcomers(users),
            item_factors=self.factors.items,
            longest_factors=self.factors.longest,
            new_from=np.minimum(moments.as_of, self.interest.trained_before),
        )

    def scores(self, situation: Situation, items: ItemSet) -> dict[str, Floats]:
        """Return one matrix [q, n_items] for each source, in the order of `SOURCES`; higher speaks more for the item.

        `fresh` is the interest in items that hardly anyone has touched, and -inf for all others. `category_share`
        proposes nothing by itself: it is what `category` has before popularity.

        Interest, fresh and factors are sums in single precision, whose last digits depend on what else is computed with
        them; the `Situation` has them exactly for the items that matter.
        """
        whole = items is self.everything
        interest = self.text_interest(situation.interest, items, situation.history, situation.moments)
        taste = (situation.past @ self.everything.categories).toarray()
        counts, hour = situation.history.popular(
            list(POPULAR_SHARES.values()), len(self.catalogue), situation.moments.as_of
        )
        if not whole:
            counts = np.where(items.rows >= 0, counts[:, :, items.rows], 0)
        out = {
            "interest": interest,
            "words": (items.words @ (situation.past @ self.everything.words).toarray().T).T,
            "together": _columns((situation.past @ self.together).toarray(), items.rows, whole),
            "following": _columns((situation.past @ self.following).toarray(), items.rows, whole),
            "factors": self._likeness(situation.factors, items, whole),
            "category": (items.categories @ taste.T).T / items.in_categories,
        }
        popular = list(POPULAR_SHARES).index("popular")
        out["category_share"] = out["category"]
        out["category"] = out["category"] * np.log1p(counts[:, popular])[hour]
        for n, name in enumerate(POPULAR_SHARES):
            out[name] = counts[:, n][hour]
        touched = counts[:, list(POPULAR_SHARES).index("evergreen")][hour] >= FRESH_BELOW
        out["fresh"] = np.where(touched, np.float32(-np.inf), interest)
        return {name: np.ascontiguousarray(out[name], np.float32) for name in (*SOURCES, "category_share")}

    def text_interest(self, users: Floats, items: ItemSet, history: History, moments: Moments) -> Floats:
        """Return each user vector's interest in each item at the query's moment [q, n_items].

        Items that nobody had touched strictly before the moment, and those outside the catalogue, gain what the encoder
        has learned to add for newcomers.
        """
        interest: Floats = users @ items.vectors.T
        added = self.interest.newcomers(users)
        if added.any():
            first = history.first_touches(len(self.catalogue))
            if items is not self.everything:
                first = np.where(items.rows >= 0, first[items.rows], np.iinfo(np.int64).max)
            new = first[None] >= np.minimum(moments.as_of, self.interest.trained_before)[:, None]
            new &= items.speaks
            np.add(interest, added[:, None], out=interest, where=new)
        return interest

    def given(self, rows: npt.NDArray[np.int32], texts: list[str], categories: list[tuple[str, ...]]) -> ItemSet:
        """Gather items by row; only those with row -1 are read from their text and category names."""
        new = np.flatnonzero(rows < 0)
        vectors = self.everything.vectors[rows]
        words = self.everything.words[rows]
        in_categories = self.catalogue.categories[rows]
        if len(new):
            unknown = [texts[place] for place in new]
            vectors[new] = self.interest.encode(unknown)
            words, in_categories = words.tolil(), in_categories.tolil()
            words[new] = self.words.matrix(unknown)
            in_categories[new] = self.catalogue.category_rows([categories[place] for place in new])
        return ItemSet(rows=rows, vectors=vectors, words=words.tocsr(), categories=in_categories.tocsr())

    def _users(self, recent: Recent) -> Floats:
        """Return user vectors [q, d]; each is computed alone, so that it is the same in a batch, bit by bit."""
        past = self._past_vectors(recent.items)
        alone = (slice(n, n + 1) for n in range(len(recent.items)))
        parts = [self.interest.user_vectors(past[n], recent.weights[n], recent.ages[n], recent.mask[n]) for n in alone]
        return np.concatenate(parts) if parts else np.zeros((0, self.interest.dim), np.float32)

    def _likeness(self, users: npt.NDArray[np.float64], items: ItemSet, whole: bool) -> Floats:
        short, factors = users.astype(np.float32), self.factors.single
        if whole:
            return short @ factors.T
        return np.where(items.rows >= 0, short @ factors[items.rows].T, 0)

    def _past_vectors(self, rows: npt.NDArray[np.int32]) -> Floats:
        """Return whole vectors, which say more of a history than the cut ones that score the catalogue."""
        held = self.everything.vectors
        return held[rows] if held.shape[1] == self.item_vectors.dim else self.item_vectors.at(rows)

    def save(self, folder: Path) -> None:
        """Write what was fitted next to the catalogue; the encoder has its own folder."""
        self.item_vectors.save(folder / "item_vectors")
        self.words.save(folder / "words")
        neighbours = folder / "neighbours"
        neighbours.mkdir()
        sparse.save_npz(neighbours / "words.npz", self.everything.words)
        sparse.save_npz(neighbours / "together.npz", self.together)
        sparse.save_npz(neighbours / "following.npz", self.following)
        self.factors.save(neighbours / "factors.npz")
        np.save(neighbours / "alike.npy", self.alike)
        np.save(neighbours / "mean_vector.npy", self.mean_vector)
        (neighbours / "price_attribute").write_text(self.price_attribute, encoding="utf-8")

    @classmethod
    def load(cls, folder: Path, catalogue: Catalogue, *, serve_dim: int = 0) -> Self:
        """Read what `save` wrote."""
        neighbours = folder / "neighbours"
        return cls(
            catalogue,
            InterestModel.load(folder / "encoder", serve_dim or None),
            CatalogueVectors.load(folder / "item_vectors"),
            Words.load(folder / "words"),
            sparse.load_npz(neighbours / "words.npz").tocsr(),
            sparse.load_npz(neighbours / "together.npz").tocsr(),
            sparse.load_npz(neighbours / "following.npz").tocsr(),
            Factors.load(neighbours / "factors.npz"),
            np.load(neighbours / "alike.npy", allow_pickle=False),
            np.load(neighbours / "mean_vector.npy", allow_pickle=False),
            price_attribute=(neighbours / "price_attribute").read_text(encoding="utf-8"),
        )


def _columns(scores: Floats, rows: npt.NDArray[np.int32], whole: bool) -> Floats:
    return scores if whole else np.where(rows >= 0, scores[:, rows], 0)
