"""What would simpler systems recommend? The baselines that stand beside ours in every table.

Each is fitted on what happened before the cutoff, and answers with the user's live history strictly before `as_of`.
All keep the same hard rules as ours: available, published, not hidden and, without repeats, not taken before. A user
without history gets the popular list, and so do the places that a system has nothing to say about.
"""

import logging
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

import numpy as np
import polars as pl

from ingest import columns as c
from ingest.progress import Progress, silent
from offline_eval import metrics, systems
from offline_eval.systems import BaselineData, BaselinesConfig, Floats, Scores
from offline_eval.windows import choose_cutoff, cutoff_window
from ranker.candidates import blocks
from ranker.catalogue import Catalogue
from ranker.history import History
from ranker.moments import Moments, Recent
from ranker.rules import RulesConfig, allowed_items
from ranker.scores import interest_in_all
from ranker.sources import Sources

log = logging.getLogger(__name__)

POPULAR = "popular"
"""The popular list's name in every table."""
_CELLS = 12_000_000


class Baseline:
    """One score for each item, the hard rules, and the popular list for what is left."""

    def __init__(self, data: BaselineData, popular: Scores, personal: Scores | None = None) -> None:
        self.data = data
        self.popular = popular
        self._personal = personal

    def recommend(self, queries: pl.DataFrame, k: int) -> pl.DataFrame:
        """Answer queries (query_id, user_id, as_of) with query_id, item_id, rank (from 1), score."""
        n_items = len(self.data.catalogue)
        asked = blocks(queries.height if n_items else 0, n_items, _CELLS)
        return pl.concat([_NO_ANSWERS, *(self._answer(queries[block], min(k, n_items)) for block in asked)])

    def rank(self, requests: pl.DataFrame) -> pl.DataFrame:
        """Score given items (request_id, user_id, item_id, occurred_at): request_id, item_id, score; no hard rules.

        Items outside the catalogue get no row.
        """
        asked = requests.select(c.REQUEST_ID, c.USER_ID, pl.col(c.OCCURRED_AT).alias(c.AS_OF)).unique(
            c.REQUEST_ID, keep="first", maintain_order=True
        )
        items = requests.select(c.REQUEST_ID, c.ITEM_ID, item=pl.Series(self.data.catalogue.rows(requests[c.ITEM_ID])))
        parts = [pl.DataFrame(schema={c.REQUEST_ID: pl.String, c.ITEM_ID: pl.String, c.SCORE: pl.Float64})]
        for block in blocks(asked.height, len(self.data.catalogue), _CELLS):
            some = asked[block].with_row_index("row")
            scores = self._scores(*self._situation(some))
            given = items.filter(pl.col("item") >= 0).join(some.select(c.REQUEST_ID, "row"), on=c.REQUEST_ID)
            found = scores[given["row"].to_numpy(), given["item"].to_numpy()].astype(np.float64)
            parts.append(given.select(c.REQUEST_ID, c.ITEM_ID, pl.Series(c.SCORE, found)))
        return pl.concat(parts)

    def _answer(self, queries: pl.DataFrame, k: int) -> pl.DataFrame:
        history, catalogue = self.data.history, self.data.catalogue
        moments, recent = self._situation(queries)
        scores = self._scores(moments, recent)
        scores = np.where(allowed_items(history, moments, catalogue, self.data.rules), scores, -np.inf)
        best = np.argpartition(-scores, k - 1, axis=1)[:, :k] if k < scores.shape[1] else np.argsort(-scores, axis=1)
        order = np.argsort(-np.take_along_axis(scores, best, axis=1), axis=1, kind="stable")
        best = np.take_along_axis(best, order, axis=1)
        kept = np.take_along_axis(scores, best, axis=1)
        row, place = np.nonzero(np.isfinite(kept))
        return pl.DataFrame(
            {
                c.QUERY_ID: queries[c.QUERY_ID].gather(row),
                c.ITEM_ID: pl.Series(catalogue.ids, dtype=pl.String).gather(best[row, place]),
                c.RANK: pl.Series(place + 1, dtype=pl.Int64),
                c.SCORE: pl.Series(kept[row, place], dtype=pl.Float64),
            }
        )

    def _situation(self, queries: pl.DataFrame) -> tuple[Moments, Recent]:
        history = self.data.history
        moments = Moments(
            users=history.user_rows(queries[c.USER_ID].to_list()),
            as_of=queries[c.AS_OF].dt.epoch("us").to_numpy().astype(np.int64),
        )
        return moments, history.recent(moments, self.data.config.history_length)

    def _scores(self, moments: Moments, recent: Recent) -> Floats:
        # Popularity is pressed below every personal score, so that it orders only what the system is silent about.
        popular = self.popular(moments, recent)
        scores: Floats = popular / (1.0 + popular.max(axis=1, keepdims=True)) - 2.0
        if self._personal is None:
            return scores
        personal = self._personal(moments, recent)
        known = np.asarray(recent.mask.any(axis=1), dtype=np.bool_)
        spoken = known[:, None] & np.isfinite(personal)
        lift = np.minimum(personal.min(axis=1, keepdims=True, where=spoken, initial=0.0), 0.0)
        scores = np.where(spoken, personal - lift, scores)
        return scores


