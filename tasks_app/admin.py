"""Admin of tasks, steps and rows: to be looked at. What they do is decided by services alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.contrib import admin, messages
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext, ngettext_lazy

from devops_manager.access.actors import actor_of
from devops_manager.access.confirmed_action import confirmed_action
from devops_manager.access.record_admin import ReadOnlyAdmin
from devops_manager.lib.errors import DomainError
from devops_manager.lib.wording import labeled
from tasks_app.admin_start import start_tasks
from tasks_app.models import (
    Command,
    CommandHost,
    CommandHostAttempt,
    SweepTick,
    Task,
    TaskWindow,
)
from tasks_app.services.lifecycle import cancel_task, stop_task
from tasks_app.states import RowStatus

if TYPE_CHECKING:
    from collections.abc import Callable

    from django.db.models import QuerySet
    from django.http import HttpRequest


def _commands_under_way(tasks: QuerySet[Task]) -> list[str]:
    """Return a sentence about what runs for these tasks now (idx_command_hosts_command_status)."""
    under_way = CommandHost.objects.filter(
        command__task__in=tasks, status__in=(RowStatus.CLAIMED, RowStatus.RUNNING)
    )
    count = under_way.count()
    hosts = under_way.values("host").distinct().count()
    running = ngettext(
        "%(count)d command is delivered or running now, on %(hosts)d of the hosts.",
        "%(count)d commands are delivered or running now, on %(hosts)d of the hosts.",
        count,
    )
    return [running % {"count": count, "hosts": hosts}]


@admin.register(Task)
class TaskAdmin(ReadOnlyAdmin):
    """Tasks. New ones come from the page and the API; rows and counts only from the machine."""

    actions = (start_tasks, "stop_tasks", "cancel_tasks")
    list_display = (
        "name", "status", "priority", "total_hosts", "completed_hosts", "failed_hosts",
        "lost_hosts", "created_by", "created_at",
    )  # fmt: skip
    list_filter = ("status", "priority")
    search_fields = ("name__icontains", "=task_id")
    search_help_text = gettext_lazy("Part of the name, or the whole task id.")
    list_select_related = ("created_by",)
    ordering = ("-id",)
    exclude = ("allowed_groups",)

    @confirmed_action(
        description=gettext_lazy("Stop: hand out nothing new, let running commands end"),
        question=ngettext_lazy("Stop %(count)d task?", "Stop %(count)d tasks?", "count"),
        consequence=gettext_lazy(
            "Nothing new is handed out. Commands that run now go on to their end; steps that were "
            "not handed out end as canceled."
        ),
        details=_commands_under_way,
    )
    def stop_tasks(self, request: HttpRequest, queryset: QuerySet[Task]) -> None:
        self._each(request, queryset, stop_task)

    @confirmed_action(
        description=gettext_lazy("Cancel: also end the commands that run"),
        question=ngettext_lazy("Cancel %(count)d task?", "Cancel %(count)d tasks?", "count"),
        consequence=gettext_lazy(
            "Nothing new is handed out, and agents are told to end what runs, with all its child "
            "processes. What a command has done already is not undone. A host that does not answer "
            "in time is shown as unknown: the command may have ended there or not."
        ),
        details=_commands_under_way,
    )
    def cancel_tasks(self, request: HttpRequest, queryset: QuerySet[Task]) -> None:
        self._each(request, queryset, cancel_task)

    def _each(
        self, request: HttpRequest, queryset: QuerySet[Task], service: Callable[..., object]
    ) -> None:
        actor, done = actor_of(request), 0
        for task_id, name in queryset.values_list("task_id", "name"):
            try:
                service(actor=actor, task_id=task_id)
            except DomainError as error:
                self.message_user(request, labeled(name, error.detail), messages.ERROR)
            else:
                done += 1
        if done:
            self.message_user(request, _("Done for %(count)d tasks.") % {"count": done})


@admin.register(Command)
class CommandAdmin(ReadOnlyAdmin):
    """Steps of tasks."""

    list_display = (
        "__str__",
        "task",
        "position",
        "kind",
        "status",
        "completed_rows",
        "failed_rows",
    )
    list_filter = ("status", "kind")
    search_fields = ("=command_id", "=task__task_id")
    search_help_text = gettext_lazy("A whole command id or task id.")
    list_select_related = ("task",)
    ordering = ("-id",)


@admin.register(CommandHost)
class CommandHostAdmin(ReadOnlyAdmin):
    """Commands on hosts, newest first. There are millions: search by host name, task or fence."""

    list_display = (
        "id", "task", "position", "host", "status", "attempt", "exit_code", "claimed_at",
        "finished_at",
    )  # fmt: skip
    list_filter = ("status",)
    search_fields = ("=host__hostname", "=task__task_id", "=fence")
    search_help_text = gettext_lazy("A whole host name, task id or fence.")
    list_select_related = ("task", "host")
    ordering = ("-id",)
    exclude = ("output_digest", "output_digest_normalized", "result_digest")


@admin.register(CommandHostAttempt)
class CommandHostAttemptAdmin(ReadOnlyAdmin):
    """Attempts that a retry put away."""

    list_display = ("command_host", "attempt", "status", "exit_code", "finished_at")
    search_fields = ("=fence",)
    ordering = ("-id",)
    list_select_related = ("command_host",)
    exclude = ("output_digest", "output_digest_normalized", "result_digest")


@admin.register(TaskWindow)
class TaskWindowAdmin(ReadOnlyAdmin):
    """Frozen targets, up to 500 hosts a window."""

    list_display = ("task", "no", "hosts", "done")
    list_filter = ("done",)
    search_fields = ("=task__task_id",)
    list_select_related = ("task",)
    ordering = ("-id",)

    @admin.display(description=gettext_lazy("hosts"))
    def hosts(self, window: TaskWindow) -> int:
        return len(window.host_ids)


@admin.register(SweepTick)
class SweepTickAdmin(ReadOnlyAdmin):
    """When each sweep last ran."""

    list_display = ("name", "ticked_at", "grace_until")
    ordering = ("name",)


# CommandOutput has no admin: its key has several columns, which Django's admin cannot address. The
# pages show output.
