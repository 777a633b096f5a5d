"""The list of tasks, and one task: where it stands, its hosts, what they printed, who did what."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.http import JsonResponse
from django.template.loader import render_to_string
from django.urls import reverse

from devops_manager.pages import reads
from devops_manager.pages.forms.filters import HostsOfTaskFilter, TaskListFilter
from devops_manager.pages.gate import page, show
from devops_manager.pages.listing import Listing, asked_page, listing_of
from devops_manager.pages.views.task_shapes import load_task, task_context
from tasks_app.selectors.progress import parse_cursor, task_progress
from tasks_app.selectors.rows import task_hosts
from tasks_app.selectors.tasks import task_list

if TYPE_CHECKING:
    from uuid import UUID

    from django.http import HttpRequest, HttpResponse

    from devops_manager.access.actors import Actor
    from tasks_app.selectors.shapes import HostOfTask

CHANGED_AT_MOST = 1


@page()
def task_list_page(request: HttpRequest, _actor: Actor) -> HttpResponse:
    """List tasks, newest first, narrowed by state, name, creator and day."""
    form = TaskListFilter(request.GET)
    if not form.is_valid():
        return show(
            request,
            "pages/task_list.html",
            {"section": "tasks", "form": form, "listing": None},
            status=400,
        )
    listing = listing_of(task_list(asked=asked_page(request.GET), narrowed=form.narrowed()))
    return show(
        request,
        "pages/task_list.html",
        {
            "section": "tasks",
            "form": form,
            "listing": listing,
            "filtered": bool(form.changed_data),
        },
    )


@page()
def detail(request: HttpRequest, actor: Actor, task_id: UUID) -> HttpResponse:
    """Show where a task stands and its hosts, with their steps; the page follows while it runs."""
    shown = load_task(actor, task_id)
    form = HostsOfTaskFilter(request.GET)
    context = task_context(shown, "hosts")
    context |= {"form": form, "listing": None, "live_url": reverse("task_live", args=[task_id])}
    status = 200
    if form.is_valid():
        context["listing"] = _hosts(task_id, request, form)
        context["filtered"] = bool(form.changed_data)
    else:
        status = 400
    return show(request, "pages/task_detail.html", context, status=status)


def _hosts(task_id: UUID, request: HttpRequest, form: HostsOfTaskFilter) -> Listing[HostOfTask]:
    found = task_hosts(task_id=task_id, asked=asked_page(request.GET), **form.narrowed())
    return listing_of(found)


@page()
def live(request: HttpRequest, actor: Actor, task_id: UUID) -> HttpResponse:
    """Answer the run page's script: what of the page has changed since its cursor, as HTML parts.

    ``{"cursor", "ended", "parts": {element id: html}}``; nothing changed: no parts. The list of
    hosts comes only when one of the task's rows moved.
    """
    asked = parse_cursor(request.GET.get("cursor", ""))
    progress = task_progress(task_id=task_id, cursor=asked, limit=CHANGED_AT_MOST)
    # Only whether anything moved is asked: the rest of a long answer is not read.
    following = parse_cursor(progress.cursor)
    cursor = str(following.upcoming or following.since)
    context = task_context(load_task(actor, task_id, progress), "hosts")
    parts = {
        "task-summary": render_to_string("parts/task_summary.html", context, request),
        "task-acts": render_to_string("parts/task_acts.html", context, request),
    }
    if progress.changed or request.GET.get("revision") != str(progress.revision):
        form = HostsOfTaskFilter(request.GET)
        if form.is_valid():
            context["listing"] = _hosts(task_id, request, form)
            context["filtered"] = bool(form.changed_data)
            parts["task-hosts"] = render_to_string("parts/task_hosts.html", context, request)
    return JsonResponse(
        {
            "cursor": cursor,
            "revision": str(progress.revision),
            "ended": not context["live"],
            "parts": parts,
        }
    )


@page()
def steps(request: HttpRequest, actor: Actor, task_id: UUID) -> HttpResponse:
    """Show what the task runs, on which hosts, and how."""
    shown = load_task(actor, task_id)
    context = task_context(shown, "steps")
    target = shown.task.target
    exclude = target.get("exclude", {})
    context["target_hosts"] = reads.hosts_by_id(target.get("hosts", [])[: reads.NAMES_AT_MOST])
    context["exclude_hosts"] = reads.hosts_by_id(exclude.get("hosts", [])[: reads.NAMES_AT_MOST])
    return show(request, "pages/task_steps.html", context)


@page()
def trail(request: HttpRequest, actor: Actor, task_id: UUID) -> HttpResponse:
    """Show who did what to the task."""
    context = task_context(load_task(actor, task_id), "trail")
    context["events"] = reads.trail_of(object_type="task", object_id=task_id)
    return show(request, "pages/task_trail.html", context)
