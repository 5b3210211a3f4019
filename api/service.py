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
from api.live_history import Moment
from api.threads import DaemonThreads
from ranker.query import Answer, GivenItem, Query, RankedItem

log = logging.getLogger(__name__)

T = TypeVar("T")

SIMPLE_THREADS = 2
"""Simple answers computed at once."""
KEPT_FOR_SIMPLE = 0.2
"""Share of the budget that the full model leaves to the simple answer."""
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

    def stop(self) -> None:
        """Let the threads end; what is still being computed is not waited for, what waits is not begun."""
        for threads in (self._full, self._simple):
            threads.shutdown(wait=False, cancel_futures=True)

    async def recommend(self, query: Query) -> Served:
        """Choose items for a user."""
        query = _named(query)
        return await self._answer(
            query,
            endpoint="recommendations",
            k=query.k,
            full=lambda moment: moment.ranker.recommend(query, moment.history),
            simple=lambda moment: moment.ranker.popular(query, moment.history),
            last=lambda: Answer(items=(), degraded=True),
        )

    async def rank(self, query: Query, items: Sequence[GivenItem]) -> Served:
        """Order given items for a user."""
        query = _named(query)
        return await self._answer(
            query,
            endpoint="rankings",
            k=len(items),
            full=lambda moment: moment.ranker.rank(query, items, moment.history),
            simple=lambda moment: by_popularity(moment, query, items),
            last=lambda: _in_order(items),
        )

    async def _answer(
        self,
        query: Query,
        *,
        endpoint: str,
        k: int,
        full: Callable[[Moment], Answer],
        simple: Callable[[Moment], Answer],
        last: Callable[[], Answer],
    ) -> Served:
        started = time.perf_counter()
        seconds = (1.0 - KEPT_FOR_SIMPLE) * self._budget_s
        made = await self._within(seconds, partial(_made, self._live.now, full), self._full, query)
        if made is None:
            seconds = started + self._budget_s - time.perf_counter()
            made = await self._within(seconds, partial(_made, self._held, simple), self._simple, query)
        if made is None:
            made = self._held(), last()
        moment, answer = made
        served = Served(
            request_id=str(query.request_id),
            model=moment.ranker.version,
            degraded=answer.degraded or moment.stale,
            answer=answer,
        )
        # In the loop's next turn, when the answer is on its way: woken now, the log's thread would hold it up.
        decision = _decision(served, query, endpoint, k, started)
        asyncio.get_running_loop().call_soon(self._decisions.put, decision)
        return served

    def _held(self) -> Moment:
        """Return the moment that there is: a simple answer waits for nothing that may have made the full one late."""
        return self._live.peek() or self._live.now()

    async def _within(self, seconds: float, work: Callable[[], T], threads: Executor, query: Query) -> T | None:
        """Run `work` in a thread; None when it fails or takes longer, which is logged."""
        limit = asyncio.timeout(seconds)
        try:
            async with limit:
                # Work that has not begun when the time is up is cancelled with its future.
                return await asyncio.wrap_future(threads.submit(work))
        except NoBundleError:
            raise
        except Exception:
            if limit.expired():
                log.error("answer late, a simpler one is given k=%d after_s=%.3f", query.k, seconds)
            else:
                log.exception("answer failed, a simpler one is given k=%d", query.k)
        return None


def _made(moment_of: Callable[[], Moment], make: Callable[[Moment], Answer]) -> tuple[Moment, Answer]:
    moment = moment_of()
    return moment, make(moment)


def _named(query: Query) -> Query:
    """Say what the answer will be called: exploration draws by it."""
    return replace(query, request_id=uuid.uuid4().hex)


def by_popularity(moment: Moment, query: Query, items: Sequence[GivenItem]) -> Answer:
    """Order given items by popularity; those not known as popular follow in the order given."""
    popular = moment.ranker.popular(replace(query, k=POPULAR_KNOWN, explain=False), moment.history)
    # By count, not by rank: caps decide on ranks, and a ranking of given items has none.
    places = {item.item_id: (-item.score, item.rank) for item in popular.items}
    return _in_order(sorted(items, key=lambda item: places.get(item.item_id, (math.inf, math.inf))))


def _in_order(items: Sequence[GivenItem]) -> Answer:
    ranked = (
        RankedItem(item_id=item.item_id, rank=rank, score=float(len(items) - rank))
        for rank, item in enumerate(items, start=1)
    )
    return Answer(items=tuple(ranked), degraded=True)


def _decision(served: Served, query: Query, endpoint: str, k: int, started: float) -> Decision:
    return Decision(
        query=query,
        endpoint=endpoint,
        k=k,
        bundle_version=served.model,
        answer=served.answer,
        degraded=served.degraded,
        latency_ms=(time.perf_counter() - started) * 1e3,
    )
