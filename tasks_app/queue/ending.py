"""Ends rows that no agent ends: cancel, stop, expiry. Each locks its tasks first."""

from __future__ import annotations

from dataclasses import dataclass

from django.conf import settings

from tasks_app.queue.moves import Settled, lock_tasks, settle
from tasks_app.queue.statements import in_transaction, run


@dataclass(frozen=True, slots=True)
class Canceled:
    """What a cancel did: hosts whose agents must be told, and what followed."""

    wake_hosts: tuple[int, ...]
    settled: Settled


def end_task(*, task: int, kill: bool) -> Canceled:
    """End a running or paused task (primary key) early, in the caller's transaction.

    The caller has locked the task and set its ``stop_requested_at`` or ``cancel_requested_at``.
    Rows that were not delivered are canceled; windows without rows count their hosts canceled; with
    ``kill``, rows in flight are asked to end, on a fresh snapshot so that none that was just
    claimed is missed.
    """
    moved = run("cancel_waiting", task=task)
    (window,) = run("windows_drop", task=task)
    in_flight = []
    if kill:
        in_flight = run("cancel_in_flight", task=task, cancel_seconds=_cancel_seconds())
    settled = settle(moved, dropped={task: window.hosts})
    return Canceled(tuple({row.host_id for row in in_flight}), settled)


def _cancel_seconds() -> float:
    return float(
        settings.DM_POLL_HOLD_SECONDS
        + settings.DM_KILL_GRACE_SECONDS
        + settings.DM_UPLOAD_GRACE_SECONDS
    )


@in_transaction
def expire_rows(*, limit: int = 500) -> tuple[int, Settled]:
    """End up to about ``limit`` rows whose time is over; return how many ended, and what followed.

    Safe to run twice and at the same time as itself: the rows are judged again under the locks.
    """
    found = run("expire_find", limit=limit)
    if not found:
        return 0, Settled()
    lock_tasks({row.task_id for row in found})
    moved = run("expire_rows", rows=sorted({row.id for row in found}))
    return len(moved), settle(moved)
