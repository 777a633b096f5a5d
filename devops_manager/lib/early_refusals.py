"""The answers of gunicorn itself, to what the application never sees, as problem+json."""

from __future__ import annotations

import contextlib
import http
import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import socket

_CODES = {
    400: "invalid_request",
    403: "forbidden",
    408: "request_timeout",
    414: "address_too_long",
    417: "expectation_failed",
    431: "headers_too_large",
    501: "not_implemented",
}


def refusal_bytes(status: int) -> bytes:
    """Return a whole HTTP/1.1 answer of this status, after which the connection is closed.

    It repeats nothing of the request, and says nothing of what went wrong inside.
    """
    code = _CODES.get(status, "internal_error" if status >= 500 else "invalid_request")
    title = http.HTTPStatus(status).phrase
    problem = {
        "type": "about:blank",
        "title": title,
        "status": status,
        "code": code,
        "detail": "The server could not read the request."
        if status < 500
        else "The server could not answer the request.",
        "request_id": "-",
    }
    body = json.dumps(problem).encode()
    lines = (
        f"HTTP/1.1 {status} {title}",
        "Connection: close",
        "Content-Type: application/problem+json",
        "Cache-Control: no-store",
        "Content-Security-Policy: default-src 'none'; frame-ancestors 'none'",
        f"Content-Length: {len(body)}",
    )
    return "\r\n".join([*lines, "", ""]).encode("ascii") + body


def write_refusal(client: socket.socket, status: int, _reason: str, _message: str) -> None:
    """Send the answer to a client that may be gone; in place of ``gunicorn.util.write_error``.

    It fits what the system keeps for a connection, so nobody waits for a client that does not read.
    """
    with contextlib.suppress(OSError):
        client.setblocking(False)
        client.send(refusal_bytes(status))
