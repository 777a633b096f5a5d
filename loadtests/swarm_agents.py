"""Simulated agents: up to 10,000 in one asyncio process, speaking the real protocol.

Each has its own poll connection and a journal in memory; reports go through a few connections that
all agents of a gateway share, for the credential is in the request.
"""

from __future__ import annotations

import asyncio
import itertools
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from loadtests.swarm_connections import RETRY_SECONDS, Connection, Pool, connect

_encode = msgspec.json.Encoder().encode

# As many as file descriptors allow: with few, reports would wait for each other here and come in
# small batches, which real agents, each with a connection of its own, do not do.
REPORT_CONNECTIONS = 5000
REPORT_RESULTS = 100


class _Command(msgspec.Struct, gc=False):
    fence: str


class _Answer(msgspec.Struct):
    """What a simulated agent reads of a poll's answer."""

    commands: list[_Command]
    cancel: list[str]


class _Judged(msgspec.Struct, gc=False):
    fence: str
    verdict: str


class _Verdicts(msgspec.Struct):
    """What it reads of a report's answer."""

    results: list[_Judged]


_answer = msgspec.json.Decoder(_Answer).decode
_verdicts = msgspec.json.Decoder(_Verdicts).decode


@dataclass(slots=True)
class Figures:
    """What the swarm saw. Times are ``time.perf_counter()``."""

    connected: list[float] = field(default_factory=list)
    polls: int = 0
    started: dict[str, float] = field(default_factory=dict)
    finished: list[float] = field(default_factory=list)
    canceled: list[float] = field(default_factory=list)
    errors: dict[str, int] = field(default_factory=dict)

    def clear(self) -> None:
        """Forget what was seen, before a scenario."""
        for seen in (self.connected, self.started, self.finished, self.canceled, self.errors):
            seen.clear()

    def error(self, what: str) -> None:
        self.errors[what] = self.errors.get(what, 0) + 1


