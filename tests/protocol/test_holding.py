"""DESIGN.md section 5, "holding": what the server makes of what an agent's journal has."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable

import pytest

from devops_manager.access.actors import SYSTEM
from devops_manager.access.models import AuditEvent
from hosts_app.models import HostSession
from tasks_app.models import CommandHost
from tasks_app.services import lifecycle
from tests.factories import started_task
from tests.protocol.client import Agent, eventually, fences, lose, only, result

pytestmark = pytest.mark.usefixtures("promises_hold")


def row(fence: str) -> CommandHost:
    return CommandHost.objects.get(fence=fence)


def test_a_delivery_has_all_that_an_agent_needs(agent: Agent) -> None:
    task = started_task(
        [agent.host],
        commands=[
            {
                "name": "Disk usage",
                "kind": "script",
                "body": "df -h",
                "interpreter": "/bin/bash",
                "parameters": ["/"],
                "environment": {"LC_ALL": "C"},
                "working_directory": "/tmp",
                "run_as": "nobody",
                "timeout_seconds": 30,
            }
        ],
    )
    (command,) = agent.poll().json["commands"]
    fence = command.pop("fence")
    assert row(fence).status == "claimed"
    assert command == {
        "attempt": 1,
        "task_id": str(task.task_id),
        "command_id": str(task.commands.get().command_id),
        "name": "Disk usage",
        "position": 1,
        "kind": "script",
        "body": "df -h",
        "interpreter": "/bin/bash",
        "parameters": ["/"],
        "environment": {"LC_ALL": "C"},
        "working_directory": "/tmp",
        "run_as": "nobody",
        "timeout_seconds": 30,
        "kill_grace_seconds": 10,
        "output_cap_bytes": 262_144,
    }


def test_claimed_and_listed_is_running(agent: Agent) -> None:
    started_task([agent.host])
    fence = only(agent.poll())
    assert agent.poll().json["cancel"] == []
    assert row(fence).status == "running"
    assert row(fence).started_at is not None


def test_running_and_listed_stays_as_it_is(agent: Agent) -> None:
    started_task([agent.host])
    fence = only(agent.poll())
    agent.poll()
    before = row(fence)
    agent.poll()
    assert (row(fence).status, row(fence).revision) == ("running", before.revision)


def test_a_lost_answer_is_delivered_again_under_the_same_fence(agent: Agent) -> None:
    started_task([agent.host])
    lost = only(agent.poll(take=False))
    reply = agent.poll()
    assert only(reply) == lost
    assert reply.json["commands"][0]["attempt"] == 1
    agent.poll()
    assert row(lost).status == "running"


def test_a_client_that_leaves_gets_its_delivery_at_its_next_poll(agent: Agent) -> None:
    poll = agent.open_poll()
    poll.drop()
    started_task([agent.host])
    assert len(fences(agent.poll())) == 1


def test_an_undelivered_command_that_was_canceled_ends_as_never_started(agent: Agent) -> None:
    task = started_task([agent.host])
    fence = only(agent.poll(take=False))
    lifecycle.cancel_task(actor=SYSTEM, task_id=task.task_id)
    reply = agent.poll()
    assert (fences(reply), reply.json["cancel"]) == ([], [])
    assert (row(fence).status, row(fence).started_at) == ("canceled", None)
    task.refresh_from_db()
    assert task.status == "canceled"


def test_another_instance_waits_before_a_delivery_is_repeated(agent: Agent) -> None:
    started_task([agent.host])
    fence = only(agent.poll(take=False))
    agent.restart()
    asked_at = time.monotonic()
    assert fences(agent.poll()) == []
    assert row(fence).status == "claimed"
    # held: the gateway looks again by itself when the time is over, without a wake
    assert only(agent.open_poll().reply()) == fence
    assert 1 <= time.monotonic() - asked_at < 6


def test_another_journal_interrupts_what_was_claimed_and_what_ran(agent: Agent) -> None:
    started_task([agent.host])
    started_task([agent.host])
    ran, claimed = fences(agent.poll(take=False))
    agent.holding = {ran: "running"}
    agent.poll(take=False)
    assert (row(ran).status, row(claimed).status) == ("running", "claimed")
    agent.journal_id, agent.holding = uuid.uuid4(), {}
    assert fences(agent.poll()) == []
    assert (row(ran).status, row(claimed).status) == ("interrupted", "interrupted")


def test_running_and_not_listed_by_a_greater_poll_is_interrupted(agent: Agent) -> None:
    started_task([agent.host])
    fence = only(agent.poll())
    agent.poll()
    agent.holding.clear()
    agent.poll()
    assert row(fence).status == "interrupted"


def test_ended_and_listed_comes_back_in_cancel(agent: Agent) -> None:
    started_task([agent.host])
    fence = only(agent.poll())
    agent.poll()
    agent.holding.clear()
    agent.poll()
    agent.holding = {fence: "running"}
    assert agent.poll().json["cancel"] == [fence]


def test_a_fence_that_is_gone_comes_back_in_cancel(agent: Agent) -> None:
    gone = str(uuid.uuid4())
    agent.holding = {gone: "accepted"}
    assert agent.poll().json["cancel"] == [gone]


def test_a_finished_fence_does_not_come_back_in_cancel(agent: Agent) -> None:
    agent.holding = {str(uuid.uuid4()): "finished"}
    assert agent.poll().json["cancel"] == []


def test_another_hosts_fence_is_audited_and_changes_nothing(
    agent: Agent, make_agent: Callable[..., Agent]
) -> None:
    started_task([agent.host])
    fence = only(agent.poll())
    thief = make_agent()
    thief.holding = {fence: "running"}
    reply = thief.poll()
    assert (reply.status, reply.json["cancel"], fences(reply)) == (200, [], [])
    assert row(fence).status == "claimed"
    event = AuditEvent.objects.get(action="host.foreign_fence")
    assert fence in event.after["fences"]


def test_slots_are_max_concurrency_less_what_is_in_flight(
    make_agent: Callable[..., Agent],
) -> None:
    agent = make_agent(max_concurrency=2)
    for _ in range(3):
        started_task([agent.host])
    assert len(fences(agent.poll())) == 2
    assert fences(agent.poll()) == []
    agent.verdict(next(iter(agent.holding)))
    assert len(fences(agent.poll())) == 1


def test_an_agent_may_ask_for_less_and_for_nothing(agent: Agent) -> None:
    for _ in range(3):
        started_task([agent.host])
    assert fences(agent.poll(slots=0)) == []
    assert len(fences(agent.poll(slots=1))) == 1
    assert len(fences(agent.poll())) == 2


def test_a_listed_fence_that_the_server_gave_up_keeps_its_slot(
    make_agent: Callable[..., Agent],
) -> None:
    agent = make_agent(max_concurrency=1)
    started_task([agent.host])
    started_task([agent.host])
    fence = only(agent.poll())
    agent.poll()
    lose(fence)
    assert fences(agent.poll()) == []
    assert agent.verdict(fence) == "accepted"
    assert len(fences(agent.poll())) == 1


def test_higher_priority_goes_first_and_then_the_older(make_agent: Callable[..., Agent]) -> None:
    agent = make_agent(max_concurrency=1)
    tasks = [started_task([agent.host], priority=priority) for priority in (2, 1, 4, 2)]
    order = []
    for _ in tasks:
        reply = agent.poll()
        order.append(reply.json["commands"][0]["task_id"])
        agent.verdict(only(reply))
    assert order == [str(tasks[at].task_id) for at in (2, 0, 3, 1)]


def test_a_held_poll_is_answered_as_soon_as_work_comes(agent: Agent) -> None:
    poll = agent.open_poll()
    eventually(HostSession.objects.filter(host=agent.host).exists)
    started_task([agent.host])
    assert len(fences(poll.reply())) == 1
    assert time.monotonic() - poll.sent_at < 6  # the hold is 8 s


def test_a_report_wakes_the_held_poll_and_carries_no_command(
    make_agent: Callable[..., Agent],
) -> None:
    agent = make_agent(max_concurrency=1)
    task = started_task([agent.host], steps=2)
    first = only(agent.poll())
    poll = agent.open_poll()
    eventually(lambda: row(first).status == "running")
    reply = agent.report(result(first))
    assert set(reply.json) == {"results", "output"}
    body = poll.reply().json
    assert [command["position"] for command in body["commands"]] == [2]
    assert body["cancel"] == []
    assert body["commands"][0]["task_id"] == str(task.task_id)
