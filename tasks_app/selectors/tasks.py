"""Reads of tasks: lists, one whole, its state, its steps. No list reads a step's body or output."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from uuid import UUID

from django.db.models import Case, Q, When
from django.utils.translation import gettext as _

from devops_manager.access.models import User
from devops_manager.lib.errors import NotFound
from devops_manager.lib.pagination import CappedPagination, refuse_beyond_end
from devops_manager.lib.parsers import join_path
from tasks_app.models import Command, Task
from tasks_app.queue.reads import one_snapshot
from tasks_app.reasons import reason
from tasks_app.script_text import step_warnings
from tasks_app.selectors.environment import masked, may_see_environment
from tasks_app.selectors.shapes import (
    CommandDetail,
    CommandProgress,
    LeftOutHost,
    Page,
    TaskDetail,
    TaskState,
    TaskSummary,
)
from tasks_app.states import CommandStatus, Priority, RowStatus, TaskStatus

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from django.db.models import QuerySet

    from devops_manager.access.actors import Actor
    from devops_manager.lib.pagination import Page as PageAsked
    from tasks_app.script_text import Warned

COUNT_LIMIT = CappedPagination.count_limit or 10_000

_PRIORITY_NAMES = {priority.value: priority.name.lower() for priority in Priority}
_COUNTS = (
    "total_hosts",
    "completed_hosts",
    "failed_hosts",
    "lost_hosts",
    "canceled_hosts",
    "skipped_hosts",
)
_SUMMARY = (
    *_COUNTS,
    "task_id",
    "name",
    "status",
    "priority",
    "created_by__username",
    "created_at",
    "started_at",
    "finished_at",
    "revision",
)
_STATE = (*_COUNTS, "task_id", "status", "started_at", "finished_at", "revision")
_ROWS = tuple(f"{status}_rows" for status in RowStatus.values)


@dataclass(frozen=True, slots=True)
class TaskFilter:
    """What a list of tasks is narrowed to. ``statuses``: any of them; none: all there are.

    ``name``: contains, upper or lower case alike.
    """

    statuses: tuple[str, ...] = ()
    name: str = ""
    created_by: str = ""
    created_from: datetime | None = None
    created_to: datetime | None = None

    @property
    def cacheable(self) -> bool:
        """Tell whether only what the cache's key holds is asked for."""
        more = self.created_by or self.created_from or self.created_to
        return len(self.statuses) <= 1 and not more

    @property
    def status(self) -> str:
        """Return the only state asked for, as the cache's key names it; empty for any."""
        return self.statuses[0] if self.statuses else ""


def task_list(*, asked: PageAsked, narrowed: TaskFilter) -> Page[TaskSummary]:
    """Return one page of tasks, newest first; counting stops at 10,000.

    Two statements, three when a creator is named.
    Raises NotFound for a page beyond the end.
    """
    tasks = _narrow(narrowed)
    count = tasks.order_by()[:COUNT_LIMIT].count()
    refuse_beyond_end(asked, count)
    rows = tasks.values_list(*_SUMMARY)[asked.offset : asked.offset + asked.size]
    return Page(
        count=count, page=asked.number, size=asked.size, results=[_summary(row) for row in rows]
    )


def _narrow(narrowed: TaskFilter) -> QuerySet[Task]:
    """Return the query in an order that an index has: idx_tasks_status and _created_by end in id.

    Ids rise with the time of creation, so both orders say newest first.
    """
    tasks = Task.objects.order_by("-created_at", "-id")
    if narrowed.name:
        tasks = tasks.filter(name__icontains=narrowed.name)
    if narrowed.created_from is not None:
        tasks = tasks.filter(created_at__gte=narrowed.created_from)
    if narrowed.created_to is not None:
        tasks = tasks.filter(created_at__lt=narrowed.created_to)
    if narrowed.statuses:
        tasks = tasks.filter(status__in=narrowed.statuses)
    if narrowed.created_by:
        # Looked up first: from an id the planner sees whether the person is prolific.
        creator = User.objects.filter(username=narrowed.created_by).values_list("pk", flat=True)
        tasks = tasks.filter(created_by__in=list(creator))
    ranged = narrowed.created_from is not None or narrowed.created_to is not None
    if not ranged and (narrowed.statuses or narrowed.created_by):
        tasks = tasks.order_by("-id")
    return tasks


def _summary(row: tuple[Any, ...]) -> TaskSummary:
    *counts, task_id, name, status, priority, creator, created, started, finished, revision = row
    known = (TaskStatus(status), _PRIORITY_NAMES[priority])
    values = (*counts, task_id, name, *known, creator, created, started, finished, revision)
    return TaskSummary(*values)


