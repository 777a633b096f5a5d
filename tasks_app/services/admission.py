"""Admission: which tasks run now, which wait, and when the queue is full.

At most DM_MAX_CONCURRENT_TASKS run, at most DM_QUEUE_CAPACITY wait, by priority and then age. One
advisory lock orders all who start, resume or admit; whoever counts, counts after taking it, in a
statement of its own: counted in the same statement, two of them both see room for the last one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.db import connection
from django.db.models.functions import Now
from django.utils import translation
from django.utils.translation import gettext as _

from devops_manager.access import audit
from devops_manager.access.actors import SYSTEM
from devops_manager.lib import enqueue
from devops_manager.lib.errors import DomainError, LimitReached
from tasks_app import cache, queue
from tasks_app.models import Command, Task, TaskWindow
from tasks_app.selectors.plans import reach_now
from tasks_app.selectors.reach import groups_left
from tasks_app.services.settlement import FAN_OUT_JOB
from tasks_app.states import CommandStatus, TaskStatus

if TYPE_CHECKING:
    from devops_manager.access.actors import Actor
    from hosts_app.plans import Plan

# "dm", 1: chosen once, for this database only; migration 0007 has it, too.
_LOCK_KEY = 0x646D_0001
_RETRY_AFTER_SECONDS = 10
# Targets may name 10,000 hosts: not too many of them in memory at once.
_READ_AT_ONCE = 10


def lock_admission() -> None:
    """Take the admission lock until the end of the transaction; the first of the lock order."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [_LOCK_KEY])


def queue_task(task: Task, *, actor: Actor) -> None:
    """Put a pending or paused task into the queue and admit what there is room for.

    The caller holds the admission lock and the task's. Raises InvalidInput when the task itself is
    admitted and its target is empty or names what is gone, Conflict when its creator may not run it
    any more (``reach``), LimitReached ``queue_full`` when it has to wait and no more may: the
    caller's transaction is rolled back and the task stays as it was. After the commit the caller
    tells the caches.
    """
    Task.objects.filter(pk=task.pk).update(status=TaskStatus.QUEUED, queued_at=Now())
    if task.pk in _admit_waiting(starting=task.pk, actor=actor):
        return
    _leave_out(task, actor)
    waiting = Task.objects.filter(status=TaskStatus.QUEUED).count()
    if waiting > settings.DM_QUEUE_CAPACITY:
        raise LimitReached(
            _("The queue is full: %(count)d tasks wait. The task was kept; start it later.")
            % {"count": settings.DM_QUEUE_CAPACITY},
            code="queue_full",
            retry_after_seconds=_RETRY_AFTER_SECONDS,
        )


@queue.in_transaction
def admit_tasks() -> int:
    """Admit queued tasks while there is room; return how many now run.

    Safe at any time, twice, and at the same time as itself.
    """
    if not Task.objects.filter(status=TaskStatus.QUEUED).exists():
        return 0
    lock_admission()
    admitted = _admit_waiting(starting=None, actor=SYSTEM)
    if admitted:
        cache.tasks_changed()
    return len(admitted)


def _admit_waiting(*, starting: int | None, actor: Actor) -> set[int]:
    """Admit what there is room for and return it; what cannot run fails, or raises if it starts.

    ``actor`` starts the task ``starting``; the others are admitted by the system.
    """
    room = settings.DM_MAX_CONCURRENT_TASKS
    room -= Task.objects.filter(status=TaskStatus.RUNNING).count()
    admitted: set[int] = set()
    while len(admitted) < room:
        wanted = min(room - len(admitted), _READ_AT_ONCE)
        first = list(
            Task.objects.select_for_update(no_key=True)
            .filter(status=TaskStatus.QUEUED)
            .order_by("-priority", "queued_at", "id")[:wanted]
        )
        for task in first:
            if task.pk == starting:
                _run_task(task, actor)
            elif not _run_or_fail(task):
                continue
            admitted.add(task.pk)
        if len(first) < wanted:
            break
    return admitted


def _run_or_fail(task: Task) -> bool:
    """Let a task run that has waited, or end it; False when it ended.

    Why it did is kept in English, whoever has made room: pages say it in each reader's language.
    """
    with translation.override("en"):
        try:
            _run_task(task, SYSTEM)
        except DomainError as error:
            _fail_task(task, error)
            return False
    return True


def _run_task(task: Task, actor: Actor) -> None:
    """Freeze the targets and let the task run, in one transaction with ``total_hosts``."""
    begun: dict[str, Any] = {}
    if task.started_at is None:  # else it is resumed
        plan, left_out = _cut_down(task, actor)
        _freeze(task, plan)
        begun = {
            "started_at": Now(),
            "total_hosts": len(plan.hosts),
            "pinned_only_hosts": len(plan.pinned_only),
            "left_out": left_out,
        }
    Task.objects.filter(pk=task.pk).update(status=TaskStatus.RUNNING, **begun)
    enqueue.after_commit(FAN_OUT_JOB, task.pk)


def _leave_out(task: Task, actor: Actor) -> None:
    """Say now what a task that has to wait has lost, rather than in its turn."""
    if groups_left(task) != task.allowed_groups:
        Task.objects.filter(pk=task.pk).update(left_out=_cut_down(task, actor)[1])


def _cut_down(task: Task, actor: Actor) -> tuple[Plan, dict[str, Any] | None]:
    """Return where the task runs, and what it keeps of the hosts that its creator lost."""
    plan, fallen = reach_now(task)
    if fallen is not None and fallen != task.left_out:
        _record(actor, task, "task.leave_out", fallen)
    return plan, fallen


def _freeze(task: Task, plan: Plan) -> None:
    size = settings.DM_BATCH_SIZE
    pinned_only = set(plan.pinned_only)
    windows = []
    for start in range(0, len(plan.hosts), size):
        hosts = list(plan.hosts[start : start + size])
        pinned = [host for host in hosts if host in pinned_only]
        windows.append(
            TaskWindow(task=task, no=start // size + 1, host_ids=hosts, pinned_ids=pinned)
        )
    TaskWindow.objects.bulk_create(windows)


def _fail_task(task: Task, error: DomainError) -> None:
    """End a task that waited and whose target is gone by now; it says why."""
    reasons = [str(reason) for reasons in error.fields.values() for reason in reasons]
    message = " ".join([str(error.detail), *reasons])[:500]
    Task.objects.filter(pk=task.pk, status=TaskStatus.QUEUED).update(
        status=TaskStatus.FAILED,
        finished_at=Now(),
        error_code=error.code,
        error_message=message,
    )
    Command.objects.filter(task=task).update(status=CommandStatus.CANCELED)
    _record(SYSTEM, task, "task.fail", {"status": str(TaskStatus.FAILED), "code": error.code})
    cache.tasks_changed()


def _record(actor: Actor, task: Task, action: str, after: dict[str, Any]) -> None:
    audit.record(
        actor=actor,
        action=action,
        object_type="task",
        object_ids=[str(task.task_id)],
        after=after,
    )
