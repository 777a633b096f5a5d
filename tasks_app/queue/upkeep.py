"""What the sweeps keep in order: their own ticks, and the partitions of the outputs."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from django.conf import settings
from django.db import connection

from tasks_app.queue.statements import in_transaction, run

if TYPE_CHECKING:
    from datetime import date

_PARTITIONS_LOCK = 0x646D_0002


def tick(name: str) -> bool:
    """Note that the sweep of this name runs now; return whether it may judge anybody.

    After DM_SWEEP_STALL_SECONDS without a tick (the database or the sweeper was away) it may not,
    until agents have had DM_OFFLINE_AFTER_SECONDS and the upload grace to be heard.
    """
    (row,) = run(
        "sweep_tick",
        sweep=name,
        stall_seconds=settings.DM_SWEEP_STALL_SECONDS,
        grace_seconds=settings.DM_OFFLINE_AFTER_SECONDS + settings.DM_UPLOAD_GRACE_SECONDS,
    )
    return not row.stalled


@in_transaction
def make_output_partition(day: date) -> bool:
    """Make the partition of one day (UTC); return False when it exists.

    One at a time by an advisory lock, for ``IF NOT EXISTS`` is no protection against another who
    makes the same. A day whose outputs are in the default partition already stays there.
    """
    name = f"command_outputs_{day:%Y%m%d}"
    after = day + timedelta(days=1)
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [_PARTITIONS_LOCK])
        cursor.execute("SELECT to_regclass(%s) IS NOT NULL", [name])
        if cursor.fetchone()[0] or run("outputs_in_default", first=day, after=after)[0].found:
            return False
        cursor.execute(
            f"CREATE TABLE {name} PARTITION OF command_outputs "
            f"FOR VALUES FROM ('{day} 00:00:00+00') TO ('{after} 00:00:00+00')"
        )
    return True
