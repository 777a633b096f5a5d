"""Cancel: what runs is gone within seconds, with all that it started, also when no slot is free."""

from __future__ import annotations

import time

import pytest

from tests.e2e.client import Client, step, wait_until
from tests.e2e.conftest import Marked
from tests.e2e.stack import DURATIONS, NODES, Stack

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(90)]

GONE_SECONDS = 5.0
SLOTS = 5

# Children in the background, of a subshell, in a session of their own, and without a parent.
FAMILY = """\
sleep 600 &
(sleep 600; sleep 600) &
setsid sleep 600 &
setsid sh -c 'nohup sleep 600 > /dev/null 2>&1 & exit 0' &
sleep 600
"""
SLEEPERS = 5

# The same with TERM ignored, which children inherit: nothing but KILL ends any of it.
DEAF_FAMILY = """\
trap '' TERM
sleep 600 &
(sleep 600; sleep 600) &
setsid sh -c 'sleep 600; sleep 600' &
sleep 600
sleep 600
"""
DEAF = 7
KILL_GRACE_SECONDS = float(DURATIONS["DM_KILL_GRACE_SECONDS"])


def test_a_canceled_command_goes_with_its_whole_tree(
    stack: Stack, api: Client, marked: Marked
) -> None:
    steps = [step(FAMILY, timeout_seconds=900, environment=marked.environment), step("echo never")]
    task = api.start_task("A long sleep", steps, target=stack.target("node-1"))
    wait_until(lambda: len(marked.pids()) >= SLEEPERS + 2, 10.0, "the whole tree to be there")
    task.wait_row("node-1", "running")
    task.cancel()
    wait_until(lambda: not marked.pids(), GONE_SECONDS, lambda: f"the end of {marked.pids()}")
    row = task.wait_row("node-1", "canceled", seconds=GONE_SECONDS)
    assert row["cancel_state"] == "confirmed"
    assert row["error_code"] == "canceled"
    assert task.wait() == "canceled"
    assert task.row("node-1", 2)["status"] == "canceled"
    assert task.state()["canceled_hosts"] == 1


def test_cancel_of_five_trees_that_ignore_term(stack: Stack, api: Client, marked: Marked) -> None:
    more = ("node-4", "node-5")
    token = stack.enrollment_token(auto_approve=True)
    for node in more:
        stack.start_agent(node, token)
    try:
        stack.wait_online(*more)
        nodes = (*NODES, *more)
        steps = [step(DEAF_FAMILY, timeout_seconds=900, environment=marked.environment)]
        task = api.start_task("Deaf", steps, target=stack.target(*nodes))
        for node in nodes:
            task.wait_row(node, "running")
        wait_until(lambda: len(marked.pids()) == len(nodes) * DEAF, 10.0, "all trees to be there")
        began = time.monotonic()
        task.cancel()
        wait_until(lambda: set(task.states().values()) == {"canceled"}, GONE_SECONDS, "all rows")
        assert marked.pids() == set()
        assert time.monotonic() - began <= KILL_GRACE_SECONDS + 2
        assert {row["cancel_state"] for row in task.rows().values()} == {"confirmed"}
        assert task.wait() == "canceled"
        assert task.state()["canceled_hosts"] == len(nodes)
    finally:
        for node in more:
            stack.remove_agent(node)


def test_cancel_works_while_all_slots_are_busy(stack: Stack, api: Client, marked: Marked) -> None:
    target = stack.target("node-2")
    sleeper = [step("exec sleep 600", timeout_seconds=900, environment=marked.environment)]
    busy = [api.start_task(f"Sleeper {n}", sleeper, target=target) for n in range(SLOTS)]
    for task in busy:
        task.wait_row("node-2", "running")
    waiting = api.start_task("Waits for a slot", [step("echo my turn")], target=target)
    waiting.wait_row("node-2", "pending")
    assert len(marked.pids()) == SLOTS
    busy[2].cancel()
    row = busy[2].wait_row("node-2", "canceled", seconds=GONE_SECONDS)
    assert row["cancel_state"] == "confirmed"
    assert len(marked.pids()) == SLOTS - 1
    assert waiting.wait() == "completed", "the slot is used again"
    for task in busy:
        if task is not busy[2]:
            task.cancel()
    wait_until(lambda: not marked.pids(), GONE_SECONDS, lambda: f"the end of {marked.pids()}")
    assert [task.wait() for task in busy] == ["canceled"] * SLOTS


def test_a_task_that_waits_for_an_agent_is_canceled_without_it(stack: Stack, api: Client) -> None:
    stack.stop_process("node-3")
    task = api.start_task("Nobody there", [step("echo never")], target=stack.target("node-3"))
    task.wait_row("node-3", "pending")
    task.cancel()
    assert task.wait(GONE_SECONDS) == "canceled"
    assert task.row("node-3")["claimed_at"] is None
