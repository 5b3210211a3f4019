import asyncio
import socket

from api.accepting import OneAtATime
from api.serve import listen

WAIT = 20


class Connections(asyncio.Protocol):
    def __init__(self, made):
        self.made = made

    def connection_made(self, transport):
        self.made.append(transport)


def accepted_by_turn(loop):
    """Let connections wait, then say how many were made after each turn of the loop."""
    made, after = [], []

    async def turns(listening):
        server = await asyncio.get_running_loop().create_server(lambda: Connections(made), sock=listening, backlog=2048)
        # A queue that is too short would let the last of them wait for a second.
        clients = [socket.create_connection(listening.getsockname(), timeout=0.9) for _ in range(WAIT)]
        while len(made) < WAIT:
            await asyncio.sleep(0)
            after.append(len(made))
        for connection in (*made, *clients, server):
            connection.close()

    with asyncio.Runner(loop_factory=loop) as runner, listen("127.0.0.1", 0) as listening:
        runner.run(asyncio.wait_for(turns(listening), 10))
    return [later - earlier for earlier, later in zip([0, *after], after, strict=False)]


def test_no_worker_takes_all_connections_that_wait():
    assert max(accepted_by_turn(OneAtATime)) == 1


def test_asyncio_by_itself_would_take_all():
    assert max(accepted_by_turn(asyncio.SelectorEventLoop)) == WAIT
