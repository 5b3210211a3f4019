"""What has been fitted on the log before a moment that can speak for an item? The encoder's words, and behaviour's."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Final, Self

import numpy as np
import numpy.typing as npt
from scipy import sparse

from encoders.interest import InterestModel
from encoders.kinds import Kinds
from encoders.lexical import Words
from encoders.past import DECAY
from encoders.vectors import CatalogueVectors
from ranker.alike import fit_alike
from ranker.arrays import Floats, Ints, Rows, Times
from ranker.attributes import numbers
from ranker.catalogue import Catalogue
from ranker.coarse import CoarseVectors
from ranker.factors import Factors, FactorsConfig
from ranker.history import History
from ranker.in_vogue import InVogue
from ranker.moments import Moments, Recent
from ranker.neighbours import NeighboursConfig, fit_following, fit_straight, fit_together, history_weights, last_items
from ranker.shared_words import WordsOfItems, rare_words
from ranker.situation import ItemSet, Situation
from ranker.sparse_files import load_matrix, save_matrix
from ranker.timeline import POPULAR_SHARES, Hour

PERSONAL: Final = ("interest", "words", "together", "following", "factors", "category", "facets", "repeats")
"""Sources that look for what is like the user's past."""

NEEDS_HISTORY: Final = frozenset({*PERSONAL, "fresh"})
"""Sources that propose nothing to a user without a past."""
WITHOUT_ZERO: Final = frozenset({"interest", "fresh"})
"""Sources whose scores have no natural zero: others propose nothing that they score 0 or less."""
SOURCES: Final = (*PERSONAL, *POPULAR_SHARES, "fresh")
HISTORY_LENGTH: Final = 50


