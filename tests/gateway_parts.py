"""The gateway's parts inside one process, and clients of them that a test can stop."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Literal
from uuid import UUID

from django.db import connection

from agents_app.gateway import messages
from agents_app.gateway.authentication import Authentication, Caller
from agents_app.gateway.database import DatabaseAway, DatabaseThreads
from agents_app.gateway.heartbeats import Arrival, Heartbeats
from agents_app.gateway.http import Problem, Response
from agents_app.gateway.live_output import LiveOutput
from agents_app.gateway.polls import Polls
from agents_app.gateway.report_body import Report
from agents_app.gateway.reports import Reports
from agents_app.gateway.suspects import Suspects
from agents_app.gateway.waiters import Hosts
from hosts_app.models import Host
from hosts_app.services import record_heartbeats
from tasks_app.services import dispatch


class StoppingDatabase(DatabaseThreads):
    """Database threads that stop after a look-up was committed, until the test lets it go on."""

    def __init__(self) -> None:
        super().__init__("test", 4)
        self.committed = asyncio.Event()
        self.go_on = asyncio.Event()
        self.look_ups = 0
        self.fails = False
        self.heartbeats = 0

    async def run(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        answer = await super().run(function, *args, **kwargs)
        if function is dispatch.look_up:
            self.look_ups += 1
            self.committed.set()
            await self.go_on.wait()
            if self.fails:
                raise DatabaseAway("a test wants it so")
        elif function is record_heartbeats:
            self.heartbeats += 1
        return answer


class Parts:
    """The parts that serve polls and reports, put together as the service does."""

    def __init__(self, database: Any = None) -> None:
        self.database = database or StoppingDatabase()
        self.suspects = Suspects(self.database)
        self.hosts = Hosts()
        authentication = self.authentication = Authentication(
            self.database, cache_seconds=30, batch_limit=10
        )
        self.polls = Polls(
            self.database,
            hosts=self.hosts,
            heartbeats=Heartbeats(self.database, batch_limit=10),
            authentication=authentication,
            suspects=self.suspects,
        )
        self.reports = Reports(
            self.database,
            hosts=self.hosts,
            polls=self.polls,
            authentication=authentication,
            live_output=LiveOutput(self.database),
            suspects=self.suspects,
        )

    async def report(self, host: Host, *fences: str) -> list[str]:
        """Report that these commands completed; return the verdicts."""
        items = tuple(messages.ResultMessage(UUID(fence), "completed", 0) for fence in fences)
        answer: asyncio.Future[Response] = asyncio.get_running_loop().create_future()
        message = Report(items, ())
        prepared = self.reports.prepare(message, caller_of(host))
        assert self.reports.take(prepared, answer.set_result) is None
        response = await asyncio.wait_for(answer, 10)
        return [item["verdict"] for item in json.loads(response.body)["results"]]


class Client:
    """One client of one poll: it stays, until ``leave``. ``holding``: fence → state."""

    def __init__(
        self,
        parts: Parts,
        host: Host,
        *,
        seq: int = 1,
        holding: Mapping[str, Literal["accepted", "running", "finished"]] = MappingProxyType({}),
        **changes: Any,
    ) -> None:
        self.replies: list[Response] = []
        self.answer: asyncio.Future[Response] = asyncio.get_running_loop().create_future()
        message = messages.PollMessage(
            run=1,
            seq=seq,
            holding=tuple(messages.HeldMessage(UUID(f), state) for f, state in holding.items()),
            **{
                "journal_id": UUID(int=1),
                "instance_id": UUID(int=2),
                "wait_seconds": 20.0,
                "boot_id": "boot",
                "time": time.time(),
                **changes,
            },
        )
        try:
            self.leave = parts.polls.serve(message, caller_of(host), self._reply, Arrival.now())
        except Problem as refused:
            self._reply(refused.response())

    def _reply(self, response: Response) -> None:
        self.replies.append(response)
        if not self.answer.done():
            self.answer.set_result(response)


def caller_of(host: Host) -> Caller:
    """Return the host as one that proved its credential."""
    return Caller(host=host.pk, host_id=host.host_id, generation=1)


async def fences_of(client: Client) -> list[str]:
    """Return the fences that a poll brings."""
    response = await asyncio.wait_for(client.answer, 10)
    return [command["fence"] for command in json.loads(response.body)["commands"]]


async def refusal_of(client: Client) -> tuple[int, str]:
    """Return the status and the code of a poll that is refused."""
    response = await asyncio.wait_for(client.answer, 10)
    return response.status, json.loads(response.body)["code"]


def run_in_thread(function: Callable[[], object]) -> None:
    """Run database work of the test on a connection of its own that is closed at the end."""

    def work() -> None:
        try:
            function()
        finally:
            connection.close()

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()


async def in_database(function: Callable[[], object]) -> None:
    """Do database work of the test beside the event loop."""
    await asyncio.to_thread(run_in_thread, function)
