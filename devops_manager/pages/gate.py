"""The door of every page: signed in, and allowed."""

from __future__ import annotations

import functools
import http
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, cast

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_http_methods

from devops_manager.access.actors import Actor, actor_of
from devops_manager.access.permissions import ADMINS, APPROVERS, OPERATORS, READERS
from devops_manager.lib.errors import DomainError, Forbidden, InvalidInput
from devops_manager.lib.problem import status_of
from devops_manager.lib.requests import current_request_id
from devops_manager.pages.kept import ask_to_sign_in, is_kept
from devops_manager.pages.live import frame_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from django.http import HttpRequest, HttpResponseBase

    from devops_manager.access.models import Role

P = ParamSpec("P")

_TEMPLATES = {400: "400.html", 403: "403.html", 404: "404.html", 429: "429.html", 503: "503.html"}


@dataclass(frozen=True, slots=True)
class May:
    """What the person may do; templates show no button that would be refused."""

    operate: bool
    approve: bool
    administer: bool

    @property
    def enrol(self) -> bool:
        """Tell whether enrolment tokens are theirs to make."""
        return self.administer


def may_of(actor: Actor) -> May:
    """Return what an actor's role allows."""
    return May(
        operate=actor.role in OPERATORS,
        approve=actor.role in APPROVERS,
        administer=actor.role in ADMINS,
    )


def page(
    *methods: str, roles: frozenset[Role] = READERS, keeps_form: bool = False
) -> Callable[
    [Callable[Concatenate[HttpRequest, Actor, P], HttpResponseBase]],
    Callable[Concatenate[HttpRequest, P], HttpResponse],
]:
    """Make a view a page: it gets the actor; who may not see it, or asks wrongly, is told so.

    ``methods``: the HTTP methods served (GET and HEAD when left out). A DomainError that the view
    does not answer itself becomes the error page of its status. ``keeps_form``: what is sent to it
    without a session is given back after the sign-in.
    """
    served = list(methods) or ["GET", "HEAD"]

    def make(
        view: Callable[Concatenate[HttpRequest, Actor, P], HttpResponseBase],
    ) -> Callable[Concatenate[HttpRequest, P], HttpResponse]:
        @functools.wraps(view)
        def serve(request: HttpRequest, *args: P.args, **kwargs: P.kwargs) -> HttpResponseBase:
            try:
                actor = actor_of(request)
                if actor.role not in roles:
                    raise Forbidden(_("Your role does not allow it."))
                _refuse_repeated(request)
                return view(request, actor, *args, **kwargs)
            except DomainError as error:
                return error_page(request, error)

        checked = _behind_sign_in(require_http_methods(served)(serve))
        checked.keeps_form = keeps_form
        return cast("Callable[Concatenate[HttpRequest, P], HttpResponse]", checked)

    return make


def _behind_sign_in(view: Any) -> Any:
    """Ask strangers to sign in, without losing the long form that one of them may have sent."""
    redirecting = login_required(view)

    @functools.wraps(view)
    def serve(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        if not request.user.is_authenticated:
            if request.headers.get("HX-Request"):
                # A redirect would be followed, and the sign-in page put in the form's place.
                return HttpResponse(status=401)
            if is_kept(request):
                return ask_to_sign_in(request, status=401)
        return cast("HttpResponseBase", redirecting(request, *args, **kwargs))

    return serve


def _refuse_repeated(request: HttpRequest) -> None:
    """Raise InvalidInput for a filter given twice: to take one of them would be guessing."""
    twice = [name for name, given in request.GET.lists() if len(given) > 1]
    if twice:
        raise InvalidInput(
            _("The filter is not valid."),
            fields={name: [_("Given more than once: %s") % name] for name in twice},
        )


def show(
    request: HttpRequest, template: str, context: dict[str, Any], *, status: int = 200
) -> HttpResponse:
    """Render a page or a part of one, with what every page needs."""
    context.setdefault("may", may_of(actor_of(request)))
    context.setdefault("frame", frame_of(request))
    return render(request, template, context, status=status)


def error_page(request: HttpRequest, error: DomainError) -> HttpResponse:
    """Return the page that explains a domain error, with its status."""
    status = status_of(error)
    context = {
        "detail": str(error.detail),
        "field_errors": sentences(error.fields.values()),
        "status": status,
        "phrase": http.HTTPStatus(status).phrase,
        "request_id": current_request_id(),
        "may": may_of(actor_of(request)),
    }
    response = render(request, _TEMPLATES.get(status, "400.html"), context, status=status)
    if error.retry_after_seconds is not None:
        response.headers["Retry-After"] = str(error.retry_after_seconds)
    return response


def sentences(fields: Iterable[Any]) -> list[str]:
    """Flatten the sentences of a DomainError's fields."""
    return [str(text) for texts in fields for text in texts]


def in_words(error: DomainError) -> str:
    """Return a refusal as one line: what is wrong, and where."""
    return " ".join([str(error.detail), *sentences(error.fields.values())])


def act(
    request: HttpRequest, service: Callable[[], object], *, done: str, back_to: str
) -> HttpResponse:
    """Call one service for a button, say what came of it, and go back to the page.

    Every refusal of the service is shown in its own words; nothing is half done then.
    """
    try:
        service()
    except DomainError as error:
        messages.error(request, in_words(error))
    else:
        messages.success(request, done)
    return redirect(back_to)
