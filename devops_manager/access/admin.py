"""Admin of people, their tokens, and the audit trail."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from axes.models import AccessAttempt, AccessFailureLog, AccessLog
from django.contrib import admin
from django.contrib.auth.admin import GroupAdmin
from django.contrib.auth.models import Group
from django.utils.translation import gettext_lazy as _
from django.utils.translation import gettext_noop

from devops_manager.access.models import ApiToken, AuditCount, AuditEvent, IdempotencyKey, User
from devops_manager.access.record_admin import ReadOnlyAdmin, RecordAdmin

if TYPE_CHECKING:
    from django.http import HttpRequest

# Roles decide what people may do, not Django's groups; showing both would mislead.
if isinstance(admin.site._registry.get(Group), GroupAdmin):
    admin.site.unregister(Group)
admin.site.site_header = admin.site.site_title = "DevOps Manager"
# Names that django-axes brings without a translation of its own.
_AXES_NAMES = (
    gettext_noop("access attempt"),
    gettext_noop("access attempts"),
    gettext_noop("access failure"),
    gettext_noop("access failures"),
    gettext_noop("access log"),
    gettext_noop("access logs"),
)


@admin.register(User)
class UserAdmin(ReadOnlyAdmin):
    """People, to be looked at. They are changed on their own pages, by services that audit it."""

    list_display = ("username", "role", "email", "is_active", "is_staff", "last_login")
    list_filter = ("role", "is_active", "is_staff")
    search_fields = ("username", "first_name", "last_name", "email")
    ordering = ("username",)
    fields = (
        "username", "first_name", "last_name", "email", "language", "role", "is_active", "is_staff",
        "is_superuser", "must_change_password", "last_login", "date_joined",
    )  # fmt: skip


@admin.register(ApiToken)
class ApiTokenAdmin(RecordAdmin):
    """API tokens: made on their owner's own page, where the secret is shown; here they are seen."""

    list_display = ("name", "prefix", "owner", "role", "expires_at", "revoked_at", "last_used_at")
    list_filter = ("role", ("revoked_at", admin.EmptyFieldListFilter))
    search_fields = ("=prefix", "name", "owner__username")
    list_select_related = ("owner",)
    ordering = ("-id",)
    fields = (
        "name", "prefix", "owner", "role", "manages_tokens", "parent", "created_at", "expires_at",
        "revoked_at", "last_used_at",
    )  # fmt: skip

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


@admin.register(AuditEvent)
class AuditEventAdmin(ReadOnlyAdmin):
    """The audit trail. The database refuses changes too."""

    list_display = ("occurred_at", "actor_kind", "actor", "action", "object_type", "object_id")
    list_filter = ("actor_kind", "object_type")
    search_fields = ("=object_id", "=actor", "=action", "=request_id")
    search_help_text = _("Exactly: an object id, an actor, an action or a request id.")
    date_hierarchy = None
    ordering = ("-occurred_at", "-id")


@admin.register(AuditCount)
class AuditCountAdmin(ReadOnlyAdmin):
    """What strangers cause in this minute; beyond a few events only the count is written."""

    list_display = ("since", "action", "source", "events")
    search_fields = ("=source",)
    ordering = ("-since",)


@admin.register(IdempotencyKey)
class IdempotencyKeyAdmin(ReadOnlyAdmin):
    """Requests that carried an Idempotency-Key, for a day."""

    list_display = ("created_at", "actor", "key", "response_status")
    search_fields = ("=key", "=actor")
    ordering: ClassVar = ["-id"]
    fields = ("created_at", "actor", "key", "response_status")


@admin.register(AccessAttempt)
class AccessAttemptAdmin(RecordAdmin):
    """Wrong passwords that count towards a lock. Deleting an entry unlocks that name there.

    An entry without a name counts an address over all names, one with a device a browser in which
    that person signed in before.
    """

    list_display = ("attempt_time", "username", "ip_address", "user_agent", "failures_since_start")
    search_fields = ("=username", "=ip_address")
    ordering = ("-attempt_time",)
    readonly_fields = (
        "attempt_time", "username", "ip_address", "user_agent", "failures_since_start",
    )  # fmt: skip
    fields = readonly_fields

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


@admin.register(AccessLog)
class AccessLogAdmin(ReadOnlyAdmin):
    """Who signed in and out, and from where."""

    list_display = ("attempt_time", "username", "ip_address", "logout_time")
    search_fields = ("=username", "=ip_address")
    ordering = ("-attempt_time",)
    fields = ("attempt_time", "username", "ip_address", "user_agent", "logout_time")


@admin.register(AccessFailureLog)
class AccessFailureLogAdmin(ReadOnlyAdmin):
    """Failed sign-ins, where the site keeps them."""

    list_display = ("attempt_time", "username", "ip_address", "locked_out")
    search_fields = ("=username", "=ip_address")
    ordering = ("-attempt_time",)
    fields = ("attempt_time", "username", "ip_address", "user_agent", "locked_out")
