"""One agent's connection: HTTP/1.1 to ASGI with as little as 10,000 held polls need.

uvicorn runs the server and stops it; this takes the place of its connection class, which for each
request makes what pipelining, websockets and access logs would need. Of the memory and the time of
a held poll that was a third. A connection here has one request at a time: what a client sends
before it has its answer is not read, and the connection is closed after that answer.

``receive`` and ``send`` are ASGI's (spec 2.3). A body is buffered up to BUFFERED_BYTES, then the
socket is left alone until the application takes it. The application may return before it answers:
the connection is an ``Exchange``, too.
"""

from __future__ import annotations

import asyncio
import http
import logging
import math
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import unquote

import httptools

from agents_app.gateway.http import EXCHANGE, head_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from uvicorn.config import Config
    from uvicorn.server import ServerState

    from agents_app.gateway.http import Message, Response, Scope

logger = logging.getLogger(__name__)

BUFFERED_BYTES = 64 * 1024
# Far beyond what an agent sends; a client without end would take memory.
HEAD_BYTES = 32 * 1024
# How long the first bytes of a request may be there before its headers are complete.
HEAD_SECONDS = 10.0

_ASGI = {"version": "3.0", "spec_version": "2.3"}
_STATUS_LINES = {
    status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode()
    for status in http.HTTPStatus
}
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
_CLOSE = b"connection: close\r\n"
# What is kept of a request that is held: that it is one, not what it said.
_HELD: Scope = {}


class AgentConnection(asyncio.Protocol):
    """One connection, and the request on it that is being read or answered."""

    __slots__ = (
        *("_app", "_body", "_buffered", "_client", "_close", "_complete", "_continue", "_drained"),
        *("_gone", "_head", "_head_bytes", "_headers", "_idle_at"),
        *("_keep_alive_seconds", "_loop", "_on_gone", "_parser", "_paused", "_scheme", "_scope"),
        *("_server_state", "_slow", "_status", "_taken", "_task", "_timer", "_transport", "_url"),
        *("_waiter",),
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
        self._timer: asyncio.TimerHandle | None = None
        self._idle_at = math.inf
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
        self._complete = self._taken = self._continue = self._slow = False
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
        self._wait_for_request()

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell whoever waits that the client is gone."""
        self._gone = True
        self._server_state.connections.discard(cast("Any", self))
        self._stop_timer()
        _wake(self._waiter)
        _wake(self._drained)
        self._parser = None  # it holds this connection
        if self._on_gone is not None:
            on_gone, self._on_gone = self._on_gone, None
            on_gone()
            self._end()

    def data_received(self, data: bytes) -> None:
        """Parse what arrived."""
        if self._complete or (self._close and self._scope is None):
            self._close = True
            return
        if self._scope is None:
            self._head_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._refuse(400)  # there is nothing to upgrade to
        except httptools.HttpParserError:
            self._refuse(400)
        else:
            if self._scope is None and self._head_bytes > HEAD_BYTES:
                self._refuse(431)

    def pause_writing(self) -> None:
        """Have ``send`` wait, and read nothing more: the client does not read."""
        self._drained = self._loop.create_future()
        self._pause_reading()

    def resume_writing(self) -> None:
        """Let ``send`` and the client go on."""
        _wake(self._drained)
        self._drained = None
        self._resume_reading()

    def shutdown(self) -> None:
        """Close now, or after the answer that is under way: the process ends."""
        self._close = True
        if self._scope is None and self._transport is not None:
            self._transport.close()

    def _wait_for_request(self) -> None:
        self._idle_at = self._loop.time() + self._keep_alive_seconds
        if self._timer is None:
            self._timer = self._loop.call_later(self._keep_alive_seconds, self._idle)

    def _idle(self) -> None:
        """Close when nothing came for too long. The timer is set once, not for each request."""
        self._timer = None
        left = self._idle_at - self._loop.time()
        if left <= 0 and self._head_bytes and not self._slow:
            self._slow = True
            self._idle_at += HEAD_SECONDS
            left += HEAD_SECONDS
        if left <= 0 and self._transport is not None:
            self._transport.close()
        elif 0 < left < math.inf:
            self._timer = self._loop.call_later(left, self._idle)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _refuse(self, status: int) -> None:
        """Answer what is not HTTP, or cannot be served, and close."""
        self._close = True
        if self._transport is None or self._gone:
            return
        if self._scope is None or not self._status:
            line = _STATUS_LINES[status]
            self._transport.write(line + _CLOSE + b"content-length: 0\r\n\r\n")
        self._transport.close()

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
        self._idle_at = math.inf
        if not self._parser.should_keep_alive():
            self._close = True
        self._scope = self._scope_of_request()
        self._task = self._loop.create_task(self._serve(self._scope))
        self._server_state.tasks.add(self._task)

    def on_body(self, body: bytes) -> None:
        """Keep a piece of the body."""
        if self._complete:
            return
        self._body.append(body)
        self._buffered += len(body)
        if self._buffered > BUFFERED_BYTES:
            self._pause_reading()
        _wake(self._waiter)

    def on_message_complete(self) -> None:
        """The request is there in whole."""
        self._complete = True
        _wake(self._waiter)

    def _scope_of_request(self) -> Scope:
        url = self._url
        if not url.startswith(b"/"):  # an absolute address; raises for what is none
            parsed = httptools.parse_url(url)
            url = (parsed.path or b"/") + (b"?" + parsed.query if parsed.query else b"")
        path, _, query = url.partition(b"?")
        text = path.decode("ascii")
        headers, self._headers = self._headers, []
        return {
            "type": "http",
            "asgi": _ASGI,
            "extensions": {EXCHANGE: self},
            "http_version": self._parser.get_http_version(),
            "method": self._parser.get_method().decode("ascii"),
            "scheme": self._scheme,
            "path": unquote(text) if "%" in text else text,
            "raw_path": path,
            "query_string": query,
            "root_path": "",
            "headers": headers,
            "client": self._client,
            "server": None,
        }

    # --- the application -------------------------------------------------------------------------

    async def _serve(self, scope: Scope) -> None:
        try:
            await self._app(cast("Any", scope), self.receive, cast("Any", self.send))
        except Exception:
            # a defect; the application answers those it knows of itself
            logger.exception("%s was not answered", scope["path"])
            if not self._status:
                self._refuse(500)
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
            self._transport.close()
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
        parts = [_STATUS_LINES[status]]
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
