"""Simulated agents: up to 10,000 in one asyncio process, speaking the real protocol.

Each has its own poll connection and a journal in memory; reports go through a few connections that
all share, for the credential is in the request. HTTP/1.1 is written by hand: a client library would
be what is measured.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, cast

import msgspec

Answered = Callable[[int, bytes], None]
_HEAD_END = b"\r\n\r\n"
_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode

# As many as file descriptors allow: with few, reports would wait for each other here and come in
# small batches, which real agents, each with a connection of its own, do not do.
REPORT_CONNECTIONS = 5000
REPORT_RESULTS = 100
RETRY_SECONDS = 0.5


class Connection(asyncio.Protocol):
    """One keep-alive connection; one request at a time, its answer goes to a callback."""

    def __init__(self, on_lost: Callable[[], None]) -> None:
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
            self.on_lost()


@dataclass(slots=True)
class Figures:
    """What the swarm saw. Times are ``time.perf_counter()``."""

    connected: int = 0
    polls: int = 0
    started: dict[str, float] = field(default_factory=dict)
    finished: list[float] = field(default_factory=list)
    canceled: list[float] = field(default_factory=list)
    errors: dict[str, int] = field(default_factory=dict)

    def error(self, what: str) -> None:
        self.errors[what] = self.errors.get(what, 0) + 1


class Agent:
    """One simulated agent. Commands end at once or, with ``swarm.hold``, when canceled."""

    __slots__ = (
        *("connection", "head", "holding", "instance", "journal", "reporting", "results"),
        *("seq", "swarm", "tag"),
    )

    def __init__(self, swarm: Swarm, credential: str) -> None:
        """Prepare what every request of this agent begins with."""
        self.swarm = swarm
        self.tag = credential[:16]
        self.head = (
            f"Host: swarm\r\nAuthorization: Bearer {credential}\r\n"
            "Content-Type: application/json\r\nContent-Length: "
        ).encode()
        self.journal = str(uuid.uuid4())
        self.instance = str(uuid.uuid4())
        self.seq = 0
        self.holding: dict[str, str] = {}
        self.results: list[dict[str, Any]] = []
        self.reporting = False
        self.connection: Connection | None = None

    def request(self, path: bytes, body: bytes) -> bytes:
        """Return one request as it goes over the wire."""
        length = str(len(body)).encode()
        return b"POST /agent/v1/%s HTTP/1.1\r\n%s%s\r\n\r\n%s" % (path, self.head, length, body)

    async def connect(self) -> None:
        """Connect, trying again until it works, and poll."""
        loop = asyncio.get_running_loop()
        while not self.swarm.stopped:
            try:
                _, self.connection = await loop.create_connection(
                    lambda: Connection(self._lost), self.swarm.host, self.swarm.port
                )
            except OSError:
                self.swarm.figures.error("connect")
                await asyncio.sleep(RETRY_SECONDS * (0.5 + self.swarm.jitter()))
                continue
            self.swarm.figures.connected += 1
            self.poll()
            return

    def poll(self) -> None:
        """Send the next poll, with what the journal holds."""
        if self.swarm.stopped or self.connection is None or self.connection.transport is None:
            return
        self.seq += 1
        body = {
            "journal_id": self.journal,
            "run": 1,
            "instance_id": self.instance,
            "seq": self.seq,
            "boot_id": "swarm",
            "holding": [{"fence": f, "state": s} for f, s in self.holding.items()],
        }
        self.swarm.figures.polls += 1
        self.connection.send(self.request(b"poll", _encode(body)), self._polled)

    def _polled(self, status: int, body: bytes) -> None:
        if status != 200:
            self.swarm.figures.error(f"poll {status}")
            self._again(RETRY_SECONDS)
            return
        answer = _decode(body)
        for command in answer["commands"]:
            self._start(command)
        for fence in answer["cancel"]:
            if self.holding.get(fence) == "running":
                self.swarm.figures.canceled.append(time.perf_counter())
                self._finish(fence, "canceled")
        self.report()
        self.poll()

    def _start(self, command: dict[str, Any]) -> None:
        fence = command["fence"]
        if fence in self.holding:
            return
        self.swarm.figures.started[fence] = time.perf_counter()
        self.holding[fence] = "running"
        if not self.swarm.hold:
            self._finish(fence, "completed")

    def _finish(self, fence: str, status: str) -> None:
        self.holding[fence] = "finished"
        self.results.append(
            {
                "fence": fence,
                "status": status,
                "exit_code": 0 if status == "completed" else None,
                "execution_time_ms": 1,
                "stdout": _STREAM,
                "stderr": _EMPTY,
            }
        )

    def report(self) -> None:
        """Send what has ended, all of it at once, unless a report is under way: as agents do."""
        if self.results and not self.reporting:
            self.reporting = True
            batch = self.results[:REPORT_RESULTS]
            request = self.request(b"report", _encode({"results": batch}))
            self.swarm.report(request, self._reported)

    def _reported(self, status: int, body: bytes) -> None:
        self.reporting = False
        if status != 200:
            self.swarm.figures.error(f"report {status}")
            asyncio.get_running_loop().call_later(RETRY_SECONDS, self.report)
            return
        now = time.perf_counter()
        answered = {item["fence"]: item["verdict"] for item in _decode(body)["results"]}
        for fence, verdict in answered.items():
            if verdict not in ("accepted", "duplicate"):
                self.swarm.figures.error(f"verdict {verdict}")
            self.holding.pop(fence, None)
            self.swarm.figures.finished.append(now)
        self.results = [result for result in self.results if result["fence"] not in answered]
        self.report()

    def _lost(self) -> None:
        self.swarm.figures.error("connection lost")
        self._again(RETRY_SECONDS * self.swarm.jitter())

    def _again(self, seconds: float) -> None:
        if not self.swarm.stopped:
            asyncio.get_running_loop().call_later(seconds, self._retry)

    def _retry(self) -> None:
        if self.connection is not None and self.connection.transport is not None:
            self.poll()
        else:
            self.swarm.spawn(self.connect())


_STREAM = {"encoding": "utf-8", "head": "ok\n", "tail": "", "dropped_bytes": 0, "total_bytes": 3}
_EMPTY = {"encoding": "utf-8", "head": "", "tail": "", "dropped_bytes": 0, "total_bytes": 0}


class Swarm:
    """All agents, and the connections that their reports share."""

    def __init__(self, *, host: str, port: int, credentials: list[str], jitter: Any) -> None:
        """Make the agents; nothing is connected yet."""
        self.host, self.port = host, port
        self.jitter = jitter
        self.figures = Figures()
        self.hold = False
        self.stopped = False
        self.agents = [Agent(self, credential) for credential in credentials]
        self._idle: list[Connection] = []
        self._opening = 0
        self._reports: deque[tuple[bytes, Answered]] = deque()
        self._tasks: set[asyncio.Task[None]] = set()

    def spawn(self, coroutine: Any) -> None:
        """Run a coroutine in the background, kept from the garbage collector."""
        task = asyncio.get_running_loop().create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def connect(self, *, at_once: int = 500) -> float:
        """Connect all agents, a few hundred at a time; return the seconds it took."""
        began = time.perf_counter()
        gate = asyncio.Semaphore(at_once)

        async def one(agent: Agent) -> None:
            async with gate:
                await agent.connect()

        await asyncio.gather(*(one(agent) for agent in self.agents))
        return time.perf_counter() - began

    def report(self, request: bytes, answered: Answered) -> None:
        """Send a report through a free connection, or as soon as one is free."""
        self._reports.append((request, answered))
        if self._idle:
            self._next(self._idle.pop())
        elif self._opening < REPORT_CONNECTIONS:
            self._opening += 1
            self.spawn(self._open())

    async def _open(self) -> None:
        try:
            _, connection = await asyncio.get_running_loop().create_connection(
                lambda: Connection(lambda: self.figures.error("report connection lost")),
                self.host,
                self.port,
            )
        except OSError:
            self._opening -= 1
            self.figures.error("connect")
            return
        self._next(connection)

    def _next(self, connection: Connection) -> None:
        if connection.transport is None:
            self._opening -= 1
            return
        if not self._reports:
            self._idle.append(connection)
            return
        request, answered = self._reports.popleft()

        def done(status: int, body: bytes) -> None:
            answered(status, body)
            self._next(connection)

        connection.send(request, done)

    def stop(self) -> None:
        """Close every connection."""
        self.stopped = True
        for connection in [*self._idle, *(agent.connection for agent in self.agents)]:
            if connection is not None and connection.transport is not None:
                connection.waiting = None
                connection.transport.close()
