"""Faults 1 and 3: the server has committed, and the agent never hears of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tasks_app.models import CommandHost
from tests.factories import make_enrolled_host, started_task
from tests.faults.answer_thief import AnswerThief
from tests.faults.transitions import Transitions
from tests.faults.world import REACHED, RealAgent, lines, wait_for
from tests.gateway_process import GatewayProcess
from tests.protocol.client import Agent, only

STOLEN = 5


def marking(agent: RealAgent, mark: Path) -> CommandHost:
    """Start a task whose command leaves its fence in a file; return its row."""
    task = started_task([agent.host], commands=[{"body": f"echo $DM_FENCE >> {mark}; echo done"}])
    return CommandHost.objects.get(task=task)


def killed_at(process: GatewayProcess, point: str) -> Callable[[], bool]:
    return lambda: REACHED.format(point) in process.log


def test_gateway_killed_between_claim_and_answer(
    start_gateway: Callable[..., GatewayProcess],
    make_agent: Callable[..., RealAgent],
    transitions: Transitions,
    marks: Path,
) -> None:
    first = start_gateway(DM_FAULT="gateway_exit_after_claim")
    agent = make_agent(first.url)
    agent.process.start()
    row = marking(agent, marks / "ran")
    # gunicorn starts its worker anew, which would deliver again and die again; at the third poll
    # the host would be quarantined (test_poison.py), so the gateway is ended before
    wait_for(killed_at(first, "gateway_exit_after_claim"), "the death of the gateway")
    first.kill()
    row.refresh_from_db()
    claimed = row.fence
    assert (row.status, row.attempt) == ("claimed", 1)
    assert (lines(marks / "ran"), agent.held) == ([], [])

    start_gateway(port=first.port)
    wait_for(lambda: CommandHost.objects.filter(pk=row.pk, status="completed").exists(), "the run")
    row.refresh_from_db()
    assert (row.fence, row.attempt) == (claimed, 1)
    assert lines(marks / "ran") == [str(claimed)]
    wait_for(lambda: agent.held == [], "the journal to be empty")
    # once claimed, once ended; whether the agent's next poll or its result came first is its own
    assert [old for old, _ in transitions.of(row.pk)][:2] == ["pending", "claimed"]


def test_gateway_killed_between_result_and_answer(
    start_gateway: Callable[..., GatewayProcess],
    make_agent: Callable[..., RealAgent],
    marks: Path,
) -> None:
    first = start_gateway(DM_FAULT="gateway_exit_after_report")
    agent = make_agent(first.url)
    agent.process.start()
    row = marking(agent, marks / "ran")
    wait_for(killed_at(first, "gateway_exit_after_report"), "the gateway's death")
    first.kill()
    before = CommandHost.objects.filter(pk=row.pk).values().get()
    assert before["status"] == "completed"
    assert agent.held == [(str(before["fence"]),)], "the agent keeps what nobody has acknowledged"

    start_gateway(port=first.port)
    wait_for(lambda: agent.held == [], "the journal to be empty")
    assert CommandHost.objects.filter(pk=row.pk).values().get() == before
    assert lines(marks / "ran") == [str(before["fence"])]


def test_a_gateway_that_stood_still_delivers_nothing_that_another_has_not(
    start_gateway: Callable[..., GatewayProcess],
) -> None:
    stopped = start_gateway(DM_FAULT="gateway_stop_after_claim")
    other = start_gateway()
    agent = Agent.of(stopped.port, make_enrolled_host())
    started_task([agent.host])
    open_poll = agent.open_poll()
    wait_for(killed_at(stopped, "gateway_stop_after_claim"), "the gateway to stand still")
    claimed = CommandHost.objects.get()
    assert (claimed.status, open_poll.answered) == ("claimed", False)

    agent.port = other.port
    assert only(agent.poll()) == str(claimed.fence)
    assert agent.verdict(str(claimed.fence)) == "accepted"
    stopped.go_on()
    late = open_poll.reply()
    # The agent throws the answer to a poll away that it has given up; it names no other fence.
    assert only(late) == str(claimed.fence)
    row = CommandHost.objects.get()
    assert (row.status, row.attempt, row.fence) == ("completed", 1, claimed.fence)


@pytest.fixture
def thief(gateway: GatewayProcess) -> Iterator[AnswerThief]:
    proxy = AnswerThief(gateway.port, "/agent/v1/report", STOLEN)
    yield proxy
    proxy.cut()


def test_five_lost_answers_to_a_report(
    thief: AnswerThief, make_agent: Callable[..., RealAgent], marks: Path
) -> None:
    agent = make_agent(f"http://127.0.0.1:{thief.port}")
    agent.process.start()
    row = marking(agent, marks / "ran")
    wait_for(lambda: thief.stolen >= 1, "the first lost answer")
    before = CommandHost.objects.filter(pk=row.pk).values().get()
    assert before["status"] == "completed"

    wait_for(lambda: thief.stolen == STOLEN and agent.held == [], "the journal to be empty")
    assert CommandHost.objects.filter(pk=row.pk).values().get() == before
    assert lines(marks / "ran") == [str(before["fence"])]
