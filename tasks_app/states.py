"""The states of tasks, commands and their rows on hosts, and which may follow which, as data.

SQL takes the legal sources from here as a parameter, and the CHECK constraints are built from here.
"""

from __future__ import annotations

from django.db import models
from django.utils.translation import gettext_lazy as _


class TaskStatus(models.TextChoices):
    """Where a task stands."""

    PENDING = "pending", _("Not started")
    QUEUED = "queued", _("Queued")
    RUNNING = "running", _("Running")
    PAUSED = "paused", _("Paused")
    COMPLETED = "completed", _("Completed")
    PARTIAL = "partial", _("Partly completed")
    FAILED = "failed", _("Failed")
    CANCELED = "canceled", _("Canceled")


class CommandStatus(models.TextChoices):
    """Where one step of a task stands, rolled up over its hosts."""

    PENDING = "pending", _("Not started")
    RUNNING = "running", _("Running")
    COMPLETED = "completed", _("Completed")
    PARTIAL = "partial", _("Partly completed")
    FAILED = "failed", _("Failed")
    CANCELED = "canceled", _("Canceled")


class RowStatus(models.TextChoices):
    """Where one command stands on one host."""

    BLOCKED = "blocked", _("Waiting for an earlier step")
    PENDING = "pending", _("Waiting to run")
    CLAIMED = "claimed", _("Delivered")
    RUNNING = "running", _("Running on the host")
    COMPLETED = "completed", _("Completed successfully")
    FAILED = "failed", _("Execution failed")
    TIMEOUT = "timeout", _("Timed out")
    DISPATCH_FAILED = "dispatch_failed", _("Could not be delivered")
    CANCELED = "canceled", _("Execution canceled")
    INTERRUPTED = "interrupted", _("Interrupted")
    LOST = "lost", _("Outcome unknown")
    SKIPPED = "skipped", _("Skipped")


class CancelState(models.TextChoices):
    """What came of a cancel that reached a row after it had been delivered."""

    NONE = "", _("None")
    REQUESTED = "requested", _("Cancel requested")
    CONFIRMED = "confirmed", _("Cancel confirmed by the agent")
    TOO_LATE = "too_late", _("Ended before the cancel")
    UNKNOWN = "unknown", _("Not known whether the cancel took effect")


class Priority(models.IntegerChoices):
    """Which task goes first."""

    LOW = 1, _("Low")
    NORMAL = 2, _("Normal")
    HIGH = 3, _("High")
    URGENT = 4, _("Urgent")


class Outcome(models.TextChoices):
    """A host's outcome in a task: the first of these that its rows show."""

    FAILED = "failed", _("Failed")
    LOST = "lost", _("Unknown")
    CANCELED = "canceled", _("Canceled")
    SKIPPED = "skipped", _("Skipped")
    COMPLETED = "completed", _("Completed")


TASK_TRANSITIONS: dict[str, frozenset[str]] = {
    TaskStatus.PENDING: frozenset({TaskStatus.QUEUED, TaskStatus.RUNNING, TaskStatus.CANCELED}),
    TaskStatus.QUEUED: frozenset({TaskStatus.RUNNING, TaskStatus.FAILED, TaskStatus.CANCELED}),
    TaskStatus.RUNNING: frozenset(
        {
            TaskStatus.PAUSED,
            TaskStatus.COMPLETED,
            TaskStatus.PARTIAL,
            TaskStatus.FAILED,
            TaskStatus.CANCELED,
        }
    ),
    TaskStatus.PAUSED: frozenset(
        {
            TaskStatus.QUEUED,
            TaskStatus.RUNNING,
            TaskStatus.COMPLETED,
            TaskStatus.PARTIAL,
            TaskStatus.FAILED,
            TaskStatus.CANCELED,
        }
    ),
    # A late result of a lost row may change what a closed task came to; it never opens it again.
    TaskStatus.COMPLETED: frozenset({TaskStatus.PARTIAL, TaskStatus.FAILED}),
    TaskStatus.PARTIAL: frozenset({TaskStatus.COMPLETED, TaskStatus.FAILED}),
    TaskStatus.FAILED: frozenset({TaskStatus.COMPLETED, TaskStatus.PARTIAL}),
    TaskStatus.CANCELED: frozenset(),
}

_ENDED_BY_AGENT = frozenset(
    {
        RowStatus.COMPLETED,
        RowStatus.FAILED,
        RowStatus.TIMEOUT,
        RowStatus.CANCELED,
        RowStatus.INTERRUPTED,
    }
)

ROW_TRANSITIONS: dict[str, frozenset[str]] = {
    RowStatus.BLOCKED: frozenset({RowStatus.PENDING, RowStatus.CANCELED, RowStatus.SKIPPED}),
    RowStatus.PENDING: frozenset(
        {RowStatus.CLAIMED, RowStatus.CANCELED, RowStatus.DISPATCH_FAILED}
    ),
    # claimed → canceled and dispatch_failed: only on proof that it was never delivered
    RowStatus.CLAIMED: _ENDED_BY_AGENT
    | {RowStatus.RUNNING, RowStatus.LOST, RowStatus.DISPATCH_FAILED},
    RowStatus.RUNNING: _ENDED_BY_AGENT | {RowStatus.LOST},
    RowStatus.LOST: _ENDED_BY_AGENT,
    # only where the server inferred the interruption; the agent's word replaces the inference
    RowStatus.INTERRUPTED: _ENDED_BY_AGENT,
    RowStatus.COMPLETED: frozenset(),
    RowStatus.FAILED: frozenset(),
    RowStatus.TIMEOUT: frozenset(),
    RowStatus.DISPATCH_FAILED: frozenset(),
    RowStatus.CANCELED: frozenset(),
    RowStatus.SKIPPED: frozenset(),
}

ROW_OPEN = (RowStatus.BLOCKED, RowStatus.PENDING, RowStatus.CLAIMED, RowStatus.RUNNING)
ROW_IN_FLIGHT = (RowStatus.CLAIMED, RowStatus.RUNNING)
ROW_WITH_DEADLINE = (RowStatus.PENDING, RowStatus.CLAIMED, RowStatus.RUNNING)
ROW_TERMINAL = tuple(status for status in RowStatus if status not in ROW_OPEN)
ROW_FAILED = (
    RowStatus.FAILED,
    RowStatus.TIMEOUT,
    RowStatus.DISPATCH_FAILED,
    RowStatus.INTERRUPTED,
)
TASK_TERMINAL = (
    TaskStatus.COMPLETED,
    TaskStatus.PARTIAL,
    TaskStatus.FAILED,
    TaskStatus.CANCELED,
)
TASK_WITH_ROWS = (TaskStatus.RUNNING, TaskStatus.PAUSED)


def sources(table: dict[str, frozenset[str]], target: str) -> list[str]:
    """Return the states from which ``target`` may be reached, sorted."""
    return sorted(str(source) for source, targets in table.items() if target in targets)


def outcome(statuses: set[str]) -> Outcome | None:
    """Return a host's outcome from the states of its rows in a task; None while one is open."""
    if not statuses or statuses & set(ROW_OPEN):
        return None
    if statuses & set(ROW_FAILED):
        return Outcome.FAILED
    for candidate in (Outcome.LOST, Outcome.CANCELED, Outcome.SKIPPED):
        if candidate.value in statuses:
            return candidate
    return Outcome.COMPLETED
