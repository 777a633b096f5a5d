"""The door of every page: signed in, and allowed."""

from __future__ import annotations

import functools
import http
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, cast

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.contrib.auth.models import AnonymousUser
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.template.loader import render_to_string
from django.utils import translation
from django.utils.functional import SimpleLazyObject
from django.utils.translation import gettext as _
from django.views.decorators.http import require_http_methods

from devops_manager.access.actors import Actor, actor_of, role_of
from devops_manager.access.models import Role, User
from devops_manager.access.permissions import (
    ADMINS,
    APPROVERS,
    OPERATORS,
    READERS,
)
from devops_manager.lib.errors import DomainError, Forbidden, InvalidInput
from devops_manager.lib.problem import status_of
from devops_manager.lib.requests import current_request_id
from devops_manager.pages.kept import ask_to_sign_in, is_kept
from devops_manager.pages.live import frame_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from django.http import HttpRequest, HttpResponseBase

logger = logging.getLogger(__name__)

P = ParamSpec("P")

_TEMPLATES = {
    400: "400.html", 403: "403.html", 404: "404.html", 405: "405.html", 413: "413.html",
    429: "429.html", 500: "500.html", 503: "503.html",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class May:
    """What the person may do; templates show no link or button that would be refused.

    ``role`` is None for nobody. ``read`` is false before a password that somebody else knows was
    changed: until then nothing but changing it works. ``see_records``: Django's administration.
    """

    role: Role | None = None
    read: bool = False
    operate: bool = False
    approve: bool = False
    administer: bool = False
    see_records: bool = False

    @property
    def enrol(self) -> bool:
        """Tell whether enrolment tokens are theirs to make."""
        return self.administer


def may_of(user: object) -> May:
    """Return what a person's role allows; nothing for somebody who is not signed in."""
    if not isinstance(user, User):
        return May()
    role = role_of(user)
    if user.must_change_password:
        return May(role=role)
    return May(
        role=role,
        read=role in READERS,
        operate=role in OPERATORS,
        approve=role in APPROVERS,
        administer=role in ADMINS,
        see_records=role in ADMINS and user.is_staff,
    )


def frame(request: HttpRequest) -> dict[str, Any]:
    """Context processor: ``may``, by which the menu shows only what works for the person."""
    return {"may": SimpleLazyObject(lambda: may_of(_person(request)))}


def _person(request: HttpRequest) -> User | AnonymousUser:
    """Return who asks; the real object where Django has a lazy one."""
    user = getattr(request, "user", None)
    return user if isinstance(user, User) else AnonymousUser()


def language_of(request: HttpRequest, user: object) -> str:
    """Return the language to answer in: the person's, else the cookie's, else the browser's."""
    chosen = getattr(user, "language", "")
    if chosen and translation.check_for_language(chosen):
        return str(chosen)
    return translation.get_language_from_request(request)


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
                user = cast("User", request.user)
                if user.must_change_password:
                    return redirect("password_change")
                translation.activate(language_of(request, user))
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
    """Render a page or a part of one, with the frame that it stands in."""
    context.setdefault("frame", frame_of(request))
    return render(request, template, context, status=status)


def error_page(request: HttpRequest, error: DomainError) -> HttpResponse:
    """Return the page that explains a domain error, with its status."""
    response = draw_error(
        request,
        status_of(error),
        detail=str(error.detail),
        field_errors=sentences(error.fields.values()),
    )
    if error.retry_after_seconds is not None:
        response.headers["Retry-After"] = str(error.retry_after_seconds)
    return response


def draw_error(
    request: HttpRequest,
    status: int,
    *,
    template: str = "",
    ask_database: bool = True,
    **context: Any,
) -> HttpResponse:
    """Return an error page with the menu and in the language of whoever asks.

    Without ``ask_database`` only what the request knows already is used: who asks, if the database
    went away after that was found out. A page comes in any case, without a menu at the worst.
    Messages for the person are left for the next page.
    """
    template = template or _TEMPLATES.get(status, "400.html")
    context |= {
        "status": status,
        "phrase": http.HTTPStatus(status).phrase,
        "request_id": current_request_id(),
        "messages": (),
    }
    try:
        known = ask_database or hasattr(request, "_cached_user")
        user = _person(request) if known else AnonymousUser()
        language = language_of(request, user)
        with translation.override(language):
            full = {**context, "user": user, "may": may_of(user)}
            page = render_to_string(template, full, request=request)
    except Exception:
        # Whatever is broken, down to the session or a template: the person gets a page.
        logger.warning("an error page is drawn without its menu", exc_info=True)
        language = translation.get_language_from_request(request)
        with translation.override(language):
            page = render_to_string(template, {**context, "user": AnonymousUser(), "may": May()})
    headers = {"Content-Language": language}
    return HttpResponse(page, status=status, headers=headers)


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
