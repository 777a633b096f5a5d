"""What must follow when rows moved: steps released or skipped, counts, host outcomes, closed tasks.

All of it happens in the transaction that moved the rows, after its tasks were locked.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from tasks_app.queue.statements import run
from tasks_app.states import ROW_OPEN, TASK_TERMINAL

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from uuid import UUID


class Move(NamedTuple):
    """One row went from one state to another. ``old_status`` None: the row is new."""

    id: int
    task_id: int
    host_id: int
    command_id: int
    old_status: str | None
    status: str


@dataclass(frozen=True, slots=True)
class Settled:
    """What followed: hosts with new work, tasks whose rows ended, and those of them that closed.

    ``final_ids``: tasks that are closed now, also those that a late result changed after that.
    """

    wake_hosts: tuple[int, ...] = ()
    task_ids: tuple[UUID, ...] = ()
    closed_ids: tuple[UUID, ...] = ()
    final_ids: tuple[UUID, ...] = ()


def lock_tasks(tasks: Iterable[int]) -> list[tuple[int, UUID, str]]:
    """Lock tasks (primary keys) by id; return (pk, task_id, status) of those that exist."""
    return [(task.id, task.task_id, task.status) for task in run("tasks_lock", tasks=list(tasks))]


def as_moves(rows: Iterable[Any]) -> list[Move]:
    """Turn rows of a moving statement (RETURNING …) into moves."""
    return [
        Move(row.id, row.task_id, row.host_id, row.command_id, row.old_status, row.status)
        for row in rows
    ]


def move_counts(moves: Sequence[Move]) -> None:
    """Move the steps' row counts by state. Takes the last lock of the lock order."""
    deltas: dict[int, Counter[str]] = defaultdict(Counter)
    for move in moves:
        if move.old_status is not None:
            deltas[move.command_id][move.old_status] -= 1
        deltas[move.command_id][move.status] += 1
    add_counts(deltas)


def add_counts(deltas: Mapping[int, Mapping[str, int]]) -> None:
    """Add to the steps' row counts: command primary key → state → difference."""
    if not deltas:
        return
    run("counts_lock", commands=sorted(deltas))
    rows = [{"id": command, **delta} for command, delta in deltas.items()]
    run("counts_move", deltas=json.dumps(rows))


def settle(moves: Sequence[Move], *, dropped: Mapping[int, int] | None = None) -> Settled:
    """Do all that follows from rows that ended, in the transaction that ended them.

    ``dropped`` is task primary key → hosts of windows that will never get rows. The caller has
    locked the tasks. Releases or skips later steps on the same hosts, moves the counts of steps and
    tasks, closes tasks whose hosts all have an outcome.
    """
    ended = [move for move in moves if move.status not in ROW_OPEN]
    advanced = _advance(ended)
    everything = [*moves, *advanced]
    outcomes = _move_outcomes(
        [move for move in everything if move.status not in ROW_OPEN], dropped or {}
    )
    move_counts(everything)
    closed = [task for task in outcomes if _closed_now(task)]
    if closed:
        run("commands_close", tasks=[task.id for task in closed])
    return Settled(
        wake_hosts=tuple({move.host_id for move in advanced if move.status == "pending"}),
        task_ids=tuple(task.task_id for task in outcomes),
        closed_ids=tuple(task.task_id for task in closed),
        final_ids=tuple(task.task_id for task in outcomes if task.status in TASK_TERMINAL),
    )


def _advance(ended: Sequence[Move]) -> list[Move]:
    """Release or skip what waited for these rows, on their hosts."""
    tasks = {move.task_id for move in ended}
    waiting = (
        {row.task_id for row in run("tasks_with_blocked", tasks=list(tasks))} if tasks else set()
    )
    after = [move for move in ended if move.task_id in waiting]
    if not after:
        return []
    return as_moves(
        run("advance", tasks=[m.task_id for m in after], hosts=[m.host_id for m in after])
    )


class _TaskOutcome(NamedTuple):
    id: int
    task_id: UUID
    old_status: str
    status: str


def _closed_now(task: _TaskOutcome) -> bool:
    return task.status in TASK_TERMINAL and task.old_status not in TASK_TERMINAL


def _move_outcomes(ended: Sequence[Move], dropped: Mapping[int, int]) -> list[_TaskOutcome]:
    if not ended and not dropped:
        return []
    rows = run(
        "task_outcomes",
        rows=[move.id for move in ended],
        tasks=[move.task_id for move in ended],
        hosts=[move.host_id for move in ended],
        old_statuses=[move.old_status or "blocked" for move in ended],
        dropped_tasks=list(dropped),
        dropped_hosts=list(dropped.values()),
    )
    return [_TaskOutcome(row.id, row.task_id, row.old_status, row.status) for row in rows]
