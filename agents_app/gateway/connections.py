"""One agent's connection: HTTP/1.1 to ASGI with as little as 10,000 held polls need.

uvicorn runs the server and stops it; this takes the place of its connection class, which for each
request makes what pipelining, websockets and access logs would need. Of the memory and the time of
a held poll that was a third. A connection here has one request at a time: what a client sends
before it has its answer is not read, and the connection is closed after that answer.

``receive`` and ``send`` are ASGI's (spec 2.3). A body is buffered up to BUFFERED_BYTES, then the
socket is left alone until the application takes it. The application may return before it answers:
the connection is an ``Exchange``, too.
Heads, bodies and answers have time limits: ``deadlines`` calls ``overdue``.
"""

from __future__ import annotations

import asyncio
import logging
import math
from typing import TYPE_CHECKING, Any, cast

import httptools
from django.conf import settings

from agents_app.gateway.deadlines import SLOWEST_BYTES_A_SECOND, Sweep, reset
from agents_app.gateway.http import EXCHANGE, LINGER_SECONDS, defect, head_of
from agents_app.gateway.wire import STATUS_LINES, problem_of, scope_of_request

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from uvicorn.config import Config
    from uvicorn.server import ServerState

    from agents_app.gateway.http import Message, Problem, Response, Scope

logger = logging.getLogger(__name__)

BUFFERED_BYTES = 64 * 1024
# Far beyond what an agent sends; a client without end would take memory.
HEAD_BYTES = 32 * 1024

_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
_CLOSE = b"connection: close\r\n"
# What is kept of a request that is held: that it is one, not what it said.
_HELD: Scope = {}


