"""Whose task it is: an operator changes, starts and ends the own tasks, an administrator any."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.utils.translation import gettext as _

from devops_manager.access.models import Role
from devops_manager.lib.errors import Forbidden
from tasks_app.models import Task
from tasks_app.selectors.tasks import no_such_task

if TYPE_CHECKING:
    from uuid import UUID

    from devops_manager.access.actors import Actor


def may_change(*, actor: Actor, created_by_id: int | None) -> bool:
    """Tell whether the actor may change, start, stop, cancel or delete a task of this creator."""
    if actor.role == Role.ADMIN:
        return True
    return (
        actor.role == Role.OPERATOR
        and actor.user_id is not None
        and (actor.user_id == created_by_id)
    )


def require_owner(*, actor: Actor, created_by_id: int | None) -> None:
    """Raise Forbidden ``not_your_task`` unless ``may_change`` says yes."""
    if not may_change(actor=actor, created_by_id=created_by_id):
        raise Forbidden(
            _("Operators change only the tasks that they created."), code="not_your_task"
        )


def require_may_change(*, actor: Actor, task_id: UUID) -> None:
    """Raise NotFound when there is no such task, Forbidden when the actor may not change it."""
    owner = Task.objects.filter(task_id=task_id).values_list("created_by_id").first()
    if owner is None:
        raise no_such_task()
    require_owner(actor=actor, created_by_id=owner[0])
