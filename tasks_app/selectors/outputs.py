"""Reads of output: a page of rows with theirs, one stream whole, groups of equal results."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from django.utils.translation import gettext as _

from devops_manager.lib.errors import NotFound
from devops_manager.lib.pagination import refuse_beyond_end
from hosts_app.models import Host
from tasks_app import live_output
from tasks_app.models import Command, CommandHost, CommandOutput, TaskWindow
from tasks_app.queue import reads
from tasks_app.selectors.rows import ROW_FIELDS, row_view
from tasks_app.selectors.shapes import (
    LiveChunk,
    LogEntry,
    NamedHost,
    OutputGroup,
    Page,
    StreamView,
)
from tasks_app.selectors.tasks import task_pk
from tasks_app.states import ROW_IN_FLIGHT, ROW_TERMINAL, TASK_TERMINAL, RowStatus

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from uuid import UUID

    from devops_manager.lib.pagination import Page as PageAsked

STREAMS = ("stdout", "stderr")
TEXT = "text"
BASE64 = "base64"
ENCODINGS = (TEXT, BASE64)
SAMPLE_HOSTS = 5
_UNKNOWN = (RowStatus.LOST, RowStatus.INTERRUPTED)


@dataclass(frozen=True, slots=True)
class LogFilter:
    """Which rows' output, which streams, how much of each (an even number of bytes), and how."""

    host: UUID | None = None
    command: UUID | None = None
    statuses: tuple[str, ...] = ()
    streams: tuple[str, ...] = STREAMS
    limit_bytes: int = 16_384
    encoding: str = TEXT


def task_logs(*, task_id: UUID, asked: PageAsked, narrowed: LogFilter) -> Page[LogEntry]:
    """Return one page of rows that were delivered or ended, by step and host, with their output.

    Five statements, however many rows; running rows add what the live store has. Raises NotFound.
    """
    commands = _command_pks(task_pk(task_id=task_id), narrowed.command)
    rows = CommandHost.objects.filter(
        command__in=commands, status__in=[*ROW_IN_FLIGHT, *ROW_TERMINAL]
    )
    if narrowed.statuses:
        rows = rows.filter(status__in=narrowed.statuses)
    if narrowed.host is not None:
        rows = rows.filter(host=_host_pk(narrowed.host))
    count = rows.count()
    refuse_beyond_end(asked, count)
    page = list(
        rows.order_by("position", "id").values_list("id", "fence", *ROW_FIELDS)[
            asked.offset : asked.offset + asked.size
        ]
    )
    kept = _kept_streams(page, narrowed)
    results = [_log_entry(row, kept.get(row[0], {}), narrowed) for row in page]
    return Page(count=count, page=asked.number, size=asked.size, results=results)


def _command_pks(task: int, command_id: UUID | None) -> list[int]:
    commands = Command.objects.filter(task_id=task)
    if command_id is not None:
        commands = commands.filter(command_id=command_id)
    found = list(commands.values_list("id", flat=True))
    if command_id is not None and not found:
        raise NotFound(_("This task has no such step."))
    return found


def _host_pk(host_id: UUID) -> int:
    found = Host.objects.filter(host_id=host_id).values_list("id", flat=True).first()
    if found is None:
        raise NotFound(_("There is no such host."))
    return found


def _kept_streams(
    page: Sequence[tuple[Any, ...]], narrowed: LogFilter
) -> dict[int, dict[str, StreamView]]:
    views = [(row[0], row_view(row[2:])) for row in page]
    ended = [(pk, view) for pk, view in views if view.finished_at is not None]
    if not ended:
        return {}
    found: dict[int, dict[str, StreamView]] = {}
    for stream in reads.outputs(
        rows=[pk for pk, _view in ended],
        attempts=[view.attempt for _pk, view in ended],
        ended=[view.finished_at for _pk, view in ended if view.finished_at is not None],
        streams=narrowed.streams,
        limit=narrowed.limit_bytes,
    ):
        found.setdefault(stream.row_id, {})[stream.name] = stream_view(
            bytes(stream.head), bytes(stream.tail), stream.total, narrowed.encoding
        )
    return found


