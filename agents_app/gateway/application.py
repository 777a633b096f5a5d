"""The gateway's ASGI application: routing, the order of checks, its start and its end."""

from __future__ import annotations

import asyncio
import logging
import signal
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from agents_app import protocol
from agents_app.gateway.heartbeats import Arrival
from agents_app.gateway.http import (
    EXCHANGE,
    SMALL_BODY_BYTES,
    BodyBudget,
    ClientGone,
    Exchange,
    Headers,
    Problem,
    Receive,
    Response,
    Scope,
    Send,
    read_body,
    refuse,
    respond,
    response_to,
    source_of,
    unavailable,
)
from agents_app.gateway.service import Service

if TYPE_CHECKING:
    from types import FrameType

logger = logging.getLogger(__name__)

_LIMITS = {
    "enroll": protocol.MAX_SMALL_BODY_BYTES,
    "poll": protocol.MAX_POLL_BYTES,
    "report": protocol.MAX_REPORT_BYTES,
    "heartbeat": protocol.MAX_SMALL_BODY_BYTES,
}


@dataclass(slots=True)
class Request:
    """One request: its headers, and its body once it was asked for."""

    scope: Scope
    receive: Receive
    exchange: Exchange
    headers: Headers
    budget: BodyBudget
    limit: int = 0
    arrival: Arrival = field(default_factory=Arrival.now)
    read: bool = False
    reserved: int = field(default=0)

    def source(self) -> str | None:
        """Where it comes from, if that has an address: a trusted proxy says for whom it asks."""
        return source_of(self.scope)

    @property
    def unread(self) -> bool:
        """Whether a body is announced and was not read."""
        announced = self.headers.content_length not in {None, b"0"} or self.headers.chunked
        return announced and not self.read

    async def body(self) -> bytes:
        """Return the whole body. Raises Problem or ClientGone."""
        length = self.headers.body_bytes(self.limit)
        self.reserved = self.budget.take(length)
        body = await read_body(self.receive, length)
        self.read = True
        return body


class Gateway:
    """``/agent/v1/*``, ``/healthz`` and ``/readyz`` as one bare ASGI application.

    Its server has the extension EXCHANGE: ``AgentConnection`` does.
    """

    def __init__(self) -> None:
        """Make nothing yet: what the service needs belongs to the process that serves."""
        self._service: Service | None = None
        self._budget = BodyBudget()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection's request, or the process's start and end."""
        if scope["type"] == "lifespan":
            await self._live(receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1000})
            return
        exchange: Exchange = scope["extensions"][EXCHANGE]
        request = Request(scope, receive, exchange, Headers.of(scope), self._budget)
        try:
            response = await self._respond_to(request)
            if response is None:
                return
            if request.unread and not request.headers.small:
                await refuse(receive, send, response)
                return
            if request.unread:
                await read_body(receive, SMALL_BODY_BYTES)
            if not exchange.answer(response):
                await respond(send, response)
        except (ClientGone, Problem):
            pass  # nobody is there to read an answer
        finally:
            self._budget.give_back(request.reserved)

    async def _respond_to(self, request: Request) -> Response | None:
        try:
            return await self._route(request)
        except ClientGone:
            raise
        except Exception as error:  # noqa: BLE001 - the client gets an answer, the log the rest
            return response_to(error, request.scope["path"])

    async def _route(self, request: Request) -> Response | None:
        """Return the answer; None where the request is held."""
        service = self._service
        if service is None:
            raise unavailable()
        path, method = request.scope["path"], request.scope["method"]
        name = path.removeprefix(protocol.PREFIX)
        if name not in _LIMITS or not path.startswith(protocol.PREFIX):
            return await self._health(service, path, method)
        _allow(method, "POST")
        request.limit = _LIMITS[name]
        request.headers.body_bytes(request.limit)
        if name == "enroll":
            return await service.enroll(await request.body(), request.source())
        caller, wait = service.recognize(request.headers.authorization), None
        if caller is None:
            caller, wait = await service.identify(request.headers.authorization)
        body = await request.body()
        if name == "poll":
            service.poll(
                body,
                caller,
                wait,
                request.exchange,
                authorization=request.headers.authorization,
                arrival=request.arrival,
            )
            return None
        if name == "report":
            return await service.report(body, caller, wait, request.exchange, request.source)
        return await service.heartbeat(body, caller, wait, request.arrival)

    async def _health(self, service: Service, path: str, method: str) -> Response:
        if path not in {"/healthz", "/readyz"}:
            raise Problem(404, protocol.CODE_NOT_FOUND, "there is nothing at this address")
        _allow(method, "GET", "HEAD")
        return await (service.healthy() if path == "/healthz" else service.ready())

    async def _live(self, receive: Receive, send: Send) -> None:
        while True:
            message = await receive()
            if message["type"] == "lifespan.startup":
                self._service = Service()
                await self._service.start()
                _drain_on_signal(self._service)
                await send({"type": "lifespan.startup.complete"})
            elif message["type"] == "lifespan.shutdown":
                if self._service is not None:
                    await self._service.stop()
                    self._service = None
                await send({"type": "lifespan.shutdown.complete"})
                return


def _allow(method: str, *allowed: str) -> None:
    if method not in allowed:
        raise Problem(
            405,
            "method_not_allowed",
            f"only {' and '.join(allowed)} here",
            headers=((b"allow", ", ".join(allowed).encode()),),
        )


def _drain_on_signal(service: Service) -> None:
    """Answer held polls as soon as the process is asked to end.

    The server waits for open requests and only then says so to the application; polls that are held
    for 25 s would keep it that long. Its own handler still runs, after ours.
    """
    if threading.current_thread() is not threading.main_thread():
        return  # a server inside a test
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        server_handler = signal.getsignal(number)

        def handle(
            signum: int, frame: FrameType | None, server_handler: Any = server_handler
        ) -> None:
            loop.call_soon_threadsafe(service.drain)
            if callable(server_handler):
                server_handler(signum, frame)

        signal.signal(number, handle)
