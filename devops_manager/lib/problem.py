"""Errors as ``application/problem+json`` (RFC 9457): the one place where errors meet HTTP."""

from __future__ import annotations

import http
import logging
import re
from itertools import islice
from typing import TYPE_CHECKING, Any

import psycopg
from django.core.exceptions import (
    PermissionDenied,
    RequestDataTooBig,
    SuspiciousOperation,
    TooManyFieldsSent,
)
from django.db import InterfaceError, OperationalError
from django.http import Http404, HttpResponse, JsonResponse
from django.utils.translation import gettext as _
from rest_framework import exceptions as drf
from rest_framework.response import Response
from rest_framework.views import set_rollback

from devops_manager.lib import errors
from devops_manager.lib.parsers import join_path
from devops_manager.lib.requests import current_request_id

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from django.http import HttpRequest

logger = logging.getLogger(__name__)

MEDIA_TYPE = "application/problem+json"
RETRY_SECONDS = 5
# What PostgreSQL being away, or the pool having no connection in time, looks like.
DATABASE_AWAY = (OperationalError, InterfaceError, psycopg.OperationalError)
_API = re.compile(r"/(api|healthz|readyz|metrics)(/|$)")

_STATUS: dict[type[errors.DomainError], int] = {
    errors.InvalidInput: 400,
    errors.Unauthenticated: 401,
    errors.Forbidden: 403,
    errors.NotFound: 404,
    errors.Conflict: 409,
    errors.PreconditionFailed: 412,
    errors.TooLarge: 413,
    errors.AddressTooLong: 414,
    errors.LimitReached: 429,
    errors.Unavailable: 503,
}
_DRF_CODES = {
    400: "invalid_request",
    401: "not_authenticated",
    403: "forbidden",
    404: "not_found",
    405: "method_not_allowed",
    406: "not_acceptable",
    415: "unsupported_media_type",
    429: "throttled",
}

# Longer than any path of the API's own fields; what is longer was made up by the caller.
_PATH_CHARACTERS = 300


def status_of(error: errors.DomainError) -> int:
    """Return the HTTP status of a domain error."""
    return next((status for kind, status in _STATUS.items() if isinstance(error, kind)), 400)


def body_of(
    status: int,
    code: str,
    detail: str,
    fields: Mapping[str, Sequence[Any]] | None = None,
) -> dict[str, Any]:
    """Return the body of a problem answer; ``errors`` is there only when fields are at fault."""
    body: dict[str, Any] = {
        "type": "about:blank",
        "title": http.HTTPStatus(status).phrase,
        "status": status,
        "code": code,
        "detail": detail,
        "request_id": current_request_id(),
    }
    if fields:
        body["errors"] = {
            _short(name): [str(text) for text in texts[: errors.MAX_ERRORS]]
            for name, texts in islice(fields.items(), errors.MAX_ERRORS)
        }
        if errors.is_full(fields):
            more = _("There are more mistakes than are named here.")
            body["detail"] = f"{detail} {more}"
    return body


def _short(path: str) -> str:
    return path if len(path) <= _PATH_CHARACTERS else path[: _PATH_CHARACTERS - 1] + "…"


def exception_handler(error: Exception, _context: dict[str, Any]) -> Response | None:
    """DRF's EXCEPTION_HANDLER. Returns None for a defect, which Django then answers (500)."""
    described = _describe(error)
    if described is None:
        return None
    set_rollback()
    status, body, headers = described
    return Response(body, status=status, headers=headers, content_type=MEDIA_TYPE)


def problem_response(error: Exception) -> JsonResponse | None:
    """Return the same answer for a view that is not DRF's; None when the error is a defect."""
    described = _describe(error)
    if described is None:
        return None
    status, body, headers = described
    return JsonResponse(body, status=status, headers=headers, content_type=MEDIA_TYPE)


def wants_problem(request: HttpRequest) -> bool:
    """Tell whether this request gets problem+json rather than a page."""
    return _API.match(request.path) is not None


class RefusedPage(HttpResponse):
    """A page that middleware refuses; ``pages.error_pages`` draws it for whoever asks."""

    def __init__(self, error: errors.DomainError) -> None:
        """Keep the error, whose status it has."""
        super().__init__(status=status_of(error))
        self.error = error


def refusal(request: HttpRequest, error: errors.DomainError) -> HttpResponse:
    """Return the answer of a middleware that refuses a request: problem+json, or a page."""
    if not wants_problem(request):
        return RefusedPage(error)
    response = problem_response(error)
    assert response is not None
    return response


def unavailable_problem() -> HttpResponse:
    """Return 503 with Retry-After, for the database being away."""
    response = problem_response(_database_away())
    assert response is not None
    return response


