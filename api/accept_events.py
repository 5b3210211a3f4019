"""How are events made durable without any request waiting long for the disk?"""

import asyncio
import logging
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

from api.answers import EventsOut
from api.errors import NotWrittenError
from api.events import Desk
from api.threads import DaemonThreads
from ingest.errors import OutboxError
from ingest.outbox import Appended, Outbox

log = logging.getLogger(__name__)

WRITTEN_WITHIN_S: Final = 5.0
"""Longest wait of a request for its events to be on disk, the wait for other requests' events included."""
WRITERS: Final = 2
"""Threads: one judges events while the other waits for the disk. SQLite writes for one at a time."""


class EventWriter:
    """Judges events and writes the accepted ones, in threads of its own.

    Another process may hold the outbox for seconds. In the threads that all requests share, events waiting for it would
    leave none to answer a health check.
    """

    def __init__(self, desk: Desk, outbox: Outbox):
        self._desk = desk
        self._outbox = outbox
        self._threads = DaemonThreads(WRITERS, "event-writer")
        self.problem: str | None = None
        """Why the last events could not be written."""

    def stop(self) -> None:
        """Let the threads end after what they are at; what waits is not begun."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def accept(self, sent: Sequence[Any], arrived: datetime) -> EventsOut:
        """Return when the accepted events are on disk; NotWrittenError when they cannot be, or not soon enough.

        Writing that has begun goes on after that: the sentence says whether events may count twice when sent again.
        """
        writing = self._threads.submit(self._judge_and_write, sent, arrived)
        try:
            async with asyncio.timeout(WRITTEN_WITHIN_S):
                told: EventsOut = await asyncio.wrap_future(writing)
        except OutboxError as error:
            self.problem = str(error)
            raise NotWrittenError(self.problem) from error
        except TimeoutError as error:
            log.error("events late n=%d after_s=%.3f", len(sent), WRITTEN_WITHIN_S)
            self.problem = self._late(sent, begun=not writing.cancel())
            raise NotWrittenError(self.problem) from error
        if told.accepted:
            self.problem = None
        return told

    def _judge_and_write(self, sent: Sequence[Any], arrived: datetime) -> EventsOut:
        accepted, rejected = self._desk.sort_out(sent, arrived)
        appended = self._outbox.append(accepted) if accepted else Appended(0, 0)
        return EventsOut(accepted=appended.accepted, duplicates=appended.duplicates, rejected=rejected)

    def _late(self, sent: Sequence[Any], *, begun: bool) -> str:
        late = f"{self._outbox.path}: wanted the events on disk within {WRITTEN_WITHIN_S:g} s"
        if not begun:
            return f"{late}, got no turn to write them; send them again"
        nameless = sum(isinstance(event, dict) and event.get("event_id") is None for event in sent)
        twice = f", while {nameless:,} without one may count twice" if nameless else ""
        return f"{late}, got no end of the writing; send them again: those with an event_id count once{twice}"
