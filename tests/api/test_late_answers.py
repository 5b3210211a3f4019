"""An answer that is late computes on: it must not let others begin beside it, nor what nobody waits for any more."""

import asyncio
import threading
import time
from datetime import datetime

import pytest

from api.live_history import Serving
from api.service import Service
from ranker.query import Answer, Query, RankedItem

QUERY = Query(user_id="u", as_of=datetime(2024, 1, 2), k=1)


class Slow:
    """A model whose full answer ends only when it is let go, and which counts how many are being computed."""

    version = "v"

    def __init__(self):
        self.go = threading.Event()
        self.begun = self.running = self.most_running = 0
        self._lock = threading.Lock()

    def recommend(self, query, history=None):
        with self._lock:
            self.begun += 1
            self.running += 1
            self.most_running = max(self.most_running, self.running)
        self.go.wait(60)
        with self._lock:
            self.running -= 1
        return Answer(items=(RankedItem(item_id="full", rank=1, score=1.0),))

    def popular(self, query, history=None):
        return Answer(items=(RankedItem(item_id="popular", rank=1, score=1.0),), degraded=True)


class Still:
    """A model that stays as it is: `Live` as the service sees it."""

    def __init__(self, model):
        self._serving = Serving(model, (), stale=False)

    def now(self):
        return self._serving

    peek = now


class NoLog:
    def put(self, decision):
        pass


@pytest.fixture
def model():
    slow = Slow()
    yield slow
    slow.go.set()


def service(model, budget_s, threads=1):
    return Service(Still(model), NoLog(), budget_s=budget_s, threads=threads)


@pytest.mark.parametrize("threads", [1, 2])
def test_no_more_is_computed_at_once_than_there_are_threads(model, threads):
    asked = service(model, 0.1, threads)

    async def ask():
        one_by_one = [await asked.recommend(QUERY) for _ in range(5)]
        return one_by_one + list(await asyncio.gather(*(asked.recommend(QUERY) for _ in range(5))))

    served = asyncio.run(ask())
    assert all(answer.degraded for answer in served)
    assert model.most_running == threads
    model.go.set()
    asked.stop()
    # The threads end when nothing is left to do: none of the ten that nobody waits for was begun.
    for thread in threading.enumerate():
        if thread.name.startswith("full-answer"):
            thread.join(10)
    assert model.begun == threads


def test_a_late_answer_gives_its_place_back(model):
    asked = service(model, 0.1)
    assert asyncio.run(asked.recommend(QUERY)).degraded
    model.go.set()

    async def ask_until_full():
        for _ in range(100):
            if not (served := await asked.recommend(QUERY)).degraded:
                return served
        raise AssertionError("the place was never given back")

    assert asyncio.run(ask_until_full()).answer.items[0].item_id == "full"
    asked.stop()


def test_an_answer_whose_simple_part_is_late_too_comes_within_the_budget(model):
    """The parts share one budget; with one each it would be twice as late."""
    model.popular = model.recommend
    asked = service(model, 1.0)
    started = time.perf_counter()
    served = asyncio.run(asked.recommend(QUERY))
    assert 1.0 <= time.perf_counter() - started < 1.5
    assert (served.degraded, served.answer.items) == (True, ())
    asked.stop()
