"""Enrolment tokens: made once, shown once, revoked."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.db import transaction
from django.db.models.functions import Now
from django.utils import timezone
from django.utils.translation import gettext as _

from agents_app import protocol
from agents_app.models import EnrollmentToken
from devops_manager.access import audit
from devops_manager.lib import secrets
from devops_manager.lib.errors import InvalidInput, NotFound
from devops_manager.lib.one_line import require_one_line
from hosts_app.models import HostGroup

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime
    from uuid import UUID

    from devops_manager.access.actors import Actor


@transaction.atomic
def create_enrollment_token(
    *,
    actor: Actor,
    name: str,
    auto_approve: bool = False,
    groups: Sequence[str] = (),
    max_uses: int | None = None,
    expires_at: datetime | None = None,
) -> tuple[EnrollmentToken, str]:
    """Make a token with which hosts may enrol; return it with its secret, which is kept nowhere.

    New hosts join ``groups`` (names). Raises InvalidInput naming ``groups`` that do not exist, an
    ``expires_at`` that has passed and a ``name`` that is no line of text.
    """
    require_one_line({"name": name})
    found = _groups(groups)
    if expires_at is not None and expires_at <= timezone.now():
        raise _wrong("already_past", "expires_at", [_("Must be in the future.")])
    secret = secrets.new_secret(protocol.ENROLLMENT_TOKEN_PREFIX)
    token = EnrollmentToken.objects.create(
        name=name,
        prefix=secret.prefix,
        secret_hash=secret.hash,
        auto_approve=auto_approve,
        max_uses=max_uses,
        created_by_id=actor.user_id,
        expires_at=expires_at,
    )
    token.groups.set(found.values())
    token.refresh_from_db()
    audit.record(
        actor=actor,
        action="enrollment_token.create",
        object_type="enrollment_token",
        object_ids=[str(token.token_id)],
        after={
            "name": name,
            "auto_approve": auto_approve,
            "groups": sorted(found),
            "max_uses": max_uses,
            "expires_at": expires_at.isoformat() if expires_at else None,
        },
    )
    return token, secret.plain


def _groups(names: Sequence[str]) -> dict[str, HostGroup]:
    found = {group.name: group for group in HostGroup.objects.filter(name__in=names)}
    unknown = [name for name in names if name not in found]
    if unknown:
        told = [_("unknown group: %s") % name for name in unknown]
        raise _wrong("unknown_reference", "groups", told)
    return found


def _wrong(code: str, field: str, sentences: list[str]) -> InvalidInput:
    return InvalidInput(_("The token cannot be made."), code=code, fields={field: sentences})


@transaction.atomic
def revoke_enrollment_token(*, actor: Actor, token_id: UUID) -> EnrollmentToken:
    """Let nobody enrol with a token any more; doing so again changes nothing. Raises NotFound.

    Hosts that came in with it stay.
    """
    tokens = EnrollmentToken.objects.select_for_update(no_key=True)
    token = tokens.filter(token_id=token_id).first()
    if token is None:
        raise NotFound(_("There is no such token."))
    if token.revoked_at is None:
        EnrollmentToken.objects.filter(pk=token.pk).update(revoked_at=Now())
        audit.record(
            actor=actor,
            action="enrollment_token.revoke",
            object_type="enrollment_token",
            object_ids=[str(token_id)],
        )
        token.refresh_from_db()
    return token
