"""Answers where no view gave one: problem+json for programs, a page with its menu for people."""

from __future__ import annotations

import logging
import sys
from typing import TYPE_CHECKING

from django.core.exceptions import RequestDataTooBig, TooManyFieldsSent

from devops_manager.lib import problem
from devops_manager.pages.gate import draw_error, error_page
from devops_manager.pages.kept import ask_to_sign_in, give_back, is_kept, pack, unpack

if TYPE_CHECKING:
    from collections.abc import Callable

    from django.http import HttpRequest, HttpResponse

logger = logging.getLogger(__name__)


def bad_request(request: HttpRequest, exception: Exception | None = None) -> HttpResponse:
    """``handler400``: also meets bodies that are too large (413)."""
    if problem.wants_problem(request):
        return problem.bad_request(request, exception)
    too_large = isinstance(exception, (RequestDataTooBig, TooManyFieldsSent))
    return draw_error(request, 413 if too_large else 400)


def permission_denied(request: HttpRequest, exception: Exception | None = None) -> HttpResponse:
    """``handler403``."""
    if problem.wants_problem(request):
        return problem.permission_denied(request, exception)
    return draw_error(request, 403)


def csrf_failure(request: HttpRequest, reason: str = "") -> HttpResponse:
    """``CSRF_FAILURE_VIEW``: a form from elsewhere, or one that is older than the session.

    A long form of our own pages is given back.
    """
    if problem.wants_problem(request):
        return problem.permission_denied(request)
    if is_kept(request):
        if not request.user.is_authenticated:
            return ask_to_sign_in(request, status=403)
        kept = unpack(pack(request))
        assert kept is not None
        return give_back(request, kept, status=403)
    logger.info("refused a form: %s", reason)
    return draw_error(request, 403, template="403_csrf.html")


def not_found(request: HttpRequest, exception: Exception | None = None) -> HttpResponse:
    """``handler404``."""
    if problem.wants_problem(request):
        return problem.not_found(request, exception)
    return draw_error(request, 404)


def server_error(request: HttpRequest) -> HttpResponse:
    """``handler500``: also meets the database being away outside views, such as in middleware."""
    if isinstance(sys.exc_info()[1], problem.DATABASE_AWAY):
        return _unavailable(request)
    if problem.wants_problem(request):
        return problem.server_error(request)
    return draw_error(request, 500)


def _unavailable(request: HttpRequest) -> HttpResponse:
    """Return 503 with Retry-After; a page asks the database for nothing."""
    if problem.wants_problem(request):
        return problem.unavailable_problem()
    response = draw_error(request, 503, ask_database=False)
    response.headers["Retry-After"] = str(problem.RETRY_SECONDS)
    return response


class ErrorPagesMiddleware:
    """Draws pages for refusals of other middleware, empty 405s, and PostgreSQL being away (503).

    What fails outside views (sessions, other middleware) comes to ``server_error``.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        """Keep the next handler."""
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        """Serve one request."""
        response = self.get_response(request)
        if isinstance(response, problem.RefusedPage):
            return error_page(request, response.error)
        if response.status_code != 405 or response.content or problem.wants_problem(request):
            return response
        page = draw_error(request, 405)
        page.headers["Allow"] = response.headers.get("Allow", "")
        return page

    def process_exception(self, request: HttpRequest, error: Exception) -> HttpResponse | None:
        """Answer for a view that raised because the database is away."""
        if not isinstance(error, problem.DATABASE_AWAY):
            return None
        logger.warning("the database cannot be reached: %s", error)
        return _unavailable(request)
