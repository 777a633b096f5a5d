"""Sweeps: what finds the work that no message arrived for.

Plain functions, safe to run at any time, twice, and at the same time as themselves.
"""

from __future__ import annotations

import logging
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from devops_manager.access.bounded_audit import write_counted_events
from devops_manager.access.idempotency import sweep_idempotency_keys
from devops_manager.lib import fault_points
from hosts_app.services import sweep_offline_hosts
from tasks_app import queue
from tasks_app.models import TaskWindow
from tasks_app.services.admission import admit_tasks
from tasks_app.services.counts import repair_counts
from tasks_app.services.fan_out import fan_out_task
from tasks_app.services.seen_output import keep_seen_outputs
from tasks_app.services.settlement import follow_up
from tasks_app.states import TASK_WITH_ROWS

if TYPE_CHECKING:
    from collections.abc import Callable

logger = logging.getLogger(__name__)

_PARTITION_DAYS_AHEAD = 3


def sweep_admission() -> int:
    """Admit queued tasks while there is room; return how many were admitted."""
    return admit_tasks()


def sweep_fan_outs() -> int:
    """Go on with fan-outs that stopped half-way; return how many hosts got their rows."""
    open_windows = TaskWindow.objects.filter(done=False, task__status__in=TASK_WITH_ROWS)
    tasks = list(
        open_windows.order_by("task_id").values_list("task_id", flat=True).distinct()[:100]
    )
    return sum(fan_out_task(task) for task in tasks)


def sweep_deadlines() -> int:
    """End rows whose time is over; return how many.

    After a stall (nothing ticked for DM_SWEEP_STALL_SECONDS: the database or the sweeper was away)
    nothing is expired until agents have had time to be heard.
    """
    if not _may_judge("deadlines"):
        return 0
    total = 0
    while True:
        ended, settled = queue.expire_rows()
        if ended:
            fault_points.reach("sweep_exit_after_expiry")
        follow_up(settled)
        total += ended
        if ended == 0:
            return total


def sweep_offline() -> int:
    """Declare hosts offline that have been silent too long; return how many."""
    return sweep_offline_hosts() if _may_judge("offline") else 0


def sweep_counts() -> int:
    """Compare counts with rows, repair and log what differs; return how many tasks differed."""
    return repair_counts()


def sweep_partitions() -> int:
    """Make the output partitions of the days ahead; return how many were made."""
    today = datetime.now(UTC).date()
    days = [today + timedelta(days=ahead) for ahead in range(_PARTITION_DAYS_AHEAD + 1)]
    return sum(queue.make_output_partition(day) for day in days)


def sweep_seen_outputs() -> int:
    """Keep what viewers saw of rows that ended without a result; return of how many."""
    return keep_seen_outputs()


def _may_judge(name: str) -> bool:
    may = queue.tick(name)
    if not may:
        logger.info("%s: judging nobody yet, the sweep stood still before", name)
    return may


SWEEPS: dict[str, Callable[[], int]] = {
    "admission": sweep_admission,
    "fan_outs": sweep_fan_outs,
    "deadlines": sweep_deadlines,
    "offline": sweep_offline,
    "counts": sweep_counts,
    "seen_outputs": sweep_seen_outputs,
    "partitions": sweep_partitions,
    "idempotency_keys": sweep_idempotency_keys,
    "counted_events": write_counted_events,
}
