"""Start, stop and cancel a task."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.db.models.functions import Now
from django.utils.translation import gettext as _

from devops_manager.access import audit
from devops_manager.lib import announce
from devops_manager.lib.errors import Conflict, NotFound
from devops_manager.lib.versions import ANY, Expected
from tasks_app import cache, queue
from tasks_app.models import Command, Task
from tasks_app.selectors.plans import require_plan
from tasks_app.selectors.tasks import task_version
from tasks_app.services.admission import lock_admission, queue_task
from tasks_app.services.settlement import follow_up
from tasks_app.states import TASK_TERMINAL, CommandStatus, TaskStatus

if TYPE_CHECKING:
    from datetime import datetime
    from uuid import UUID

    from devops_manager.access.actors import Actor


@queue.in_transaction
def start_task(
    *, actor: Actor, task_id: UUID, plan: str | None = None, expected: Expected = ANY
) -> Task:
    """Start a pending task: it runs when there is room, else it waits in the queue.

    ``plan``: the digest of the plan that the person was shown; the task starts only if it is still
    that (Conflict ``plan_changed``). Returns the task, running or queued. Its fan-out begins after
    the commit. Concurrent starts take turns on the admission lock, so that no more run than may. A
    task that was started already is returned as it is by now, so that a caller whose answer was
    lost may ask again. Hosts that its creator may use no more are left out.
    Raises NotFound; Conflict ``illegal_transition`` when it was stopped or canceled,
    ``grants_revoked`` when no host is left, ``creator_…`` when its creator may run nothing any
    more; PreconditionFailed unless what is to be started is as ``expected``; InvalidInput for a
    target that is empty or names what is gone; LimitReached ``queue_full``. Then it stays pending.
    """
    lock_admission()
    task = _lock_task(task_id)
    if task.status == TaskStatus.CANCELED or task.stop_requested_at or task.cancel_requested_at:
        raise _not_from(task, _("The task was stopped or canceled."))
    if task.status != TaskStatus.PENDING:
        return task
    expected.require(task_version(task.revision))
    if plan is not None:
        require_plan(task, plan)
    queue_task(task, actor=actor)
    return _done(actor, task, "task.start", before=task.status)


@queue.in_transaction
def stop_task(*, actor: Actor, task_id: UUID) -> Task:
    """Dispatch nothing more; what runs may end.

    Raises NotFound; Conflict ``illegal_transition`` when the task has ended by itself or was not
    started. Stopping twice does no more than once, also when the task has ended since.
    """
    task = _lock_task(task_id)
    if _ended_so(task, task.stop_requested_at):
        return task
    if task.status == TaskStatus.PENDING:
        raise _not_from(task, _("The task has not been started."))
    return _end_early(actor, task, kill=False)


@queue.in_transaction
def cancel_task(*, actor: Actor, task_id: UUID) -> Task:
    """Dispatch nothing more and kill what runs.

    Rows that were delivered end when their agents say so, or as ``lost`` when they do not: the task
    closes when every host has an outcome. Raises NotFound; Conflict ``illegal_transition`` when the
    task has ended by itself. Canceling twice does no more than once, also when the task has ended
    since.
    """
    task = _lock_task(task_id)
    if _ended_so(task, task.cancel_requested_at):
        return task
    return _end_early(actor, task, kill=True)


def _lock_task(task_id: UUID) -> Task:
    task = Task.objects.select_for_update(no_key=True).filter(task_id=task_id).first()
    if task is None:
        raise NotFound(_("There is no such task."))
    return task


def _ended_so(task: Task, asked_at: datetime | None) -> bool:
    """Tell whether the task has ended early, or had been asked to when it ended."""
    canceled = task.status == TaskStatus.CANCELED
    return canceled or (task.status in TASK_TERMINAL and asked_at is not None)


def _not_from(task: Task, sentence: str) -> Conflict:
    state = _("Its state is: %(state)s.") % {"state": task.get_status_display()}
    return Conflict(f"{sentence} {state}", code="illegal_transition")


def _end_early(actor: Actor, task: Task, *, kill: bool) -> Task:
    if task.status in TASK_TERMINAL:
        raise _not_from(task, _("The task has ended already."))
    before = task.status
    asked = "cancel_requested_at" if kill else "stop_requested_at"
    repeated = getattr(task, asked) is not None
    if not repeated:
        Task.objects.filter(pk=task.pk).update(**{asked: Now()})
    if task.status in (TaskStatus.PENDING, TaskStatus.QUEUED):
        Task.objects.filter(pk=task.pk).update(status=TaskStatus.CANCELED, finished_at=Now())
        Command.objects.filter(task=task).update(status=CommandStatus.CANCELED)
    else:
        ended = queue.end_task(task=task.pk, kill=kill)
        announce.wake(ended.wake_hosts)
        follow_up(ended.settled)
    if repeated:
        task.refresh_from_db()
        return task
    return _done(actor, task, "task.cancel" if kill else "task.stop", before=before)


def _done(actor: Actor, task: Task, action: str, *, before: str) -> Task:
    task.refresh_from_db()
    audit.record(
        actor=actor,
        action=action,
        object_type="task",
        object_ids=[str(task.task_id)],
        before={"status": before},
        after={"status": task.status},
    )
    cache.tasks_changed()
    return task
