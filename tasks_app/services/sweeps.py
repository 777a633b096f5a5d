"""Sweeps: what finds the work that no message arrived for. Plain functions, safe to run at any time,
twice, and at the same time as themselves.
"""

from __future__ import annotations

import logging
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from django.conf import settings
from django.db import connection

from hosts_app.services import sweep_offline_hosts
from tasks_app import queue
from tasks_app.models import TaskWindow
from tasks_app.services.admission import admit_tasks
from tasks_app.services.counts import repair_counts
from tasks_app.services.fan_out import fan_out_task
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
    if not _tick("deadlines"):
        return 0
    total = 0
    while True:
        ended, settled = queue.expire_rows()
        follow_up(settled)
        total += ended
        if ended == 0:
            return total


def sweep_offline() -> int:
    """Declare hosts offline that have been silent too long; return how many."""
    return sweep_offline_hosts() if _tick("offline") else 0


def sweep_counts() -> int:
    """Compare counts with rows, repair and log what differs; return how many tasks differed."""
    return repair_counts()


def sweep_partitions() -> int:
    """Make the output partitions of the days ahead; return how many were made."""
    today = datetime.now(UTC).date()
    made = 0
    for ahead in range(_PARTITION_DAYS_AHEAD + 1):
        day = today + timedelta(days=ahead)
        made += _make_partition(f"command_outputs_{day:%Y%m%d}", day, day + timedelta(days=1))
    return made


def _make_partition(name: str, first: object, after: object) -> bool:
    with connection.cursor() as cursor:
        cursor.execute("SELECT to_regclass(%s) IS NOT NULL", [name])
        if cursor.fetchone()[0]:
            return False
        # Rows of that day in the default partition (none, unless the sweep was away for days) would
        # make this fail: they stay where they are, which is slower, never wrong.
        cursor.execute(
            "SELECT EXISTS (SELECT FROM command_outputs_default "
            "WHERE created_at >= %s AND created_at < %s)",
            [first, after],
        )
        if cursor.fetchone()[0]:
            return False
        cursor.execute(
            f"CREATE TABLE IF NOT EXISTS {name} PARTITION OF command_outputs "
            f"FOR VALUES FROM ('{first} 00:00:00+00') TO ('{after} 00:00:00+00')"
        )
        return True


def _tick(name: str) -> bool:
    """Note that a sweep runs now; return whether it may judge anybody."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            INSERT INTO sweep_ticks AS tick (name, ticked_at) VALUES (%(name)s, now())
            ON CONFLICT (name) DO UPDATE SET
                ticked_at = now(),
                grace_until = CASE
                    WHEN tick.ticked_at < now() - make_interval(secs => %(stall)s)
                        THEN now() + make_interval(secs => %(grace)s)
                    ELSE tick.grace_until
                END
            RETURNING coalesce(grace_until > now(), false)
            """,
            {
                "name": name,
                "stall": settings.DM_SWEEP_STALL_SECONDS,
                "grace": settings.DM_OFFLINE_AFTER_SECONDS + settings.DM_UPLOAD_GRACE_SECONDS,
            },
        )
        stalled: bool = cursor.fetchone()[0]
    if stalled:
        logger.info("%s: judging nobody yet, the sweep stood still before", name)
    return not stalled


SWEEPS: dict[str, Callable[[], int]] = {
    "admission": sweep_admission,
    "fan_outs": sweep_fan_outs,
    "deadlines": sweep_deadlines,
    "offline": sweep_offline,
    "counts": sweep_counts,
    "partitions": sweep_partitions,
}
