"""Known devices: browsers in which a person signed in before, told by a signed cookie.

A stranger behind the same address may lock a name there, or use up the address's tries. A browser
that signed in under that name is counted on its own and is not locked out by it; without this,
whoever shares an administrator's address could keep the administrator out.
"""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

from django.conf import settings
from django.core import signing

from devops_manager.access.models import User

if TYPE_CHECKING:
    from collections.abc import Callable

    from django.http import HttpRequest, HttpResponse

COOKIE = "dm_device"
_SALT = "devops_manager.device"
_SECONDS = 180 * 86_400
_ATTRIBUTE = "dm_device_cookie"


def known_device(request: HttpRequest, username: str) -> str | None:
    """Return the id of the browser, if this person signed in there before."""
    found = _read(request)
    if found is None:
        return None
    person, device = found
    return device if User.objects.filter(pk=person, username=username).exists() else None


def remember_device(request: HttpRequest, user: User) -> None:
    """Have the browser told that this person signed in there."""
    found = _read(request)
    device = found[1] if found is not None and found[0] == user.pk else secrets.token_hex(16)
    setattr(request, _ATTRIBUTE, signing.dumps([user.pk, device], salt=_SALT))


def _read(request: HttpRequest) -> tuple[int, str] | None:
    text = request.COOKIES.get(COOKIE, "")
    if not text:
        return None
    try:
        person, device = signing.loads(text, salt=_SALT, max_age=_SECONDS)
    except (signing.BadSignature, ValueError):
        return None
    return int(person), str(device)


class DeviceMiddleware:
    """Sets the cookie of a browser in which somebody signed in, through whichever door."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        """Keep the next handler."""
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        """Serve one request."""
        response = self.get_response(request)
        cookie = getattr(request, _ATTRIBUTE, None)
        if cookie is not None:
            response.set_cookie(
                COOKIE,
                cookie,
                max_age=_SECONDS,
                secure=settings.DM_TLS,
                httponly=True,
                samesite="Lax",
            )
        return response
