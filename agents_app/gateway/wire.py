"""HTTP/1.1 as a connection of the gateway reads and refuses it."""

from __future__ import annotations

import http
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import httptools

from agents_app import protocol
from agents_app.gateway.http import Problem

if TYPE_CHECKING:
    from agents_app.gateway.http import Scope

STATUS_LINES = {
    status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode()
    for status in http.HTTPStatus
}
_ASGI = {"version": "3.0", "spec_version": "2.3"}
_CODES = {408: protocol.CODE_REQUEST_TIMEOUT, 431: protocol.CODE_TOO_LARGE}


def scope_of_request(parser: Any, url: bytes, headers: list[tuple[bytes, bytes]]) -> Scope:
    """Return ASGI's scope of a request whose head ``parser`` has read; where it came from is added.

    Raises httptools.HttpParserError for an address that is none.
    """
    if not url.startswith(b"/"):  # an absolute address; raises for what is none
        parsed = httptools.parse_url(url)
        url = (parsed.path or b"/") + (b"?" + parsed.query if parsed.query else b"")
    path, _, query = url.partition(b"?")
    text = path.decode("ascii")
    return {
        "type": "http",
        "asgi": _ASGI,
        "http_version": parser.get_http_version(),
        "method": parser.get_method().decode("ascii"),
        "path": unquote(text) if "%" in text else text,
        "raw_path": path,
        "query_string": query,
        "root_path": "",
        "headers": headers,
        "server": None,
    }


def problem_of(status: int, detail: str) -> Problem:
    """Return what is answered to a request that the application does not get to see."""
    return Problem(status, _CODES.get(status, protocol.CODE_INVALID_REQUEST), detail)
