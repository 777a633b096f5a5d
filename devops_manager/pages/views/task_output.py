"""What a task printed: equal results together, one host's steps, one stream as a file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from django.http import StreamingHttpResponse
from django.utils.translation import gettext as _

from devops_manager.lib.errors import NotFound
from devops_manager.lib.pagination import Page, parse_page
from devops_manager.pages.charsets import CHARSET_WORDS, charset_asked, charset_choices
from devops_manager.pages.gate import page, show
from devops_manager.pages.listing import listing_of
from devops_manager.pages.terminal_text import inert_text
from devops_manager.pages.views.task_shapes import load_task, step_asked, task_context
from tasks_app.selectors.outputs import (
    STREAMS,
    LogFilter,
    output_groups,
    output_of_row,
    task_logs,
)
from tasks_app.states import ROW_IN_FLIGHT

if TYPE_CHECKING:
    from uuid import UUID

    from django.http import HttpRequest, HttpResponse

    from devops_manager.access.actors import Actor
    from tasks_app.selectors.shapes import LogEntry, OutputGroup, StreamView, TaskDetail

GROUP_BYTES = 16_384
# Of each stream on a host's page, and of all streams there together.
HOST_BYTES = 131_072
PAGE_BYTES = 1_048_576
GROUPS_A_PAGE = "10"
STEPS_A_PAGE = 200


@dataclass(frozen=True, slots=True)
class ShownStream:
    """One stream as text that is safe to look at, with what is missing of it."""

    name: str
    head: str
    tail: str
    omitted_bytes: int
    total_bytes: int
    exact: bool
    charset: str


@dataclass(frozen=True, slots=True)
class ShownEntry:
    """One step on one host with its output; no streams: nothing is kept of it."""

    entry: LogEntry
    streams: tuple[ShownStream, ...]

    @property
    def kept(self) -> bool:
        """Tell whether output is kept at all, were it empty."""
        return bool(self.streams)

    @property
    def printed(self) -> bool:
        """Tell whether there is anything to see."""
        return any(stream.total_bytes for stream in self.streams)


@dataclass(frozen=True, slots=True)
class ShownGroup:
    """Hosts with equal results, and what one of them printed (None: to be looked up)."""

    group: OutputGroup
    sample: ShownEntry | None

    @property
    def more(self) -> int:
        """Return how many hosts are not named."""
        return self.group.count - len(self.group.hosts)


def _stream(name: str, view: StreamView) -> ShownStream:
    return ShownStream(
        name=name,
        head=inert_text(view.head),
        tail=inert_text(view.tail),
        omitted_bytes=view.omitted_bytes,
        total_bytes=view.total_bytes,
        exact=view.exact,
        charset=CHARSET_WORDS.get(view.charset, view.charset),
    )


def shown_entry(entry: LogEntry) -> ShownEntry:
    """Return a row's output as pages show it."""
    views = ((name, getattr(entry, name)) for name in STREAMS)
    return ShownEntry(
        entry=entry, streams=tuple(_stream(name, view) for name, view in views if view is not None)
    )


@page()
def groups(request: HttpRequest, actor: Actor, task_id: UUID) -> HttpResponse:
    """Show a step's results with equal ones together, the largest group first."""
    shown = load_task(request, actor, task_id)
    context = task_context(shown, "output")
    context["listing"] = None
    charset = _charset_context(request, context)
    if shown.task.commands and not shown.same:
        command = step_asked(request, shown.task)
        asked = parse_page({"size": GROUPS_A_PAGE} | request.GET.dict())
        found = output_groups(task_id=task_id, command_id=command.command_id, asked=asked)
        context["listing"] = listing_of(found)
        context["command"] = command
        context["groups"] = [
            ShownGroup(group=group, sample=_sample(task_id, command.command_id, group, charset))
            for group in found.results
        ]
    return show(request, "pages/task_output.html", context)


def _charset_context(request: HttpRequest, context: dict[str, Any]) -> str:
    """Put into a page's context what its choice of charsets needs; return the one to read in."""
    context["charset"] = charset_asked(request)
    context["charsets"] = charset_choices()
    return str(context["charset"])


def _sample(task_id: UUID, command_id: UUID, group: OutputGroup, charset: str) -> ShownEntry | None:
    if not group.hosts:
        return None
    logs = task_logs(
        task_id=task_id,
        asked=Page(number=1, size=1),
        narrowed=LogFilter(
            host=group.hosts[0].host_id,
            command=command_id,
            limit_bytes=GROUP_BYTES,
            charset=charset,
        ),
    ).results
    return shown_entry(logs[0]) if logs else None


def _bytes_a_stream(task: TaskDetail) -> int:
    """Return how much of each stream the page of a host shows: many steps share what one page is.

    The whole of each stream is a file to download.
    """
    streams = len(STREAMS) * max(1, len(task.commands))
    return min(HOST_BYTES, PAGE_BYTES // streams // 2 * 2)


def _host_context(
    request: HttpRequest, actor: Actor, task_id: UUID, host_id: UUID
) -> dict[str, Any]:
    shown = load_task(request, actor, task_id)
    context = task_context(shown, "hosts")
    charset = _charset_context(request, context)
    logs = task_logs(
        task_id=task_id,
        asked=Page(number=1, size=STEPS_A_PAGE),
        narrowed=LogFilter(host=host_id, limit_bytes=_bytes_a_stream(shown.task), charset=charset),
    ).results
    names = {command.command_id: command for command in shown.task.commands}
    # A page that has all rows as they are asks for what runs: only that prints.
    wanted = [log for log in logs if log.live or not shown.same]
    context["entries"] = [(names.get(log.row.command_id), shown_entry(log)) for log in wanted]
    context["host_id"] = host_id
    context["hostname"] = logs[0].row.hostname if logs else str(host_id)
    context["running"] = any(log.row.status in ROW_IN_FLIGHT for log in logs)
    return context


@page()
def host(request: HttpRequest, actor: Actor, task_id: UUID, host_id: UUID) -> HttpResponse:
    """Show what one host was given of a task and what it printed, also while it runs."""
    context = _host_context(request, actor, task_id, host_id)
    return show(request, "pages/task_host.html", context)


@page()
def stream_file(
    request: HttpRequest, actor: Actor, task_id: UUID, host_id: UUID, command_id: UUID, stream: str
) -> StreamingHttpResponse:
    """Send one stream as it is kept, byte for byte, as a file that no browser displays."""
    if stream not in STREAMS:
        raise NotFound(_("There is no such stream."))
    kept = output_of_row(task_id=task_id, command_id=command_id, host_id=host_id, stream=stream)
    response = StreamingHttpResponse(
        iter([kept.head, kept.tail]), content_type="application/octet-stream", headers=kept.headers
    )
    response["Content-Disposition"] = f'attachment; filename="{host_id}-{stream}.txt"'
    return response
