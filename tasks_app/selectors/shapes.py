"""What the reads of tasks return: frozen, and encoded as they are for the API.

Counts are of hosts (``*_hosts``) or of rows by state (``rows``); times are aware datetimes in UTC.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Generic, TypeVar
from uuid import UUID

from tasks_app.script_text import Warned
from tasks_app.states import CancelState, CommandStatus, Outcome, RowStatus, TaskStatus

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """One page of a list, and how many there are in all (counting may stop early)."""

    count: int
    page: int
    size: int
    results: list[T]


@dataclass(frozen=True, slots=True)
class HostCounts:
    """A task's hosts by outcome; what is missing to ``total_hosts`` has not ended."""

    total_hosts: int
    completed_hosts: int
    failed_hosts: int
    lost_hosts: int
    canceled_hosts: int
    skipped_hosts: int


@dataclass(frozen=True, slots=True)
class TaskSummary(HostCounts):
    """One task in a list."""

    task_id: UUID
    name: str
    status: TaskStatus
    priority: str
    created_by: str | None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    revision: int


@dataclass(frozen=True, slots=True)
class CommandDetail:
    """One step, whole.

    Values of ``environment`` are ``***`` for those who may not see them, and ``environment_masked``
    says so.
    """

    command_id: UUID
    position: int
    name: str
    kind: str
    body: str
    interpreter: str
    parameters: list[str]
    environment: dict[str, str]
    environment_masked: bool
    working_directory: str
    run_as: str
    timeout_seconds: int
    on_failure: str
    host: UUID | None
    hostname: str | None
    status: CommandStatus
    rows: dict[str, int]


@dataclass(frozen=True, slots=True)
class LeftOutHost:
    """A host that a task did not reach: its creator's grant was revoked before the start."""

    host_id: UUID
    hostname: str


@dataclass(frozen=True, slots=True)
class TaskDetail(TaskSummary):
    """One task, whole, with its steps in order.

    ``left_out`` names up to 20 of the ``left_out_hosts`` that fell out of the target at its start.
    """

    description: str
    target: dict[str, Any]
    offline_policy: str
    delivery_seconds: int
    queued_at: datetime | None
    stop_requested_at: datetime | None
    cancel_requested_at: datetime | None
    error_code: str
    error_message: str
    left_out_hosts: int
    left_out: list[LeftOutHost]
    reason: str
    commands: list[CommandDetail]
    warnings: list[Warned]


@dataclass(frozen=True, slots=True)
class TaskState(HostCounts):
    """Where a task stands, small enough to ask for often."""

    task_id: UUID
    status: TaskStatus
    started_at: datetime | None
    finished_at: datetime | None
    revision: int


@dataclass(frozen=True, slots=True)
class CommandProgress:
    """Where one step stands: its rows by state, every state named."""

    command_id: UUID
    position: int
    name: str
    status: CommandStatus
    rows: dict[str, int]


@dataclass(frozen=True, slots=True)
class RowView:
    """One step on one host, without its output.

    ``reason`` says in the reader's words what ``error_code`` and ``error_message`` do.
    """

    command_id: UUID
    position: int
    host_id: UUID
    hostname: str
    status: RowStatus
    attempt: int
    exit_code: int | None
    error_code: str
    error_message: str
    execution_time_ms: int | None
    claimed_at: datetime | None
    started_at: datetime | None
    finished_at: datetime | None
    cancel_state: CancelState
    reason: str


@dataclass(frozen=True, slots=True)
class TaskProgress(TaskState):
    """How far a task is; with a cursor, also the rows that moved since.

    ``cursor`` is what to ask with next; ``more`` tells that there are further changed rows, to be
    asked for at once with that cursor. ``changed`` is null when no cursor was given.
    ``eta_seconds`` is null when nothing can be said: at the beginning, while nothing runs, and at
    the end, which slow and absent hosts decide.
    """

    ended_hosts: int
    percent: float
    eta_seconds: int | None
    commands: list[CommandProgress]
    cursor: str
    changed: list[RowView] | None
    more: bool


@dataclass(frozen=True, slots=True)
class HostOfTask:
    """One target of a task: its outcome, null while something is open there, and its rows."""

    host_id: UUID
    hostname: str
    outcome: Outcome | None
    rows: list[RowView]


@dataclass(frozen=True, slots=True)
class TaskOfHost:
    """One step that a host was given, newest first in lists; ``reason`` as in ``RowView``."""

    task_id: UUID
    task_name: str
    task_status: TaskStatus
    command_id: UUID
    position: int
    command_name: str
    status: RowStatus
    attempt: int
    exit_code: int | None
    error_code: str
    error_message: str
    reason: str
    execution_time_ms: int | None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None


@dataclass(frozen=True, slots=True)
class StreamView:
    """One stream's kept output: its beginning, what is left out in between, its end.

    ``text`` encoding: read in ``charset``; what cannot be read in it is shown as U+FFFD, and
    ``exact`` says whether all could be; ``base64``: the exact bytes, and ``charset`` is empty.
    ``omitted_bytes``: dropped by the agent or cut for this answer.
    """

    encoding: str
    charset: str
    head: str
    tail: str
    omitted_bytes: int
    total_bytes: int
    exact: bool


@dataclass(frozen=True, slots=True)
class LogEntry:
    """One row with its output; ``live`` while it runs: what the agent has sent so far.

    A stream is null where nothing is kept: not asked for, not started, or gone by retention.
    """

    row: RowView
    live: bool
    stdout: StreamView | None
    stderr: StreamView | None


@dataclass(frozen=True, slots=True)
class LiveChunk:
    """A piece of what a running command prints; go on from ``next_offset`` until ``ended``.

    ``status`` is the row's; ``pending`` while the row is still to be made. As text in ``charset``,
    it ends with a whole character. ``exact``: all of it could be read.
    """

    encoding: str
    charset: str
    data: str
    exact: bool
    offset: int
    next_offset: int
    ended: bool
    status: RowStatus


@dataclass(frozen=True, slots=True)
class NamedHost:
    """A host by id and name."""

    host_id: UUID
    hostname: str


@dataclass(frozen=True, slots=True)
class OutputGroup:
    """Ended rows of a step that came to the same: same state, exit code and (normalised) output."""

    status: RowStatus
    exit_code: int | None
    output_digest: str | None
    count: int
    hosts: list[NamedHost]


@dataclass(frozen=True, slots=True)
class GlobalStats:
    """Open tasks by state, those of the last 24 hours by state, open rows of running tasks."""

    open_tasks: dict[str, int]
    recent_tasks: dict[str, int]
    open_rows: dict[str, int]


@dataclass(frozen=True, slots=True)
class MetricsSummary:
    """The figures of capacity that an operator watches; nothing of it is cached."""

    running_tasks: int
    running_tasks_limit: int
    queued_tasks: int
    queue_capacity: int
    oldest_queued_seconds: int | None
    waiting_commands: int
    commands_in_flight: int
    hosts_by_status: dict[str, int]
    hosts_online: int
    hosts_offline: int
    hosts_quarantined: int
