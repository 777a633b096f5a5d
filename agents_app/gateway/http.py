"""HTTP as the gateway speaks it: bounded bodies in, JSON and problem+json out.

A body is never buffered beyond its endpoint's limit, and large bodies share one budget, so that the
memory of a process does not grow with what is sent to it.
"""

from __future__ import annotations

import asyncio
import http
import logging
import random
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import msgspec
from django.conf import settings

from agents_app import protocol
from agents_app.gateway.database import DatabaseAway
from devops_manager.lib.client_address import NOBODY, client_of

logger = logging.getLogger(__name__)

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

JSON = b"application/json"
PROBLEM = b"application/problem+json"

SMALL_BODY_BYTES = 64 * 1024
# All bodies above SMALL_BODY_BYTES that are in memory at one time.
LARGE_BODIES_BYTES = 64 * 1024 * 1024
# How long a refused body is read and thrown away, so that its sender gets to read the answer.
LINGER_SECONDS = 5.0
RETRY_SECONDS = (1, 2)

_PROXY_HEADERS = (b"x-forwarded-for", b"forwarded")

# The name of an extension of ASGI: an Exchange.
EXCHANGE = "agent.exchange"

_encode = msgspec.json.Encoder().encode


class Response(msgspec.Struct, frozen=True):
    """One answer, ready to send."""

    status: int
    body: bytes
    media_type: bytes = JSON
    headers: tuple[tuple[bytes, bytes], ...] = ()


class Problem(Exception):
    """A request that is refused; becomes problem+json."""

    def __init__(
        self,
        status: int,
        code: str,
        detail: str,
        *,
        field: str = "",
        field_text: str = "",
        retry_after_seconds: int | None = None,
        headers: tuple[tuple[bytes, bytes], ...] = (),
    ) -> None:
        """Keep what the answer needs; ``field`` is the path of the field at fault, if one is,
        and ``field_text`` what is wrong with it, where ``detail`` says more.
        """
        super().__init__(detail)
        self.status = status
        self.code = code
        self.detail = detail
        self.field = field
        self.field_text = field_text or detail
        self.retry_after_seconds = retry_after_seconds
        self.headers = headers

    def response(self) -> Response:
        """Return the answer."""
        body: dict[str, Any] = {
            "type": "about:blank",
            "title": http.HTTPStatus(self.status).phrase,
            "status": self.status,
            "code": self.code,
            "detail": self.detail,
        }
        if self.field:
            body["errors"] = {self.field: [self.field_text]}
        headers = self.headers
        if self.retry_after_seconds is not None:
            headers = (*headers, (b"retry-after", str(self.retry_after_seconds).encode()))
        return Response(self.status, _encode(body), PROBLEM, headers)


class Exchange(Protocol):
    """A request on its connection, and the answer to it.

    While 10,000 polls are held, each coroutine and each task that waits would be kept 10,000 times,
    and be woken to say a few bytes. So the application returns, and answers later.
    """

    def hold(self, on_gone: Callable[[], None]) -> None:
        """Keep the request open when the application returns: its answer comes later.

        ``on_gone`` is called once if the client leaves before; what it holds is let go of then.
        """

    def answer(self, response: Response) -> bool:
        """Send a whole answer without waiting; a held request ends with it.

        Returns False, with nothing sent, where the client wants a head only: ``respond`` can that.
        """


class ClientGone(Exception):
    """The client closed the connection before its request was complete."""


def invalid(detail: str, field: str = "", field_text: str = "") -> Problem:
    """Return a 400 that names the field."""
    return Problem(400, protocol.CODE_INVALID_REQUEST, detail, field=field, field_text=field_text)


def unavailable() -> Problem:
    """Return a 503; clients come back spread over a few seconds."""
    return Problem(
        503,
        protocol.CODE_UNAVAILABLE,
        "the database cannot be reached; nothing is lost, try again",
        retry_after_seconds=random.randint(*RETRY_SECONDS),  # noqa: S311 - jitter, no secret
    )


def defect() -> Problem:
    """Return the answer to a request that met a defect of ours; the log has the rest."""
    return Problem(500, "internal_error", "something went wrong on the server")


def busy(retry_after_seconds: int, *, status: int = 503) -> Problem:
    """Return an answer that asks the client to come back later."""
    return Problem(
        status,
        protocol.CODE_BUSY,
        "too much at once; try again",
        retry_after_seconds=retry_after_seconds,
    )


def json_response(value: object, status: int = 200) -> Response:
    """Return ``value`` as JSON."""
    return Response(status, _encode(value))


def response_to(error: Exception, what: str) -> Response:
    """Return the answer to a request that failed, and log what is a defect of ours."""
    if isinstance(error, Problem):
        return error.response()
    if isinstance(error, DatabaseAway):
        return unavailable().response()
    logger.error("%s failed", what, exc_info=error)
    return defect().response()


