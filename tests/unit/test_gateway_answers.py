"""Answers on a connection: at once or later, to clients that read, that do not, that leave."""

from __future__ import annotations

import asyncio
import gc
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

from uvicorn.config import Config
from uvicorn.server import ServerState

from agents_app.gateway.connections import BUFFERED_BYTES, AgentConnection
from agents_app.gateway.http import EXCHANGE, Exchange, Receive, Response, Scope, Send

# More than the kernel takes of what nobody reads.
LARGE = 16 * 1024 * 1024
REQUEST = b"GET /%d HTTP/1.1\r\nhost: x\r\n\r\n"
HELD = b"POST /held HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n"


class Holding:
    """Holds every request to /held; answers any other at once."""

    def __init__(self) -> None:
        self.held = asyncio.Queue[Exchange]()
        self.gone = asyncio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        exchange: Exchange = scope["extensions"][EXCHANGE]
        if scope["path"] == "/held":
            while (await receive())["more_body"]:
                pass
            # As with a poll: what is told of the end knows the connection.
            exchange.hold(partial(self._left, exchange))
            self.held.put_nowait(exchange)
        else:
            assert exchange.answer(Response(200, b"{}"))

    def _left(self, _exchange: Exchange) -> None:
        self.gone.set()


@asynccontextmanager
async def serving(application: Any) -> AsyncIterator[tuple[str, int]]:
    """Serve an application on connections of the gateway's kind; give the address."""
    config = Config(application, lifespan="off", proxy_headers=False)
    config.load()
    state = ServerState()
    state.default_headers = [(b"server", b"x")]
    server = await asyncio.get_running_loop().create_server(
        lambda: AgentConnection(config, state, {}), "127.0.0.1", 0
    )
    async with server:
        yield server.sockets[0].getsockname()


def connections() -> int:
    # isinstance() would ask what weak proxies stand for, which may be gone.
    return sum(type(one) is AgentConnection for one in gc.get_objects())


async def gone() -> None:
    """Wait until no connection is left. Raises TimeoutError after ten seconds."""
    async with asyncio.timeout(10):
        while connections():  # noqa: ASYNC110 - nothing tells when an object goes
            await asyncio.sleep(0.01)


async def whole(reader: asyncio.StreamReader) -> tuple[bytes, bytes]:
    head = await reader.readuntil(b"\r\n\r\n")
    return head, await reader.readexactly(LARGE)


@asynccontextmanager
async def held_request(
    request: bytes = HELD,
) -> AsyncIterator[tuple[Holding, Exchange, asyncio.StreamReader, asyncio.StreamWriter]]:
    """Send a request that is held; give who holds it, the request, and its client's two ends."""
    application = Holding()
    async with serving(application) as address:
        reader, writer = await asyncio.open_connection(*address)
        writer.write(request)
        held = await asyncio.wait_for(application.held.get(), 10)
        yield application, held, reader, writer
        writer.close()


def test_a_held_request_is_answered_later_and_its_connection_goes_on() -> None:
    async def exchange() -> None:
        async with held_request() as (application, held, reader, writer):
            for body in (b"first", b"second"):
                assert held.answer(Response(200, body))
                head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10)
                assert head.startswith(b"HTTP/1.1 200 OK\r\n")
                assert await reader.readexactly(len(body)) == body
                writer.write(HELD)
                held = await asyncio.wait_for(application.held.get(), 10)
            assert not application.gone.is_set()

    asyncio.run(exchange())


def test_an_answer_that_cannot_be_sent_ends_its_connection() -> None:
    async def exchange() -> None:
        async with held_request() as (_application, held, reader, _writer):
            held.answer(Response(999, b"no such status"))
            assert await asyncio.wait_for(reader.read(), 10) == b""

    asyncio.run(exchange())


def test_who_holds_a_request_is_told_when_its_client_leaves_and_answers_nobody() -> None:
    async def exchange() -> None:
        async with held_request() as (application, held, _reader, writer):
            writer.close()
            await asyncio.wait_for(application.gone.wait(), 10)
            held.answer(Response(200, b"too late"))
            application.gone.clear()
            held.hold(application.gone.set)
            assert application.gone.is_set()

    asyncio.run(exchange())


def test_a_client_that_leaves_after_a_large_body_is_missed_at_once() -> None:
    """Reading stood still for the body; what is not read does not tell of the end."""
    size = BUFFERED_BYTES + 10_000
    head = b"POST /held HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n" % size

    async def exchange() -> None:
        async with held_request(head + b"x" * size) as (application, _held, _reader, writer):
            writer.transport.abort()
            await asyncio.wait_for(application.gone.wait(), 10)

    asyncio.run(exchange())


def test_what_is_sent_before_a_held_request_is_answered_is_not_read() -> None:
    async def exchange() -> None:
        async with held_request(HELD + REQUEST % 1) as (_application, held, reader, _writer):
            held.answer(Response(200, b"{}"))
            told = await asyncio.wait_for(reader.read(), 10)
            assert told.count(b"HTTP/1.1") == told.count(b"connection: close") == 1

    asyncio.run(exchange())


def test_who_does_not_read_answers_is_not_read() -> None:
    async def exchange() -> None:
        application = Holding()
        loop = asyncio.get_running_loop()
        async with serving(application) as address:
            other_reader, other_writer = await asyncio.open_connection(*address)
            client = socket.create_connection(address)
            client.setblocking(False)
            await loop.sock_sendall(client, HELD)
            held = await asyncio.wait_for(application.held.get(), 10)
            held.answer(Response(200, b"1" * LARGE))
            await loop.sock_sendall(client, HELD)
            for _ in range(3):  # by now the second one would have been read
                other_writer.write(REQUEST % 1)
                await asyncio.wait_for(other_reader.readuntil(b"{}"), 10)
            assert application.held.empty()
            reader, writer = await asyncio.open_connection(sock=client)
            head, body = await asyncio.wait_for(whole(reader), 30)
            assert head.startswith(b"HTTP/1.1 200 OK\r\n")
            assert b"content-type: application/json\r\n" in head
            assert b"server: x\r\n" in head
            assert head.lower().count(b"content-length: ") == 1
            assert body.count(b"1") == LARGE
            held = await asyncio.wait_for(application.held.get(), 10)
            held.answer(Response(200, b"2"))
            assert (await asyncio.wait_for(reader.readuntil(b"\r\n\r\n2"), 10)).endswith(b"2")
            for one in (writer, other_writer):
                one.close()

    asyncio.run(exchange())


def test_a_connection_that_ends_leaves_nothing_for_the_garbage_collector() -> None:
    """A client leaves amid its request, another asks for the end with it."""

    async def exchange() -> None:
        application = Holding()
        async with serving(application) as address:
            _reader, writer = await asyncio.open_connection(*address)
            writer.write(HELD)
            await asyncio.wait_for(application.held.get(), 10)
            writer.close()
            reader, writer = await asyncio.open_connection(*address)
            writer.write(b"GET /2 HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
            assert b"connection: close" in await asyncio.wait_for(reader.read(), 10)
            writer.close()
            await gone()

    gc.collect()
    gc.disable()
    try:
        asyncio.run(exchange())
    finally:
        gc.enable()
