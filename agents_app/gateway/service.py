"""The parts of one gateway process, and what each request does with them."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, ParamSpec, TypeVar

from django.conf import settings
from django.db import connection

from agents_app import protocol
from agents_app.gateway import messages
from agents_app.gateway.authentication import Authentication, host_quarantined
from agents_app.gateway.database import DatabaseAway, DatabaseThreads
from agents_app.gateway.descriptions import Descriptions
from agents_app.gateway.enrollments import Enrollments
from agents_app.gateway.garbage import collect_when_idle
from agents_app.gateway.heartbeats import Heartbeats, heartbeat_of
from agents_app.gateway.http import (
    SMALL_BODY_BYTES,
    Response,
    invalid,
    json_response,
    unavailable,
)
from agents_app.gateway.live_output import LiveOutput
from agents_app.gateway.lobby import Lobby
from agents_app.gateway.polls import Polls
from agents_app.gateway.report_body import decode_report, fences_of
from agents_app.gateway.reports import Reports
from agents_app.gateway.strict_json import decode
from agents_app.gateway.suspects import ENROLL, HEARTBEAT, POLL, REPORT, Suspects
from agents_app.gateway.waiters import Hosts
from agents_app.gateway.wakes import Subscription, ask_for_work
from agents_app.services.suspects import Mark
from devops_manager.access.agent_audit import trail
from devops_manager.lib import fault_points
from devops_manager.lib.identity import identity

if TYPE_CHECKING:
    from collections.abc import Callable

    from agents_app.gateway.authentication import Caller
    from agents_app.gateway.heartbeats import Arrival
    from agents_app.gateway.http import Exchange, Problem

logger = logging.getLogger(__name__)

P = ParamSpec("P")
R = TypeVar("R")

_READY_SECONDS = 1.0
_HELD_BACK_SECONDS = 15.0
_QUARANTINED = protocol.CODE_HOST_QUARANTINED
_CLAIMED = b'"commands":[{'
_VERDICT = b'"results":[{'


class Service:
    """Everything that one process holds; made in the event loop that serves."""

    def __init__(self) -> None:
        """Put the parts together."""
        limit = settings.DM_GATEWAY_BATCH
        self._database = DatabaseThreads("gateway-db", settings.DM_GATEWAY_DB_THREADS)
        self._slow_database = DatabaseThreads("gateway-enroll", 1)
        self._bodies = ThreadPoolExecutor(max_workers=1, thread_name_prefix="gateway-bodies")
        self._suspects = Suspects(self._database)
        self._hosts = Hosts()
        self._authentication = Authentication(
            self._database,
            cache_seconds=settings.DM_CREDENTIAL_CACHE_SECONDS,
            batch_limit=limit,
        )
        self._heartbeats = Heartbeats(self._database, batch_limit=limit)
        self._descriptions = Descriptions(self._database, batch_limit=limit)
        self._polls = Polls(
            self._database,
            hosts=self._hosts,
            heartbeats=self._heartbeats,
            authentication=self._authentication,
            suspects=self._suspects,
        )
        self._live_output = LiveOutput(self._database)
        self._reports = Reports(
            self._database,
            hosts=self._hosts,
            polls=self._polls,
            authentication=self._authentication,
            live_output=self._live_output,
            suspects=self._suspects,
        )
        self._enrollments = Enrollments(self._slow_database)
        self._lobby = Lobby(self._authentication, self._polls.serve)
        self._subscription = Subscription(self._polls, self._authentication, self._lobby)
        self._background: list[asyncio.Task[None]] = []
        self._ready_until = 0.0

    async def start(self) -> None:
        """Learn what other gateways ended of; begin to listen for wakes and to ask for work."""
        try:
            await self._suspects.load()
        except DatabaseAway as error:
            # what may be suspect is refused until it is known
            logger.warning("suspect requests are not known yet: %s", error)
        loop = asyncio.get_running_loop()
        self._background = [
            loop.create_task(self._suspects.watch()),
            loop.create_task(self._subscription.run()),
            loop.create_task(ask_for_work(self._database, self._hosts, self._polls)),
            loop.create_task(self._count_audit_events()),
            loop.create_task(collect_when_idle(lambda: self._polls.busy or self._reports.busy)),
        ]

    def drain(self) -> None:
        """Let every held poll go: the process is about to end."""
        self._polls.drain()
        self._lobby.drain()

    async def stop(self) -> None:
        """End what ``start`` began."""
        self.drain()
        for task in self._background:
            task.cancel()
        await asyncio.gather(*self._background, return_exceptions=True)
        await self._reports.finish()  # of those who have left, too
        await self._live_output.close()
        self._bodies.shutdown()
        self._suspects.close()
        await self._write_held_back(everything=True)
        self._database.close()
        self._slow_database.close()

    async def _count_audit_events(self) -> None:
        """Write, now and then, how many events of agents were counted only."""
        while True:
            await asyncio.sleep(_HELD_BACK_SECONDS)
            await self._write_held_back()

    async def _write_held_back(self, *, everything: bool = False) -> None:
        try:
            await self._database.run(trail.write_held_back, everything=everything)
        except DatabaseAway as error:
            logger.warning("counts of audit events were not written: %s", error)
        except Exception:
            # a defect; the next time comes
            logger.exception("counts of audit events were not written")

    def recognize(self, authorization: bytes) -> Caller | None:
        """Return the calling host if it is known and may be served."""
        return self._authentication.recognize(authorization)

    async def identify(self, authorization: bytes) -> tuple[Caller, Problem | None]:
        """Return the calling host, and why it may not be served, if it may not."""
        return await self._authentication.identify(authorization)

    async def enroll(self, body: bytes, source_ip: str | None) -> Response:
        """``enroll``."""
        mark = Mark(ENROLL, 0, hashlib.sha256(body).digest()[:16])
        if self._suspects.set_aside(mark):
            raise invalid("two gateways ended while they served this request; it is set aside")
        with self._suspects.marked(mark):
            return await self._enrollments.serve(decode(body, messages.ENROLL), source_ip)

    def poll(
        self,
        body: bytes,
        caller: Caller,
        wait: Problem | None,
        exchange: Exchange,
        *,
        authorization: bytes,
        arrival: Arrival,
    ) -> None:
        """``poll``, which is held. A host that has to wait is heard all the same: people see it."""
        with self._suspects.marked(self._mark(POLL, caller)):
            if fault_points.CHOSEN:
                fault_points.reach_with("gateway_exit_on_poll", caller.host_id)
            message = decode(body, messages.POLL)
            reply = _faulty(exchange) if fault_points.CHOSEN else exchange.answer
            # Who lets a host in is to see its name; of two agents with one identity nobody knows
            # which.
            if message.host is not None and (wait is None or wait.code != _QUARANTINED):
                self._descriptions.note(caller, message.host)
            if wait is None:
                exchange.hold(self._polls.serve(message, caller, reply, arrival))
                return
            self._heartbeats.note(heartbeat_of(caller.host, message, arrival))
            leave = self._lobby.hold(
                message, authorization, host=caller.host, refusal=wait, reply=reply, arrival=arrival
            )
            exchange.hold(leave)

    async def report(
        self,
        body: bytes,
        caller: Caller,
        wait: Problem | None,
        exchange: Exchange,
        source: Callable[[], str | None],
    ) -> Response | None:
        """``report``; None where it is held. ``source`` finds the client's address if it is needed.

        A quarantined host gets no work, but what it ran is still worth knowing.
        """
        large = len(body) > SMALL_BODY_BYTES
        with self._suspects.marked(self._mark(REPORT, caller)):
            message = await self._apart(large, decode_report, body)
        if wait is not None and wait.code != _QUARANTINED:
            raise wait
        if self._suspects.among(caller.host, fences_of(message)):
            return await self._reports.serve_apart(message, caller, source())
        prepared = await self._apart(large, self._reports.prepare, message, caller)
        # A large body has its room until its results are written, so its request waits.
        if message.output or large:
            response = await self._reports.serve(prepared, source())
            _reach_faults(response)
            return response
        reply = _faulty(exchange) if fault_points.CHOSEN else exchange.answer
        at_once = self._reports.take(prepared, reply)
        if at_once is None:
            exchange.hold(_go_on)
        return at_once

    async def _apart(
        self, large: bool, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs
    ) -> R:
        """Call a function; for a large body beside the event loop, which others wait for."""
        if not large:
            return function(*args, **kwargs)
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._bodies, lambda: function(*args, **kwargs))

    def _mark(self, kind: int, caller: Caller) -> Mark:
        """Return what marks a host's request. Raises Problem where it is set aside."""
        mark = Mark(kind, caller.host)
        if self._suspects.set_aside(mark):
            raise host_quarantined()
        return mark

    async def heartbeat(
        self, body: bytes, caller: Caller, wait: Problem | None, arrival: Arrival
    ) -> Response:
        """``heartbeat``."""
        with self._suspects.marked(self._mark(HEARTBEAT, caller)):
            message = decode(body, messages.HEARTBEAT)
        beat = heartbeat_of(caller.host, message, arrival)
        if wait is not None:
            self._heartbeats.note(beat)
            raise wait
        await self._heartbeats.record(beat)
        return json_response({"server_time": time.time()})

    async def healthy(self) -> Response:
        """``/healthz``: the process serves."""
        return json_response({"status": "ok"} | identity("gateway"))

    async def ready(self) -> Response:
        """``/readyz``: the database answers. Without Redis it is slower, and still ready."""
        if time.monotonic() >= self._ready_until:
            try:
                await self._database.run(_ask_database)
            except DatabaseAway:
                return unavailable().response()
            self._ready_until = time.monotonic() + _READY_SECONDS
        redis = "ok" if self._subscription.connected else "away"
        found = {"status": "ok", "database": "ok", "redis": redis}
        return json_response(found | identity("gateway"))


def _faulty(exchange: Exchange) -> Callable[[Response], object]:
    """Answer, unless a test wants the process to end or to stand still just before."""

    def reply(response: Response) -> bool:
        _reach_faults(response)
        return exchange.answer(response)

    return reply


def _reach_faults(response: Response) -> None:
    if fault_points.CHOSEN and _CLAIMED in response.body:
        fault_points.reach("gateway_exit_after_claim")
        fault_points.reach("gateway_stop_after_claim")
    if fault_points.CHOSEN and _VERDICT in response.body:
        fault_points.reach("gateway_exit_after_report")


def _go_on() -> None:
    """Write results whose sender has left all the same."""


def _ask_database() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")