class AgentConnection(asyncio.Protocol):
    """One connection, and the request on it that is being read or answered."""

    __slots__ = (
        *("_app", "_body", "_buffered", "_client", "_close", "_complete", "_continue", "_drained"),
        *("_gone", "_head", "_head_bytes", "_headers"),
        *("_keep_alive_seconds", "_loop", "_moved", "_on_gone", "_parser", "_paused", "_scheme"),
        *("_scope", "_server_state", "_status", "_taken", "_task", "_transport", "_url"),
        *("_waiter", "deadline"),
    )

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        """Prepare; uvicorn's server calls this for each connection."""
        self._app = config.loaded_app
        self._server_state = server_state
        self._keep_alive_seconds = config.timeout_keep_alive
        self._loop = _loop or asyncio.get_running_loop()
        self._parser: Any = httptools.HttpRequestParser(self)
        self._transport: asyncio.Transport | None = None
        self._client: tuple[str, int] | None = None
        self._gone = False
        self._close = False
        self._paused = False
        self._task: asyncio.Task[None] | None = None
        self.deadline = math.inf
        self._waiter: asyncio.Future[None] | None = None
        self._drained: asyncio.Future[None] | None = None
        self._reset()

    def _reset(self) -> None:
        """Forget the last request."""
        self._url = b""
        self._headers: list[tuple[bytes, bytes]] = []
        self._head_bytes = 0
        self._scope: Scope | None = None
        self._body: list[bytes] = []
        self._buffered = 0
        self._complete = self._taken = self._continue = False
        self._moved = 0  # bytes of the body, since its time limit began
        self._on_gone: Callable[[], None] | None = None  # while it is held
        self._status = 0  # of the answer, once it was begun
        self._head = b""

    # --- the transport ---------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin to wait for a request."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is not a subclass
        self._server_state.connections.add(cast("Any", self))
        peer = transport.get_extra_info("peername")
        self._client = (str(peer[0]), int(peer[1])) if isinstance(peer, tuple) else None
        self._scheme = "http" if transport.get_extra_info("sslcontext") is None else "https"
        self.deadline = self._loop.time() + settings.DM_HEAD_TIMEOUT_SECONDS
        Sweep.over(self._server_state, self._loop)

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell whoever waits that the client is gone."""
        self._gone = True
        self._server_state.connections.discard(cast("Any", self))
        self.deadline = math.inf
        _wake(self._waiter)
        _wake(self._drained)
        self._parser = None  # it holds this connection
        if self._on_gone is not None:
            on_gone, self._on_gone = self._on_gone, None
            on_gone()
            self._end()

    def data_received(self, data: bytes) -> None:
        """Parse what arrived."""
        if self._gone or self._complete or (self._close and self._scope is None):
            self._close = True
            return
        first = self._scope is None and not self._head_bytes
        if self._scope is None:
            self._head_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self._refuse(problem_of(400, "nothing but HTTP/1.1 is spoken here"))
        else:
            if self._scope is None and self._head_bytes > HEAD_BYTES:
                self._refuse(problem_of(431, f"a head may have {HEAD_BYTES} bytes"))
            elif self._scope is None and first:
                self.deadline = self._loop.time() + settings.DM_HEAD_TIMEOUT_SECONDS

    def pause_writing(self) -> None:
        """Have ``send`` wait, and read nothing more: the client does not read."""
        self._drained = self._loop.create_future()
        self._pause_reading()
        self._limit_sending()

    def resume_writing(self) -> None:
        """Let ``send`` and the client go on."""
        _wake(self._drained)
        self._drained = None
        self._resume_reading()
        if self._scope is None:
            self._wait_for_request()
        elif not self._gone:
            self.deadline = math.inf

    def shutdown(self) -> None:
        """Close now, or after the answer that is under way: the process ends."""
        self._close = True
        if self._scope is None or self._gone:
            self._leave()

    def overdue(self, now: float) -> None:
        """Do what is right when the deadline is over: more time, 408, or the end."""
        transport = self._transport
        if transport is None:
            return
        window = settings.DM_BODY_TIMEOUT_SECONDS
        unsent = transport.get_write_buffer_size()
        if unsent or transport.is_closing() or self._gone:
            if 0 < unsent <= self._moved - window * SLOWEST_BYTES_A_SECOND:
                self._moved, self.deadline = unsent, now + window
            else:
                reset(transport)
        elif self._scope is None and not self._head_bytes:
            transport.close()
        elif self._paused or self._moved >= window * SLOWEST_BYTES_A_SECOND:
            self._moved, self.deadline = 0, now + window
        else:
            self._refuse(problem_of(408, "the request did not arrive in time"))

    def _wait_for_request(self) -> None:
        if self._drained is None and self._transport and not self._transport.is_closing():
            self.deadline = self._loop.time() + self._keep_alive_seconds

    def _leave(self) -> None:
        """Close when all is sent, which the client has to take in time."""
        if self._transport is not None and not self._transport.is_closing():
            self._limit_sending()
            self._transport.close()

    def _limit_sending(self) -> None:
        if self._transport is not None:
            self._moved = self._transport.get_write_buffer_size()
            self.deadline = self._loop.time() + settings.DM_BODY_TIMEOUT_SECONDS

    def _refuse(self, problem: Problem) -> None:
        """Answer what cannot be served, and close.

        What still arrives is thrown away for LINGER_SECONDS, or the client could lose the answer.
        """
        transport = self._transport
        if transport is None or self._gone:
            return
        self._close = True
        if not self._status:
            response = problem.response()
            transport.write(self._head_of(response.status, head_of(response)) + response.body)
        self._gone = True  # for the application, if it waits for more
        self._moved = transport.get_write_buffer_size()
        self.deadline = self._loop.time() + LINGER_SECONDS
        transport.write_eof()
        self._resume_reading()
        _wake(self._waiter)

    # --- the parser ------------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        """A request begins; one that comes before the last was answered is not read."""
        if self._scope is not None:
            self._close = True

    def on_url(self, url: bytes) -> None:
        """Keep a piece of the request's address."""
        if self._scope is None:
            self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a header."""
        if self._scope is None:
            name = name.lower()
            self._headers.append((name, value))
            if name == b"expect" and value.lower() == b"100-continue":
                self._continue = True

    def on_headers_complete(self) -> None:
        """Hand the request to the application; its body follows."""
        if self._scope is not None:
            return
        self.deadline = self._loop.time() + settings.DM_BODY_TIMEOUT_SECONDS
        if not self._parser.should_keep_alive():
            self._close = True
        headers, self._headers = self._headers, []
        self._scope = scope_of_request(self._parser, self._url, headers)
        self._scope["extensions"] = {EXCHANGE: self}
        self._scope["scheme"], self._scope["client"] = self._scheme, self._client
        self._task = self._loop.create_task(self._serve(self._scope))
        self._server_state.tasks.add(self._task)

    def on_body(self, body: bytes) -> None:
        """Keep a piece of the body."""
        if self._complete:
            return
        self._body.append(body)
        self._buffered += len(body)
        self._moved += len(body)
        if self._buffered > BUFFERED_BYTES:
            self._pause_reading()
        _wake(self._waiter)

    def on_message_complete(self) -> None:
        """The request is there in whole."""
        self._complete = True
        self.deadline = math.inf
        _wake(self._waiter)

    # --- the application -------------------------------------------------------------------------

    async def _serve(self, scope: Scope) -> None:
        try:
            await self._app(cast("Any", scope), self.receive, cast("Any", self.send))
        except Exception:
            # a defect; the application answers those it knows of itself
            logger.exception("%s was not answered", scope["path"])
            if not self._status:
                self._refuse(defect())
        finally:
            if self._task is not None:
                self._server_state.tasks.discard(self._task)
                self._task = None
            if self._on_gone is None:
                self._end()

    def _end(self) -> None:
        """Make ready for the next request, or close."""
        self._scope = None  # it holds this connection
        self._server_state.total_requests += 1
        if self._gone or self._transport is None:
            return
        if self._close or not self._complete or self._head:
            self._leave()
            return
        self._reset()
        self._resume_reading()
        self._wait_for_request()

    async def receive(self) -> Message:
        """Return a piece of the body, or that the client is gone."""
        while not (self._gone or self._body or (self._complete and not self._taken)):
            if self._continue and not self._status and self._transport is not None:
                self._continue = False
                self._transport.write(_CONTINUE)
            self._resume_reading()
            self._waiter = self._loop.create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        if self._gone:
            return {"type": "http.disconnect"}
        body = self._body[0] if len(self._body) == 1 else b"".join(self._body)
        self._body = []
        self._buffered = 0
        self._taken = self._complete
        return {"type": "http.request", "body": body, "more_body": not self._complete}

    def _pause_reading(self) -> None:
        if not self._paused and self._transport is not None:
            self._paused = True
            self._transport.pause_reading()

    def _resume_reading(self) -> None:
        if self._paused and self._drained is None and self._transport is not None:
            self._paused = False
            self._transport.resume_reading()

    def hold(self, on_gone: Callable[[], None]) -> None:
        """Wait for the answer when the application has returned."""
        if self._gone:
            on_gone()
            return
        self._on_gone = on_gone
        self._scope = _HELD
        self._resume_reading()  # who does not read does not hear that the client leaves

    def answer(self, response: Response) -> bool:
        """Send a whole answer, and end the request if it is held."""
        held, self._on_gone = self._on_gone is not None, None
        if not held and (self._scope is None or self._scope["method"] == "HEAD"):
            return False
        try:
            if not (self._gone or self._transport is None or self._transport.is_closing()):
                self._status = response.status
                head = self._head_of(response.status, head_of(response))
                self._transport.write(head + response.body)
        except Exception:
            # a defect; who answers later answers many, and none may wait for another's
            logger.exception("an answer with status %d was not sent", response.status)
            self._close = True
        if held:
            self._end()
        return True

    async def send(self, message: Message) -> None:
        """Send a piece of the answer; nothing when the client is gone."""
        if self._drained is not None:
            await asyncio.shield(self._drained)
        if self._gone or self._transport is None or self._transport.is_closing():
            return
        if message["type"] == "http.response.start":
            self._status = message["status"]
            self._head = self._head_of(message["status"], message.get("headers", ()))
            return
        body = message.get("body", b"")
        if self._scope is not None and self._scope["method"] == "HEAD":
            body = b""
        # An answer's first piece goes with its head, in one packet.
        if self._head or body:
            self._transport.write(self._head + body)
            self._head = b""

    def _head_of(self, status: int, headers: Iterable[tuple[bytes, bytes]]) -> bytes:
        parts = [STATUS_LINES[status]]
        sized = False
        for name, value in (*self._server_state.default_headers, *headers):
            if name == b"connection" and value == b"close":
                self._close = True
                continue
            sized = sized or name == b"content-length"
            parts.append(b"%s: %s\r\n" % (name, value))
        # Without a length, the end of the connection is the end of the answer.
        if self._close or not sized:
            self._close = True
            parts.append(_CLOSE)
        parts.append(b"\r\n")
        return b"".join(parts)


def _wake(waiter: asyncio.Future[None] | None) -> None:
    if waiter is not None and not waiter.done():
        waiter.set_result(None)