def make_baselines(
    catalogue: Catalogue,
    texts: Sequence[str],
    interactions: pl.DataFrame,
    cutoff: datetime,
    config: BaselinesConfig | None = None,
    *,
    rules: RulesConfig | None = None,
    progress: Progress = silent,
) -> dict[str, Baseline]:
    """Fit popular, item-item, text-only and behaviour-only on what happened before the cutoff, by name.

    Where the rules allow repeats, `own items` stands beside them, which then is the one to beat.

    `texts` follow the catalogue's rows. `interactions` is the whole log: what lies after the cutoff serves as live
    history alone.
    """
    config, rules = config or BaselinesConfig(), rules or RulesConfig()
    popular = popular_list(catalogue, interactions, cutoff, config, rules=rules)
    makers = {
        "item-item": systems.item_item,
        "text-only": systems.text_only(texts),
        "behaviour-only": systems.behaviour_only,
    }
    if rules.repeats:
        makers["own items"] = systems.own_items
    baselines = {POPULAR: popular}
    for name, make in makers.items():
        progress("baselines", len(baselines), len(makers) + 1, name)
        baselines[name] = Baseline(popular.data, popular.popular, make(popular.data))
    progress("baselines", len(baselines), len(makers) + 1)
    return baselines


def popular_list(
    catalogue: Catalogue, interactions: pl.DataFrame, cutoff: datetime, config: BaselinesConfig, *, rules: RulesConfig
) -> Baseline:
    """Return the popular list by itself, over the window that did best before the cutoff.

    `interactions` are those that `make_baselines` takes.
    """
    history = History.from_frames(catalogue, interactions)
    data = BaselineData(catalogue=catalogue, history=history, cutoff=cutoff, config=config, rules=rules)
    share = choose_share(catalogue, interactions.filter(pl.col(c.OCCURRED_AT) < cutoff), config, rules)
    log.info("chose popularity window share=%s", share)
    return Baseline(data, systems.popular(data, share))


def text_interest(popular: Baseline, bundle: Path) -> Baseline:
    """Let a bundle's tuned text encoder recommend by itself, on the same data as the baseline `popular`."""
    data = popular.data
    sources = Sources.load(bundle, data.catalogue)

    def scores(moments: Moments, recent: Recent) -> Floats:
        return interest_in_all(sources, sources.situation(data.history, moments))

    return Baseline(data, popular.popular, scores)


def choose_share(
    catalogue: Catalogue, known: pl.DataFrame, config: BaselinesConfig, rules: RulesConfig | None = None
) -> float:
    """Choose the popularity window by NDCG@10 on the last tenth of what is known; 1.0 when that cannot be asked."""
    if known[c.OCCURRED_AT].n_unique() < 2:
        return 1.0
    rules = rules or RulesConfig()
    window = cutoff_window(known, choose_cutoff(known), repeats=rules.repeats, max_queries=1000)
    if window.queries.is_empty():
        return 1.0
    history = History.from_frames(catalogue, known)
    data = BaselineData(catalogue=catalogue, history=history, cutoff=window.cutoff, config=config, rules=rules)
    values = {}
    for share in config.shares:
        recommended = Baseline(data, systems.popular(data, share)).recommend(window.queries, 10)
        values[share] = float(metrics.ndcg(recommended, window.truth, 10)["ndcg"].to_numpy().mean())
    return max(values, key=lambda share: (values[share], share))


_NO_ANSWERS = pl.DataFrame(schema={c.QUERY_ID: pl.String, c.ITEM_ID: pl.String, c.RANK: pl.Int64, c.SCORE: pl.Float64})
