"""The verdict: what was promised and what is, beside the queries of ``tests/invariants``.

Each check returns a line for everything that must not be; none is a pass.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

from tests.chaos.ledger import Ledger, Promised
from tests.chaos.records import HostRow, Mark, TaskRow, World
from tests.chaos.steps import STEPS, kept

Check = Callable[[World, Ledger], Iterator[str]]
ENDED_TASK = {"completed", "partial", "failed", "canceled"}
OPEN_ROW = {"blocked", "pending", "claimed", "running"}
# Beside its natural end a step may end so, when processes and lines break.
BROKEN_ENDS = {"interrupted", "lost", "canceled", "dispatch_failed", "skipped"}
NEVER_STARTED = "It was never started."

# What the logs may never say, by the name of the log.
_FORBIDDEN = {
    "": re.compile(r"counts differed from its rows"),
    # a defect of the gateway's own; what is away it says in warnings
    "gateway": re.compile(r" ERROR agents_app"),
    "agent-": re.compile(
        r"result of \S+: (conflict|unknown|invalid)|loop failed|failed in the ag|internal_error"
    ),
}


def promises_kept(world: World, ledger: Ledger) -> Iterator[str]:
    """Every 2xx that promised something is true of the end state."""
    by_id = {str(task.task_id): task for task in world.tasks}
    rows_by_task: dict[str, list[HostRow]] = {}
    for row in world.rows:
        rows_by_task.setdefault(str(row.task_id), []).append(row)
    for promised in ledger.tasks.values():
        task = by_id.get(promised.task_id)
        if task is None:
            if not promised.deleted:
                yield f"{promised} was created and is not there"
            continue
        if promised.deleted:
            yield f"{promised} was deleted and is there"
        yield from _acts_kept(promised, task, rows_by_task.get(promised.task_id, []))


def _acts_kept(promised: Promised, task: TaskRow, rows: list[HostRow]) -> Iterator[str]:
    if promised.started_at is not None and task.queued_at is None:
        yield f"{promised} was started and is {task}"
    for act, at in promised.ended_at.items():
        asked = task.cancel_requested_at if act == "cancel" else task.stop_requested_at
        if asked is None:
            yield f"{promised}: {act} was accepted and is not in {task}"
        told = datetime.fromtimestamp(at, UTC)
        for row in rows:
            if row.claimed_at is not None and row.claimed_at > told:
                yield f"delivered after {act} was answered at {told}: {row}"
    words = {(row.hostname, row.position): row for row in rows}
    for key, word in promised.last_words.items():
        now = words.get(key)
        if now is None or (now.status, now.exit_code, now.finished_at) != word:
            yield f"a client was shown {word} for {key}, and now it is {now}"


def created_once(world: World, ledger: Ledger) -> Iterator[str]:
    """What was created under a key is there once, however often it was asked for."""
    names = Counter(task.name for task in world.tasks)
    for name, count in names.items():
        if count > 1:
            yield f"{name!r} was created {count} times"
    known = {promised.name for promised in ledger.tasks.values()} | ledger.perhaps
    for name in names.keys() - known:
        yield f"{name!r} was created, and nobody was told"


def all_ended(world: World, _ledger: Ledger) -> Iterator[str]:
    """Nothing is open that was started, and nothing was repaired by hand."""
    for task in world.tasks:
        if task.status not in ENDED_TASK and task.status != "pending":
            yield f"still open: {task}"
    for row in world.rows:
        if row.status in OPEN_ROW:
            yield f"still open: {row} (deadline {row.deadline})"


def ran_at_most_once(world: World, _ledger: Ledger) -> Iterator[str]:
    """Each fence has one mark at most, and each mark a row of that host under that fence."""
    for text in world.torn_marks:
        yield f"a mark that cannot be read: {text}"
    rows = {str(row.fence): row for row in world.rows if row.fence is not None}
    for fence, count in Counter(mark.fence for mark in world.marks).items():
        if count > 1:
            yield f"ran {count} times: {rows.get(fence, fence)}"
    for mark in world.marks:
        row = rows.get(mark.fence)
        if row is None or _of(row) != mark:
            yield f"ran and is not the server's: {mark}, {row}"
        elif row.status in {"pending", "blocked", "skipped", "dispatch_failed"} or (
            row.error_message == NEVER_STARTED
        ):
            yield f"ran and is said never to have started: {row}"


def what_ran_was_reported(world: World, _ledger: Ledger) -> Iterator[str]:
    """The journals survived and everything is connected: whatever ran has its agent's own word."""
    reported = {str(row.fence) for row in world.rows if row.reported}
    rows = {str(row.fence): row for row in world.rows}
    for mark in world.marks:
        if mark.fence not in reported:
            yield f"ran and was never reported: {rows.get(mark.fence, mark)}"