class Agent:
    """One simulated agent. Commands end at once or, with ``swarm.hold``, when canceled."""

    __slots__ = (
        *("connection", "head", "holding", "identity", "journal", "pool", "reporting", "results"),
        *("seq", "swarm"),
    )

    def __init__(self, swarm: Swarm, pool: Pool, credential: str) -> None:
        """Prepare what every request of this agent begins with; ``pool`` is for its reports."""
        self.swarm = swarm
        self.pool = pool
        self.head = (
            f"Host: swarm\r\nAuthorization: Bearer {credential}\r\n"
            "Content-Type: application/json\r\nContent-Length: "
        ).encode()
        self.speak_for(str(uuid.uuid4()))
        self.seq = 0
        self.holding: dict[str, str] = {}
        self.results: dict[str, bytes] = {}
        self.reporting = False
        self.connection: Connection | None = None

    def speak_for(self, journal: str) -> None:
        """Be a new instance of the agent that keeps this journal.

        What its polls say of that is encoded once: what is to be measured is the server.
        """
        self.journal = journal
        identity = {
            "journal_id": journal,
            "run": 1,
            "instance_id": str(uuid.uuid4()),
            "boot_id": "swarm",
        }
        self.identity = _encode(identity)[:-1]

    def request(self, path: bytes, body: bytes) -> bytes:
        """Return one request as it goes over the wire."""
        length = str(len(body)).encode()
        return b"POST /agent/v1/%s HTTP/1.1\r\n%s%s\r\n\r\n%s" % (path, self.head, length, body)

    async def connect(self) -> None:
        """Connect, trying again until it works, and poll."""
        while not self.swarm.stopped:
            try:
                connection = Connection(self._lost)
                await connect(connection, self.pool.host, self.pool.port)
            except OSError:
                self.swarm.figures.error("connect")
                await asyncio.sleep(RETRY_SECONDS * (0.5 + self.swarm.jitter()))
                continue
            self.connection = connection
            self.swarm.figures.connected.append(time.perf_counter())
            self.poll()
            return

    def poll(self) -> None:
        """Send the next poll, with what the journal holds."""
        if self.swarm.stopped:
            return
        if self.connection is None or self.connection.transport is None:
            self._again(RETRY_SECONDS * self.swarm.jitter())
            return
        self.seq += 1
        holding = ",".join(
            f'{{"fence":"{fence}","state":"{state}"}}' for fence, state in self.holding.items()
        )
        body = b'%s,"seq":%d,"time":%.3f,"holding":[%s]}' % (
            self.identity,
            self.seq,
            time.time(),
            holding.encode(),
        )
        self.swarm.figures.polls += 1
        self.connection.send(self.request(b"poll", body), self._polled)

    def _polled(self, status: int, body: bytes) -> None:
        if status != 200:
            self.swarm.figures.error(f"poll {status}")
            self._again(RETRY_SECONDS)
            return
        answer = _answer(body)
        for command in answer.commands:
            self._start(command.fence)
        for fence in answer.cancel:
            if self.holding.get(fence) == "running":
                self.swarm.figures.canceled.append(time.perf_counter())
                self._finish(fence, "canceled")
        self.report()
        self.poll()

    def _start(self, fence: str) -> None:
        if fence in self.holding:
            return
        self.swarm.figures.started[fence] = time.perf_counter()
        self.holding[fence] = "running"
        if not self.swarm.hold:
            self._finish(fence, "completed")

    def _finish(self, fence: str, status: str) -> None:
        self.holding[fence] = "finished"
        self.results[fence] = _RESULTS[status] % fence.encode()

    def report(self) -> None:
        """Send what has ended, all of it at once, unless a report is under way: as agents do."""
        if self.results and not self.reporting:
            self.reporting = True
            batch = b",".join(itertools.islice(self.results.values(), REPORT_RESULTS))
            self.pool.send(self.request(b"report", b'{"results":[%s]}' % batch), self._reported)

    def _reported(self, status: int, body: bytes) -> None:
        self.reporting = False
        if status != 200:
            self.swarm.figures.error(f"report {status}")
            asyncio.get_running_loop().call_later(RETRY_SECONDS, self.report)
            return
        now = time.perf_counter()
        answered = {item.fence: item.verdict for item in _verdicts(body).results}
        for fence, verdict in answered.items():
            if verdict not in ("accepted", "duplicate"):
                self.swarm.figures.error(f"verdict {verdict}")
            self.holding.pop(fence, None)
            self.results.pop(fence, None)
            self.swarm.figures.finished.append(now)
        self.report()

    def _lost(self, _connection: Connection) -> None:
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


def _result(status: str, exit_code: int | None) -> bytes:
    """Return a result as it goes over the wire, with a place for its fence."""
    empty = {"encoding": "utf-8", "head": "", "tail": "", "dropped_bytes": 0, "total_bytes": 0}
    fields = {
        "status": status,
        "exit_code": exit_code,
        "execution_time_ms": 1,
        "stdout": {**empty, "head": "ok\n", "total_bytes": 3},
        "stderr": empty,
    }
    return b'{"fence":"%s",' + _encode(fields)[1:]


_RESULTS = {"completed": _result("completed", 0), "canceled": _result("canceled", None)}


class Swarm:
    """All agents, each of one gateway, and the connections that their reports share."""

    def __init__(
        self, *, host: str, ports: Sequence[int], credentials: Sequence[str], jitter: Any
    ) -> None:
        """Make the agents, split evenly between the gateways; nothing is connected yet."""
        self.jitter = jitter
        self.figures = Figures()
        self.hold = False
        self.stopped = False
        self.pools = [
            Pool(host, port, size=REPORT_CONNECTIONS // len(ports), on_error=self.figures.error)
            for port in ports
        ]
        self.agents = [
            Agent(self, self.pools[no % len(ports)], credential)
            for no, credential in enumerate(credentials)
        ]
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

    def stop(self) -> None:
        """Close every connection."""
        self.stopped = True
        for pool in self.pools:
            pool.close()
        for connection in (agent.connection for agent in self.agents):
            if connection is not None and connection.transport is not None:
                connection.waiting = None
                connection.transport.close()
