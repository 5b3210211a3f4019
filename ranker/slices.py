"""Into which windows of the later log do the ranker's examples fall, and what is asked in each?"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import numpy as np

from ingest.progress import Progress, silent
from ranker.candidates import CandidatesConfig
from ranker.examples import Examples, ExamplesConfig, all_later, make_examples, next_items, worth_of_first
from ranker.history import History
from ranker.rules import RulesConfig
from ranker.sources import Sources

FEWEST_TAKINGS: Final = 500
"""With fewer takings in the usual share of the log than this, a blend would be learned from chance."""
WIDEST: Final = 0.3
"""Examples may then begin earlier, as far as this latest share of the log: sources need the rest."""


@dataclass(frozen=True, kw_only=True)
class Slice:
    """The examples of one window of time; None where nobody did anything new in it."""

    following: Examples | None
    """Asked at each interaction: what came next?"""
    at_once: Examples | None
    """Asked at the window's beginning: what came at all?"""

    @property
    def parts(self) -> list[Examples]:
        """Both kinds, as far as there are any."""
        return [part for part in (self.following, self.at_once) if part is not None]

    @property
    def positives(self) -> int:
        """Candidates that were taken."""
        return sum(int((part.labels > 0).sum()) for part in self.parts)


def examples_begin(history: History, cutoff: int, share: float, *, repeats: bool = False) -> int | None:
    """Return the moment at which the latest `share` of interactions begins; None when there is nothing before it.

    A log may be short, or full of what users had before, so that its latest share holds few takings to ask for (with
    `repeats` any, else those of items new to the user). Then it is as much earlier as `FEWEST_TAKINGS` of them need,
    down to the latest `WIDEST` share.
    """
    users, items, weights, moments = history.events(before=cutoff)
    times = np.sort(moments)
    if not len(times):
        return None
    begin, widest = (int(times[min(int(len(times) * (1 - part)), len(times) - 1)]) for part in (share, WIDEST))
    taken = np.sort(moments[(weights if repeats else worth_of_first(users, items, moments, weights)) > 0])
    if len(taken):
        begin = min(begin, max(int(taken[-FEWEST_TAKINGS:][0]), widest))
    if begin == times[0]:
        later = times[times > begin]
        return int(later[0]) if len(later) else None
    return begin


def window_bounds(history: History, since: int, until: int, shares: Sequence[float]) -> list[int]:
    """Return the moments between windows that hold these shares of the interactions in `since <= time < until`.

    One more than there are shares: the first is `since`, the last is `until`. Where many interactions lie at one
    instant, as in a log of dates, a window may be empty.
    """
    times = history.events(before=until)[3]
    later = np.sort(times[times >= since])
    found = [since]
    for share in np.cumsum(shares)[:-1]:
        found.append(min(max(int(later[min(int(len(later) * share), len(later) - 1)]), found[-1] + 1), until))
    return [*found, until]


def make_slices(
    sources: Sources,
    history: History,
    between: Sequence[int],
    shares: Sequence[float],
    candidates: CandidatesConfig,
    config: ExamplesConfig,
    rules: RulesConfig,
    progress: Progress = silent,
) -> list[Slice]:
    """Make the examples of each window between two neighbours of `between`; each may have its share of the queries."""
    rng = np.random.default_rng(config.seed)
    found = []
    for number, ((start, end), share) in enumerate(zip(pairwise(between), shares, strict=True)):
        made: list[Examples | None] = []
        truths = [ask(history, start, end, repeats=rules.repeats) for ask in (next_items, all_later)]
        for half, truth in enumerate(truths):
            progress("examples", number * 2 + half, len(shares) * 2)
            if len(truth.moments):
                sample = truth.sample(max(1, int(config.max_queries * share)), rng)
                made.append(make_examples(sources, history, sample, candidates, config, rng, rules))
            else:
                made.append(None)
        found.append(Slice(following=made[0], at_once=made[1]))
    progress("examples", len(shares) * 2, len(shares) * 2)
    return found