def _log_entry(row: tuple[Any, ...], kept: dict[str, StreamView], narrowed: LogFilter) -> LogEntry:
    fence, view = row[1], row_view(row[2:])
    live = view.status == RowStatus.RUNNING
    # Of what ended without a result, the sweep keeps soon what viewers saw (services/seen_output).
    unkept = view.status in _UNKNOWN and not any(one.total_bytes for one in kept.values())
    if (live or unkept) and fence is not None:
        seen = {name: _live_stream(fence, name, narrowed) for name in narrowed.streams}
        if live or any(one.total_bytes for one in seen.values()):
            kept = seen
    return LogEntry(row=view, live=live, stdout=kept.get("stdout"), stderr=kept.get("stderr"))


def _live_stream(fence: UUID, stream: str, narrowed: LogFilter) -> StreamView:
    data = live_output.read_whole(fence, stream)
    if len(data) <= narrowed.limit_bytes:
        return stream_view(data, b"", len(data), narrowed.encoding)
    half = narrowed.limit_bytes // 2
    return stream_view(data[:half], data[-half:], len(data), narrowed.encoding)


def stream_view(head: bytes, tail: bytes, total: int, encoding: str) -> StreamView:
    """Return a stream as it is shown. As text, no character is cut in two by our own cutting."""
    if encoding == BASE64:
        return StreamView(
            encoding=BASE64,
            head=base64.b64encode(head).decode(),
            tail=base64.b64encode(tail).decode(),
            omitted_bytes=total - len(head) - len(tail),
            total_bytes=total,
            exact=True,
        )
    if total > len(head) + len(tail):
        head, tail = _whole_characters_at_end(head), _whole_characters_at_start(tail)
    head_text, head_exact = _decode(head)
    tail_text, tail_exact = _decode(tail)
    return StreamView(
        encoding=TEXT,
        head=head_text,
        tail=tail_text,
        omitted_bytes=total - len(head) - len(tail),
        total_bytes=total,
        exact=head_exact and tail_exact,
    )


def _decode(data: bytes) -> tuple[str, bool]:
    try:
        return data.decode("utf-8"), True
    except UnicodeDecodeError:
        return data.decode("utf-8", "replace"), False


def _whole_characters_at_end(data: bytes) -> bytes:
    """Return ``data`` without the beginning of a character that its end cuts off."""
    for back in range(1, min(4, len(data) + 1)):
        byte = data[-back]
        if byte < 0x80:
            return data
        if byte >= 0xC0:
            length = 2 if byte < 0xE0 else 3 if byte < 0xF0 else 4
            return data[:-back] if length > back else data
    return data


def _whole_characters_at_start(data: bytes) -> bytes:
    """Return ``data`` without the rest of a character that its start cuts off."""
    for at in range(min(3, len(data))):
        if not 0x80 <= data[at] < 0xC0:
            return data[at:]
    return data[3:] if len(data) > 3 and not 0x80 <= data[3] < 0xC0 else data


def output_of_row(
    *, task_id: UUID, command_id: UUID, host_id: UUID, stream: str
) -> Iterable[bytes]:
    """Return one stream of one row, whole, in pieces to be sent one after another.

    What was dropped is said by one line in its place. Raises NotFound when there is no such row or
    nothing is kept of it.
    """
    row = _row(task_id, command_id, host_id)
    if row.status in ROW_IN_FLIGHT and row.fence is not None:
        return [live_output.read_whole(row.fence, stream)]
    if row.finished_at is None:
        raise _nothing_kept()
    kept = (
        CommandOutput.objects.filter(
            command_host=row.pk, attempt=row.attempt, created_at=row.finished_at
        )
        .values_list(f"{stream}_head", f"{stream}_tail", f"{stream}_dropped_bytes")
        .first()
    )
    if kept is None:
        raise _nothing_kept()
    head, tail, dropped = bytes(kept[0]), bytes(kept[1]), kept[2]
    if not dropped:
        return [head, tail]
    return [head, b"\n[... %d bytes dropped ...]\n" % dropped, tail]


