import logging
import threading
from datetime import datetime

import pytest

from api.decisions import Decision, DecisionLog
from ranker.query import Answer, Query


class SlowOutbox:
    """Writes so many answers, then hangs until it is let go."""

    def __init__(self, n_before_hanging):
        self.n_before_hanging = n_before_hanging
        self.written = []
        self.go = threading.Event()

    def log_answer(self, request, impressions):
        if len(self.written) == self.n_before_hanging:
            self.go.wait(60)
        self.written.append(request["request_id"])


def decision(number):
    query = Query(user_id="u", as_of=datetime(2024, 1, 2), request_id=str(number))
    return Decision(
        query=query, endpoint="e", bundle_version="v", answer=Answer(items=()), degraded=False, latency_ms=1.0
    )


@pytest.mark.parametrize("length", [5, 100])
def test_decisions_that_wait_at_the_end_are_counted_as_lost(caplog, length):
    """The third hangs while it is written; the queue is full or not."""
    outbox = SlowOutbox(2)
    decisions = DecisionLog(outbox, length=length)
    decisions.start()
    for number in range(3):
        decisions.put(decision(number))
    while len(outbox.written) < 2 or decisions._queue.qsize():
        pass
    for number in range(3, 8):
        decisions.put(decision(number))
    with caplog.at_level(logging.ERROR):
        decisions.stop(timeout=0.2)
    assert decisions.lost == 5
    assert "decision log not emptied waiting=5 lost=5" in caplog.text
    outbox.go.set()
    decisions._thread.join(10)
    assert outbox.written == ["0", "1", "2"]


def test_decisions_that_wait_at_the_end_are_written_where_there_is_time():
    outbox = SlowOutbox(-1)
    decisions = DecisionLog(outbox, length=100)
    decisions.start()
    for number in range(50):
        decisions.put(decision(number))
    decisions.stop()
    assert outbox.written == [str(number) for number in range(50)]
    assert decisions.lost == 0
