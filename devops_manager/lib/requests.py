"""What every request gets: its client's address, and an id that logs, audit and answers carry."""

from __future__ import annotations

import logging
import re
import uuid
from contextvars import ContextVar
from typing import TYPE_CHECKING

from django.conf import settings

from devops_manager.lib.client_address import client_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from django.http import HttpRequest, HttpResponse

_ACCEPTABLE = re.compile(r"[A-Za-z0-9._-]{1,64}")
_current: ContextVar[str] = ContextVar("request_id", default="-")


def current_request_id() -> str:
    """Return the id of the request being served, or ``-`` outside one."""
    return _current.get()


class ClientMiddleware:
    """Puts the client's address into ``REMOTE_ADDR``, in place of a trusted proxy's.

    Everything behind it (audit, limits, logs) reads ``REMOTE_ADDR``, so there is one answer to
    where a request comes from. Also drops a scheme that no trusted proxy said, so that
    SECURE_PROXY_SSL_HEADER cannot be forged.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        """Keep the next handler."""
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        """Serve one request."""
        meta = request.META
        client = client_of(
            meta.get("REMOTE_ADDR"),
            trusted=settings.DM_TRUSTED_PROXIES,
            forwarded_for=_lines(meta, "HTTP_X_FORWARDED_FOR"),
            forwarded=_lines(meta, "HTTP_FORWARDED"),
            forwarded_proto=_lines(meta, "HTTP_X_FORWARDED_PROTO"),
        )
        meta["REMOTE_ADDR"] = client.address or ""
        meta.pop("HTTP_X_FORWARDED_PROTO", None)
        if client.scheme:
            meta["HTTP_X_FORWARDED_PROTO"] = client.scheme
        return self.get_response(request)


def _lines(meta: dict[str, str], name: str) -> list[str]:
    # WSGI joins several headers of one name with commas.
    return [meta[name]] if name in meta else []


class RequestIdMiddleware:
    """Takes ``X-Request-Id`` when it is harmless, else makes one; answers with it."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        """Keep the next handler."""
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        """Serve one request under its id."""
        given = request.headers.get("X-Request-Id", "")
        request_id = given if _ACCEPTABLE.fullmatch(given) else uuid.uuid4().hex
        # Not taken back at the end: Django logs what it refused after all middleware is through.
        _current.set(request_id)
        response = self.get_response(request)
        response["X-Request-Id"] = request_id
        return response


class RequestIdFilter(logging.Filter):
    """Puts the request id into every log record."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Add ``request_id``; drop nothing."""
        record.request_id = _current.get()
        return True


class OneLineErrors(logging.Filter):
    """Says in a line what a library shows as a traceback each time: that Redis is away, say."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Put the error into the message; drop nothing."""
        if record.exc_info and record.exc_info[1] is not None:
            error = record.exc_info[1]
            record.msg = f"{record.getMessage()}: {error.__cause__ or error}"
            record.args = ()
            record.exc_info = record.exc_text = None
        return True
