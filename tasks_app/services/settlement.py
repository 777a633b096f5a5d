"""What follows a commit that ended rows: caches, wakes, and the next task's admission."""

from __future__ import annotations

from typing import TYPE_CHECKING

from devops_manager.lib import announce, enqueue
from tasks_app import cache

if TYPE_CHECKING:
    from tasks_app.queue import Settled

ADMISSION_JOB = "tasks_app.admit_tasks"
FAN_OUT_JOB = "tasks_app.fan_out_task"


def follow_up(settled: Settled) -> None:
    """After the commit: wake hosts with new work, drop caches of closed tasks, admit the next ones.

    The running counts of a task may lag in the cache, so a batch that closes nothing leaves it
    alone.
    """
    announce.wake(settled.wake_hosts)
    if settled.final_ids:
        cache.tasks_changed()
    if settled.closed_ids:
        enqueue.after_commit(ADMISSION_JOB)
