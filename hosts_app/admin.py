"""Admin of hosts and groups; fit for 10,000 hosts: nothing here lists or counts them all."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.contrib import admin, messages
from django.db.models import Sum
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext, ngettext_lazy

from devops_manager.access.actors import actor_of
from devops_manager.access.confirmed_action import confirmed_action
from devops_manager.access.record_admin import ReadOnlyAdmin, RecordAdmin
from devops_manager.lib.errors import DomainError
from devops_manager.lib.wording import labeled
from hosts_app import services
from hosts_app.models import (
    Host,
    HostGroup,
    HostGroupGrant,
    HostGroupMember,
    HostHeartbeat,
    HostSession,
    RetiredIdentity,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from uuid import UUID

    from django.db.models import QuerySet
    from django.http import HttpRequest


def _commands_running(hosts: QuerySet[Host]) -> list[str]:
    """Return a sentence about what the chosen hosts last said that they run."""
    heartbeats = HostHeartbeat.objects.filter(host__in=hosts)
    count = heartbeats.aggregate(total=Sum("running_count"))["total"] or 0
    running = ngettext(
        "%(count)d command runs there, as the hosts last said.",
        "%(count)d commands run there, as the hosts last said.",
        count,
    )
    return [running % {"count": count}]


@admin.register(Host)
class HostAdmin(ReadOnlyAdmin):
    """Hosts. They come in by enrolment; the actions go through the same services as the pages."""

    actions = ("approve", "reject", "enable", "disable", "release", "revoke")
    list_display = (
        "hostname", "ip", "status", "os", "agent_version", "quarantined_at", "created_at",
    )  # fmt: skip
    list_filter = ("status", ("quarantined_at", admin.EmptyFieldListFilter))
    search_fields = ("hostname__icontains", "=host_id", "=machine_id")
    search_help_text = gettext_lazy("Part of the name, or a whole host id or machine id.")
    ordering = ("hostname", "id")

    @admin.action(description=gettext_lazy("Approve"))
    def approve(self, request: HttpRequest, queryset: QuerySet[Host]) -> None:
        self._together(request, queryset, services.approve_hosts)

    @confirmed_action(
        description=gettext_lazy("Reject"),
        question=ngettext_lazy("Reject %(count)d host?", "Reject %(count)d hosts?", "count"),
        consequence=gettext_lazy(
            "They are disabled and their agents refused. Enabling one later lets it in after all."
        ),
    )
    def reject(self, request: HttpRequest, queryset: QuerySet[Host]) -> None:
        self._together(request, queryset, services.reject_hosts)

    @admin.action(description=gettext_lazy("Enable"))
    def enable(self, request: HttpRequest, queryset: QuerySet[Host]) -> None:
        self._each(request, queryset, services.enable_host)

    @confirmed_action(
        description=gettext_lazy("Disable: give no more work"),
        question=ngettext_lazy("Disable %(count)d host?", "Disable %(count)d hosts?", "count"),
        consequence=gettext_lazy(
            "The hosts are given no more work, and their reports are refused: what runs there now "
            "ends as unknown. Enabling them later lets them work again."
        ),
        details=_commands_running,
    )
    def disable(self, request: HttpRequest, queryset: QuerySet[Host]) -> None:
        self._each(request, queryset, services.disable_host)

    @confirmed_action(
        description=gettext_lazy("End the quarantine"),
        question=ngettext_lazy(
            "End the quarantine of %(count)d host?",
            "End the quarantine of %(count)d hosts?",
            "count",
        ),
        consequence=gettext_lazy(
            "Each identity is trusted again, whichever agent speaks next. If two machines still "
            "share one, that host is quarantined again."
        ),
    )
    def release(self, request: HttpRequest, queryset: QuerySet[Host]) -> None:
        self._each(request, queryset, services.release_quarantine)

    @confirmed_action(
        description=gettext_lazy("Revoke the credential"),
        question=ngettext_lazy(
            "Revoke the credential of %(count)d host?",
            "Revoke the credentials of %(count)d hosts?",
            "count",
        ),
        consequence=gettext_lazy(
            "Their agents are refused at once. They must be enrolled again to come back."
        ),
        details=_commands_running,
    )
    def revoke(self, request: HttpRequest, queryset: QuerySet[Host]) -> None:
        self._each(request, queryset, services.revoke_credential)

    def _together(
        self, request: HttpRequest, queryset: QuerySet[Host], service: Callable[..., object]
    ) -> None:
        ids: list[UUID] = list(queryset.values_list("host_id", flat=True))
        try:
            service(actor=actor_of(request), host_ids=ids)
        except DomainError as error:
            self._refused(request, error)
        else:
            self._done(request, len(ids))

    def _each(
        self, request: HttpRequest, queryset: QuerySet[Host], service: Callable[..., object]
    ) -> None:
        actor, done = actor_of(request), 0
        for host_id, hostname in queryset.values_list("host_id", "hostname"):
            try:
                service(actor=actor, host_id=host_id)
            except DomainError as error:
                self._refused(request, error, hostname)
            else:
                done += 1
        if done:
            self._done(request, done)

    def _done(self, request: HttpRequest, count: int) -> None:
        self.message_user(request, _("Done for %(count)d hosts.") % {"count": count})

    def _refused(self, request: HttpRequest, error: DomainError, hostname: str = "") -> None:
        fields = [str(text) for texts in error.fields.values() for text in texts]
        sentence = " ".join([str(error.detail), *fields])
        self.message_user(
            request, labeled(hostname, sentence) if hostname else sentence, messages.ERROR
        )


@admin.register(HostGroup)
class HostGroupAdmin(RecordAdmin):
    """Groups. Who is in them is on the host's page and in the API."""

    list_display = ("name", "description", "created_at")
    search_fields = ("name__icontains",)
    ordering = ("name",)
    readonly_fields = ("group_id", "created_at")
    fields = ("name", "description", "group_id", "created_at")