def _of(row: HostRow) -> Mark:
    return Mark(
        row.hostname, str(row.task_id), str(row.command_id), str(row.attempt), str(row.fence)
    )


def results_are_true(world: World, _ledger: Ledger) -> Iterator[str]:
    """A row says what its command did, and has what it printed, to the byte."""
    marked = {mark.fence for mark in world.marks}
    tasks = {task.task_id: task for task in world.tasks}
    for row in world.rows:
        step = STEPS[row.step]
        if row.status not in {step.ends} | BROKEN_ENDS | OPEN_ROW:
            yield f"cannot have ended so: {row} {row.error_message}"
        if row.status == step.ends and row.exit_code != step.exit_code and step.ends != "timeout":
            yield f"has another exit code: {row}"
        if row.status in {"completed", "failed"}:
            if str(row.fence) not in marked:
                yield f"is said to have run, and left no mark: {row}"
            if (row.stdout, row.dropped) != kept(step.output(str(row.fence))):
                yield f"has another output: {row}: {_shown(row)}"
        yield from _ended_for_a_reason(row, tasks[row.task_id])


def _shown(row: HostRow) -> str:
    if row.stdout is None:
        return "none"
    return f"{len(row.stdout)} bytes, {row.dropped} dropped: {row.stdout[:80]!r}"


def _ended_for_a_reason(row: HostRow, task: TaskRow) -> Iterator[str]:
    asked = task.cancel_requested_at or task.stop_requested_at
    if row.status == "canceled" and asked is None:
        yield f"canceled, and nobody asked for it: {row}"
    hurried = task.delivery_seconds < 60 or task.offline_policy == "fail"
    if row.status == "dispatch_failed" and not hurried:
        yield f"had an hour to be delivered: {row}"


def acknowledged_is_kept(world: World, _ledger: Ledger) -> Iterator[str]:
    """Each result that was acknowledged to an agent is the one that the server has."""
    rows = {str(row.fence): row for row in world.rows if row.fence is not None}
    for node, fence, status in world.acknowledged:
        row = rows.get(fence)
        if row is None or not row.reported or (row.hostname, row.status) != (node, status):
            yield f"{node} was told that {status} of {fence} is kept, but: {row}"


def something_happened(world: World, ledger: Ledger) -> Iterator[str]:
    """A run in which nothing ran, or nothing was hit, proves nothing."""
    states = Counter(row.status for row in world.rows)
    for status in ("completed", "failed", "timeout", "canceled"):
        if not states[status]:
            yield f"the run proves little: no row is {status}"
    for what in ("created", "started", "canceled", "asked again"):
        if not ledger.counts[what]:
            yield f"the run proves little: nothing was {what}"


def logs_are_silent(logs: Path) -> Iterator[str]:
    """No log tells of repaired counts, of refused results, of a defect met by a request."""
    for path in sorted(logs.glob("*.log")):
        text = path.read_text(encoding="utf-8", errors="replace")
        for begins, pattern in _FORBIDDEN.items():
            if path.name.startswith(begins):
                for line in text.splitlines():
                    if pattern.search(line):
                        yield f"{path.name}: {line}"


CHECKS: tuple[Check, ...] = (
    promises_kept,
    created_once,
    all_ended,
    ran_at_most_once,
    what_ran_was_reported,
    results_are_true,
    acknowledged_is_kept,
    something_happened,
)


def violations(world: World, ledger: Ledger, logs: Path) -> list[str]:
    """Return everything that must not be, each with the check that found it."""
    found = [f"{check.__name__}: {text}" for check in CHECKS for text in check(world, ledger)]
    found += [f"logs_are_silent: {text}" for text in logs_are_silent(logs)]
    return [*found, *(f"seen by a client: {text}" for text in ledger.violations)]
