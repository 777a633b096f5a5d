"""Reads of rows: one step on one host, as lists and pages show it. None reads output."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.utils.translation import gettext as _

from devops_manager.lib.errors import NotFound
from devops_manager.lib.pagination import refuse_beyond_end
from hosts_app.models import Host
from tasks_app.models import Command, CommandHost
from tasks_app.queue import reads
from tasks_app.reasons import reason
from tasks_app.selectors.shapes import HostOfTask, Page, RowView, TaskOfHost
from tasks_app.selectors.tasks import COUNT_LIMIT, task_pk
from tasks_app.states import CancelState, Outcome, RowStatus, TaskStatus

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from devops_manager.lib.pagination import Page as PageAsked

ROW_FIELDS = (
    "command__command_id",
    "position",
    "host__host_id",
    "host__hostname",
    "status",
    "attempt",
    "exit_code",
    "error_code",
    "error_message",
    "execution_time",
    "claimed_at",
    "started_at",
    "finished_at",
    "cancel_state",
)
OPEN = "open"


def row_view(row: tuple[Any, ...]) -> RowView:
    """Return a row from its columns in the order of ``ROW_FIELDS``."""
    command_id, position, host_id, hostname, status, *rest, cancel_state = row
    known = (command_id, position, host_id, hostname, RowStatus(status))
    _attempt, _exit_code, code, message, *_times = rest
    values = (*known, *rest, CancelState(cancel_state), str(reason(code, message)))
    return RowView(*values)


def task_hosts(
    *,
    task_id: UUID,
    asked: PageAsked,
    outcomes: Sequence[str] = (),
    states: Sequence[str] = (),
    hostname: str = "",
) -> Page[HostOfTask]:
    """Return one page of a task's targets by name, with their rows. Four statements.

    ``outcomes``: any of these, ``open`` among them; ``states``: targets with a row in any of these;
    ``hostname``: contains. A task that has not started has no targets yet. Raises NotFound.
    """
    task = task_pk(task_id=task_id)
    found = reads.task_hosts(
        task=task,
        outcomes=outcomes,
        states=states,
        hostname=hostname,
        limit=asked.size,
        offset=asked.offset,
    )
    count = found[0].total if found else 0
    refuse_beyond_end(asked, count)
    rows = _rows_by_host(task, [host.id for host in found])
    results = [
        HostOfTask(
            host_id=host.host_id,
            hostname=host.hostname,
            outcome=Outcome(host.outcome) if host.outcome else None,
            rows=rows.get(host.host_id, []),
        )
        for host in found
    ]
    return Page(count=count, page=asked.number, size=asked.size, results=results)


def _rows_by_host(task: int, hosts: list[int]) -> dict[UUID, list[RowView]]:
    if not hosts:
        return {}
    commands = list(Command.objects.filter(task_id=task).values_list("id", flat=True))
    rows = (
        CommandHost.objects.filter(command__in=commands, host__in=hosts)
        .order_by("position")
        .values_list(*ROW_FIELDS)
    )
    by_host: dict[UUID, list[RowView]] = {}
    for row in rows:
        view = row_view(row)
        by_host.setdefault(view.host_id, []).append(view)
    return by_host


def host_tasks(*, host_id: UUID, asked: PageAsked) -> Page[TaskOfHost]:
    """Return one page of what a host was given, newest first; counting stops at 10,000.

    Three statements. Raises NotFound for an unknown host.
    """
    host = Host.objects.filter(host_id=host_id).values_list("id", flat=True).first()
    if host is None:
        raise NotFound(_("There is no such host."))
    rows = CommandHost.objects.filter(host_id=host)
    count = rows[:COUNT_LIMIT].count()
    refuse_beyond_end(asked, count)
    page = rows.order_by("-id").values_list(
        "task__task_id",
        "task__name",
        "task__status",
        "command__command_id",
        "position",
        "command__name",
        "status",
        "attempt",
        "exit_code",
        "error_code",
        "error_message",
        "execution_time",
        "created_at",
        "started_at",
        "finished_at",
    )[asked.offset : asked.offset + asked.size]
    return Page(
        count=count, page=asked.number, size=asked.size, results=[_task_of_host(r) for r in page]
    )


def _task_of_host(row: tuple[Any, ...]) -> TaskOfHost:
    task_id, task_name, task_status, command_id, position, command_name, status, *rest = row
    attempt, exit_code, code, message, *times = rest
    return TaskOfHost(
        task_id,
        task_name,
        TaskStatus(task_status),
        command_id,
        position,
        command_name,
        RowStatus(status),
        attempt,
        exit_code,
        code,
        message,
        str(reason(code, message)),
        *times,
    )
