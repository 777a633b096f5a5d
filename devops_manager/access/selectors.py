"""Reads about tokens and the audit trail that the API and the pages share."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.db.models import Q

from devops_manager.access.models import ApiToken, AuditEvent, Role
from devops_manager.access.permissions import require_token_management

if TYPE_CHECKING:
    from django.db.models import QuerySet

    from devops_manager.access.actors import Actor


def visible_tokens(actor: Actor) -> QuerySet[ApiToken]:
    """Return the actor's own tokens, everybody's for administrators; newest first.

    Raises Forbidden ``session_required`` for a token that was not made for managing tokens.
    """
    require_token_management(actor)
    tokens = ApiToken.objects.select_related("owner", "parent").order_by("-id")
    return tokens if actor.role == Role.ADMIN else tokens.filter(owner_id=actor.user_id)


def acts_of(events: QuerySet[AuditEvent], name: str) -> QuerySet[AuditEvent]:
    """Narrow to what this actor did; for a person, with what the person's tokens did.

    A token's events name its owner behind its prefix: ``token:<prefix> (<owner>)``.
    """
    by_token = Q(actor_kind=AuditEvent.ActorKind.TOKEN, actor__endswith=f" ({name})")
    return events.filter(Q(actor=name) | by_token)


def audit_events() -> QuerySet[AuditEvent]:
    """Return the audit trail, newest first (idx_audit_occurred_at)."""
    return AuditEvent.objects.order_by("-occurred_at", "-id")
