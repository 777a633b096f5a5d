"""HTTP/1.1 over asyncio, written by hand: a client library would be what is measured."""

from __future__ import annotations

import asyncio
import itertools
from collections import deque
from collections.abc import Callable
from typing import cast

Answered = Callable[[int, bytes], None]
_HEAD_END = b"\r\n\r\n"
RETRY_SECONDS = 0.5
# Agents have addresses of their own. From a single one, the kernel looks long for a free port when
# thousands are taken: a fourteenth of all time was spent there, and none of it is the server's.
_SOURCES = itertools.cycle([(f"127.0.1.{no}", 0) for no in range(1, 65)])


async def connect(connection: Connection, host: str, port: int) -> None:
    """Open a connection from the next of the swarm's addresses. Raises OSError."""
    loop = asyncio.get_running_loop()
    await loop.create_connection(lambda: connection, host, port, local_addr=next(_SOURCES))


class Connection(asyncio.Protocol):
    """One keep-alive connection; one request at a time, its answer goes to a callback."""

    def __init__(self, on_lost: Callable[[Connection], None]) -> None:
        """Keep who is told when the connection ends with a request open."""
        self.transport: asyncio.Transport | None = None
        self.on_lost = on_lost
        self.waiting: Answered | None = None
        self._buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)  # uvloop's is not a subclass

    def send(self, request: bytes, answered: Answered) -> None:
        """Send one request; ``answered`` gets its status and body."""
        assert self.transport is not None
        self.waiting = answered
        self.transport.write(request)

    def data_received(self, data: bytes) -> None:
        data = self._buffer + data if self._buffer else data
        end = data.find(_HEAD_END)
        if end < 0:
            self._buffer = data
            return
        head = data[:end].lower()
        at = head.find(b"content-length:")
        stop = head.find(b"\r\n", at)
        length = int(head[at + 15 : stop if stop >= 0 else end])
        body = data[end + 4 :]
        if len(body) < length:
            self._buffer = data
            return
        self._buffer = b""
        answered, self.waiting = self.waiting, None
        if answered is not None:
            answered(int(head[9:12]), body)

    def connection_lost(self, exc: Exception | None) -> None:
        self.transport = None
        if self.waiting is not None:
            self.waiting = None
            self.on_lost(self)


class Pool:
    """Connections to one server that many agents share: the credential is in the request."""

    def __init__(self, host: str, port: int, *, size: int, on_error: Callable[[str], None]) -> None:
        """Open none yet; at most ``size`` when requests come. ``on_error`` hears of failures."""
        self.host, self.port = host, port
        self._size = size
        self._on_error = on_error
        self.closed = False
        self._idle: list[Connection] = []
        self._open_now = 0
        self._requests: deque[tuple[bytes, Answered]] = deque()
        self._under_way: dict[Connection, tuple[bytes, Answered]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def send(self, request: bytes, answered: Answered) -> None:
        """Send a request through a free connection, or as soon as one is free."""
        self._requests.append((request, answered))
        while self._idle:
            connection = self._idle.pop()
            if connection.transport is not None:
                self._next(connection)
                return
            self._open_now -= 1  # the server closed it meanwhile
        self._open_another()

    def _open_another(self) -> None:
        if self._open_now < self._size:
            self._open_now += 1
            task = asyncio.get_running_loop().create_task(self._open())
            self._tasks.add(task)  # kept from the garbage collector
            task.add_done_callback(self._tasks.discard)

    async def _open(self) -> None:
        while not self.closed:
            connection = Connection(self._lost)
            try:
                await connect(connection, self.host, self.port)
            except OSError:
                self._on_error("connect")
                await asyncio.sleep(RETRY_SECONDS)
                continue
            self._next(connection)
            return

    def _next(self, connection: Connection) -> None:
        if not self._requests:
            self._idle.append(connection)
            return
        if connection.transport is None:
            self._open_now -= 1
            self._open_another()
            return
        request, answered = self._requests.popleft()

        def done(status: int, body: bytes) -> None:
            del self._under_way[connection]
            answered(status, body)
            self._next(connection)

        self._under_way[connection] = (request, answered)
        connection.send(request, done)

    def _lost(self, connection: Connection) -> None:
        """Send again, on another connection, what this one got no answer to."""
        self._on_error("report connection lost")
        self._open_now -= 1
        self._requests.append(self._under_way.pop(connection))
        self._open_another()

    def close(self) -> None:
        """Close what is idle, open no more."""
        self.closed = True
        for connection in self._idle:
            if connection.transport is not None:
                connection.transport.close()
        self._idle.clear()
