"""A form that was sent too late is given back: after the session's end, or under an old token.

What was written goes to the browser that sent it and nowhere else, signed, inside the sign-in page
or the page that explains; it comes back with the next sending. Only forms of our own pages are
kept, so that no other site can put words into somebody's form.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from django.contrib.auth.forms import AuthenticationForm
from django.core import signing
from django.shortcuts import render

if TYPE_CHECKING:
    from collections.abc import Sequence

    from django.http import HttpRequest, HttpResponse

_SALT = "devops_manager.pages.kept"
_MAX_AGE_SECONDS = 86_400
# The button that was pressed is not pressed again: the person looks at the form first.
_LEFT_OUT = frozenset({"csrfmiddlewaretoken", "act"})


@dataclass(frozen=True, slots=True)
class Kept:
    """What was written into the form at an address of ours."""

    path: str
    fields: Sequence[tuple[str, str]]


def is_kept(request: HttpRequest) -> bool:
    """Tell whether a refused request is a long form of our own pages, worth giving back."""
    match = request.resolver_match
    view: Any = match.func if match else None
    if request.method != "POST" or not getattr(view, "keeps_form", False):
        return False
    site = request.headers.get("Sec-Fetch-Site")
    if site is not None:
        return site == "same-origin"
    return request.headers.get("Origin") == f"{request.scheme}://{request.get_host()}"


def pack(request: HttpRequest) -> str:
    """Return what a request sent, signed."""
    fields = [
        [name, value]
        for name, values in request.POST.lists()
        for value in values
        if name not in _LEFT_OUT
    ]
    packed = {"path": request.get_full_path(), "fields": fields}
    return signing.dumps(packed, salt=_SALT, compress=True)


def unpack(text: str) -> Kept | None:
    """Return what ``pack`` made of a request, or None of anything else or older than a day."""
    try:
        packed = signing.loads(text, salt=_SALT, max_age=_MAX_AGE_SECONDS)
    except signing.BadSignature:
        return None
    return Kept(packed["path"], [(name, value) for name, value in packed["fields"]])


def ask_to_sign_in(request: HttpRequest, *, status: int) -> HttpResponse:
    """Return the sign-in page that keeps what was sent."""
    context = {"form": AuthenticationForm(request), "kept": pack(request)}
    return render(request, "registration/login.html", context, status=status)


def give_back(request: HttpRequest, kept: Kept, *, status: int) -> HttpResponse:
    """Return the page from which the form goes on, filled as it was."""
    context = {"kept": kept, "expired": status != 200}
    return render(request, "pages/kept_form.html", context, status=status)
