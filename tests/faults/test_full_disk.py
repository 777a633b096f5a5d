"""Fault 13: the agent's disk is full. What ran is still told, and nothing new is taken."""

from __future__ import annotations

import resource
from collections.abc import Callable
from pathlib import Path

from devops_manager.access.models import AuditEvent
from hosts_app.models import HostSession
from tasks_app.models import CommandHost
from tests.factories import started_task
from tests.faults.world import RealAgent, wait_for
from tests.gateway_process import GatewayProcess

FULL_BYTES = 4096
POLLS = 2


def wait_for_polls(agent: RealAgent) -> None:
    heard = HostSession.objects.get(host=agent.host).seq + POLLS
    wait_for(HostSession.objects.filter(seq__gte=heard).exists, "further polls")


def test_a_full_disk_takes_no_work_and_loses_no_result(
    gateway: GatewayProcess, make_agent: Callable[..., RealAgent], tmp_path: Path
) -> None:
    agent = make_agent(gateway.url)
    agent.process.start()
    go = tmp_path / "go"
    body = f"until test -e {go}; do sleep 0.02; done; echo through"
    ran = CommandHost.objects.filter(task=started_task([agent.host], commands=[{"body": body}]))
    wait_for(ran.filter(status="running").exists, "the start")
    # No file of the agent's can grow from here on.
    _, hard = resource.prlimit(agent.process.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(agent.process.pid, resource.RLIMIT_FSIZE, (FULL_BYTES, hard))
    go.touch()
    wait_for(ran.filter(status="completed").exists, "the result, disk or no disk")

    # The poll that was open when the disk filled up asked for work: let it be over.
    wait_for_polls(agent)
    waits = CommandHost.objects.filter(task=started_task([agent.host]))
    wait_for_polls(agent)
    assert waits.get().status == "pending"
    assert waits.get().fence is None

    resource.prlimit(agent.process.pid, resource.RLIMIT_FSIZE, (hard, hard))
    wait_for(waits.filter(status="completed").exists, "the run, now that there is room")
    wait_for(lambda: agent.held == [], "the journal to be empty")
    # What could not be crossed out while there was no room is not told again after a restart.
    first, run = ran.values().get(), HostSession.objects.get(host=agent.host).run
    agent.process.kill()
    agent.process.start()
    wait_for(HostSession.objects.filter(run__gt=run).exists, "the restarted agent")
    wait_for_polls(agent)
    assert ran.values().get() == first
    assert not AuditEvent.objects.filter(action="result.conflict").exists()
