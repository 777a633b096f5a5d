"""How far a task is, and which of its rows moved since the last look."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from django.utils.translation import gettext as _

from devops_manager.lib.errors import InvalidInput
from tasks_app.queue import reads
from tasks_app.selectors.rows import row_view
from tasks_app.selectors.shapes import RowView, TaskProgress
from tasks_app.selectors.tasks import task_commands, task_pk, task_state
from tasks_app.states import ROW_IN_FLIGHT, TaskStatus

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from tasks_app.selectors.shapes import CommandProgress, TaskState

_TAIL = 10
_CURSOR = re.compile(r"(\d{1,18})(?:\.(\d{1,18})\.(\d{1,18}))?")


@dataclass(frozen=True, slots=True)
class Cursor:
    """Where a reader stands: rows of ``since`` and later; amid a long answer, after row ``after``.

    ``upcoming`` is where the reader will stand when the long answer is read to its end.
    """

    since: int
    upcoming: int | None = None
    after: int = 0

    def __str__(self) -> str:
        return (
            str(self.since)
            if self.upcoming is None
            else (f"{self.since}.{self.upcoming}.{self.after}")
        )


def parse_cursor(text: str) -> Cursor:
    """Return the cursor that an earlier answer gave. Raises InvalidInput naming ``cursor``."""
    found = _CURSOR.fullmatch(text)
    if found is None or not text.isascii():
        raise InvalidInput(
            _("The cursor cannot be read."),
            fields={"cursor": [_("Must be the cursor of an earlier answer.")]},
        )
    since, upcoming, after = found.groups()
    if upcoming is None:
        return Cursor(int(since))
    return Cursor(int(since), int(upcoming), int(after))


def rows_changed_since(
    *, task_pk: int, cursor: Cursor, limit: int
) -> tuple[list[RowView], Cursor, bool]:
    """Return rows that moved since the cursor, the next cursor, and whether there are more now.

    A row may come again although it did not move; none that moved is left out, whatever was
    committed between the readings. Two statements.
    """
    upcoming = cursor.upcoming if cursor.upcoming is not None else reads.snapshot_xmin()
    found = reads.changed_rows(
        task=task_pk, since=cursor.since, after=cursor.after, limit=limit + 1
    )
    rows = [row_view(row[1:]) for row in found[:limit]]
    if len(found) > limit:
        return rows, Cursor(cursor.since, upcoming, found[limit - 1].id), True
    return rows, Cursor(upcoming), False


@reads.one_snapshot
def task_progress(*, task_id: UUID, cursor: Cursor | None, limit: int) -> TaskProgress:
    """Return how far a task is; with a cursor also the rows that moved since, at most ``limit``.

    Four statements on one snapshot, five with a cursor. Raises NotFound.
    """
    pk = task_pk(task_id=task_id)
    if cursor is None:
        changed, following, more = None, Cursor(reads.snapshot_xmin()), False
    else:
        changed, following, more = rows_changed_since(task_pk=pk, cursor=cursor, limit=limit)
    state = task_state(task_id=task_id)
    commands = task_commands(task_pk=pk)
    ended = (
        state.completed_hosts
        + state.failed_hosts
        + state.lost_hosts
        + state.canceled_hosts
        + state.skipped_hosts
    )
    return TaskProgress(
        state.total_hosts,
        state.completed_hosts,
        state.failed_hosts,
        state.lost_hosts,
        state.canceled_hosts,
        state.skipped_hosts,
        task_id=state.task_id,
        status=state.status,
        started_at=state.started_at,
        finished_at=state.finished_at,
        revision=state.revision,
        ended_hosts=ended,
        percent=round(100 * ended / state.total_hosts, 1) if state.total_hosts else 0.0,
        eta_seconds=eta_seconds(state, ended, datetime.now(UTC), in_flight=_in_flight(commands)),
        commands=commands,
        cursor=str(following),
        changed=changed,
        more=more,
    )


def _in_flight(commands: Sequence[CommandProgress]) -> int:
    return sum(step.rows[status] for step in commands for status in ROW_IN_FLIGHT)


def eta_seconds(state: TaskState, ended: int, now: datetime, *, in_flight: int) -> int | None:
    """Return how long the rest will take at the pace so far; None when nothing can be said.

    The last tenth is not of that pace: with one slow or absent host of a thousand it said "0 s" for
    minutes. Nor is it while nothing runs.
    """
    if state.status != TaskStatus.RUNNING or state.started_at is None or not ended or not in_flight:
        return None
    left = state.total_hosts - ended
    elapsed = max(0.0, (now - state.started_at).total_seconds())
    seconds = round(elapsed / ended * left)
    return seconds if seconds and left * _TAIL > state.total_hosts else None