def _database_away() -> errors.Unavailable:
    return errors.Unavailable(
        _("The database cannot be reached."), retry_after_seconds=RETRY_SECONDS
    )


def _describe(error: Exception) -> tuple[int, dict[str, Any], dict[str, str]] | None:
    if isinstance(error, DATABASE_AWAY):
        logger.warning("the database cannot be reached: %s", error)
        error = _database_away()
    if isinstance(error, errors.DomainError):
        return _describe_domain(error)
    if isinstance(error, Http404):
        error = drf.NotFound()
    elif isinstance(error, PermissionDenied):
        error = drf.PermissionDenied()
    elif isinstance(error, (RequestDataTooBig, TooManyFieldsSent)):
        return 413, body_of(413, "too_large", _("The body is too large.")), {}
    elif isinstance(error, SuspiciousOperation):
        return 400, body_of(400, "invalid_request", _("The request cannot be read.")), {}
    return _describe_drf(error) if isinstance(error, drf.APIException) else None


def _describe_domain(
    error: errors.DomainError,
) -> tuple[int, dict[str, Any], dict[str, str]]:
    status = status_of(error)
    headers = {}
    if status in {429, 503} or error.retry_after_seconds is not None:
        headers["Retry-After"] = str(error.retry_after_seconds or RETRY_SECONDS)
    return status, body_of(status, error.code, str(error.detail), error.fields), headers


def _describe_drf(error: drf.APIException) -> tuple[int, dict[str, Any], dict[str, str]]:
    status = error.status_code
    headers = {}
    if getattr(error, "auth_header", None):
        headers["WWW-Authenticate"] = str(error.auth_header)  # type: ignore[attr-defined]
    wait = getattr(error, "wait", None)
    if wait:
        headers["Retry-After"] = str(int(wait) + 1)
    if isinstance(error, drf.ValidationError):
        body = body_of(
            status, "invalid_request", _("The request is not valid."), field_paths(error.detail)
        )
        return status, body, headers
    code = _DRF_CODES.get(status, "error")
    if isinstance(error, drf.AuthenticationFailed):
        code = "credentials_invalid"
    elif "CSRF" in str(error.detail):
        code = "csrf_failed"
    return status, body_of(status, code, str(error.detail)), headers


def field_paths(detail: Any, parent: str = "") -> dict[str, list[str]]:
    """Flatten DRF's nested errors to full paths: ``{"commands[1].body": ["…"]}``.

    What concerns a whole object is named by the object's path, ``body`` at the top. What is beyond
    the places that an answer names is left out.
    """
    if not isinstance(detail, (dict, list)):
        return {parent or "body": [str(detail)]}
    flat: dict[str, list[str]] = {}
    for path, value in _members(detail, parent):
        for name, texts in field_paths(value, path).items():
            flat.setdefault(name, []).extend(texts)
        if errors.is_full(flat):
            break
    return flat


def _members(detail: dict[Any, Any] | list[Any], parent: str) -> Iterator[tuple[str, Any]]:
    if isinstance(detail, dict):
        for key, value in detail.items():
            yield parent if key == "non_field_errors" else join_path(parent, key), value
        return
    for at, value in enumerate(detail):
        yield join_path(parent, at) if isinstance(value, (dict, list)) else parent, value


def not_found(_request: HttpRequest, _exception: Exception | None = None) -> HttpResponse:
    """Answer 404."""
    return _plain(404, "not_found", _("There is nothing at this address."))


def permission_denied(_request: HttpRequest, _exception: Exception | None = None) -> HttpResponse:
    """Answer 403."""
    return _plain(403, "forbidden", _("You may not do this."))


def bad_request(_request: HttpRequest, exception: Exception | None = None) -> HttpResponse:
    """Answer 400, or 413 for a body that is too large."""
    if isinstance(exception, RequestDataTooBig):
        return _plain(413, "too_large", _("The body is too large."))
    return _plain(400, "invalid_request", _("The request cannot be read."))


def server_error(_request: HttpRequest) -> HttpResponse:
    """Answer 500."""
    return _plain(500, "internal_error", _("Something went wrong on our side."))


def _plain(status: int, code: str, detail: str) -> HttpResponse:
    return JsonResponse(body_of(status, code, detail), status=status, content_type=MEDIA_TYPE)


class LengthRequiredMiddleware:
    """Refuses bodies without a Content-Length, which WSGI would pass on as empty ones."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        """Keep the next handler."""
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        """Serve one request."""
        if "HTTP_TRANSFER_ENCODING" in request.META and not request.META.get("CONTENT_LENGTH"):
            return _plain(411, "length_required", _("Send a Content-Length."))
        return self.get_response(request)
