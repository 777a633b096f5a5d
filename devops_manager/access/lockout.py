"""The answer when django-axes has locked somebody out after too many wrong passwords."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.shortcuts import render
from django.utils.translation import gettext as _

from devops_manager.access.sign_in_limits import seconds_left
from devops_manager.lib.errors import LimitReached
from devops_manager.lib.problem import problem_response, wants_problem

if TYPE_CHECKING:
    from django.http import HttpRequest, HttpResponse


def answer(
    request: HttpRequest, _original: HttpResponse | None, _credentials: dict[str, Any] | None
) -> HttpResponse:
    """``AXES_LOCKOUT_CALLABLE``: 429 with Retry-After, as problem+json or as a page."""
    seconds = seconds_left(request)
    if wants_problem(request):
        error = LimitReached(
            _("Too many wrong passwords. Wait, or ask an administrator to unlock the name."),
            code="locked_out",
            retry_after_seconds=seconds,
        )
        response = problem_response(error)
        assert response is not None
        return response
    context = {"cooloff_timedelta": timedelta(seconds=seconds)}
    page = render(request, settings.AXES_LOCKOUT_TEMPLATE, context, status=429)
    page["Retry-After"] = str(seconds)
    return page
