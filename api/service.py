"""What does a user get, also when something behind it is broken or late?"""

import asyncio
import logging
import math
import time
import uuid
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from functools import partial
from typing import TypeVar

from api.decisions import Decision, DecisionLog
from api.errors import NoBundleError
from api.live import Live
from api.live_history import Serving
from api.threads import DaemonThreads
from ranker.query import Answer, GivenItem, Query, RankedItem

log = logging.getLogger(__name__)

T = TypeVar("T")

SIMPLE_THREADS = 2
"""Simple answers computed at once."""
KEPT_FOR_SIMPLE = 0.2
"""Share of the budget that the full model leaves to the simple answer."""
IN_A_ROW = 5
"""So many answers in a row that are no full ones are a problem; one may be late by chance."""
POPULAR_KNOWN = 1_000
"""How many popular items order a degraded ranking; the rest keep the order in which they were given."""


@dataclass(frozen=True)
class Served:
    """An answer with what it is called."""

    request_id: str
    model: str
    degraded: bool
    answer: Answer


class Service:
    """Answers with the full model within the budget, else with popularity, else with nothing at all; never an error.

    The full model runs in a thread, by default one at a time: the work is bound by the CPU, so a second thread would
    only take turns with the first under the interpreter lock and make both late, while processes do run beside each
    other. The event loop stays free to accept events, to answer health checks and to notice that the budget is spent.

    A thread cannot be ended from outside: one that is late computes on, and its place stays taken until it is done.
    Whoever waits for the place meanwhile and spends the budget so is never begun. A process told to end waits for none.
    """

    def __init__(self, live: Live, decisions: DecisionLog, *, budget_s: float, threads: int = 1):
        self._live = live
        self._decisions = decisions
        self._budget_s = budget_s
        self._full = DaemonThreads(threads, "full-answer")
        self._simple = DaemonThreads(SIMPLE_THREADS, "simple-answer")
        self._in_vain = 0

    @property
    def problem(self) -> str | None:
        """Why users get simpler answers, where that lasts."""
        if self._in_vain < IN_A_ROW:
            return None
        return (
            f"full answers: wanted one, got {self._in_vain:,} in a row that were late or failed, so that popular items "
            "are given; the log tells why"
        )

    def stop(self) -> None:
        """Let the threads end; what is still being computed is not waited for, what waits is not begun."""
        for threads in (self._full, self._simple):
            threads.shutdown(wait=False, cancel_futures=True)

    async def recommend(self, query: Query) -> Served:
        """Choose items for a user."""
        query = _asked_now(query)
        return await self._answer(
            query,
            endpoint="recommendations",
            full=lambda serving: serving.ranker.recommend(query, serving.history),
            simple=lambda serving: serving.ranker.popular(query, serving.history),
            empty_handed=lambda: Answer(items=(), degraded=True),
        )

    async def rank(self, query: Query, items: Sequence[GivenItem]) -> Served:
        """Order given items for a user."""
        query = _asked_now(query)
        return await self._answer(
            query,
            endpoint="rankings",
            full=lambda serving: serving.ranker.rank(query, items, serving.history),
            simple=lambda serving: by_popularity(serving, query, items),
            empty_handed=lambda: _in_order(items),
        )

    async def _answer(
        self,
        query: Query,
        *,
        endpoint: str,
        full: Callable[[Serving], Answer],
        simple: Callable[[Serving], Answer],
        empty_handed: Callable[[], Answer],
    ) -> Served:
        started = time.perf_counter()
        seconds = (1.0 - KEPT_FOR_SIMPLE) * self._budget_s
        found = await self._within(seconds, partial(_answer_from, self._live.now, full), self._full, query)
        self._in_vain = 0 if found else self._in_vain + 1
        if found is None:
            seconds = started + self._budget_s - time.perf_counter()
            found = await self._within(seconds, partial(_answer_from, self._current, simple), self._simple, query)
        if found is None:
            found = self._current(), empty_handed()
        serving, answer = found
        served = Served(
            request_id=str(query.request_id),
            model=serving.ranker.version,
            degraded=answer.degraded or serving.stale,
            answer=answer,
        )
        # In the loop's next turn, when the answer is on its way: woken now, the log's thread would hold it up.
        decision = _decision(served, query, endpoint, started)
        asyncio.get_running_loop().call_soon(self._decisions.put, decision)
        return served

    def _current(self) -> Serving:
        """Return what there is: a simple answer waits for nothing that may have made the full one late."""
        return self._live.peek() or self._live.now()

    async def _within(self, seconds: float, work: Callable[[], T], threads: Executor, query: Query) -> T | None:
        """Run `work` in a thread; None when it fails or takes longer, which is logged, if often not each time."""
        limit = asyncio.timeout(seconds)
        try:
            async with limit:
                # Work that has not begun when the time is up is cancelled with its future.
                return await asyncio.wrap_future(threads.submit(work))
        except NoBundleError:
            raise
        except Exception:
            # At each doubling: a model that fails at every question must not fill the disk with complaints.
            if self._in_vain & (self._in_vain - 1):
                return None
            if limit.expired():
                log.error("answer late, a simpler one is given k=%d after_s=%.3f", query.k, seconds)
            else:
                log.exception("answer failed, a simpler one is given k=%d", query.k)
        return None


def _answer_from(serving_now: Callable[[], Serving], make: Callable[[Serving], Answer]) -> tuple[Serving, Answer]:
    serving = serving_now()
    return serving, make(serving)


def _asked_now(query: Query) -> Query:
    """Say that the question is a live one, and what the answer will be called: exploration draws by it."""
    return replace(query, live=True, request_id=uuid.uuid4().hex)


def by_popularity(serving: Serving, query: Query, items: Sequence[GivenItem]) -> Answer:
    """Order given items by popularity; those not known as popular follow in the order given."""
    popular = serving.ranker.popular(replace(query, k=POPULAR_KNOWN, explain=False), serving.history)
    # By count, not by rank: caps decide on ranks, and a ranking of given items has none.
    places = {item.item_id: (-item.score, item.rank) for item in popular.items}
    return _in_order(sorted(items, key=lambda item: places.get(item.item_id, (math.inf, math.inf))))


def _in_order(items: Sequence[GivenItem]) -> Answer:
    ranked = (
        RankedItem(item_id=item.item_id, rank=rank, score=float(len(items) - rank))
        for rank, item in enumerate(items, start=1)
    )
    return Answer(items=tuple(ranked), degraded=True)


def _decision(served: Served, query: Query, endpoint: str, started: float) -> Decision:
    return Decision(
        query=query,
        endpoint=endpoint,
        bundle_version=served.model,
        answer=served.answer,
        degraded=served.degraded,
        latency_ms=(time.perf_counter() - started) * 1e3,
    )
