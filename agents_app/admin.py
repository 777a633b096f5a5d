"""Admin of what agents brought: tokens, credentials, requests that ended a gateway; to be seen."""

from __future__ import annotations

from django.contrib import admin

from agents_app.models import AgentCredential, EnrollmentToken, SuspectRequest
from devops_manager.access.record_admin import ReadOnlyAdmin


@admin.register(EnrollmentToken)
class EnrollmentTokenAdmin(ReadOnlyAdmin):
    """Enrolment tokens. They are made and revoked on their page, where the secret is shown once."""

    list_display = (
        "name", "prefix", "auto_approve", "used_count", "max_uses", "expires_at", "revoked_at",
    )  # fmt: skip
    list_filter = ("auto_approve", ("revoked_at", admin.EmptyFieldListFilter))
    search_fields = ("=prefix", "name")
    ordering = ("-id",)
    fields = (
        "name", "prefix", "token_id", "auto_approve", "groups", "max_uses", "used_count",
        "created_by", "created_at", "expires_at", "revoked_at",
    )  # fmt: skip


@admin.register(AgentCredential)
class AgentCredentialAdmin(ReadOnlyAdmin):
    """Which credential each host's agent has. Rotating one is an action of the host."""

    list_display = ("host", "prefix", "generation", "created_at")
    search_fields = ("=prefix", "=host__hostname")
    list_select_related = ("host",)
    ordering = ("-host",)
    fields = ("host", "prefix", "generation", "created_at")


@admin.register(SuspectRequest)
class SuspectRequestAdmin(ReadOnlyAdmin):
    """Requests during which a gateway ended. What they held is foreign, and not shown."""

    list_display = ("kind", "host", "deaths", "last_death_at", "set_aside_at")
    list_filter = ("kind", ("set_aside_at", admin.EmptyFieldListFilter))
    search_fields = ("=host__hostname",)
    list_select_related = ("host",)
    ordering = ("-id",)
    fields = ("kind", "host", "deaths", "last_death_at", "set_aside_at")
