import asyncio
import socket

import pytest

from api.accepting import SharingLoop, SharingServer
from api.serve import listen


class Echo(asyncio.Protocol):
    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, data):
        self.transport.write(data)


async def answered(client):
    loop = asyncio.get_running_loop()
    await loop.sock_sendall(client, b"said")
    return await loop.sock_recv(client, 10)


def run(doing):
    """Run with a listening socket on a loop that shares."""
    with listen("127.0.0.1", 0) as listening, asyncio.Runner(loop_factory=SharingLoop) as runner:
        return runner.run(asyncio.wait_for(doing(listening), 20))


async def connected(listening):
    client = socket.socket()
    client.setblocking(False)
    await asyncio.get_running_loop().sock_connect(client, listening.getsockname())
    return client


@pytest.mark.parametrize("at_once", [True, False])
def test_two_servers_on_one_socket_have_as_many_connections(at_once):
    taken = []

    def counting(name):
        def made():
            taken.append(name)
            return Echo()

        return made

    async def doing(listening):
        servers = [
            await asyncio.get_running_loop().create_server(counting(name), sock=listening.dup()) for name in "ab"
        ]
        clients = []
        for _ in range(10):
            clients.append(await connected(listening))
            if not at_once:
                await answered(clients[-1])
        assert await asyncio.gather(*map(answered, clients)) == [b"said"] * 10
        for closing in (*servers, *clients):
            closing.close()

    run(doing)
    assert abs(taken.count("a") - taken.count("b")) <= 2


def test_one_that_has_connections_takes_what_nobody_else_takes():
    async def doing(listening):
        server = await asyncio.get_running_loop().create_server(Echo, sock=listening)
        clients = [await connected(listening) for _ in range(30)]
        assert await asyncio.gather(*map(answered, clients)) == [b"said"] * 30
        for closing in (server, *clients):
            closing.close()

    run(doing)


def test_a_closed_server_takes_no_more_and_keeps_what_it_has():
    async def doing(listening):
        server = await asyncio.get_running_loop().create_server(Echo, sock=listening)
        first = await connected(listening)
        assert await answered(first) == b"said"
        late = await connected(listening)
        server.close()
        await server.wait_closed()
        assert await answered(first) == b"said"
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(answered(late), 0.3)
        for closing in (first, late):
            closing.close()

    run(doing)


def test_a_refusal_of_the_system_is_told_and_tried_again(monkeypatch):
    told = []
    monkeypatch.setattr("api.accepting.REFUSED_PAUSE_S", 0.01)

    class Full(socket.socket):
        refusals = 2

        def accept(self):
            if self.refusals:
                self.refusals -= 1
                raise OSError(24, "Too many open files")
            return super().accept()

    async def doing(listening):
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: told.append(context["message"]))
        with Full(fileno=listening.detach()) as full:
            server = SharingServer(loop, Echo, full)
            client = await connected(full)
            assert await answered(client) == b"said"
            server.close()
            client.close()

    run(doing)
    assert told == ["a connection could not be accepted"] * 2
