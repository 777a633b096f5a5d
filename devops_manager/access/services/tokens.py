"""Bearer tokens of scripts: made once, shown once, revoked."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.db import transaction
from django.db.models import Q
from django.db.models.functions import Now
from django.utils import timezone
from django.utils.translation import gettext as _

from devops_manager.access import audit
from devops_manager.access.actors import narrower_role
from devops_manager.access.authentication import KIND
from devops_manager.access.models import ApiToken, Role
from devops_manager.access.permissions import require_token_management
from devops_manager.access.selectors import visible_tokens
from devops_manager.lib import secrets
from devops_manager.lib.errors import Forbidden, InvalidInput, NotFound, Unauthenticated
from devops_manager.lib.one_line import require_one_line

if TYPE_CHECKING:
    from datetime import datetime
    from uuid import UUID

    from django.db.models import QuerySet

    from devops_manager.access.actors import Actor
    from devops_manager.access.models import User


@transaction.atomic
def create_token(
    *,
    actor: Actor,
    name: str,
    role: Role,
    expires_at: datetime | None,
    manages_tokens: bool = False,
) -> tuple[ApiToken, str]:
    """Make a token for the actor and return it with its secret, which is kept nowhere.

    What a token makes ends with it: it expires no later (without ``expires_at``, at the same time),
    is refused once its maker is revoked, and makes no tokens itself. Raises InvalidInput naming the
    fields; Forbidden for actors that are nobody's, and ``session_required`` for tokens that were
    not made for managing tokens.
    """
    if actor.user_id is None:
        raise Forbidden(_("Only people have tokens."))
    require_token_management(actor)
    require_one_line({"name": name})
    maker = _lock_maker(actor)
    wrong = _faults(actor, maker, role=role, expires_at=expires_at, manages_tokens=manages_tokens)
    if wrong:
        code = "invalid_request" if "role" in wrong else "already_past"
        raise InvalidInput(_("The token cannot be made."), code=code, fields=wrong)
    secret = secrets.new_secret(KIND)
    token = ApiToken.objects.create(
        owner_id=actor.user_id,
        name=name,
        prefix=secret.prefix,
        secret_hash=secret.hash,
        role=role,
        expires_at=expires_at or (maker.expires_at if maker else None),
        manages_tokens=manages_tokens,
        parent=maker,
    )
    token.refresh_from_db()
    audit.record(
        actor=actor,
        action="token.create",
        object_type="token",
        object_ids=[str(token.token_id)],
        after={
            "name": name,
            "role": str(role),
            "expires_at": token.expires_at.isoformat() if token.expires_at else None,
            "manages_tokens": manages_tokens,
        },
    )
    return token, secret.plain


def _lock_maker(actor: Actor) -> ApiToken | None:
    """Lock the token that acts, if one does: it is not revoked while it makes another."""
    if actor.token_id is None:
        return None
    maker = ApiToken.objects.select_for_update(no_key=True).get(pk=actor.token_id)
    if not maker.is_good(timezone.now()):
        raise Unauthenticated(_("The token is not valid."))
    return maker


def _faults(
    actor: Actor,
    maker: ApiToken | None,
    *,
    role: Role,
    expires_at: datetime | None,
    manages_tokens: bool,
) -> dict[str, list[str]]:
    wrong: dict[str, list[str]] = {}
    if narrower_role(role, actor.role) != role:
        wrong["role"] = [_("Wider than your own role.")]
    if expires_at is not None and expires_at <= timezone.now():
        wrong["expires_at"] = [_("Must be in the future.")]
    if maker is None:
        return wrong
    if expires_at is not None and maker.expires_at is not None and expires_at > maker.expires_at:
        wrong["expires_at"] = [_("Later than the token that makes it.")]
    if manages_tokens:
        wrong["manages_tokens"] = [_("A token cannot make one that makes tokens.")]
    return wrong


@transaction.atomic
def revoke_token(*, actor: Actor, token_id: UUID) -> ApiToken:
    """Revoke a token and those that it made, at once and for good; again changes nothing.

    Raises NotFound for tokens that the actor may not see: others', unless an administrator asks;
    Forbidden ``session_required`` for tokens that were not made for managing tokens.
    """
    token = visible_tokens(actor).select_for_update(of=("self",)).filter(token_id=token_id).first()
    if token is None:
        raise NotFound(_("There is no such token."))
    _revoke(actor, ApiToken.objects.filter(Q(pk=token.pk) | Q(parent=token.pk)))
    token.refresh_from_db()
    return token


@transaction.atomic
def revoke_tokens_of(*, actor: Actor, user: User) -> int:
    """Revoke every token of a person whose password changed or who left; return how many.

    The caller decides whether the actor may: it is called with the act that asks for it.
    """
    return _revoke(actor, ApiToken.objects.filter(owner=user))


def _revoke(actor: Actor, tokens: QuerySet[ApiToken]) -> int:
    """Revoke those that are not yet, each with its event in the audit trail."""
    open_tokens = tokens.filter(revoked_at=None).order_by("pk").select_for_update()
    found = list(open_tokens.values_list("pk", "token_id"))
    ApiToken.objects.filter(pk__in=[pk for pk, _id in found]).update(revoked_at=Now())
    audit.record(
        actor=actor,
        action="token.revoke",
        object_type="token",
        object_ids=[str(token_id) for _pk, token_id in found],
    )
    return len(found)
