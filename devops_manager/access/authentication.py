"""Who makes an API request: a script with a bearer token. People have Django's session."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext as _
from drf_spectacular.extensions import OpenApiAuthenticationExtension
from rest_framework.authentication import BaseAuthentication
from rest_framework.exceptions import AuthenticationFailed

from devops_manager.access.models import ApiToken
from devops_manager.lib import secrets

if TYPE_CHECKING:
    from rest_framework.request import Request

    from devops_manager.access.models import User

KIND = "dmt"  # Devops Manager token
# One write a minute tells enough about the use of a token.
_TOUCH_AFTER = timedelta(minutes=1)


class BearerAuthentication(BaseAuthentication):
    """``Authorization: Bearer dmt_…``: ``request.user`` owns it, ``request.auth`` is the token."""

    def authenticate(self, request: Request) -> tuple[User, ApiToken] | None:
        """Return owner and token, or None when the request carries no bearer token.

        Raises AuthenticationFailed, without saying why, for a token that is unknown, expired or
        revoked, whose owner is not active, or whose maker is such a token.
        """
        scheme, _space, plain = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() != "bearer":
            return None
        token = _find(plain.strip())
        if token is None:
            raise AuthenticationFailed(_("The token is not valid."))
        _touch(token)
        return token.owner, token

    def authenticate_header(self, _request: Request) -> str:
        """Return the challenge of a 401."""
        return 'Bearer realm="devops-manager"'


def _find(plain: str) -> ApiToken | None:
    prefix = secrets.split(plain, KIND)
    if prefix is None:
        return None
    token = ApiToken.objects.select_related("owner", "parent").filter(prefix=prefix).first()
    if token is None or not secrets.matches(plain, token.secret_hash):
        return None
    return token if token.owner.is_active and token.is_good(timezone.now()) else None


def _touch(token: ApiToken) -> None:
    now = timezone.now()
    if token.last_used_at is not None and token.last_used_at > now - _TOUCH_AFTER:
        return
    # The condition again, so that parallel requests of one token write once.
    stale = Q(last_used_at=None) | Q(last_used_at__lte=now - _TOUCH_AFTER)
    ApiToken.objects.filter(stale, pk=token.pk).update(last_used_at=now)


class BearerScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    """Describes the bearer token for OpenAPI."""

    target_class = "devops_manager.access.authentication.BearerAuthentication"
    name = "bearer"

    def get_security_definition(self, _auto_schema: object) -> dict[str, str]:
        """Return the scheme."""
        return {"type": "http", "scheme": "bearer"}