@admin.register(HostGroupMember)
class HostGroupMemberAdmin(RecordAdmin):
    """Which host is in which group."""

    list_display = ("group", "host")
    search_fields = ("=host__hostname", "=group__name")
    search_help_text = gettext_lazy("A whole host name or group name.")
    list_select_related = ("group", "host")
    autocomplete_fields = ("group", "host")
    ordering = ("-id",)

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


@admin.register(HostGroupGrant)
class HostGroupGrantAdmin(RecordAdmin):
    """Which operator may run tasks on the hosts of which group."""

    list_display = ("user", "group", "created_at")
    search_fields = ("=user__username", "=group__name")
    search_help_text = gettext_lazy("A whole user name or group name.")
    list_select_related = ("user", "group")
    autocomplete_fields = ("user", "group")
    ordering = ("-id",)

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


@admin.register(HostHeartbeat)
class HostHeartbeatAdmin(ReadOnlyAdmin):
    """What hosts last said; in the order of hosts, for no changing column is indexed."""

    list_display = (
        "host", "last_seen_at", "cpu_percent", "memory_percent", "load1", "disk_percent",
        "running_count", "clock_skew_ms", "offline_at",
    )  # fmt: skip
    search_fields = ("=host__hostname",)
    list_select_related = ("host",)
    ordering = ("host",)


@admin.register(HostSession)
class HostSessionAdmin(ReadOnlyAdmin):
    """The journal that speaks for each host."""

    list_display = ("host", "journal_id", "run", "seq", "instance_id", "instance_seen_at")
    search_fields = ("=host__hostname", "=journal_id", "=instance_id")
    list_select_related = ("host",)
    ordering = ("host",)


@admin.register(RetiredIdentity)
class RetiredIdentityAdmin(ReadOnlyAdmin):
    """Journals and instances that others replaced."""

    list_display = ("host", "identity", "run", "seq", "retired_at")
    search_fields = ("=host__hostname", "=identity")
    list_select_related = ("host",)
    ordering = ("-id",)
