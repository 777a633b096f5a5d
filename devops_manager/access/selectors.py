"""Reads about people, tokens and the audit trail that the API and the pages share."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.db.models import Count, Q
from django.utils.translation import gettext as _

from devops_manager.access.models import ApiToken, AuditEvent, Role, User
from devops_manager.access.permissions import require_token_management
from devops_manager.lib.errors import NotFound

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


def listed_people() -> QuerySet[User]:
    """Return people by name, each with ``token_count``: tokens that were not revoked."""
    kept = Count("api_tokens", filter=Q(api_tokens__revoked_at=None))
    return User.objects.annotate(token_count=kept).order_by("username")


def person_of(person_id: int) -> User:
    """Return a person as lists show them. Raises NotFound."""
    person = listed_people().filter(pk=person_id).first()
    if person is None:
        raise NotFound(_("There is no such person."))
    return person


def active_administrators() -> QuerySet[User]:
    """Return the active administrators, as ``role_of`` decides who is one."""
    return User.objects.filter(Q(role=Role.ADMIN) | Q(is_superuser=True), is_active=True)


def operators() -> QuerySet[User]:
    """Return the active operators, by name: those whom a grant helps."""
    return User.objects.filter(role=Role.OPERATOR, is_active=True).order_by("username")


def named_like(text: str) -> Q:
    """Return the condition that a person's name or address holds a text."""
    parts = ("username", "first_name", "last_name", "email")
    return Q(*[(f"{part}__icontains", text) for part in parts], _connector=Q.OR)
