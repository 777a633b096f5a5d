"""Reads of output: a page of rows with theirs, one stream whole, groups of equal results."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from django.utils.translation import gettext as _

from devops_manager.lib.decoding import DOUBLE_BYTE, UTF_8, decode, rest_of_character
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
_OF_ROW = ("id", "fence", "host__output_charset")
# So much before a cut tells where its characters begin, if no line does.
_BEFORE = 65_536
_UNKNOWN = (RowStatus.LOST, RowStatus.INTERRUPTED)


@dataclass(frozen=True, slots=True)
class LogFilter:
    """Which rows' output, which streams, how much of each (an even number of bytes), and how.

    ``charset`` is one of CHARSETS; empty: each host's own.
    """

    host: UUID | None = None
    command: UUID | None = None
    statuses: tuple[str, ...] = ()
    streams: tuple[str, ...] = STREAMS
    limit_bytes: int = 16_384
    encoding: str = TEXT
    charset: str = ""


class Before(NamedTuple):
    """What lies directly before a cut, which is not shown; ``is_all``: from the very beginning."""

    data: bytes = b""
    is_all: bool = False


_NOTHING_BEFORE = Before()


@dataclass(frozen=True, slots=True)
class KeptOutput:
    """What is kept of one stream of one row; ``dropped_bytes`` lay between its head and tail."""

    head: bytes
    tail: bytes
    dropped_bytes: int

    @property
    def headers(self) -> dict[str, str]:
        """Return, as headers of an answer with the bytes, what is missing in them and where."""
        return {
            "X-Output-Dropped-Bytes": str(self.dropped_bytes),
            "X-Output-Head-Bytes": str(len(self.head)),
        }


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
        rows.order_by("position", "id").values_list(*_OF_ROW, *ROW_FIELDS)[
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
    charsets = {row[0]: narrowed.charset or row[2] or UTF_8 for row in page}
    views = [(row[0], row_view(row[len(_OF_ROW) :])) for row in page]
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
        before=_BEFORE if DOUBLE_BYTE.intersection(charsets.values()) else 0,
    ):
        found.setdefault(stream.row_id, {})[stream.name] = stream_view(
            bytes(stream.head),
            bytes(stream.tail),
            stream.total,
            encoding=narrowed.encoding,
            charset=charsets[stream.row_id],
            before=Before(bytes(stream.before), stream.before_is_all),
        )
    return found


def _log_entry(row: tuple[Any, ...], kept: dict[str, StreamView], narrowed: LogFilter) -> LogEntry:
    fence, view = row[1], row_view(row[len(_OF_ROW) :])
    live = view.status == RowStatus.RUNNING
    # Of what ended without a result, the sweep keeps soon what viewers saw (services/seen_output).
    unkept = view.status in _UNKNOWN and not any(one.total_bytes for one in kept.values())
    if (live or unkept) and fence is not None:
        charset = narrowed.charset or row[2] or UTF_8
        seen = {
            name: _live_stream(fence, name, narrowed, charset=charset, live=live)
            for name in narrowed.streams
        }
        if live or any(one.total_bytes for one in seen.values()):
            kept = seen
    return LogEntry(row=view, live=live, stdout=kept.get("stdout"), stderr=kept.get("stderr"))


def _live_stream(
    fence: UUID, stream: str, narrowed: LogFilter, *, charset: str, live: bool
) -> StreamView:
    data = live_output.read_whole(fence, stream)
    if live and narrowed.encoding == TEXT:
        # The rest of a character that is not all here is on its way.
        data = data[: len(data) - decode(data, charset, cut_end=True).left_bytes]
    head, tail, before = data, b"", _NOTHING_BEFORE
    if len(data) > narrowed.limit_bytes:
        half = narrowed.limit_bytes // 2
        head, tail, before = data[:half], data[-half:], Before(data[:-half], is_all=True)
    return stream_view(
        head, tail, len(data), encoding=narrowed.encoding, charset=charset, before=before
    )


def stream_view(
    head: bytes,
    tail: bytes,
    total: int,
    *,
    encoding: str,
    charset: str = UTF_8,
    before: Before = _NOTHING_BEFORE,
) -> StreamView:
    """Return a stream as it is shown. As text, no character is cut in two by our own cutting."""
    omitted = total - len(head) - len(tail)
    if encoding == BASE64:
        return StreamView(
            encoding=BASE64,
            charset="",
            head=base64.b64encode(head).decode(),
            tail=base64.b64encode(tail).decode(),
            omitted_bytes=omitted,
            total_bytes=total,
            exact=True,
        )
    begun = decode(head, charset, cut_end=bool(omitted or tail))
    if omitted:
        omitted += begun.left_bytes
    elif tail:
        # Nothing is missing between the two: a character may have a part in each.
        tail = head[len(head) - begun.left_bytes :] + tail
    rest = rest_of_character(before.data, tail, charset, is_all=before.is_all) if omitted else 0
    ended = decode(tail[rest:], charset)
    return StreamView(
        encoding=TEXT,
        charset=charset,
        head=begun.text,
        tail=ended.text,
        omitted_bytes=omitted + rest,
        total_bytes=total,
        exact=begun.exact and ended.exact,
    )


def output_of_row(*, task_id: UUID, command_id: UUID, host_id: UUID, stream: str) -> KeptOutput:
    """Return one stream of one row, byte for byte as it is kept.

    Raises NotFound when there is no such row or nothing is kept of it.
    """
    row = _row(task_id, command_id, host_id)
    if row.status in ROW_IN_FLIGHT and row.fence is not None:
        return KeptOutput(live_output.read_whole(row.fence, stream), b"", 0)
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
    return KeptOutput(bytes(kept[0]), bytes(kept[1]), kept[2])


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
        .select_related("host")
        .only("id", "status", "attempt", "fence", "finished_at", "host__output_charset")
        .first()
    )


def _not_given() -> NotFound:
    return NotFound(_("This step has not been given to this host."))


def live_chunk(
    *,
    task_id: UUID,
    command_id: UUID,
    host_id: UUID,
    stream: str,
    offset: int,
    encoding: str,
    charset: str = "",
) -> LiveChunk:
    """Return what a running row has printed since ``offset``; when it ended, read its log instead.

    Nothing yet where the row is still to be made. ``charset`` as in LogFilter. Raises NotFound when
    it never will be.
    """
    row = _row_if_made(task_id, command_id, host_id)
    status = RowStatus(row.status) if row else _status_to_be(task_id, command_id, host_id)
    data, next_offset = b"", offset
    if row and row.fence is not None:
        data, next_offset = live_output.read(row.fence, stream, offset)
    ended = status in ROW_TERMINAL
    if encoding == BASE64:
        text, exact, charset = base64.b64encode(data).decode(), True, ""
    else:
        charset = charset or (row.host.output_charset if row else "") or UTF_8
        # The rest of a character that is not all here comes with the next piece.
        more = not ended or len(data) == live_output.READ_BYTES
        text, exact, left_bytes = decode(data, charset, cut_end=more)
        next_offset -= left_bytes
    return LiveChunk(
        encoding=encoding,
        charset=charset,
        data=text,
        exact=exact,
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
