"""Who acts: a person, a script's token, an agent, or the system itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from devops_manager.access.models import ApiToken, AuditEvent, Role, User
from devops_manager.lib.client_address import parse_address
from devops_manager.lib.errors import Forbidden

if TYPE_CHECKING:
    from django.http import HttpRequest
    from rest_framework.request import Request


@dataclass(frozen=True, slots=True)
class Actor:
    """One who acts, as services and the audit trail need it.

    ``name`` is a username, ``token:<prefix> (<owner>)``, ``agent:<host_id>`` or ``system``.
    ``user_id`` is the person's, or the token owner's, primary key; None for agents and the system.
    ``role`` is the narrower of the token's and its owner's. ``token_id`` is the primary key of the
    token that acts, ``manages_tokens`` whether it was made for tokens.
    """

    kind: AuditEvent.ActorKind
    name: str
    role: Role
    user_id: int | None = None
    source_ip: str | None = None
    token_id: int | None = None
    manages_tokens: bool = False


SYSTEM = Actor(kind=AuditEvent.ActorKind.SYSTEM, name="system", role=Role.ADMIN)


def role_of(user: User) -> Role:
    """Return what a person may do; Django's superusers are administrators."""
    return Role.ADMIN if user.is_superuser else Role(user.role)


def narrower_role(one: Role, other: Role) -> Role:
    """Return the role that allows only what both allow.

    Administrators may do everything, viewers only look; operators and approvers have nothing more
    than looking in common.
    """
    if other in {one, Role.ADMIN}:
        return one
    return other if one == Role.ADMIN else Role.VIEWER


def actor_of(request: Request | HttpRequest) -> Actor:
    """Return who makes this request, for services and the audit trail.

    Works for DRF's requests (token or session) and for pages. Raises Forbidden when nobody is
    signed in, which permissions have refused before.
    """
    user = request.user
    if not isinstance(user, User):
        raise Forbidden("sign in first", code="not_authenticated")
    token = getattr(request, "auth", None)
    source_ip = _source_ip(request)
    if isinstance(token, ApiToken):
        return Actor(
            kind=AuditEvent.ActorKind.TOKEN,
            name=f"token:{token.prefix} ({user.username})"[:200],
            role=narrower_role(Role(token.role), role_of(user)),
            user_id=user.pk,
            source_ip=source_ip,
            token_id=token.pk,
            manages_tokens=token.manages_tokens,
        )
    return Actor(
        kind=AuditEvent.ActorKind.PERSON,
        name=user.username,
        role=role_of(user),
        user_id=user.pk,
        source_ip=source_ip,
    )


def _source_ip(request: Request | HttpRequest) -> str | None:
    """Return the client's address; a request over a Unix socket has none."""
    address = parse_address(request.META.get("REMOTE_ADDR"))
    return None if address is None else str(address)
