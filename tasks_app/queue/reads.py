"""Runs the set-based reads that selectors shape. None of them locks anything."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from django.db import connection, transaction

from tasks_app.queue.statements import run
from tasks_app.states import ROW_FAILED, ROW_OPEN, ROW_TERMINAL, TASK_WITH_ROWS

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime

P = ParamSpec("P")
R = TypeVar("R")

_OPEN = [status.value for status in ROW_OPEN]
_FAILED = [status.value for status in ROW_FAILED]
_ENDED = [status.value for status in ROW_TERMINAL]
_WITH_ROWS = [status.value for status in TASK_WITH_ROWS]


def one_snapshot(function: Callable[P, R]) -> Callable[P, R]:
    """Let all reads of ``function`` see one moment, so that its figures agree with each other.

    In a transaction of the caller's they see what each statement sees.
    """

    @functools.wraps(function)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> R:
        if connection.in_atomic_block:
            return function(*args, **kwargs)
        with transaction.atomic():
            with connection.cursor() as cursor:
                cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
            return function(*args, **kwargs)

    return wrapped


def snapshot_xmin() -> int:
    """Return the oldest transaction at work: read first, it is the cursor for the next reading."""
    return int(run("read_snapshot")[0].xmin)


def changed_rows(*, task: int, since: int, after: int, limit: int) -> list[Any]:
    """Return up to ``limit`` rows of a task with ``revision >= since`` and ``id > after``."""
    return run("read_changed_rows", task=task, since=since, after=after, limit=limit)


def task_hosts(
    *,
    task: int,
    outcomes: Sequence[str],
    states: Sequence[str],
    hostname: str,
    limit: int,
    offset: int,
) -> list[Any]:
    """Return one page of a task's targets; an outcome may be ``open``; empty filters nothing."""
    return run(
        "read_task_hosts",
        task=task,
        outcomes=list(outcomes),
        states=list(states),
        hostname=hostname,
        open=_OPEN,
        failed=_FAILED,
        limit=limit,
        offset=offset,
    )


def output_groups(*, command: int, sample: int, limit: int, offset: int) -> list[Any]:
    """Return one page of a step's groups of equal results, with ``sample`` hosts each."""
    return run(
        "read_output_groups",
        command=command,
        ended=_ENDED,
        sample=sample,
        limit=limit,
        offset=offset,
    )


def outputs(
    *,
    rows: Sequence[int],
    attempts: Sequence[int],
    ended: Sequence[datetime],
    streams: Sequence[str],
    limit: int,
    before: int = 0,
) -> list[Any]:
    """Return the kept streams of these rows, each cut to ``limit`` bytes (an even number).

    ``before``: so many bytes before the last half come too, were there so many.
    """
    return run(
        "read_outputs",
        rows=list(rows),
        attempts=list(attempts),
        ended=list(ended),
        streams=list(streams),
        limit=limit,
        before=before,
    )


def open_rows() -> dict[str, int]:
    """Return how many rows of running and paused tasks are in each open state."""
    found: dict[str, int] = run("read_open_rows", statuses=_WITH_ROWS)[0]._asdict()
    return found
