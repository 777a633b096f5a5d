"""Addresses as they come in: bounded, without NUL, and in the one spelling that routes know."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from django.http import UnreadablePostError
from django.utils.translation import gettext as _

from devops_manager.lib.errors import AddressTooLong, InvalidInput
from devops_manager.lib.problem import refusal, wants_problem

if TYPE_CHECKING:
    from collections.abc import Callable

    from django.http import HttpRequest, HttpResponse, QueryDict

# Of path and query together. The server in front (gunicorn.conf.py) takes twice as much, so that
# it is the application which answers, in its own words.
MAX_CHARACTERS = 4000
# The admin's addresses end with a slash, and files are named as they are.
_AS_THEY_ARE = ("/admin/", "/static/")
_ID_IN_CAPITALS = re.compile(
    r"(?<=/)[0-9A-Fa-f]{8}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{12}(?=/|$)"
)


class AddressMiddleware:
    """Refuses addresses that are too long or hold NUL, and reads the others in one spelling.

    Ids may be in capitals and a slash may end the address: programs and people write both. The
    request goes on under the address's own spelling instead of being redirected, for a redirected
    POST is not sent again by every client.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        """Keep the next handler."""
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        """Serve one request."""
        if len(request.get_full_path()) > MAX_CHARACTERS:
            return refusal(
                request,
                AddressTooLong(
                    _("The address is longer than %(high)d characters.") % {"high": MAX_CHARACTERS}
                ),
            )
        if "\x00" in request.path:
            return refusal(request, _nul(["path"]))
        wrong = _with_nul(request.GET)
        if wrong:
            return refusal(request, _nul(wrong))
        if not request.path_info.startswith(_AS_THEY_ARE):
            request.path_info = canonical(request.path_info)
            request.path = canonical(request.path)
        return self.get_response(request)

    def process_view(
        self, request: HttpRequest, _view: object, _args: object, _kwargs: object
    ) -> HttpResponse | None:
        """Refuse forms with NUL: PostgreSQL takes it nowhere, and nobody types it."""
        if request.method != "POST" or wants_problem(request):
            return None
        try:
            wrong = _with_nul(request.POST)
        except UnreadablePostError:  # the client is gone; CSRF protection deals with it
            return None
        return refusal(request, _nul(wrong)) if wrong else None


def canonical(path: str) -> str:
    """Return the spelling that routes know: ids in small letters, no slash at the end."""
    lowered = _ID_IN_CAPITALS.sub(lambda found: found[0].lower(), path)
    return lowered.rstrip("/") or "/"


def _with_nul(values: QueryDict) -> list[str]:
    return [
        name
        for name, given in values.lists()
        if "\x00" in name or any("\x00" in str(text) for text in given)
    ]


def _nul(names: list[str]) -> InvalidInput:
    fields: dict[str, list[Any]] = {
        name.replace("\x00", "\\x00"): [_("NUL characters are not allowed.")] for name in names
    }
    return InvalidInput(_("The request cannot be read."), fields=fields)
