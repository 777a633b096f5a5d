"""What can be read of one task: status, progress, steps, hosts, output."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from django.conf import settings
from django.http import HttpResponse
from django.utils.translation import gettext as _
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema
from rest_framework.decorators import action
from rest_framework.renderers import JSONRenderer
from rest_framework.viewsets import ViewSet

from devops_manager.access.door import Guarded
from devops_manager.access.models import Role
from devops_manager.lib.errors import InvalidInput
from devops_manager.lib.pagination import PAGE_SIZE, parse_page
from tasks_app.api import schema
from tasks_app.api.answers import BYTES, BytesRenderer, json_answer, json_bytes
from tasks_app.api.query import Query
from tasks_app.selectors import encoded, outputs, progress, rows
from tasks_app.selectors.shapes import (
    CommandProgress,
    HostOfTask,
    LiveChunk,
    LogEntry,
    OutputGroup,
    Page,
    TaskProgress,
    TaskState,
)
from tasks_app.selectors.tasks import task_commands, task_pk
from tasks_app.states import Outcome, RowStatus

if TYPE_CHECKING:
    from uuid import UUID

    from rest_framework.request import Request

LIMIT_BYTES_DEFAULT = 16_384
# What one answer with output may come to: rows x streams x bytes of each.
ANSWER_BYTES = 16_777_216


class TaskReads(Guarded, ViewSet):
    """The reading half of ``TaskViewSet``."""

    permissions: ClassVar[dict[str, frozenset[Role]]] = {}

    @extend_schema(responses=schema.answer_of(TaskState))
    @action(detail=True)
    def status(self, request: Request, task_id: UUID) -> HttpResponse:
        """Return where a task stands: small, and cheap to ask for often."""
        Query(request)
        return json_bytes(encoded.task_state_json(task_id=task_id))

    @extend_schema(parameters=schema.PROGRESS_PARAMETERS, responses=schema.answer_of(TaskProgress))
    @action(detail=True)
    def progress(self, request: Request, task_id: UUID) -> HttpResponse:
        """Return how far a task is; with a cursor, also the rows that moved since."""
        query = Query(request, "cursor", "size")
        text = query.text("cursor", characters=60)
        limit = query.whole("size", default=PAGE_SIZE, low=1, high=settings.DM_PAGE_SIZE_MAX)
        cursor = progress.parse_cursor(text) if text else None
        return json_answer(progress.task_progress(task_id=task_id, cursor=cursor, limit=limit))

    @extend_schema(responses=schema.answer_of(CommandProgress)(many=True))
    @action(detail=True)
    def commands(self, request: Request, task_id: UUID) -> HttpResponse:
        """Return a task's steps in order, with their rows by state."""
        Query(request)
        return json_answer(task_commands(task_pk=task_pk(task_id=task_id)))

    @extend_schema(parameters=schema.HOST_FILTERS, responses=schema.answer_of(Page[HostOfTask]))
    @action(detail=True)
    def hosts(self, request: Request, task_id: UUID) -> HttpResponse:
        """Return a task's hosts by name, each with its outcome and its rows."""
        query = Query(request, "hostname", several=("outcome", "state"), paged=True)
        page = rows.task_hosts(
            task_id=task_id,
            asked=parse_page(request.query_params),
            outcomes=query.choices("outcome", [*Outcome.values, rows.OPEN]),
            states=query.choices("state", RowStatus.values),
            hostname=query.text("hostname"),
        )
        return json_answer(page)

    @extend_schema(parameters=schema.LOG_FILTERS, responses=schema.answer_of(Page[LogEntry]))
    @action(detail=True)
    def logs(self, request: Request, task_id: UUID) -> HttpResponse:
        """Return rows that were delivered or ended, with what they printed, bounded in bytes."""
        query = Query(
            request,
            *("command", "host", "encoding", "charset", "limit_bytes"),
            several=("status", "stream"),
            paged=True,
        )
        narrowed = outputs.LogFilter(
            host=query.uuid("host"),
            command=query.uuid("command"),
            statuses=query.choices("status", RowStatus.values),
            streams=query.choices("stream", outputs.STREAMS) or outputs.STREAMS,
            limit_bytes=query.whole(
                "limit_bytes",
                default=LIMIT_BYTES_DEFAULT,
                low=schema.LIMIT_BYTES_LOW,
                high=schema.LIMIT_BYTES_HIGH,
            )
            // 2
            * 2,
            encoding=query.choice("encoding", outputs.ENCODINGS, outputs.TEXT),
            charset=query.charset("charset"),
        )
        asked = parse_page(request.query_params)
        if asked.size * len(narrowed.streams) * narrowed.limit_bytes > ANSWER_BYTES:
            raise InvalidInput(
                _("The answer would be too large."),
                code="answer_too_large",
                fields={"limit_bytes": [_("Ask for fewer rows or fewer bytes of each.")]},
            )
        return json_answer(outputs.task_logs(task_id=task_id, asked=asked, narrowed=narrowed))

    @extend_schema(parameters=schema.RAW_PARAMETERS, responses={(200, BYTES): OpenApiTypes.BINARY})
    @action(
        detail=True,
        url_path="logs/raw",
        url_name="logs-raw",
        renderer_classes=[JSONRenderer, BytesRenderer],
    )
    def raw_log(self, request: Request, task_id: UUID) -> HttpResponse:
        """Return one stream of one row, byte for byte as it is kept.

        X-Output-Dropped-Bytes says how many bytes are missing after the first X-Output-Head-Bytes.
        """
        query = Query(request, "command", "host", "stream")
        command, host = query.required_uuid("command"), query.required_uuid("host")
        stream = query.choice("stream", outputs.STREAMS, "stdout")
        kept = outputs.output_of_row(
            task_id=task_id, command_id=command, host_id=host, stream=stream
        )
        name = f"{task_id}-{command}-{host}.{stream}.log"
        return HttpResponse(
            kept.head + kept.tail,
            content_type=BYTES,
            headers={
                **kept.headers,
                "Content-Disposition": f'attachment; filename="{name}"',
                "X-Content-Type-Options": "nosniff",
            },
        )

    @extend_schema(parameters=schema.LIVE_PARAMETERS, responses=schema.answer_of(LiveChunk))
    @action(detail=True, url_path="logs/live", url_name="logs-live")
    def live_log(self, request: Request, task_id: UUID) -> HttpResponse:
        """Return what a running row has printed since an offset."""
        query = Query(request, "command", "host", "stream", "encoding", "charset", "offset")
        chunk = outputs.live_chunk(
            task_id=task_id,
            command_id=query.required_uuid("command"),
            host_id=query.required_uuid("host"),
            stream=query.choice("stream", outputs.STREAMS, "stdout"),
            offset=query.whole("offset", default=0, low=0, high=2**40),
            encoding=query.choice("encoding", outputs.ENCODINGS, outputs.TEXT),
            charset=query.charset("charset"),
        )
        return json_answer(chunk)

    @extend_schema(
        parameters=schema.GROUP_PARAMETERS, responses=schema.answer_of(Page[OutputGroup])
    )
    @action(detail=True, url_path="output-groups", url_name="output-groups")
    def output_groups(self, request: Request, task_id: UUID) -> HttpResponse:
        """Return a step's ended rows by what they came to, the largest group first."""
        command = Query(request, "command", paged=True).required_uuid("command")
        asked = parse_page(request.query_params)
        return json_answer(outputs.output_groups(task_id=task_id, command_id=command, asked=asked))