@dataclass(frozen=True, kw_only=True)
class Behaviour:
    """What behaviour alone says of items: fitted on what happened before a moment, whatever their texts."""

    counts: Ints
    """How often each item was taken [n_items]."""
    together: sparse.csr_matrix
    following: sparse.csr_matrix
    straight: sparse.csr_matrix
    """Which share of the steps from an item led straight to another."""
    factors: Factors

    @classmethod
    def fit(
        cls, history: History, before: int, n_items: int, neighbours: NeighboursConfig, factors: FactorsConfig
    ) -> "Behaviour":
        """Fit on the interactions of positive weight before a moment (microseconds)."""
        users, items, weights, times = history.events(before=before)
        sessions = history.sessions(before=before)
        liked = weights > 0
        users, items, times = users[liked], items[liked], times[liked]
        sessions = None if sessions is None else sessions[liked]
        return cls(
            counts=np.bincount(items, minlength=n_items),
            together=fit_together(users, items, times, n_items, neighbours),
            following=fit_following(users, items, times, n_items, neighbours, sessions),
            straight=fit_straight(users, items, times, n_items, neighbours),
            factors=Factors.fit(users, items, n_items, factors),
        )


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
        straight: sparse.csr_matrix,
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
        self.straight = straight
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
        self._words_of = (np.zeros(0, np.int64), WordsOfItems(item_words[:0]))
        self._in_vogue: InVogue | None = None
        self._untouched = (np.zeros(0, np.int64), 0, np.zeros(0, np.int64))

    @cached_property
    def items_by_word(self) -> sparse.csr_matrix:
        """Return which items hold each word [n_words, n_items]; none for words so common that they tell nothing."""
        return rare_words(self.everything.words)

    def in_vogue(self, hour: Hour) -> InVogue:
        """Return the categories of what was taken lately at an hour; kept for the next, who mostly asks of the same."""
        held = self._in_vogue
        if held is None or held.hour is not hour:
            held = self._in_vogue = InVogue.of(hour, self.everything)
        return held

    def never_met(self, first: Times, since: int) -> npt.NDArray[np.int64]:
        """Return the items with text that nobody had touched before a moment; `first` tells when each first was.

        Kept for the next, who mostly asks of the same moment and history.
        """
        known_first, known_since, rows = self._untouched
        if first is not known_first or since != known_since:
            rows = np.flatnonzero((first >= since) & self.everything.speaks)
            if np.array_equal(rows, self._words_of[0]):
                rows = self._words_of[0]  # the same array, so that its words are known to be the same, too
            self._untouched = first, since, rows
        return rows

    def words_of(self, rows: npt.NDArray[np.int64]) -> WordsOfItems:
        """Return the words of some items to be compared with; kept for the next, who mostly asks of the same."""
        known, words = self._words_of
        if known is not rows and not np.array_equal(known, rows):
            words = WordsOfItems(self.everything.words[rows])
            self._words_of = rows, words
        return words

    @cached_property
    def coarse_vectors(self) -> CoarseVectors:
        """Return the catalogue's text vectors in eight bits, for a first look over all of them."""
        return CoarseVectors.of(self.everything.vectors)

    @cached_property
    def coarse_factors(self) -> CoarseVectors:
        """Return the catalogue's factors in eight bits."""
        return CoarseVectors.of(self.factors.items)

    @classmethod
    def fit(
        cls,
        catalogue: Catalogue,
        texts: list[str],
        interest: InterestModel,
        behaviour: Behaviour,
        *,
        vectors: str = "float16",
        serve_dim: int = 0,
        price_attribute: str = "price",
        words: tuple[Words, sparse.csr_matrix] | None = None,
    ) -> Self:
        """Put together what behaviour says of items and what a trained encoder makes of their texts.

        `vectors` is the form that item vectors are kept in, `serve_dim` the length that they are cut to for scoring (0:
        whole): what is learned from them knows them as they will serve. `words` are those of `texts`, where known.
        """
        vocabulary, item_words = words or Words.fit_rows(texts)
        item_vectors = CatalogueVectors.encode(interest, catalogue.ids, texts, vectors)
        serving = interest.cut(serve_dim or interest.dim)
        return cls(
            catalogue,
            serving,
            item_vectors,
            vocabulary,
            item_words,
            behaviour.together,
            behaviour.following,
            behaviour.straight,
            behaviour.factors,
            fit_alike(item_vectors.floats(), behaviour.counts),
            item_vectors.floats(serving.dim).sum(axis=0, dtype=np.float64) / max(len(catalogue), 1),
            price_attribute=price_attribute,
        )

    def situation(self, history: History, moments: Moments) -> Situation:
        """Look up each query's past and turn it into user vectors."""
        recent = history.recent(moments, HISTORY_LENGTH)
        users = self._users(recent, history.kinds)
        past = self.past(recent)
        return Situation(
            moments=moments,
            history=history,
            recent=recent,
            interest=users,
            factors=self.factors.user_vectors(recent),
            past=past,
            last=last_items(recent),
            words=past @ self.everything.words,
            taste=past @ self.everything.categories,
            together=past @ self.together,
            following=past @ self.following,
            vectors=self.everything.vectors,
            typical=users @ self.mean_vector[: users.shape[1]],
            newcomers=self.interest.newcomers,
            item_factors=self.factors.items,
            new_from=np.minimum(moments.as_of, self.interest.trained_before),
        )

    def past(self, recent: Recent) -> sparse.csr_matrix:
        """Return how much each item of a query's past counts, in sums over the past [q, n_items]."""
        return history_weights(recent, len(self.catalogue), DECAY)

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

    def _users(self, recent: Recent, kinds: Kinds) -> Floats:
        """Return user vectors [q, d]; each is computed alone, so that it is the same in a batch, bit by bit."""
        past, codes = self._past_vectors(recent.items), self.interest.kinds.codes_of(kinds)[recent.kinds]
        alone = (slice(n, n + 1) for n in range(len(recent.items)))
        parts = [
            self.interest.user_vectors(past[n], recent.weights[n], recent.ages[n], recent.mask[n], codes[n])
            for n in alone
        ]
        return np.concatenate(parts) if parts else np.zeros((0, self.interest.dim), np.float32)

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
        save_matrix(self.everything.words, neighbours, "words")
        save_matrix(self.together, neighbours, "together")
        save_matrix(self.following, neighbours, "following")
        save_matrix(self.straight, neighbours, "straight")
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
            load_matrix(neighbours, "words"),
            load_matrix(neighbours, "together"),
            load_matrix(neighbours, "following"),
            load_matrix(neighbours, "straight"),
            Factors.load(neighbours / "factors.npz"),
            np.load(neighbours / "alike.npy", allow_pickle=False),
            np.load(neighbours / "mean_vector.npy", allow_pickle=False),
            price_attribute=(neighbours / "price_attribute").read_text(encoding="utf-8"),
        )
