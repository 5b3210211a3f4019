"""Which worker takes a new connection? The one that has fewest, so that all have their share."""

import asyncio
import socket
import ssl
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

WAITING: Final = 2_048
"""So many connections may wait until a worker takes them."""
HELD_BACK_S: Final = 0.0005
"""A worker lets a new connection wait so long for each one that it has: others that have fewer take it first."""
MOST_HELD: Final = 20
"""Of more connections than this it waits no longer."""
PAUSE_S: Final = 1.0
"""After the system has refused a connection, as it does to a process with too many open files."""


class SharingLoop(asyncio.SelectorEventLoop):
    """An event loop whose servers leave new connections to other processes on the same socket that have fewer.

    asyncio's own takes all that wait at once: those that a client opens at the same time may all be in one worker, and
    the others idle for as long as they are kept. A connection that nobody takes is taken after 10 ms at the latest.
    """

    async def create_server(  # type: ignore[override]  # asyncio has more ways to say on what to listen
        self, protocol_factory: Callable[[], asyncio.Protocol], *, sock: socket.socket, **options: Any
    ) -> "SharingServer":
        """Serve on a socket that listens already; of asyncio's options only `ssl` counts."""
        return SharingServer(self, protocol_factory, sock, options.get("ssl"))


class SharingServer:
    """Takes the connections of one listening socket until it is closed: of an asyncio server what uvicorn uses."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        protocol_factory: Callable[[], asyncio.Protocol],
        listening: socket.socket,
        context: ssl.SSLContext | None,
    ) -> None:
        self._loop = loop
        self._protocol_factory = protocol_factory
        self._listening = listening
        self._context = context
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
        if not n_held:
            self._take()
            return
        self._loop.remove_reader(self._listening)
        self._loop.call_later(min(n_held, MOST_HELD) * HELD_BACK_S, self._take)

    def _take(self) -> None:
        """Take one connection, if another worker has not taken it meanwhile."""
        if self._closed:
            return
        try:
            connection, _ = self._listening.accept()
        except (BlockingIOError, InterruptedError, ConnectionAbortedError):
            self._look_out()
        except OSError as error:
            told = {"message": "a connection could not be accepted", "exception": error}
            self._loop.call_exception_handler(told)
            self._loop.remove_reader(self._listening)
            self._loop.call_later(PAUSE_S, self._look_out)
        else:
            connection.setblocking(False)
            task = self._loop.create_task(self._begin(connection))
            self._beginning.add(task)
            task.add_done_callback(self._beginning.discard)
            self._look_out()

    async def _begin(self, connection: socket.socket) -> None:
        made, context = self._protocol_factory, self._context
        with suppress(OSError):  # of a client that is gone, or that speaks no TLS where it must
            transport, _ = await self._loop.connect_accepted_socket(made, connection, ssl=context)
            self._held.append(transport)
