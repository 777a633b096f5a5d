"""Enrolment tokens: made once, shown once, revoked."""

from __future__ import annotations

import enum
from datetime import timedelta
from typing import TYPE_CHECKING, Literal

from django.db import transaction
from django.db.models.functions import Now
from django.utils import timezone
from django.utils.translation import gettext as _

from agents_app import protocol
from agents_app.models import EnrollmentToken
from devops_manager.access import audit
from devops_manager.access.models import ApiToken
from devops_manager.lib import secrets
from devops_manager.lib.errors import InvalidInput, NotFound
from devops_manager.lib.one_line import require_one_line
from hosts_app.models import HostGroup

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime
    from uuid import UUID

    from devops_manager.access.actors import Actor

# What holds unless somebody says otherwise: enough for a rack, and for a working day.
USES = 100
LIFETIME = timedelta(hours=24)


class Usual(enum.Enum):
    """In place of a moment: LIFETIME from now."""

    USUAL = enum.auto()


@transaction.atomic
def create_enrollment_token(
    *,
    actor: Actor,
    name: str,
    auto_approve: bool = False,
    groups: Sequence[str] = (),
    max_uses: int | None = USES,
    expires_at: datetime | Literal[Usual.USUAL] | None = Usual.USUAL,
) -> tuple[EnrollmentToken, str]:
    """Make a token with which hosts may enrol; return it with its secret, which is kept nowhere.

    New hosts join ``groups`` (names). ``None`` is no limit of uses, and no expiry. A token that an
    API token made ends with that one. Raises InvalidInput naming the fields.
    """
    require_one_line({"name": name})
    found = _groups(groups)
    maker = ApiToken.objects.filter(pk=actor.token_id).first() if actor.token_id else None
    end = _expiry(expires_at, maker)
    secret = secrets.new_secret(protocol.ENROLLMENT_TOKEN_PREFIX)
    token = EnrollmentToken.objects.create(
        name=name,
        prefix=secret.prefix,
        secret_hash=secret.hash,
        auto_approve=auto_approve,
        max_uses=max_uses,
        created_by_id=actor.user_id,
        made_with=maker,
        expires_at=end,
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
            "expires_at": end.isoformat() if end else None,
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


def _expiry(
    asked: datetime | Literal[Usual.USUAL] | None, maker: ApiToken | None
) -> datetime | None:
    """Return when a token expires, no later than the API token that makes it."""
    latest = maker.expires_at if maker else None
    if asked is Usual.USUAL:
        end = timezone.now() + LIFETIME
        return min(end, latest) if latest else end
    if asked is None:
        return latest
    if asked <= timezone.now():
        raise _wrong("already_past", "expires_at", [_("Must be in the future.")])
    if latest is not None and asked > latest:
        told = [_("Later than the token that makes it.")]
        raise _wrong("invalid_request", "expires_at", told)
    return asked


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
