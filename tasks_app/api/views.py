"""Tasks for scripts: create, list, change, start and end them; figures over all of them."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

import msgspec
from django.urls import reverse
from drf_spectacular.utils import extend_schema
from rest_framework import status
from rest_framework.decorators import action
from rest_framework.response import Response

from devops_manager.access.actors import actor_of
from devops_manager.access.door import Guarded
from devops_manager.access.models import Role
from devops_manager.access.permissions import OPERATORS, READERS
from devops_manager.lib.pagination import parse_page
from devops_manager.lib.versions import etag, expected_version
from tasks_app.api import schema
from tasks_app.api.answers import json_answer, json_bytes
from tasks_app.api.query import Query
from tasks_app.api.reads import TaskReads
from tasks_app.selectors import encoded
from tasks_app.selectors.shapes import (
    GlobalStats,
    MetricsSummary,
    Page,
    TaskDetail,
    TaskOfHost,
    TaskSummary,
)
from tasks_app.selectors.stats import metrics_summary
from tasks_app.selectors.tasks import TaskFilter, task_detail, task_version
from tasks_app.services import drafts, lifecycle, submit
from tasks_app.services.ownership import require_may_change
from tasks_app.states import TaskStatus

if TYPE_CHECKING:
    from collections.abc import Callable
    from uuid import UUID

    from django.http import HttpResponse
    from rest_framework.request import Request

_WHOLE = schema.answer_of(TaskDetail)


@extend_schema(tags=["tasks"])
class TaskViewSet(TaskReads):
    """Tasks. Operators change the ones that they created, administrators any."""

    permissions: ClassVar[dict[str, frozenset[Role]]] = {
        "list": READERS,
        "retrieve": READERS,
        "status": READERS,
        "progress": READERS,
        "commands": READERS,
        "hosts": READERS,
        "logs": READERS,
        "raw_log": READERS,
        "live_log": READERS,
        "output_groups": READERS,
        "create": OPERATORS,
        "bulk": OPERATORS,
        "update": OPERATORS,
        "partial_update": OPERATORS,
        "destroy": OPERATORS,
        "start": OPERATORS,
        "stop": OPERATORS,
        "cancel": OPERATORS,
    }
    bodies = frozenset({"create", "bulk", "update", "partial_update"})
    conditional = frozenset({"update", "partial_update", "destroy", "start"})
    # Their answers show environments, which are not to be kept a second time.
    afresh = frozenset({"update", "partial_update", "start", "stop", "cancel"})
    lookup_field = "task_id"
    lookup_value_converter = "uuid"

    @extend_schema(parameters=schema.TASK_FILTERS, responses=schema.answer_of(Page[TaskSummary]))
    def list(self, request: Request) -> HttpResponse:
        """Return tasks, newest first; counting stops at 10,000."""
        names = ("name", "created_by", "created_from", "created_to")
        query = Query(request, *names, several=("status",), paged=True)
        narrowed = TaskFilter(
            statuses=query.choices("status", TaskStatus.values),
            name=query.text("name", characters=drafts.NAME_CHARACTERS),
            created_by=query.text("created_by", characters=150),
            created_from=query.moment("created_from"),
            created_to=query.moment("created_to"),
        )
        asked = parse_page(request.query_params)
        return json_bytes(encoded.task_list_json(asked=asked, narrowed=narrowed))

    @extend_schema(
        request=schema.TaskBody,
        responses={201: schema.CreatedTaskAnswer},
    )
    def create(self, request: Request) -> Response:
        """Create a task; it does not start by itself."""
        draft = drafts.parse_task(request.data)
        created = submit.create_task(actor=actor_of(request), draft=draft)
        address = reverse("task-detail", kwargs={"task_id": created.task_id})
        return Response(
            msgspec.to_builtins(created),
            status=status.HTTP_201_CREATED,
            headers={"Location": address},
        )

    @extend_schema(
        request=schema.BulkBody,
        responses={201: schema.BulkAnswer},
    )
    @action(detail=False, methods=["post"])
    def bulk(self, request: Request) -> Response:
        """Create 1 to 500 tasks, all of them or none."""
        asked = drafts.parse_tasks(request.data)
        created = submit.create_tasks(actor=actor_of(request), drafts=asked)
        body = {"count": len(created), "results": msgspec.to_builtins(created)}
        return Response(body, status=status.HTTP_201_CREATED)

    @extend_schema(responses=_WHOLE)
    def retrieve(self, request: Request, task_id: UUID) -> HttpResponse:
        """Return a task with its steps. Environments show their values only to its creator,
        administrators, and operators to whom all its groups are granted.
        """
        Query(request)
        return _whole(request, task_id)

    @extend_schema(request=schema.TaskBody, responses=_WHOLE)
    def update(self, request: Request, task_id: UUID) -> HttpResponse:
        """Replace a task that has not started."""
        return self._change(request, task_id, whole=True)

    @extend_schema(request=schema.TaskChanges, responses=_WHOLE)
    def partial_update(self, request: Request, task_id: UUID) -> HttpResponse:
        """Change fields of a task that has not started."""
        return self._change(request, task_id, whole=False)

    def _change(self, request: Request, task_id: UUID, *, whole: bool) -> HttpResponse:
        submit.update_task(
            actor=actor_of(request),
            task_id=task_id,
            value=request.data,
            partial=not whole,
            expected=expected_version(request.headers),
        )
        return _whole(request, task_id)

    @extend_schema(responses={204: None})
    def destroy(self, request: Request, task_id: UUID) -> Response:
        """Delete a task that has not started."""
        expected = expected_version(request.headers)
        submit.delete_task(actor=actor_of(request), task_id=task_id, expected=expected)
        return Response(status=status.HTTP_204_NO_CONTENT)

    @extend_schema(request=None, responses=_WHOLE)
    @action(detail=True, methods=["post"])
    def start(self, request: Request, task_id: UUID) -> HttpResponse:
        """Start a task: it runs, or waits in the queue. A full queue answers 429.

        It reaches what its creator may still reach: ``left_out`` names the hosts that fell out,
        and 409 ``grants_revoked`` says that none is left.
        """
        expected = expected_version(request.headers)
        return _act(request, task_id, partial(lifecycle.start_task, expected=expected))

    @extend_schema(request=None, responses=_WHOLE)
    @action(detail=True, methods=["post"])
    def stop(self, request: Request, task_id: UUID) -> HttpResponse:
        """Hand out nothing more; what runs may end."""
        return _act(request, task_id, lifecycle.stop_task)

    @extend_schema(request=None, responses=_WHOLE)
    @action(detail=True, methods=["post"])
    def cancel(self, request: Request, task_id: UUID) -> HttpResponse:
        """Hand out nothing more and kill what runs."""
        return _act(request, task_id, lifecycle.cancel_task)


def _act(request: Request, task_id: UUID, service: Callable[..., Any]) -> HttpResponse:
    actor = actor_of(request)
    require_may_change(actor=actor, task_id=task_id)
    service(actor=actor, task_id=task_id)
    return _whole(request, task_id)


def _whole(request: Request, task_id: UUID) -> HttpResponse:
    detail = task_detail(task_id=task_id, reader=actor_of(request))
    return json_answer(detail, headers=etag(task_version(detail.revision)))


class HostTasksView(Guarded):
    """What one host was given."""

    permissions: ClassVar[dict[str, frozenset[Role]]] = {"get": READERS}

    @extend_schema(
        operation_id="host_tasks",
        tags=["hosts"],
        parameters=schema.PAGE_PARAMETERS,
        responses=schema.answer_of(Page[TaskOfHost]),
    )
    def get(self, request: Request, host_id: UUID) -> HttpResponse:
        """Return the steps that a host was given, newest first; counting stops at 10,000."""
        Query(request, paged=True)
        asked = parse_page(request.query_params)
        return json_bytes(encoded.host_tasks_json(host_id=host_id, asked=asked))


class StatsView(Guarded):
    """Figures for an overview."""

    permissions: ClassVar[dict[str, frozenset[Role]]] = {"get": READERS}

    @extend_schema(operation_id="stats", tags=["stats"], responses=schema.answer_of(GlobalStats))
    def get(self, request: Request) -> HttpResponse:
        """Return open tasks, the tasks of the last 24 hours and open rows, by state."""
        Query(request)
        return json_bytes(encoded.global_stats_json())


class MetricsSummaryView(Guarded):
    """Figures of capacity."""

    permissions: ClassVar[dict[str, frozenset[Role]]] = {"get": READERS}

    @extend_schema(
        operation_id="metrics_summary",
        tags=["stats"],
        responses=schema.answer_of(MetricsSummary),
    )
    def get(self, request: Request) -> HttpResponse:
        """Return running and queued tasks against their limits, and hosts by state."""
        Query(request)
        return json_answer(metrics_summary())