def _nothing_kept() -> NotFound:
    return NotFound(_("No output is kept of this."))


def _row(task_id: UUID, command_id: UUID, host_id: UUID) -> CommandHost:
    row = _row_if_made(task_id, command_id, host_id)
    if row is None:
        raise _not_given()
    return row


def _row_if_made(task_id: UUID, command_id: UUID, host_id: UUID) -> CommandHost | None:
    return (
        CommandHost.objects.filter(
            command__in=_command_pks(task_pk(task_id=task_id), command_id), host__host_id=host_id
        )
        .only("id", "status", "attempt", "fence", "finished_at")
        .first()
    )


def _not_given() -> NotFound:
    return NotFound(_("This step has not been given to this host."))


def live_chunk(
    *, task_id: UUID, command_id: UUID, host_id: UUID, stream: str, offset: int, encoding: str
) -> LiveChunk:
    """Return what a running row has printed since ``offset``; when it ended, read its log instead.

    Nothing yet where the row is still to be made. Raises NotFound when it never will be.
    """
    row = _row_if_made(task_id, command_id, host_id)
    status = RowStatus(row.status) if row else _status_to_be(task_id, command_id, host_id)
    data, next_offset = b"", offset
    if row and row.fence is not None:
        data, next_offset = live_output.read(row.fence, stream, offset)
    ended = status in ROW_TERMINAL
    if encoding == BASE64:
        text = base64.b64encode(data).decode()
    else:
        # The rest of a character that is not all here comes with the next piece.
        whole = data if ended else _whole_characters_at_end(data)
        next_offset -= len(data) - len(whole)
        text = _decode(whole)[0]
    return LiveChunk(
        encoding=encoding,
        data=text,
        offset=offset,
        next_offset=next_offset,
        ended=ended,
        status=status,
    )


def _status_to_be(task_id: UUID, command_id: UUID, host_id: UUID) -> RowStatus:
    """Return the state of a row that is not made yet, or never was for a stop or cancel.

    Before a task has started it is not known on which hosts it will run. Raises NotFound for a host
    that the task is not for.
    """
    host = _host_pk(host_id)
    command = Command.objects.select_related("task").get(
        task__task_id=task_id, command_id=command_id
    )
    task = command.task
    windows = TaskWindow.objects.filter(task=task)
    if command.host_id not in {None, host}:
        raise _not_given()
    if task.started_at is not None and not windows.filter(host_ids__contains=[host]).exists():
        raise _not_given()
    if task.status in TASK_TERMINAL or task.stop_requested_at or task.cancel_requested_at:
        return RowStatus.CANCELED
    return RowStatus.PENDING


def output_groups(*, task_id: UUID, command_id: UUID, asked: PageAsked) -> Page[OutputGroup]:
    """Return a step's ended rows by what they came to, the largest group first, with sample hosts.

    Four statements. Raises NotFound.
    """
    (command,) = _command_pks(task_pk(task_id=task_id), command_id)
    found = reads.output_groups(
        command=command, sample=SAMPLE_HOSTS, limit=asked.size, offset=asked.offset
    )
    count = found[0].total if found else 0
    refuse_beyond_end(asked, count)
    names = _named({host for group in found for host in group.hosts})
    results = [
        OutputGroup(
            status=RowStatus(group.status),
            exit_code=group.exit_code,
            output_digest=bytes(group.digest).hex() if group.digest is not None else None,
            count=group.rows,
            hosts=[names[host] for host in group.hosts],
        )
        for group in found
    ]
    return Page(count=count, page=asked.number, size=asked.size, results=results)


def _named(hosts: Iterable[int]) -> dict[int, NamedHost]:
    rows = Host.objects.filter(pk__in=list(hosts)).values_list("id", "host_id", "hostname")
    return {pk: NamedHost(host_id, hostname) for pk, host_id, hostname in rows}
