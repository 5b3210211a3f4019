"""Which candidate source finds what users take next, and which adds nothing to the others?"""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from ranker.best import nth_greatest
from ranker.candidates import CandidatesConfig, blocks, propose
from ranker.examples import Truth, known_items
from ranker.history import History
from ranker.rules import RulesConfig, allowed_items
from ranker.scores import Scores, score_all
from ranker.sources import NEEDS_HISTORY, SOURCES, WITHOUT_ZERO, Sources

AT: Final = 500
QUESTIONS: Final = 500
"""So many questions of the later window are asked, half of them at its beginning, half at what was taken in it."""
FEWEST: Final = 50
"""With fewer takings proposed than this nothing tells which source is idle."""


@dataclass(frozen=True, kw_only=True)
class SourceRecall:
    """What the sources find of all that was taken."""

    recall: dict[str, float]
    """Recall@500 of each source alone, however few it may propose."""
    alone: dict[str, float]
    """Share of what was taken that this source proposed and no other did."""
    proposed: float
    """Share of what was taken that any source proposed, of as many places as they have together."""
    taken: int
    idle: list[str]
    """Sources that could all be left out together without losing a taking."""

    def as_json(self) -> dict[str, Any]:
        """Return the figures for the manifest."""
        rounded = {
            part: {name: round(share, 4) for name, share in shares.items()}
            for part, shares in (("recall@500", self.recall), ("found_by_no_other", self.alone))
        }
        return {**rounded, "proposed": round(self.proposed, 4), "taken": self.taken, "adds_nothing": self.idle}


def recall_of_sources(
    sources: Sources, history: History, truth: Truth, config: CandidatesConfig, rules: RulesConfig
) -> SourceRecall:
    """Ask as service does and look where what followed stands in each source, and in which proposals.

    Where rules allow no repeats, or items share no attribute, that source is left out.
    """
    n_items = len(sources.catalogue)
    found = np.zeros(len(SOURCES))
    hits = [np.empty((0, len(SOURCES)), bool)]
    by_query = np.argsort(truth.query, kind="stable")
    for block in blocks(len(truth.moments), n_items, pasts=history.user_counts(truth.moments)):
        inside = by_query[slice(*np.searchsorted(truth.query[by_query], [block.start, block.stop]))]
        query, item = truth.query[inside] - block.start, truth.item[inside]
        situation = sources.situation(history, truth.moments.take(block))
        scores = score_all(sources, situation)
        allowed = allowed_items(history, situation.moments, sources.catalogue, rules)
        allowed &= known_items(history, sources.catalogue, truth.known_by[block])
        warm: npt.NDArray[np.bool_] = np.asarray(situation.recent.mask.any(axis=1))
        for column, name in enumerate(SOURCES):
            speaks = warm[query] if name in NEEDS_HISTORY else np.ones(len(query), bool)
            found[column] += int((speaks & _within(scores, allowed, query, item, name)).sum())
        pairs = propose(sources, situation, allowed, config, scores)
        key = pairs.query.astype(np.int64) * n_items + pairs.item
        place = np.minimum(np.searchsorted(key, query.astype(np.int64) * n_items + item), max(len(key) - 1, 0))
        if not len(key):
            continue
        hit = key[place] == query.astype(np.int64) * n_items + item
        hits.append(np.isfinite(pairs.ranks[place[hit]]))
    by = np.concatenate(hits)
    alone = by[by.sum(axis=1) == 1].sum(axis=0)
    total = max(len(truth.item), 1)

    silent = {
        name for name, speaks in (("repeats", rules.repeats), ("facets", sources.catalogue.facets.nnz)) if not speaks
    }

    def told(figures: npt.NDArray[Any]) -> dict[str, float]:
        by_name = dict(zip(SOURCES, figures.tolist(), strict=True))
        return {name: figure for name, figure in by_name.items() if name not in silent}

    return SourceRecall(
        recall=told(found / total),
        alone=told(alone / total),
        proposed=len(by) / total,
        taken=len(truth.item),
        idle=[name for name in idle_sources(by) if name not in silent],
    )


def idle_sources(by: npt.NDArray[np.bool_]) -> list[str]:
    """Name sources without all of which nothing would be missed, of takings proposed `by` each [n, n_sources].

    One after the other is left out, the one that proposed least first, as long as what it proposed is proposed by one
    that is kept: of two that propose the same only one is named. None is with too few takings.

    >>> twins = np.zeros((60, len(SOURCES)), bool)
    >>> twins[:, [SOURCES.index("words"), SOURCES.index("popular")]] = True
    >>> [name for name in SOURCES if name not in idle_sources(twins)]
    ['popular']
    """
    if len(by) < FEWEST:
        return []
    kept = np.ones(len(SOURCES), bool)
    for source in np.argsort(by.sum(axis=0), kind="stable"):
        others = kept.copy()
        others[source] = False
        if by[:, others].any(axis=1).all():
            kept = others
    return [name for name, stays in zip(SOURCES, kept, strict=True) if not stays]


def _within(
    scores: Scores, allowed: npt.NDArray[np.bool_], query: npt.NDArray[Any], item: npt.NDArray[Any], name: str
) -> npt.NDArray[np.bool_]:
    """Mark the items that stand among the first 500 allowed ones of a source, behind all that score alike."""
    within = np.zeros(len(query), bool)
    for number in np.unique(query).tolist():
        score = scores.of(name, number)
        rivals = score[allowed[number]]
        bar = nth_greatest(rivals, AT + 1) if len(rivals) > AT else -np.inf
        places = np.flatnonzero(query == number)
        own = score[item[places]]
        speaks = allowed[number, item[places]] & (own > (-np.inf if name in WITHOUT_ZERO else 0))
        within[places] = speaks & (own > bar)
    return within
