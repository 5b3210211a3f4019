"""Which worker takes a new connection? One that has few, so that all have their share."""

import asyncio
import socket
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

BACKLOG: Final = 2_048
"""So many connections may wait until a worker takes them."""
PAUSE_EACH_S: Final = 0.001
"""A worker waits this long for each connection it has, so that others with fewer take new ones first."""
MOST_COUNTED: Final = 2
"""But never longer than for this many: who opens a connection for each request would wait at each."""
CONNECTIONS_PER_EXTRA: Final = 4
"""After the wait it takes one connection, plus one for each this many it has: one at a time would be slow."""
REFUSED_PAUSE_S: Final = 1.0
"""A worker waits this long after the system has refused it a connection, as where too many files are open."""


class SharingLoop(asyncio.SelectorEventLoop):
    """An event loop whose servers leave new connections to other processes on the same socket that have fewer.

    asyncio's own takes all that wait at once: those that a client opens at the same time may all be in one worker, and
    the others idle for as long as they are kept. What no other takes, a worker takes after two milliseconds.
    """

    async def create_server(  # type: ignore[override]  # asyncio has more ways to say on what to listen
        self, protocol_factory: Callable[[], asyncio.Protocol], *, sock: socket.socket, **options: Any
    ) -> "SharingServer":
        """Serve on a socket that listens already; TLS is left to a proxy in front."""
        assert not options.get("ssl")
        return SharingServer(self, protocol_factory, sock)


class SharingServer:
    """Takes the connections of one listening socket until it is closed: of an asyncio server what uvicorn uses."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        protocol_factory: Callable[[], asyncio.Protocol],
        listening: socket.socket,
    ) -> None:
        self._loop = loop
        self._protocol_factory = protocol_factory
        self._listening = listening
        self._held: list[asyncio.BaseTransport] = []
        self._beginning: set[asyncio.Task[None]] = set()
        self._closed = False
        listening.setblocking(False)
        self._look_out()

    def close(self) -> None:
        """Take no more connections; those that were taken stay."""
        self._closed = True
        self._loop.remove_reader(self._listening)

    async def wait_closed(self) -> None:
        """Return at once: a closed server has nothing more to do."""

    def _look_out(self) -> None:
        if not self._closed:
            self._loop.add_reader(self._listening, self._wait_or_take)

    def _wait_or_take(self) -> None:
        self._held = [transport for transport in self._held if not transport.is_closing()]
        n_held = len(self._held) + len(self._beginning)
        self._loop.remove_reader(self._listening)
        if n_held:
            self._loop.call_later(
                min(n_held, MOST_COUNTED) * PAUSE_EACH_S, self._take, 1 + n_held // CONNECTIONS_PER_EXTRA
            )
        else:
            self._take(1)

    def _take(self, most: int) -> None:
        """Take some connections, as many as other workers have left."""
        if self._closed:
            return
        try:
            for _ in range(most):
                self._begin_with(self._listening.accept()[0])
        except (BlockingIOError, InterruptedError, ConnectionAbortedError):
            pass  # another worker, or the client itself, was first
        except OSError as error:
            told = {"message": "a connection could not be accepted", "exception": error}
            self._loop.call_exception_handler(told)
            self._loop.call_later(REFUSED_PAUSE_S, self._look_out)
            return
        self._look_out()

    def _begin_with(self, connection: socket.socket) -> None:
        connection.setblocking(False)
        task = self._loop.create_task(self._begin(connection))
        self._beginning.add(task)
        task.add_done_callback(self._beginning.discard)

    async def _begin(self, connection: socket.socket) -> None:
        with suppress(OSError):  # of a client that is gone
            transport, _ = await self._loop.connect_accepted_socket(self._protocol_factory, connection)
            self._held.append(transport)
