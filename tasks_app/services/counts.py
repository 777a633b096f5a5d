"""Counts against rows: they move together; a difference is a defect, said aloud and mended."""

from __future__ import annotations

import logging

from tasks_app import queue
from tasks_app.models import Command, Task
from tasks_app.services.settlement import follow_up
from tasks_app.states import TASK_WITH_ROWS, Outcome, RowStatus

logger = logging.getLogger(__name__)

# Beside those that run: what has just closed is among the newest.
_NEWEST = 200


def repair_counts() -> int:
    """Recount what differs from its rows, of running and of the newest tasks; return how many did.

    A step keeps its rows by state, a task its hosts by outcome; a task that only its counts held
    open closes. Looks without locks first, and again under the tasks' locks before it mends, so
    that a move under way is not taken for a difference.
    """
    running = Task.objects.filter(status__in=TASK_WITH_ROWS).values_list("id", flat=True)
    newest = Task.objects.filter(started_at__isnull=False).order_by("-id")
    tasks = sorted({*running, *newest.values_list("id", flat=True)[:_NEWEST]})
    if not tasks:
        return 0
    suspects = {row.task_id for row in queue.counts_that_differ(tasks)}
    suspects |= {row.task_id for row in queue.outcomes_that_differ(tasks)}
    if not suspects:
        return 0
    mended, settled = _mend(sorted(suspects))
    follow_up(settled)
    return mended


@queue.in_transaction
def _mend(tasks: list[int]) -> tuple[int, queue.Settled]:
    queue.lock_tasks(tasks)
    commands = Command.objects.filter(task__in=tasks).order_by("id")
    list(commands.select_for_update(no_key=True).values_list("id", flat=True))
    steps = queue.counts_that_differ(tasks)
    for row in steps:
        counted = {f"{status}_rows": getattr(row, status) for status in RowStatus.values}
        logger.error("step %s: its counts differed from its rows: %s", row.command_id, counted)
        Command.objects.filter(pk=row.command_id).update(**counted)
    hosts = queue.outcomes_that_differ(tasks)
    missing = {
        row.task_id: {outcome: getattr(row, outcome) for outcome in Outcome.values} for row in hosts
    }
    for row in hosts:
        logger.error(
            "task %s: its hosts by outcome differed from its rows, which have more or fewer: %s",
            row.public_id,
            {name: count for name, count in missing[row.task_id].items() if count},
        )
    settled = queue.add_outcomes(missing)
    return len({row.task_id for row in [*steps, *hosts]}), settled
