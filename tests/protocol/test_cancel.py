"""DESIGN.md section 5, "Cancel": told by polls, decided by the agent's report."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from devops_manager.access.actors import SYSTEM
from tasks_app.models import CommandHost, Task
from tasks_app.services import lifecycle
from tests.factories import started_task
from tests.gateway_process import GatewayProcess
from tests.protocol.client import Agent, eventually, fences, lose, only

pytestmark = pytest.mark.usefixtures("promises_hold")


def cancel(task: Task) -> None:
    lifecycle.cancel_task(actor=SYSTEM, task_id=task.task_id)


def row(fence: str) -> CommandHost:
    return CommandHost.objects.get(fence=fence)


def test_a_held_poll_is_told_of_a_cancel_at_once_and_the_report_decides(agent: Agent) -> None:
    task = started_task([agent.host])
    fence = only(agent.poll())
    poll = agent.open_poll()
    eventually(lambda: row(fence).status == "running")
    deadline = row(fence).deadline
    cancel(task)
    assert row(fence).status == "running"
    assert row(fence).deadline < deadline
    reply = poll.reply()
    assert reply.json["cancel"] == [fence]
    assert time.monotonic() - poll.sent_at < 6
    assert agent.verdict(fence, status="canceled", exit_code=None) == "accepted"
    task.refresh_from_db()
    assert (row(fence).status, row(fence).cancel_state, task.status) == (
        "canceled",
        "confirmed",
        "canceled",
    )


def test_a_cancel_that_comes_too_late_changes_nothing(agent: Agent) -> None:
    task = started_task([agent.host])
    fence = only(agent.poll())
    agent.poll()
    cancel(task)
    assert agent.verdict(fence) == "accepted"
    task.refresh_from_db()
    assert (row(fence).status, row(fence).cancel_state) == ("completed", "too_late")


def test_a_cancel_reaches_an_agent_whose_slots_are_all_busy(
    make_agent: Callable[..., Agent],
) -> None:
    agent = make_agent(max_concurrency=1)
    task = started_task([agent.host])
    fence = only(agent.poll())
    poll = agent.open_poll(slots=0)
    eventually(lambda: row(fence).status == "running")
    cancel(task)
    assert poll.reply().json["cancel"] == [fence]


def test_a_cancel_ends_what_was_not_delivered(agent: Agent) -> None:
    task = started_task([agent.host], steps=2)
    cancel(task)
    assert set(task.rows.values_list("status", flat=True)) == {"canceled"}
    assert fences(agent.poll()) == []


def test_a_cancel_is_not_told_again_at_once_but_again_if_it_was_lost(agent: Agent) -> None:
    task = started_task([agent.host])
    fence = only(agent.poll())
    agent.poll()
    cancel(task)
    assert agent.open_poll().reply().json["cancel"] == [fence]
    # The agent kills, and its next poll is held meanwhile rather than answered in a loop.
    told_at = time.monotonic()
    assert agent.open_poll().reply().json["cancel"] == [fence]
    assert time.monotonic() - told_at > 1


def test_the_hold_is_over_before_a_repeated_cancel_is_due(agent: Agent) -> None:
    task = started_task([agent.host])
    fence = only(agent.poll())
    agent.poll()
    cancel(task)
    assert agent.poll().json["cancel"] == [fence]
    assert agent.poll().json["cancel"] == [fence]


def test_an_agent_that_says_nothing_leaves_the_outcome_unknown(agent: Agent) -> None:
    task = started_task([agent.host])
    fence = only(agent.poll())
    agent.poll()
    cancel(task)
    lose(fence)
    assert agent.poll().json["cancel"] == [fence]
    assert agent.verdict(fence, status="canceled", exit_code=None) == "accepted"


def test_a_cancel_is_found_without_redis(agent: Agent, lonely_gateway: GatewayProcess) -> None:
    agent.port = lonely_gateway.port
    task = started_task([agent.host])
    fence = only(agent.poll())
    poll = agent.open_poll()
    eventually(lambda: row(fence).status == "running")
    cancel(task)
    assert poll.reply().json["cancel"] == [fence]
    assert time.monotonic() - poll.sent_at < 6
