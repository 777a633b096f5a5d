"""What must follow when rows moved: steps released or skipped, counts, host outcomes, closed tasks.

All of it happens in the transaction that moved the rows, after its tasks were locked.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from tasks_app.queue.statements import Call, call, run, run_last, run_together
from tasks_app.states import ROW_OPEN, TASK_TERMINAL, Outcome, RowStatus, outcome

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from uuid import UUID


# What the only row of a host in a task makes of the host's outcome there; open rows have none.
_OUTCOMES = {str(status): outcome({status}) for status in RowStatus}


class Move(Protocol):
    """One row went from one state to another, as moving statements return it (RETURNING …)."""

    id: int
    task_id: int
    host_id: int
    command_id: int
    old_status: str
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


def counts_of(moves: Iterable[Move]) -> list[Call]:
    """Return what moves the steps' row counts by state: the last lock of the lock order, and it."""
    deltas: dict[int, Counter[str]] = defaultdict(Counter)
    kinds = Counter([(move.command_id, move.old_status, move.status) for move in moves])
    for (command, old_status, status), count in kinds.items():
        deltas[command][old_status] -= count
        deltas[command][status] += count
    return adding(deltas)


def adding(deltas: Mapping[int, Mapping[str, int]]) -> list[Call]:
    """Return what adds to the steps' row counts: command primary key → state → difference."""
    if not deltas:
        return []
    rows = [{"id": command, **delta} for command, delta in deltas.items()]
    return [
        call("counts_lock", commands=sorted(deltas)),
        call("counts_move", deltas=json.dumps(rows)),
    ]


def settle(
    moves: Sequence[Move],
    *,
    dropped: Mapping[int, int] | None = None,
    steps: Sequence[Any] | None = None,
    last: bool = False,
) -> Settled:
    """Do all that follows from rows that ended, in the transaction that ended them.

    ``dropped`` is task primary key → hosts of windows that will never get rows. The caller has
    locked the tasks. Releases or skips later steps on the same hosts, moves the counts of steps and
    tasks, closes tasks whose hosts all have an outcome. ``steps`` are the rows of ``tasks_steps``,
    if the caller has them. If nothing comes after, ``last``, the transaction ends with this.
    """
    ended = [move for move in moves if move.status not in ROW_OPEN]
    if steps is None:
        tasks = {move.task_id for move in ended}
        steps = run("tasks_steps", tasks=list(tasks)) if tasks else []
    advanced = _advance(ended, {task.task_id for task in steps if task.waiting})
    everything = [*moves, *advanced]
    alone = {task.task_id for task in steps if task.alone}
    outcomes = _outcomes_of(
        [move for move in everything if move.status not in ROW_OPEN], alone, dropped or {}
    )
    calls = [*outcomes, *counts_of(everything)]
    if outcomes:
        touched = {move.task_id for move in everything} | (dropped or {}).keys()
        calls.append(call("commands_close", tasks=list(touched)))
    found = run_last(*calls) if last else run_together(*calls)
    wake = tuple({move.host_id for move in advanced if move.status == "pending"})
    return _settled(found[0] if outcomes else [], wake)


def add_outcomes(missing: Mapping[int, Mapping[str, int]]) -> Settled:
    """Add to the tasks' hosts by outcome (task primary key → outcome → difference), and close.

    For the sweep that mends counts; the caller has locked the tasks and their steps.
    """
    if not missing:
        return Settled()
    found = run_together(_outcomes_call([], missing), call("commands_close", tasks=list(missing)))
    return _settled(found[0], ())


def _settled(rows: Sequence[Any], wake_hosts: tuple[int, ...]) -> Settled:
    return Settled(
        wake_hosts=wake_hosts,
        task_ids=tuple(task.task_id for task in rows),
        closed_ids=tuple(task.task_id for task in rows if _closed_now(task)),
        final_ids=tuple(task.task_id for task in rows if task.status in TASK_TERMINAL),
    )


def _advance(ended: Sequence[Move], waiting: set[int]) -> list[Any]:
    """Release or skip what waited for these rows, on their hosts; ``waiting`` are its tasks."""
    after = [move for move in ended if move.task_id in waiting]
    if not after:
        return []
    return run("advance", tasks=[m.task_id for m in after], hosts=[m.host_id for m in after])


def _closed_now(task: Any) -> bool:
    return task.status in TASK_TERMINAL and task.old_status not in TASK_TERMINAL


def _outcomes_of(ended: Sequence[Move], alone: set[int], dropped: Mapping[int, int]) -> list[Call]:
    """Return what moves the tasks' host outcomes, if anything does.

    Where a host has one row in a task, ``alone``, the row says it all; the rows of other tasks are
    held against the other steps by the statement.
    """
    if not ended and not dropped:
        return []
    known: dict[int, Counter[Outcome | None]] = defaultdict(Counter)
    kinds = Counter([(m.task_id, m.old_status, m.status) for m in ended if m.task_id in alone])
    for (task, old_status, status), count in kinds.items():
        known[task][_OUTCOMES[old_status]] -= count
        known[task][_OUTCOMES[status]] += count
    for task, hosts in dropped.items():
        known[task][Outcome.CANCELED] += hosts
    return [_outcomes_call([move for move in ended if move.task_id not in alone], known)]


def _outcomes_call(others: Sequence[Move], known: Mapping[int, Mapping[Any, int]]) -> Call:
    return call(
        "task_outcomes",
        rows=[move.id for move in others],
        tasks=[move.task_id for move in others],
        hosts=[move.host_id for move in others],
        old_statuses=[move.old_status for move in others],
        known_tasks=list(known),
        **{
            f"known_{outcome}": [counts[outcome] for counts in known.values()]
            for outcome in Outcome
        },
    )
