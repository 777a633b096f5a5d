"""Counts against rows: they move together; a difference is a defect, said aloud and mended."""

from __future__ import annotations

import logging

from tasks_app import queue
from tasks_app.models import Command, Task
from tasks_app.states import TASK_WITH_ROWS, RowStatus

logger = logging.getLogger(__name__)


def repair_counts() -> int:
    """Recount the steps of running tasks whose counts differ from their rows; return how many did.

    Looks without locks first, and again under the tasks' locks before it mends, so that a move
    under way is not taken for a difference.
    """
    running = list(Task.objects.filter(status__in=TASK_WITH_ROWS).values_list("id", flat=True))
    suspects = {row.task_id for row in queue.counts_that_differ(running)} if running else set()
    return _mend(sorted(suspects)) if suspects else 0


@queue.in_transaction
def _mend(tasks: list[int]) -> int:
    queue.lock_tasks(tasks)
    commands = Command.objects.filter(task__in=tasks).order_by("id")
    list(commands.select_for_update(no_key=True).values_list("id", flat=True))
    differing = queue.counts_that_differ(tasks)
    for row in differing:
        counted = {f"{status}_rows": getattr(row, status) for status in RowStatus.values}
        logger.error("step %s: its counts differed from its rows: %s", row.command_id, counted)
        Command.objects.filter(pk=row.command_id).update(**counted)
    return len(differing)
