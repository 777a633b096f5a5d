"""What the sweeps keep in order: their own ticks, and the partitions of the outputs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.conf import settings

from tasks_app.queue.statements import in_transaction, run

if TYPE_CHECKING:
    from datetime import date


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
    """Make the partition of one day (UTC); return False when it exists, or must not be.

    By a function of the database (migration 0008), as only a table's owner makes partitions of it.
    """
    return bool(run("make_output_partition", day=day)[0].made)
