"""Start of tasks in the admin: a page says first on how many hosts each runs, and what."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from django.contrib import admin, messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.template.response import TemplateResponse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from devops_manager.access.actors import actor_of
from devops_manager.lib.errors import DomainError
from tasks_app.selectors.plans import plan_of
from tasks_app.services.lifecycle import start_task
from tasks_app.states import TaskStatus

if TYPE_CHECKING:
    from django.db.models import QuerySet
    from django.http import HttpRequest

    from tasks_app.models import Task
    from tasks_app.selectors.plans import Plan

# Each task costs some statements to plan; more than this is no choice that a person looked at.
_AT_ONCE = 20


@dataclass(frozen=True, slots=True)
class _Asked:
    """One ticked task: its plan, or why it cannot start."""

    task: Task
    plan: Plan | None
    fault: str


def in_words(error: DomainError) -> str:
    """Return a refusal as one line."""
    causes = [str(text) for texts in error.fields.values() for text in texts]
    return " ".join([str(error.detail), *causes])


def _ask(task: Task) -> _Asked:
    if task.status != TaskStatus.PENDING:
        return _Asked(task, None, _("It has been started already."))
    try:
        return _Asked(task, plan_of(task), "")
    except DomainError as error:
        return _Asked(task, None, in_words(error))


@admin.action(description=gettext_lazy("Start: shows first on which hosts"))
def start_tasks(
    model_admin: admin.ModelAdmin[Any], request: HttpRequest, queryset: QuerySet[Task]
) -> TemplateResponse | None:
    """Show the plans of the ticked tasks; on the second sending, start those that still hold."""
    tasks = list(queryset.order_by("id")[: _AT_ONCE + 1])
    if len(tasks) > _AT_ONCE:
        text = _("Tick at most %(count)d tasks to start.") % {"count": _AT_ONCE}
        model_admin.message_user(request, text, messages.ERROR)
        return None
    if request.POST.get("confirmed"):
        _start(model_admin, request, tasks)
        return None
    asked = [_ask(task) for task in tasks]
    context = {
        **model_admin.admin_site.each_context(request),
        "title": _("Start these tasks?"),
        "opts": model_admin.model._meta,
        "asked": asked,
        "ready": [entry for entry in asked if entry.plan],
        "hosts": sum(entry.plan.hosts for entry in asked if entry.plan),
        "action_checkbox_name": ACTION_CHECKBOX_NAME,
    }
    return TemplateResponse(request, "admin/start_tasks.html", context)


def _start(model_admin: admin.ModelAdmin[Any], request: HttpRequest, tasks: list[Task]) -> None:
    actor, done = actor_of(request), 0
    for task in tasks:
        try:
            plan = request.POST.get(f"plan-{task.task_id}", "")
            start_task(actor=actor, task_id=task.task_id, plan=plan)
        except DomainError as error:
            model_admin.message_user(request, f"{task.name}: {in_words(error)}", messages.ERROR)
        else:
            done += 1
    if done:
        text = ngettext("Started %(count)d task.", "Started %(count)d tasks.", done)
        model_admin.message_user(request, text % {"count": done})
