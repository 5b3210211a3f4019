"""How is what was answered written down without anyone waiting for it?"""

import contextlib
import logging
import math
import queue
import threading
import time
from dataclasses import dataclass
from typing import Any, Protocol

from api.explained import comparison_json, reason_json
from ingest import columns as c
from ranker.query import Answer, Query

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Decision:
    """One answer as it was given, and what was asked."""

    query: Query
    """Its `request_id` is the id that the answer carried."""
    endpoint: str
    bundle_version: str
    answer: Answer
    degraded: bool
    latency_ms: float

    def request_row(self) -> dict[str, Any]:
        """Return the row of `requests`."""
        return {
            c.REQUEST_ID: self.query.request_id,
            c.USER_ID: self.query.user_id,
            c.OCCURRED_AT: self.query.as_of,
            c.ENDPOINT: self.endpoint,
            c.K: self.query.k,
            c.BUNDLE_VERSION: self.bundle_version,
            c.VARIANT: None,
            c.DEGRADED: self.degraded,
            c.LATENCY_MS: self.latency_ms,
            c.COMPARISON: comparison_json(self.answer.comparison, _short),
            c.ASKED: _asked(self.query),
        }

    def impression_rows(self) -> list[dict[str, Any]]:
        """Return the rows of `impressions`, best first."""
        return [
            {
                c.REQUEST_ID: self.query.request_id,
                c.USER_ID: self.query.user_id,
                c.ITEM_ID: item.item_id,
                c.POSITION: item.rank,
                c.SCORE: item.score,
                c.PROPENSITY: item.propensity,
                c.SOURCES: list(item.sources),
                c.FEATURES: item.features,
                c.OCCURRED_AT: self.query.as_of,
                c.REASONS: [reason_json(reason, _short) for reason in item.reasons] or None,
                c.PLACED_BY: item.placed_by,
            }
            for item in self.answer.items
        ]


def _asked(query: Query) -> dict[str, Any] | None:
    """Return what narrows a query beside user, moment and k, as JSON; None when nothing does."""
    said: dict[str, Any] = {
        "session": list(query.session),
        "exclude": sorted(query.exclude),
        "categories": sorted(query.categories),
    }
    said = {name: values for name, values in said.items() if values}
    dials = {"min_price": query.min_price, "max_price": query.max_price, "diversity": query.diversity}
    said |= {name: value for name, value in dials.items() if value is not None}
    return said or None


def _short(value: float) -> float | None:
    """Round to six digits: they tell all that a weight can."""
    return float(f"{value:.6g}") if math.isfinite(value) else None


class Writes(Protocol):
    """Where decisions go: `ingest.outbox.Outbox`."""

    def log_answer(self, request: dict[str, Any], impressions: list[dict[str, Any]]) -> None:
        """Keep one answer for the next drain."""


class DecisionLog:
    """A bounded queue and one thread that empties it into the outbox.

    Losing a line of this log never costs a user an answer: a full queue or an outbox that cannot be written drops the
    decision and counts it in `lost`.
    """

    def __init__(self, outbox: Writes, *, length: int):
        self._outbox = outbox
        self._queue: queue.Queue[Decision | None] = queue.Queue(length)
        self._thread = threading.Thread(target=self._run, name="decision-log", daemon=True)
        self.lost = 0

    def start(self) -> None:
        """Begin writing."""
        self._thread.start()

    def put(self, decision: Decision) -> None:
        """Keep a decision; returns at once."""
        try:
            self._queue.put_nowait(decision)
        except queue.Full:
            self._lose("queue full")

    def stop(self, timeout: float = 5.0) -> None:
        """Write what waits, then end; what is not written within `timeout` seconds is counted as lost."""
        deadline = time.monotonic() + timeout
        with contextlib.suppress(queue.Full):
            self._queue.put(None, timeout=timeout)
        self._thread.join(max(0.0, deadline - time.monotonic()))
        if self._thread.is_alive():
            waiting = self._take_all()
            self._queue.put(None)
            self.lost += waiting
            log.error("decision log not emptied waiting=%d lost=%d", waiting, self.lost)

    def _take_all(self) -> int:
        """Empty the queue and return how many decisions were in it."""
        n = 0
        while True:
            try:
                n += self._queue.get_nowait() is not None
            except queue.Empty:
                return n

    def _run(self) -> None:
        while (decision := self._queue.get()) is not None:
            try:
                self._outbox.log_answer(decision.request_row(), decision.impression_rows())
            except Exception as error:
                self._lose(str(error))

    def _lose(self, reason: str) -> None:
        self.lost += 1
        # One line per doubling: a full disk must not fill the rest of it with complaints.
        if self.lost & (self.lost - 1) == 0:
            log.error("decision not logged lost=%d reason=%s", self.lost, reason)