async def respond(send: Send, response: Response, *, last: bool = True) -> None:
    """Send one answer; ``last`` False leaves it open, for ``linger``."""
    await send(
        {
            "type": "http.response.start",
            "status": response.status,
            "headers": list(head_of(response)),
        }
    )
    await send({"type": "http.response.body", "body": response.body, "more_body": not last})


def head_of(response: Response) -> tuple[tuple[bytes, bytes], ...]:
    """Return an answer's headers."""
    return (
        (b"content-type", response.media_type),
        (b"content-length", b"%d" % len(response.body)),
        *response.headers,
    )


@dataclass(slots=True)
class Headers:
    """The few headers that matter here."""

    authorization: bytes = b""
    content_length: bytes | None = None
    content_encoding: bytes = b""
    chunked: bool = False

    @classmethod
    def of(cls, scope: Scope) -> Headers:
        """Pick them out of a scope."""
        found = cls()
        for name, value in scope["headers"]:
            if name == b"authorization":
                found.authorization = value
            elif name == b"content-length":
                found.content_length = value
            elif name == b"content-encoding":
                found.content_encoding = value
            elif name == b"transfer-encoding":
                found.chunked = True
        return found

    @property
    def small(self) -> bool:
        """Whether the announced body is so short that reading it costs nothing."""
        length = self.content_length or b""
        return length.isdigit() and int(length) <= SMALL_BODY_BYTES

    def body_bytes(self, limit: int) -> int:
        """Return the announced length. Raises Problem when it is missing or over ``limit``."""
        if self.content_encoding.lower() not in {b"", b"identity"}:
            raise Problem(415, protocol.CODE_INVALID_REQUEST, "Content-Encoding is not supported")
        if self.content_length is None:
            raise Problem(411, protocol.CODE_INVALID_REQUEST, "Content-Length is required")
        length = int(self.content_length) if self.content_length.isdigit() else -1
        if length < 0:
            raise invalid("Content-Length is not a number")
        if length > limit:
            raise Problem(413, protocol.CODE_TOO_LARGE, f"at most {limit} bytes are taken here")
        return length


def source_of(scope: Scope) -> str | None:
    """Return the address of the client that a request comes from, by way of trusted proxies."""
    peer = scope.get("client")
    lines: dict[bytes, list[str]] = {name: [] for name in _PROXY_HEADERS}
    if settings.DM_TRUSTED_PROXIES != NOBODY:
        for name, value in scope["headers"]:
            if name in lines:
                lines[name].append(value.decode("latin-1"))
    return client_of(
        peer[0] if peer else None,
        trusted=settings.DM_TRUSTED_PROXIES,
        forwarded_for=lines[b"x-forwarded-for"],
        forwarded=lines[b"forwarded"],
    ).address


@dataclass(slots=True)
class BodyBudget:
    """What all large bodies in memory may take together."""

    left: int = field(default=LARGE_BODIES_BYTES)

    def take(self, size: int) -> int:
        """Reserve room for a body and return how much; raise ``busy`` when there is none."""
        if size <= SMALL_BODY_BYTES:
            return 0
        if size > self.left:
            raise busy(random.randint(*RETRY_SECONDS))  # noqa: S311 - jitter, no secret
        self.left -= size
        return size

    def give_back(self, size: int) -> None:
        """Free what ``take`` returned."""
        self.left += size


async def read_body(receive: Receive, length: int) -> bytes:
    """Read a body of at most ``length`` bytes.

    Raises ClientGone when the client left or was too slow, which the connection answers itself, and
    Problem when more was sent.
    """
    pieces: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] != "http.request":
            raise ClientGone
        pieces.append(message.get("body", b""))
        size += len(pieces[-1])
        if size > length:
            raise Problem(413, protocol.CODE_TOO_LARGE, f"more than {length} bytes were sent")
        if not message.get("more_body", False):
            return pieces[0] if len(pieces) == 1 else b"".join(pieces)


async def refuse(receive: Receive, send: Send, response: Response) -> None:
    """Answer a request whose body was not read, and close.

    Closing at once would reset the connection, and most clients then lose the answer: what still
    arrives within LINGER_SECONDS is read and thrown away first.
    """
    closing = Response(
        response.status,
        response.body,
        response.media_type,
        (*response.headers, (b"connection", b"close")),
    )
    await respond(send, closing, last=False)
    try:
        async with asyncio.timeout(LINGER_SECONDS):
            while True:
                message = await receive()
                if message["type"] != "http.request" or not message.get("more_body", False):
                    break
    except TimeoutError:
        pass
    await send({"type": "http.response.body", "body": b"", "more_body": False})
