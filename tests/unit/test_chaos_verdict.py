"""Each check of the chaos run's verdict passes on what is true and names what is not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import pytest

from tests.chaos import verdict
from tests.chaos.ledger import Ledger
from tests.chaos.records import HostRow, Mark, TaskRow, World
from tests.chaos.steps import STEPS, kept

NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
TASK, COMMAND, FENCE = UUID(int=1), UUID(int=2), UUID(int=3)

Case = tuple[World, Ledger]


def a_row(step: str = "quick") -> HostRow:
    stdout, dropped = kept(STEPS[step].output(str(FENCE)))
    return HostRow(
        task_id=TASK,
        command_id=COMMAND,
        step=step,
        position=1,
        hostname="node-1",
        status=STEPS[step].ends,
        attempt=1,
        fence=FENCE,
        exit_code=STEPS[step].exit_code,
        error_code="",
        error_message="",
        claimed_at=NOW,
        started_at=NOW,
        finished_at=NOW,
        deadline=NOW,
        reported=True,
        cancel_state="",
        stdout=stdout,
        dropped=dropped,
    )


def a_case(step: str = "quick") -> Case:
    """One task that was created, started, run, reported and seen."""
    task = TaskRow(TASK, "one", "completed", "wait", 3600, NOW, NOW, None, None)
    row = a_row(step)
    mark = Mark("node-1", str(TASK), str(COMMAND), "1", str(FENCE))
    world = World([task], [row], [mark], [], [("node-1", str(FENCE), row.status)])
    ledger = Ledger()
    promised = ledger.created(str(TASK), "one")
    promised.started_at = NOW.timestamp()
    ledger.saw_row(promised, ("node-1", 1), (row.status, row.exit_code, NOW))
    return world, ledger


def found(case: Case, logs: Path) -> list[str]:
    """Return what the verdict says, but that so small a run proves little."""
    return [text for text in verdict.violations(*case, logs) if "proves little" not in text]


def row_is(**fields: object) -> Callable[[Case], Case]:
    def change(case: Case) -> Case:
        world, ledger = case
        return replace(world, rows=[replace(world.rows[0], **fields)]), ledger

    return change


def task_is(**fields: object) -> Callable[[Case], Case]:
    def change(case: Case) -> Case:
        world, ledger = case
        return replace(world, tasks=[replace(world.tasks[0], **fields)]), ledger

    return change


def world_has(**fields: object) -> Callable[[Case], Case]:
    return lambda case: (replace(case[0], **fields), case[1])


def canceled_long_ago(case: Case) -> Case:
    promised = case[1].tasks[str(TASK)]
    promised.ended_at["cancel"] = (NOW - timedelta(seconds=1)).timestamp()
    return task_is(cancel_requested_at=NOW)(case)


def never_told(case: Case) -> Case:
    return case[0], Ledger()


def twice(case: Case) -> Case:
    world, ledger = case
    return replace(world, marks=world.marks * 2), ledger


def created_twice(case: Case) -> Case:
    world, ledger = case
    return replace(world, tasks=[*world.tasks, replace(world.tasks[0], task_id=FENCE)]), ledger


LIES: dict[str, tuple[Callable[[Case], Case], str]] = {
    "a created task is gone": (
        world_has(tasks=[], rows=[], acknowledged=[], marks=[]),
        "not there",
    ),
    "a started task is not": (task_is(queued_at=None), "was started and is"),
    "delivered after a cancel": (canceled_long_ago, "delivered after cancel"),
    "a shown result changed": (row_is(exit_code=1), "a client was shown"),
    "a shown result is gone": (world_has(rows=[]), "a client was shown"),
    "nobody was told": (never_told, "nobody was told"),
    "created twice": (created_twice, "was created 2 times"),
    "still open": (task_is(status="running"), "still open"),
    "a row still open": (row_is(status="running"), "still open"),
    "ran twice": (twice, "ran 2 times"),
    "half a mark": (world_has(torn_marks=["node-1: 'x'"]), "cannot be read"),
    "ran under a foreign fence": (row_is(fence=COMMAND), "not the server's"),
    "ran, and was never started": (row_is(status="dispatch_failed"), "never to have started"),
    "ended as it cannot": (row_is(status="timeout"), "cannot have ended so"),
    "another exit code": (row_is(exit_code=3), "another exit code"),
    "completed without a mark": (world_has(marks=[]), "left no mark"),
    "another output": (row_is(stdout=b"ran"), "another output"),
    "bytes lost and not counted": (row_is(dropped=1), "another output"),
    "canceled by nobody": (row_is(status="canceled"), "nobody asked"),
    "not delivered in an hour": (row_is(status="dispatch_failed"), "an hour"),
    "ran and lost": (row_is(status="lost", reported=False), "never reported"),
    "acknowledged and lost": (row_is(status="lost", reported=False), "was told"),
}


@pytest.mark.parametrize("step", STEPS)
def test_nothing_is_found_where_all_is_true(step: str, tmp_path: Path) -> None:
    assert found(a_case(step), tmp_path) == []


@pytest.mark.parametrize("lie", LIES)
def test_each_lie_is_found(lie: str, tmp_path: Path) -> None:
    change, words = LIES[lie]
    assert any(words in text for text in found(change(a_case()), tmp_path))


def test_a_run_in_which_nothing_happened_is_no_pass(tmp_path: Path) -> None:
    empty = World([], [], [], [], [])
    assert any("proves little" in text for text in verdict.violations(empty, Ledger(), tmp_path))


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("worker.log", "ERROR step 1: its counts differed from its rows: {}"),
        ("agent-node-1.log", f"INFO result of {FENCE}: unknown"),
        ("agent-node-1.log", "WARNING poll: 500 internal_error: something went wrong"),
        (
            "gateway-2.log",
            "13:39:41,350 ERROR agents_app.gateway.application [-] /agent/v1/poll failed",
        ),
    ],
)
def test_what_a_log_must_not_say_is_found(tmp_path: Path, name: str, line: str) -> None:
    (tmp_path / name).write_text(f"INFO all is well\n{line}\n")
    assert len(found(a_case(), tmp_path)) == 1


def test_what_a_client_saw_is_told_and_two_last_words_are_a_lie(tmp_path: Path) -> None:
    world, ledger = a_case()
    ledger.saw_row(ledger.tasks[str(TASK)], ("node-1", 1), ("failed", 1, NOW))
    assert any("seen by a client" in text for text in found((world, ledger), tmp_path))
