"""Reads about enrolment tokens that the API and the pages share."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agents_app.models import EnrollmentToken, SuspectRequest

if TYPE_CHECKING:
    from uuid import UUID

    from django.db.models import QuerySet


def listed_enrollment_tokens() -> QuerySet[EnrollmentToken]:
    """Return all enrolment tokens, newest first, with their groups and makers."""
    tokens = EnrollmentToken.objects.select_related("created_by").prefetch_related("groups")
    return tokens.order_by("-id")


def set_aside_requests(*, host_id: UUID) -> list[SuspectRequest]:
    """Return the requests of a host that gateways do not try again, newest first, 20 at most."""
    found = SuspectRequest.objects.filter(host__host_id=host_id, set_aside_at__isnull=False)
    return list(found.defer("content").order_by("-id")[:20])
