"""The first page: what runs, what waits for a person, what went wrong lately."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.shortcuts import redirect
from django.templatetags.static import static
from django.views.decorators.http import require_safe

from devops_manager.lib.pagination import Page
from devops_manager.pages import host_reads
from devops_manager.pages.gate import page, show
from devops_manager.pages.live import OTHERWISE
from tasks_app.selectors.stats import global_stats, metrics_summary
from tasks_app.selectors.tasks import TaskFilter, task_list
from tasks_app.states import TaskStatus

if TYPE_CHECKING:
    from django.http import HttpRequest, HttpResponse

    from devops_manager.access.actors import Actor

SHOWN = 10


@require_safe
def icon(_request: HttpRequest) -> HttpResponse:
    """Lead to our icon: browsers ask here for pages that name none, such as the admin's."""
    return redirect(static("icon.svg"))


@page()
def overview(request: HttpRequest, _actor: Actor) -> HttpResponse:
    """Show the figures, the running tasks, the latest ones, and hosts that wait for approval."""
    first = Page(number=1, size=SHOWN)
    return show(
        request,
        "pages/overview.html",
        {
            "section": "overview",
            "every": OTHERWISE,
            "figures": metrics_summary(),
            "recent_tasks": global_stats().recent_tasks,
            "running": task_list(
                asked=first, narrowed=TaskFilter(statuses=(TaskStatus.RUNNING.value,))
            ).results,
            "recent": task_list(asked=first, narrowed=TaskFilter()).results,
            "waiting": host_reads.waiting_hosts(most=SHOWN),
        },
    )
