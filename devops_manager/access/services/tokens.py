"""Bearer tokens of scripts: made once, shown once, revoked."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.db import transaction
from django.db.models.functions import Now
from django.utils import timezone
from django.utils.translation import gettext as _

from devops_manager.access import audit
from devops_manager.access.actors import narrower_role
from devops_manager.access.authentication import KIND
from devops_manager.access.models import ApiToken, Role
from devops_manager.access.selectors import visible_tokens
from devops_manager.lib import secrets
from devops_manager.lib.errors import Forbidden, InvalidInput, NotFound
from devops_manager.lib.one_line import require_one_line

if TYPE_CHECKING:
    from datetime import datetime
    from uuid import UUID

    from devops_manager.access.actors import Actor


@transaction.atomic
def create_token(
    *, actor: Actor, name: str, role: Role, expires_at: datetime | None
) -> tuple[ApiToken, str]:
    """Make a token for the actor and return it with its secret, which is kept nowhere.

    Raises InvalidInput naming ``role`` when it is wider than the actor's, and ``expires_at`` when
    it has passed, ``name`` when it is no line of text; Forbidden for actors that are nobody's.
    """
    if actor.user_id is None:
        raise Forbidden(_("Only people have tokens."))
    require_one_line({"name": name})
    wrong: dict[str, list[str]] = {}
    if narrower_role(role, actor.role) != role:
        wrong["role"] = [_("Wider than your own role.")]
    if expires_at is not None and expires_at <= timezone.now():
        wrong["expires_at"] = [_("Must be in the future.")]
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
        expires_at=expires_at,
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
            "expires_at": expires_at.isoformat() if expires_at else None,
        },
    )
    return token, secret.plain


@transaction.atomic
def revoke_token(*, actor: Actor, token_id: UUID) -> ApiToken:
    """Revoke a token at once and for good; doing so again changes nothing.

    Raises NotFound for tokens that the actor may not see: others', unless an administrator asks.
    """
    token = visible_tokens(actor).select_for_update(of=("self",)).filter(token_id=token_id).first()
    if token is None:
        raise NotFound(_("There is no such token."))
    if token.revoked_at is None:
        ApiToken.objects.filter(pk=token.pk).update(revoked_at=Now())
        audit.record(
            actor=actor, action="token.revoke", object_type="token", object_ids=[str(token_id)]
        )
        token.refresh_from_db()
    return token
