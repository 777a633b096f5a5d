"""Fan-out: rows for every frozen target of a task, a window of hosts a transaction."""

from __future__ import annotations

from devops_manager.lib import announce, fault_points
from tasks_app import cache, queue


def fan_out_task(task: int) -> int:
    """Make the rows of a task (primary key); return how many hosts got theirs now.

    Each window commits on its own and then wakes its hosts, so a death in the middle leaves whole
    windows, and the next call goes on with the rest. Stops when the task neither runs nor is
    paused. Safe to run twice and at the same time as itself.
    """
    made = 0
    while (hosts := queue.fan_out_window(task=task)) is not None:
        fault_points.reach("fan_out_exit_after_window")
        announce.wake(hosts)
        cache.rows_made()
        made += len(hosts)
    return made
