"""Faults 4 and 5: an agent that cannot be reached, or stands still, and then goes on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from devops_manager.access.actors import SYSTEM
from hosts_app.models import HostSession
from tasks_app.models import CommandHost, Task
from tasks_app.services import lifecycle
from tasks_app.services.sweeps import sweep_deadlines
from tests.factories import started_task
from tests.faults.transitions import Transitions
from tests.faults.world import RealAgent, lines, wait_for
from tests.gateway_process import GatewayProcess
from tests.protocol.client import Agent, only
from tests.proxy import Proxy
from tests.queue_world import outcomes


@pytest.fixture
def wire(gateway: GatewayProcess) -> Iterator[Proxy]:
    """What lies between an agent and the gateway."""
    proxy = Proxy("127.0.0.1", gateway.port)
    yield proxy
    proxy.cut()


def row_is(row: CommandHost, *states: str) -> Callable[[], bool]:
    return CommandHost.objects.filter(pk=row.pk, status__in=states).exists


def expired(row: CommandHost) -> Callable[[], bool]:
    """Sweep, as beat would, until a row's own deadline has passed."""

    def look() -> bool:
        sweep_deadlines()
        return row_is(row, "lost")()

    return look


def test_cut_off_past_its_deadline_and_healed(
    wire: Proxy,
    make_agent: Callable[..., RealAgent],
    speak_for: Callable[..., Agent],
    transitions: Transitions,
    marks: Path,
) -> None:
    agent, neighbour = make_agent(f"http://127.0.0.1:{wire.port}"), speak_for("web-2")
    go, mark = marks / "go", marks / "ran"
    body = f"echo $DM_FENCE >> {mark}; until test -e {go}; do sleep 0.02; done; echo late"
    step = {"body": body, "timeout_seconds": 2}
    task = started_task([agent.host, neighbour.host], commands=[step])
    assert neighbour.verdict(only(neighbour.poll())) == "accepted"
    agent.process.start()
    row = CommandHost.objects.get(task=task, host=agent.host)
    wait_for(row_is(row, "running"), "the start to be acknowledged")
    wire.cut()
    go.touch()  # it ends in time, and cannot say so
    wait_for(expired(row), "the deadline to pass")
    assert outcomes(task) == {"completed": 1, "lost": 1}
    assert task.status == "partial"
    row.refresh_from_db()
    fence, revision = row.fence, row.revision

    wire.restore()
    wait_for(row_is(row, "completed"), "the late result")
    assert outcomes(task) == {"completed": 2}
    assert task.status == "completed"
    row.refresh_from_db()
    assert (row.fence, row.attempt, row.exit_code) == (fence, 1, 0)
    assert row.revision > revision, "a page that follows the task sees it"
    assert transitions.of(row.pk)[-2:] == [("running", "lost"), ("lost", "completed")]
    assert lines(mark) == [str(fence)]
    wait_for(lambda: agent.held == [], "the journal to be empty")


def delivered_to_a_stopped_agent(agent: RealAgent, mark: Path) -> tuple[Task, CommandHost]:
    """Stop an agent whose poll is held, and have a command claimed for it."""
    agent.process.start()
    wait_for(HostSession.objects.filter(host=agent.host).exists, "the first poll")
    agent.stop()
    body = f"trap '' TERM; echo $DM_FENCE >> {mark}; exec sleep 600"
    task = started_task([agent.host], commands=[{"body": body}])
    row = CommandHost.objects.get(task=task)
    wait_for(row_is(row, "claimed"), "the claim")
    lifecycle.cancel_task(actor=SYSTEM, task_id=task.task_id)
    return task, row


def test_canceled_while_the_agent_stood_still_between_claim_and_start(
    gateway: GatewayProcess,
    make_agent: Callable[..., RealAgent],
    transitions: Transitions,
    marks: Path,
) -> None:
    agent = make_agent(gateway.url)
    task, row = delivered_to_a_stopped_agent(agent, marks / "ran")
    assert lines(marks / "ran") == []
    agent.go_on()
    wait_for(row_is(row, "canceled"), "the agent's word")
    row.refresh_from_db()
    assert row.cancel_state == "confirmed"
    assert len(lines(marks / "ran")) <= 1
    assert outcomes(task) == {"canceled": 1}
    wait_for(lambda: agent.held == [], "the journal to be empty")
    assert transitions.of(row.pk)[-1][1] == "canceled"


def test_canceled_and_thawed_after_the_deadline(
    gateway: GatewayProcess,
    make_agent: Callable[..., RealAgent],
    transitions: Transitions,
    marks: Path,
) -> None:
    agent = make_agent(gateway.url)
    task, row = delivered_to_a_stopped_agent(agent, marks / "ran")
    wait_for(expired(row), "the deadline that the cancel brought forward")
    assert outcomes(task) == {"lost": 1}
    agent.go_on()
    wait_for(row_is(row, "canceled"), "the late word of the agent")
    assert transitions.of(row.pk)[-2:] == [("claimed", "lost"), ("lost", "canceled")]
    assert outcomes(task) == {"canceled": 1}
    assert task.status == "canceled"
    wait_for(lambda: agent.held == [], "the journal to be empty")
