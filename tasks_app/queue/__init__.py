"""The hot path: every set-based statement on tasks, commands and their rows runs from here.

``look_up`` serves polls, ``report`` takes results, ``fan_out_window`` makes rows, ``end_task`` and
``expire_rows`` end them. The lock order, everywhere: admission, tasks, hosts, commands_hosts,
commands, each by id, never back up.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tasks_app.queue.ending import Canceled, end_task, expire_rows
from tasks_app.queue.fences import by_fence
from tasks_app.queue.look_up import look_up
from tasks_app.queue.moves import Settled, add_outcomes, lock_tasks
from tasks_app.queue.report import report
from tasks_app.queue.statements import in_transaction, run
from tasks_app.queue.upkeep import make_output_partition, tick
from tasks_app.queue.windows import fan_out_window

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID


@in_transaction
def hosts_with_work(hosts: Sequence[int]) -> list[int]:
    """Return those of the hosts (primary keys) that have claimable rows or an unsettled cancel."""
    run("pin_order")
    return [row.host_id for row in run("hosts_with_work", hosts=list(hosts))]


def fence_owners(fences: Sequence[UUID]) -> dict[UUID, tuple[int, str]]:
    """Return fence → (host primary key, row state) for the fences that exist."""
    rows = run("fence_owners", **by_fence(fences))
    return {row.fence: (row.host_id, row.status) for row in rows}


def counts_that_differ(tasks: Sequence[int]) -> list[Any]:
    """Return the true row counts by state of the steps whose stored counts differ from them."""
    return run("counts_differ", tasks=list(tasks))


def outcomes_that_differ(tasks: Sequence[int]) -> list[Any]:
    """Return, of the tasks whose hosts by outcome differ from their rows, how many are missing."""
    return run("outcomes_differ", tasks=list(tasks))


__all__ = [
    "Canceled",
    "Settled",
    "add_outcomes",
    "counts_that_differ",
    "end_task",
    "expire_rows",
    "fan_out_window",
    "fence_owners",
    "hosts_with_work",
    "in_transaction",
    "lock_tasks",
    "look_up",
    "make_output_partition",
    "outcomes_that_differ",
    "report",
    "tick",
]
