"""The parts of one gateway process, and what each request does with them."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING

from django.conf import settings
from django.db import connection

from agents_app import protocol
from agents_app.gateway import messages
from agents_app.gateway.authentication import Authentication
from agents_app.gateway.database import DatabaseAway, DatabaseThreads
from agents_app.gateway.descriptions import Descriptions
from agents_app.gateway.enrollments import Enrollments
from agents_app.gateway.garbage import collect_when_idle
from agents_app.gateway.heartbeats import Heartbeats, heartbeat_of
from agents_app.gateway.http import SMALL_BODY_BYTES, Response, json_response, unavailable
from agents_app.gateway.live_output import LiveOutput
from agents_app.gateway.polls import Polls
from agents_app.gateway.report_body import decode_report
from agents_app.gateway.reports import Reports
from agents_app.gateway.strict_json import decode
from agents_app.gateway.waiters import Hosts
from agents_app.gateway.wakes import Subscription, ask_for_work
from devops_manager.access.agent_audit import trail
from devops_manager.lib import fault_points

if TYPE_CHECKING:
    from collections.abc import Callable

    from agents_app.gateway.authentication import Caller
    from agents_app.gateway.heartbeats import Arrival
    from agents_app.gateway.http import Exchange, Problem

logger = logging.getLogger(__name__)

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
        )
        self._live_output = LiveOutput(self._database)
        self._reports = Reports(
            self._database,
            hosts=self._hosts,
            polls=self._polls,
            authentication=self._authentication,
            live_output=self._live_output,
        )
        self._enrollments = Enrollments(self._slow_database)
        self._subscription = Subscription(self._polls, self._authentication)
        self._background: list[asyncio.Task[None]] = []
        self._ready_until = 0.0

    def start(self) -> None:
        """Begin to listen for wakes and to ask for work."""
        loop = asyncio.get_running_loop()
        self._background = [
            loop.create_task(self._subscription.run()),
            loop.create_task(ask_for_work(self._database, self._hosts, self._polls)),
            loop.create_task(self._count_audit_events()),
            loop.create_task(collect_when_idle(lambda: self._polls.busy or self._reports.busy)),
        ]

    def drain(self) -> None:
        """Let every held poll go: the process is about to end."""
        self._polls.drain()

    async def stop(self) -> None:
        """End what ``start`` began."""
        self.drain()
        for task in self._background:
            task.cancel()
        await asyncio.gather(*self._background, return_exceptions=True)
        await self._reports.finish()  # of those who have left, too
        await self._live_output.close()
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
        return await self._enrollments.serve(decode(body, messages.ENROLL), source_ip)

    def poll(
        self,
        body: bytes,
        caller: Caller,
        wait: Problem | None,
        exchange: Exchange,
        arrival: Arrival,
    ) -> None:
        """``poll``, which is held. A host that has to wait is heard all the same: people see it."""
        message = decode(body, messages.POLL)
        if wait is not None:
            self._heartbeats.note(heartbeat_of(caller.host, message, arrival))
        # Who lets a host in is to see its name; of two agents with one identity nobody knows which.
        if message.host is not None and (wait is None or wait.code != _QUARANTINED):
            self._descriptions.note(caller, message.host)
        if wait is not None:
            raise wait
        reply = _faulty(exchange) if fault_points.CHOSEN else exchange.answer
        exchange.hold(self._polls.serve(message, caller, reply, arrival))

    async def report(
        self,
        body: bytes,
        caller: Caller,
        wait: Problem | None,
        exchange: Exchange,
        source_ip: str | None,
    ) -> Response | None:
        """``report``; None where it is held.

        A quarantined host gets no work, but what it ran is still worth knowing.
        """
        message = decode_report(body)
        if wait is not None and wait.code != _QUARANTINED:
            raise wait
        # A large body has its room until its results are written, so its request waits.
        if message.output or len(body) > SMALL_BODY_BYTES:
            response = await self._reports.serve(message, caller, source_ip)
            _reach_faults(response)
            return response
        reply = _faulty(exchange) if fault_points.CHOSEN else exchange.answer
        at_once = self._reports.take(message, caller, reply)
        if at_once is None:
            exchange.hold(_go_on)
        return at_once

    async def heartbeat(
        self, body: bytes, caller: Caller, wait: Problem | None, arrival: Arrival
    ) -> Response:
        """``heartbeat``."""
        message = decode(body, messages.HEARTBEAT)
        beat = heartbeat_of(caller.host, message, arrival)
        if wait is not None:
            self._heartbeats.note(beat)
            raise wait
        await self._heartbeats.record(beat)
        return json_response({"server_time": time.time()})

    async def healthy(self) -> Response:
        """``/healthz``: the process serves."""
        return json_response({"status": "ok"})

    async def ready(self) -> Response:
        """``/readyz``: the database answers. Without Redis it is slower, and still ready."""
        if time.monotonic() >= self._ready_until:
            try:
                await self._database.run(_ask_database)
            except DatabaseAway:
                return unavailable().response()
            self._ready_until = time.monotonic() + _READY_SECONDS
        redis = "ok" if self._subscription.connected else "away"
        return json_response({"status": "ok", "database": "ok", "redis": redis})


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
