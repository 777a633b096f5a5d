"""An agent that dies at the worst moments: never two runs, and a state that is honest."""

from __future__ import annotations

import os
import signal
import sqlite3
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from agents_app.agent.identity import set_draining
from tests.e2e.client import Client, step, wait_until
from tests.e2e.conftest import Marked
from tests.e2e.stack import Stack

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(90)]


def lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").split() if path.exists() else []


def test_killed_in_the_middle_of_a_run(
    stack: Stack, api: Client, marks: Path, marked: Marked
) -> None:
    mark, go = marks / "runs", marks / "go"
    body = f"echo run >> {mark}; until test -e {go}; do sleep 0.1; done; echo end >> {mark}"
    steps = [step(body, environment=marked.environment), step(f"echo never >> {mark}")]
    task = api.start_task("Interrupted", steps, target=stack.target("node-1"))
    task.wait_row("node-1", "running")
    wait_until(lambda: lines(mark), 5.0, "the command to run")
    stack.kill_process("node-1")
    assert marked.pids(), "the command outlives its agent"
    run = api.get(f"hosts/{stack.host_id('node-1')}")["heartbeat"]["last_seen_at"]
    stack.start_process("node-1")

    def heard_again() -> bool:
        heartbeat = api.get(f"hosts/{stack.host_id('node-1')}")["heartbeat"]
        return bool(heartbeat["last_seen_at"] > run and heartbeat["running_count"] == 1)

    wait_until(heard_again, 10.0, "the agent to say that the command still runs")
    assert task.row("node-1")["status"] == "running"
    go.touch()
    row = task.wait_row("node-1", "interrupted")
    assert row["error_code"] == "agent_restarted"
    assert row["exit_code"] is None
    assert marked.pids() == set()
    assert task.wait() == "failed"
    assert task.row("node-1", 2)["status"] == "skipped"
    # Work that comes later is taken, and the old one is not run again.
    after = api.start_task(
        "After it", [step(f"echo after >> {mark}")], target=stack.target("node-1")
    )
    assert after.wait() == "completed"
    assert lines(mark) == ["run", "end", "after"]


@pytest.mark.parametrize(
    ("fault", "status", "runs"),
    [
        pytest.param("after_journal_before_start", "completed", 1, id="accepted-not-started"),
        pytest.param("after_mark_before_start", "interrupted", 0, id="about-to-start"),
        pytest.param("after_start_before_ack", "interrupted", 1, id="started-not-told"),
        pytest.param("after_result_journaled", "completed", 1, id="ended-not-told"),
    ],
)
def test_dead_at_a_named_point_and_started_again(
    stack: Stack, api: Client, marks: Path, marked: Marked, fault: str, status: str, runs: int
) -> None:
    mark = marks / "runs"
    long = "exec sleep 600" if fault == "after_start_before_ack" else "true"
    stack.stop_process("node-2")
    stack.start_process("node-2", DM_AGENT_FAULT=fault)
    stack.wait_online("node-2")
    task = api.start_task(
        fault,
        [step(f"echo run >> {mark}; {long}", environment=marked.environment)],
        target=stack.target("node-2"),
    )
    wait_until(lambda: stack.child("node-2").exit_status is not None, 15.0, "the agent to die")
    if runs:
        # What was started before the death goes on: let it say so before anything else happens.
        never_begun = fault == "after_journal_before_start"
        wait_until(lambda: never_begun or lines(mark), 5.0, "the mark")
    stack.restart("node-2")
    if fault == "after_start_before_ack":
        task.wait_row("node-2", "running")  # the agent's next start watches it
        (pid,) = marked.pids()
        os.kill(pid, signal.SIGKILL)
    row = task.wait_row("node-2", "completed", "failed", "interrupted", "lost", "canceled")
    assert row["status"] == status
    assert task.wait() == ("completed" if status == "completed" else "failed")
    assert lines(mark) == ["run"] * runs


def test_a_clock_that_is_a_day_off_times_nothing_out_and_is_shown(
    stack: Stack, api: Client, tmp_path: Path
) -> None:
    off = {"node-2": timedelta(days=1), "node-3": timedelta(days=-1)}
    for node, error in off.items():
        # Python imports this before anything else: the agent's clock is wrong from its start.
        (tmp_path / node).mkdir()
        (tmp_path / node / "sitecustomize.py").write_text(
            f"import time\nright = time.time\n"
            f"time.time = lambda: right() + {error.total_seconds()}\n"
        )
        stack.stop_process(node)
        stack.start_process(node, PYTHONPATH=str(tmp_path / node))

    def shown(node: str) -> timedelta:
        heartbeat = api.get(f"hosts/{stack.host_id(node)}")["heartbeat"]
        return timedelta(milliseconds=heartbeat["clock_skew_ms"])

    facts = api.get(f"hosts/{stack.host_id('node-2')}")["facts"]
    assert facts["process_tracking"] in {"cgroup", "subreaper"}
    for node, error in off.items():
        wait_until(
            lambda node=node, error=error: abs(shown(node) - error) < timedelta(seconds=5),
            10.0,
            f"the clock of {node} to be shown",
        )
    asked_at = datetime.now(UTC)
    task = api.start_task(
        "A wrong clock", [step("sleep 2; echo done", timeout_seconds=4)], target=stack.target(*off)
    )
    assert task.wait() == "completed"
    for node in off:
        row = task.row(node)
        times = [row[name] for name in ("claimed_at", "started_at", "finished_at")]
        claimed_at, started_at, finished_at = map(datetime.fromisoformat, times)
        assert asked_at - timedelta(seconds=1) < claimed_at <= started_at < finished_at
        assert finished_at < asked_at + timedelta(seconds=20)
        assert 2000 <= row["execution_time_ms"] < 4000
        assert task.output(node)["stdout"]["head"] == "done\n"


def test_a_draining_agent_finishes_what_runs_and_takes_nothing_new(
    stack: Stack, api: Client, marks: Path
) -> None:
    state = stack.directory / "agents" / "node-1"
    target = stack.target("node-1")
    go = marks / "go"
    running = api.start_task(
        "Goes on", [step(f"until test -e {go}; do sleep 0.1; done")], target=target
    )
    running.wait_row("node-1", "running")

    def known() -> bool:
        """Whether a poll that offered no slots was answered."""
        with closing(sqlite3.connect(f"file:{state}/journal.sqlite3?mode=ro", uri=True)) as db:
            return db.execute("SELECT value FROM meta WHERE key = 'slots'").fetchall() == [("0",)]

    set_draining(state, True)
    try:
        wait_until(known, 10.0, "the server to know of the drain")
        later = api.start_task("Must wait", [step("echo at last")], target=target)
        later.wait_row("node-1", "pending")
        go.touch()
        assert running.wait() == "completed"
        assert later.row("node-1")["status"] == "pending"
    finally:
        set_draining(state, False)
    assert later.wait() == "completed"
