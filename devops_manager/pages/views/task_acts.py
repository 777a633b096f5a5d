"""The buttons of a task: start, which says first where it will run, stop, cancel."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.contrib import messages
from django.shortcuts import redirect
from django.urls import reverse
from django.utils.translation import gettext as _

from devops_manager.access.permissions import OPERATORS
from devops_manager.lib.errors import DomainError
from devops_manager.pages import reads
from devops_manager.pages.gate import act, in_words, page, show
from tasks_app.selectors.plans import plan_of
from tasks_app.services.lifecycle import cancel_task, start_task, stop_task
from tasks_app.services.ownership import require_may_change, require_owner
from tasks_app.states import TaskStatus

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


@page("GET", "HEAD", "POST", roles=OPERATORS)
def start(request: HttpRequest, actor: Actor, task_id: UUID) -> HttpResponse:
    """Say on how many hosts a task would run and what; start it when the person agrees to that.

    The form carries the plan's digest: if it means something else by then, nothing starts and the
    page says what it means now.
    """
    task = reads.task_of(task_id)
    require_owner(actor=actor, created_by_id=task.created_by_id)
    if task.status != TaskStatus.PENDING:
        messages.warning(request, _("The task has been started already."))
        return redirect("task_detail", task_id=task_id)
    refused = ""
    if request.method == "POST":
        try:
            start_task(actor=actor, task_id=task_id, plan=request.POST.get("plan", ""))
        except DomainError as error:
            refused = in_words(error)
        else:
            messages.success(request, _("The task was started."))
            return redirect("task_detail", task_id=task_id)
    plan, fault = None, ""
    try:
        plan = plan_of(task)
    except DomainError as error:
        fault = in_words(error)
    context = {
        "section": "tasks", "task": task, "plan": plan, "fault": fault,
        "refused": refused if refused != fault else "",
    }  # fmt: skip
    status = 409 if refused else 200
    return show(request, "pages/task_start.html", context, status=status)


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
