"""How is one question answered? With the best places, why each is there, and what was held back."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from encoders.text import TextConfig, item_text
from ingest import columns as c
from ingest.moments import NEVER, to_microseconds
from ingest.outbox import OnlineEvent
from ranker import bundle
from ranker.arrange import Wish
from ranker.arrays import Floats
from ranker.attributes import numbers
from ranker.calibrate import Calibration
from ranker.calibrate import load as load_calibrations
from ranker.candidates import Candidates, every_pair
from ranker.catalogue import Catalogue
from ranker.explain import EXPLAINED, compare, reasons
from ranker.features import compute
from ranker.history import History
from ranker.live_events import LiveEvents
from ranker.model import Model
from ranker.moments import Moments
from ranker.query import Answer, Comparison, GivenItem, PlacedBy, Query, RankedItem, Reason
from ranker.registry import FEATURE_NAMES
from ranker.rules import allowed_items, on_offer, without
from ranker.situation import Situation
from ranker.sources import SOURCES
from ranker.timeline import POPULAR_SHARES

VIEW = "view"
VIEW_WEIGHT = 1.0


class Ranker:
    """Everything a service needs to answer, read from one bundle. Nothing in it changes after loading."""

    def __init__(
        self,
        model: Model,
        history: History,
        text: TextConfig | None = None,
        *,
        calibrations: Mapping[str, Calibration] | None = None,
        version: str,
        outbox_seq: int = 0,
    ):
        self.model = model
        self.history = history
        self.version = version
        self.outbox_seq = outbox_seq
        self.feature_names = FEATURE_NAMES
        self._text = text or TextConfig()
        self._calibrations = calibrations or {}
        self._caps = model.arranger.caps  # so that the arranger is made now, not at the first question
        self._prices = numbers(model.catalogue, model.rules.price_attribute)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Check the manifest, then load; a `BundleError` says what does not fit."""
        manifest = bundle.checked_manifest(folder)
        return cls(
            Model.load(folder, manifest),
            History.load(folder / "history"),
            TextConfig(**manifest.settings["text"]),
            calibrations=load_calibrations(folder),
            version=manifest.version,
            outbox_seq=manifest.outbox_seq,
        )

    @property
    def cutoff(self) -> datetime:
        """All that was learned happened before it."""
        return self.model.cutoff

    @property
    def known_until(self) -> datetime:
        """The bundle's history holds what happened before it."""
        return self.model.known_until

    @property
    def catalogue(self) -> Catalogue:
        """The catalogue as it was at the training, or at the refresh."""
        return self.model.catalogue

    def item(self, item_id: str) -> dict[str, Any] | None:
        """Return what the catalogue says of an item; None when it is not there."""
        row = int(self.catalogue.rows([item_id])[0])
        return None if row < 0 else self.catalogue.items.row(row, named=True)

    def title(self, item_id: str) -> str:
        """Return an item's title, or its id where it has none."""
        item = self.item(item_id)
        return str((item and item[c.TITLE]) or item_id)

    def last_items(self, user_id: str, length: int) -> list[str]:
        """Return the ids of a user's last items that the bundle knows of, oldest first."""
        moments = Moments(users=self.history.user_rows([user_id]), as_of=np.array([to_microseconds(self.known_until)]))
        recent = self.history.recent(moments, length)
        return [self.catalogue.ids[row] for row in recent.items[recent.mask].tolist()]

    def history_with(self, events: Sequence[OnlineEvent], under: History | None = None) -> History:
        """Return a history, else the bundle's, with the events accepted since that it does not hold yet."""
        return (under or self.history).and_then(LiveEvents.of_outbox(events, self.catalogue))

    def recommend(self, query: Query, history: History | None = None) -> Answer:
        """Return the best items for one query, rules kept; fewer than `k` only when the rules leave fewer."""
        situation = self._situation(query, history or self.history)
        allowed, held_back = self._allowed(situation.history, situation.moments, query)
        wish = Wish(k=query.k, diversity=query.diversity, categories=query.categories, request_id=query.request_id)
        found = self.model.place(situation, allowed[None], wish)
        pairs, features, placed = found.pairs, found.features, found.places
        first = placed.pair[:EXPLAINED]
        first = first[first >= 0]
        because: dict[int, tuple[Reason, ...]] = {}
        if query.explain and len(first):
            weights, items = self.model.weights(found, first), self.model.sources.everything
            told = reasons(weights, features[first], pairs.take(first), situation, items, self.model.sources)
            because = dict(zip(first.tolist(), told, strict=True))
        likely = self._probabilities("recommend", placed.score)
        answer = [
            RankedItem(
                item_id=self.catalogue.ids[placed.item[place]],
                rank=place + 1,
                score=float(placed.score[place]),
                probability=likely[place] if pair >= 0 else None,
                propensity=float(placed.propensity[place]),
                placed_by=str(placed.by[place]),
                sources=_sources(pairs, pair, placed.by[place] == PlacedBy.EXPLORE),
                reasons=because.get(pair, ()),
                # A copy: a part of the whole would keep the features of all candidates as long as the answer.
                features=features[pair].copy() if pair >= 0 else np.empty(0, np.float32),
            )
            for place, pair in enumerate(placed.pair.tolist())
        ]
        asked = [np.flatnonzero(pairs.item == row) for row in self.catalogue.rows(query.compare or ())]
        comparison = _comparison(query, features, asked, partial(self.model.weights, found))
        return Answer(items=tuple(answer), comparison=comparison, filtered=held_back)

    def rank(self, query: Query, items: Sequence[GivenItem], history: History | None = None) -> Answer:
        """Order the given items; those the bundle does not know are read from their text. No rule removes any."""
        situation = self._situation(query, history or self.history)
        rows = self.catalogue.rows(item.item_id for item in items)
        pairs = every_pair(1, len(items))
        if (rows >= 0).all():
            given, pairs = self.model.sources.everything, replace(pairs, item=rows)
        else:
            texts = ["" if row >= 0 else self._text_of(item) for row, item in zip(rows.tolist(), items, strict=True)]
            given = self.model.sources.given(rows, texts, [item.categories for item in items])
        features = compute(situation, given, pairs, self.model.sources)
        score = self.model.score_given(features, pairs.query)
        likely = self._probabilities("given", score)
        order = np.lexsort((np.arange(len(items)), -score))
        first = order[:EXPLAINED]
        weights_of = partial(self.model.weights_given, features)
        because: list[tuple[Reason, ...]] = []
        if query.explain and len(first):
            told = weights_of(first), features[first], pairs.take(first)
            because = reasons(*told, situation, given, self.model.sources)
        asked = [np.flatnonzero([item.item_id == wanted for item in items]) for wanted in query.compare or ()]
        scores = score.tolist()
        return Answer(
            comparison=_comparison(query, features, asked, weights_of),
            items=tuple(
                RankedItem(
                    item_id=items[row].item_id,
                    rank=place + 1,
                    score=scores[row],
                    probability=likely[row],
                    reasons=because[place] if place < len(because) else (),
                    features=features[row],
                )
                for place, row in enumerate(order.tolist())
            ),
        )

    def popular(self, query: Query, history: History | None = None) -> Answer:
        """Answer from counts alone, rules kept: for when a part of the model fails."""
        history = self._with_session(query, history or self.history)
        moments = _moments(query, history)
        allowed, held_back = self._allowed(history, moments, query)
        n_items, as_of = len(self.catalogue), int(moments.as_of[0])
        recently = history.counts_of_all(
            n_items, since=int(history.since_share(POPULAR_SHARES["popular"], moments.as_of)[0]), before=as_of
        )
        ever = history.counts_of_all(n_items, before=as_of)

        def in_order(rows: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
            return rows[np.lexsort((rows, -ever[rows], -recently[rows]))]

        best = in_order(np.flatnonzero(allowed & (recently > 0)))
        chosen = self._caps.tally(query.categories).pick(best, query.k)
        n_within = len(chosen)
        if n_within < query.k:  # only then is all of the catalogue worth sorting
            best = in_order(np.flatnonzero(allowed))
            chosen, n_within = self._caps.tally(query.categories).fill(best, query.k)
        answer = [
            RankedItem(
                item_id=self.catalogue.ids[row],
                rank=place + 1,
                score=float(recently[row]),
                placed_by=PlacedBy.SCORE if place < n_within else PlacedBy.CAP,
                sources=("popular",),
            )
            for place, row in enumerate(best[chosen].tolist())
        ]
        return Answer(items=tuple(answer), degraded=True, filtered=held_back)

    def _situation(self, query: Query, history: History) -> Situation:
        history = self._with_session(query, history)
        return self.model.sources.situation(history, _moments(query, history))

    def _with_session(self, query: Query, history: History) -> History:
        if not query.session:
            return history
        n_items = len(query.session)
        looked_at = LiveEvents(
            user_ids=[query.user_id] * n_items,
            items=self.catalogue.rows(query.session),
            times=to_microseconds(query.as_of) - np.arange(n_items, 0, -1),
            weights=np.full(n_items, VIEW_WEIGHT, np.float32),
            kinds=[VIEW] * n_items,
        )
        return history.and_then(looked_at)

    def _allowed(
        self, history: History, moments: Moments, query: Query
    ) -> tuple[npt.NDArray[np.bool_], dict[str, int]]:
        offered = on_offer(self.catalogue, moments)
        known = replace(moments, as_of=np.array([NEVER])) if query.live else moments
        allowed = allowed_items(history, known, self.catalogue, self.model.rules, offered)
        return without(
            allowed[0],
            offered[0],
            self.catalogue,
            exclude=query.exclude,
            categories=query.categories,
            prices=self._prices,
            min_price=query.min_price,
            max_price=query.max_price,
        )

    def _text_of(self, item: GivenItem) -> str:
        return item_text(title=item.title, description=item.description, categories=item.categories, config=self._text)

    def _probabilities(self, blend: str, score: npt.NDArray[np.float64]) -> Sequence[float | None]:
        curve = self._calibrations.get(blend)
        return curve.probability(score).tolist() if curve else [None] * len(score)


def _comparison(
    query: Query,
    features: Floats,
    asked: list[npt.NDArray[np.int64]],
    weights_of: Callable[[npt.NDArray[np.int64]], npt.NDArray[np.float64]],
) -> Comparison | None:
    if query.compare is None or not all(len(found) for found in asked):
        return None
    both = np.array([found[0] for found in asked])
    return compare(weights_of(both), features[both], *query.compare)


def _sources(pairs: Candidates, pair: int, explored: bool) -> tuple[str, ...]:
    if pair < 0:
        return ("newest",)
    proposed = tuple(name for name, rank in zip(SOURCES, pairs.ranks[pair], strict=True) if rank > 0)
    return (*proposed, "explore") if explored else proposed


def _moments(query: Query, history: History) -> Moments:
    return Moments(users=history.user_rows([query.user_id]), as_of=np.array([to_microseconds(query.as_of)], np.int64))
