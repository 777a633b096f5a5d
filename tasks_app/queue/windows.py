"""Fan-out: the rows of one window of frozen targets a transaction."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from devops_manager.lib import fault_points
from tasks_app.queue.moves import adding, lock_tasks
from tasks_app.queue.statements import in_transaction, run, run_together
from tasks_app.states import TASK_WITH_ROWS

if TYPE_CHECKING:
    from collections.abc import Sequence


@in_transaction
def fan_out_window(*, task: int) -> Sequence[int] | None:
    """Make the rows of a task's next window; return its hosts (primary keys), or None at the end.

    Stops, with None, unless the task is running or paused. Several at once take turns on the task's
    lock; rows that exist already are left alone and counted once, by who made them.
    """
    locked = lock_tasks([task])
    if not locked or locked[0][2] not in TASK_WITH_ROWS:
        return None
    windows = run("fan_out_next", task=task)
    if not windows:
        return None
    window = windows[0]
    deltas: dict[int, dict[str, int]] = defaultdict(dict)
    for made in run("fan_out_window", window=window.id):
        deltas[made.command_id][made.status] = made.rows
    run_together(*adding(deltas))
    fault_points.reach("fan_out_exit_in_window")
    run("fan_out_done", window=window.id)
    return list(window.host_ids)
