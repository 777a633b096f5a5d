"""The buttons of a task: start, stop, cancel."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.urls import reverse
from django.utils.translation import gettext as _

from devops_manager.access.permissions import OPERATORS
from devops_manager.pages.gate import act, page
from tasks_app.services.lifecycle import cancel_task, start_task, stop_task
from tasks_app.services.ownership import require_may_change

if TYPE_CHECKING:
    from collections.abc import Callable
    from uuid import UUID

    from django.http import HttpRequest, HttpResponse

    from devops_manager.access.actors import Actor
    from tasks_app.models import Task


def _act(
    request: HttpRequest, actor: Actor, task_id: UUID, service: Callable[..., Task], done: str
) -> HttpResponse:
    def serve() -> None:
        require_may_change(actor=actor, task_id=task_id)
        service(actor=actor, task_id=task_id)

    back_to = reverse("task_detail", args=[task_id])
    return act(request, serve, done=done, back_to=back_to)


@page("POST", roles=OPERATORS)
def start(request: HttpRequest, actor: Actor, task_id: UUID) -> HttpResponse:
    """Start a task; when as many run as may, it waits in the queue."""
    return _act(request, actor, task_id, start_task, _("The task was started."))


@page("POST", roles=OPERATORS)
def stop(request: HttpRequest, actor: Actor, task_id: UUID) -> HttpResponse:
    """Hand out nothing new; what runs may end."""
    return _act(
        request,
        actor,
        task_id,
        stop_task,
        _("Stop requested: nothing new is handed out, what runs may end."),
    )


@page("POST", roles=OPERATORS)
def cancel(request: HttpRequest, actor: Actor, task_id: UUID) -> HttpResponse:
    """Hand out nothing new and end what runs."""
    return _act(
        request,
        actor,
        task_id,
        cancel_task,
        _("Cancel requested: agents that run a command of it are told to end it."),
    )
