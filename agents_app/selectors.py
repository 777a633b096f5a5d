"""Reads about enrolment tokens that the API and the pages share."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agents_app.models import EnrollmentToken

if TYPE_CHECKING:
    from django.db.models import QuerySet


def listed_enrollment_tokens() -> QuerySet[EnrollmentToken]:
    """Return all enrolment tokens, newest first, with their groups and makers."""
    tokens = EnrollmentToken.objects.select_related("created_by").prefetch_related("groups")
    return tokens.order_by("-id")