@one_snapshot
def task_detail(*, task_id: UUID, reader: Actor) -> TaskDetail:
    """Return one task with its steps; environments as the reader may see them.

    Two statements on one snapshot, so that the counts of task and steps agree, three for an
    operator who reads another's task. Raises NotFound.
    """
    task = Task.objects.select_related("created_by").filter(task_id=task_id).first()
    if task is None:
        raise no_such_task()
    commands = _commands(task, show_environment=may_see_environment(reader=reader, task=task))
    return TaskDetail(
        total_hosts=task.total_hosts,
        completed_hosts=task.completed_hosts,
        failed_hosts=task.failed_hosts,
        lost_hosts=task.lost_hosts,
        canceled_hosts=task.canceled_hosts,
        skipped_hosts=task.skipped_hosts,
        task_id=task.task_id,
        name=task.name,
        status=TaskStatus(task.status),
        priority=_PRIORITY_NAMES[task.priority],
        created_by=task.created_by.username if task.created_by else None,
        created_at=task.created_at,
        started_at=task.started_at,
        finished_at=task.finished_at,
        revision=task.revision,
        description=task.description,
        target=task.target,
        offline_policy=task.offline_policy,
        delivery_seconds=task.delivery_seconds,
        queued_at=task.queued_at,
        stop_requested_at=task.stop_requested_at,
        cancel_requested_at=task.cancel_requested_at,
        error_code=task.error_code,
        error_message=task.error_message,
        reason=str(reason(task.error_code, task.error_message)),
        left_out_hosts=(task.left_out or {}).get("count", 0),
        left_out=[
            LeftOutHost(UUID(host["host_id"]), host["hostname"])
            for host in (task.left_out or {}).get("hosts", ())
        ],
        commands=commands,
        warnings=_warnings(commands),
    )


def _warnings(commands: Sequence[CommandDetail]) -> list[Warned]:
    return [
        warned
        for at, command in enumerate(commands)
        for warned in step_warnings(
            path=join_path("commands", at),
            kind=command.kind,
            interpreter=command.interpreter,
            body=command.body,
        )
    ]


def _commands(task: Task, *, show_environment: bool) -> list[CommandDetail]:
    commands = Command.objects.filter(task=task).select_related("host").order_by("position")
    return [
        CommandDetail(
            command_id=command.command_id,
            position=command.position,
            name=command.name,
            kind=command.kind,
            body=command.body,
            interpreter=command.interpreter,
            parameters=command.parameters,
            environment=command.environment if show_environment else masked(command.environment),
            environment_masked=bool(command.environment) and not show_environment,
            working_directory=command.working_directory,
            run_as=command.run_as,
            timeout_seconds=command.timeout_seconds,
            on_failure=command.on_failure,
            host=command.host.host_id if command.host else None,
            hostname=command.host.hostname if command.host else None,
            status=CommandStatus(command.status),
            rows=_rows_of(
                [getattr(command, name) for name in _ROWS],
                targets=task.total_hosts if command.host is None else 1,
                ended_early=bool(task.stop_requested_at or task.cancel_requested_at),
            ),
        )
        for command in commands
    ]


def task_version(revision: int) -> str:
    """Return the version of a task, by which an editor learns that another was there before."""
    return str(revision)


def task_as_draft(task: Task) -> dict[str, Any]:
    """Return a task as the JSON that would create it again, environment included. One statement."""
    return {
        "name": task.name,
        "description": task.description,
        "priority": task.priority,
        "target": task.target,
        "offline_policy": task.offline_policy,
        "delivery_seconds": task.delivery_seconds,
        "commands": [
            {
                "name": command.name,
                "kind": command.kind,
                "body": command.body,
                "interpreter": command.interpreter,
                "parameters": list(command.parameters),
                "environment": dict(command.environment),
                "working_directory": command.working_directory,
                "run_as": command.run_as,
                "timeout_seconds": command.timeout_seconds,
                "on_failure": command.on_failure,
                "host": str(command.host) if command.host else None,
            }
            for command in _commands(task, show_environment=True)
        ],
    }


def task_state(*, task_id: UUID) -> TaskState:
    """Return where a task stands. One statement. Raises NotFound."""
    row = Task.objects.filter(task_id=task_id).values_list(*_STATE).first()
    if row is None:
        raise no_such_task()
    *counts, found, status, started, finished, revision = row
    values = (*counts, found, TaskStatus(status), started, finished, revision)
    return TaskState(*values)


def task_commands(*, task_pk: int) -> list[CommandProgress]:
    """Return a task's steps in order with their counts, without bodies. One statement."""
    commands = Command.objects.filter(task_id=task_pk).order_by("position")
    early = Q(task__stop_requested_at__isnull=False) | Q(task__cancel_requested_at__isnull=False)
    rows = commands.values_list(
        *("command_id", "position", "name", "status"),
        Case(When(host__isnull=True, then="task__total_hosts"), default=1),
        Case(When(early, then=True), default=False),
        *_ROWS,
    )
    return [
        CommandProgress(
            command_id,
            position,
            name,
            CommandStatus(status),
            _rows_of(counts, targets=targets, ended_early=ended_early),
        )
        for command_id, position, name, status, targets, ended_early, *counts in rows
    ]


def _rows_of(counts: Sequence[int], *, targets: int, ended_early: bool) -> dict[str, int]:
    """Return a step's rows by state, with those that a stop or cancel came before.

    They were never made, and count as canceled, as their hosts do in the task's counts.
    """
    rows = rows_by_state(counts)
    if ended_early:
        rows[RowStatus.CANCELED] += max(0, targets - sum(counts))
    return rows


def task_pk(*, task_id: UUID) -> int:
    """Return the primary key of a task. Raises NotFound."""
    found = Task.objects.filter(task_id=task_id).values_list("id", flat=True).first()
    if found is None:
        raise no_such_task()
    return found


def rows_by_state(counts: Any) -> dict[str, int]:
    """Return counts, in the order of ``RowStatus``, by the state's name."""
    return dict(zip(RowStatus.values, counts, strict=True))


def no_such_task() -> NotFound:
    """Return the error for an id that no task has."""
    return NotFound(_("There is no such task."))
