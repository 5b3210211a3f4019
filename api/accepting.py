"""Which worker takes a new connection? Whichever is free; never one of them all that wait."""

import asyncio
from typing import Any, Final

WAITING: Final = 2_048
"""So many connections may wait until a worker takes them."""


class OneAtATime(asyncio.SelectorEventLoop):
    """An event loop that accepts one connection, then looks at what else there is to do.

    Workers share a listening socket. asyncio's own loop takes all connections that wait at once: those that a service
    opens at the same time would all be in one worker, and the others idle for as long as they are kept.
    """

    async def create_server(self, *args: Any, **options: Any) -> asyncio.Server:
        """Start a server as asyncio does; its `backlog` is both how many are accepted at once and how many may wait."""
        server = await super().create_server(*args, **{**options, "backlog": 1})
        options["sock"].listen(WAITING)
        return server
