"""Answers to requests that are there in whole: the application's, and refusals of our own."""

from __future__ import annotations

import http
import json
import logging
from datetime import datetime
from typing import TYPE_CHECKING, Any

from gunicorn.http import wsgi
from gunicorn.util import http_date

from devops_manager.lib.response_policy import NOT_KEPT, content_policy
from devops_manager.web_server.requests import Refusal
from devops_manager.web_server.spools import NoRoom

if TYPE_CHECKING:
    from devops_manager.web_server.connections import Connection

logger = logging.getLogger(__name__)


def answer(worker: Any, connection: Connection) -> bool:
    """Run the application for a connection's request; return whether the connection is kept.

    Never raises: who called has other connections. ``worker`` is gunicorn's.
    """
    outbox = connection.outbox
    response = None
    try:
        response, environ = wsgi.create(
            connection.reader.request, outbox, connection.client, connection.server, worker.cfg
        )
        _run(worker, connection, response, environ)
        outbox.flush()
        return not response.should_close()
    except NoRoom as error:
        logger.warning("an answer is given up, its client takes it too slowly: %s", error)
    except OSError:
        pass  # the client is gone
    except (Exception, SystemExit):
        # a defect outside Django, which answers its own
        logger.exception("a request was not answered")
        if response is None or not response.headers_sent:
            outbox.sendall(refusal_bytes(Refusal(500, "internal_error", "")))
            return False
    outbox.close()
    return False


def _run(worker: Any, connection: Connection, response: Any, environ: dict[str, Any]) -> None:
    began = datetime.now()  # noqa: DTZ005 - gunicorn's access log takes the difference
    request = connection.reader.request
    environ["wsgi.multithread"] = True
    worker.cfg.pre_request(worker, request)
    if not worker.alive or not worker.cfg.keepalive:
        response.force_close()
    pieces = worker.wsgi(environ, response.start_response)
    try:
        for piece in pieces:
            response.write(piece)
        response.close()
    finally:
        worker.log.access(response, request, environ, datetime.now() - began)  # noqa: DTZ005
        if hasattr(pieces, "close"):
            pieces.close()
        worker.cfg.post_request(worker, request, environ, response)


def refusal_bytes(refusal: Refusal) -> bytes:
    """Return a whole answer that closes the connection, as problem+json."""
    phrase = http.HTTPStatus(refusal.status).phrase
    # As devops_manager.lib.problem makes it, which cannot be imported before Django is set up.
    problem = {
        "type": "about:blank",
        "title": phrase,
        "status": refusal.status,
        "code": refusal.code,
        "detail": refusal.detail,
        "request_id": "-",
    }
    body = json.dumps(problem).encode()
    retry = "Retry-After: 5\r\n" if refusal.status == http.HTTPStatus.SERVICE_UNAVAILABLE else ""
    head = (
        f"HTTP/1.1 {refusal.status} {phrase}\r\n"
        f"Date: {http_date()}\r\n"
        "Connection: close\r\n"
        "Content-Type: application/problem+json\r\n"
        f"Cache-Control: {NOT_KEPT}\r\n"
        f"Content-Security-Policy: {content_policy('')}\r\n"
        f"{retry}"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body
