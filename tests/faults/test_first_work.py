"""How soon a host works: behind an impatient proxy, after an approval, an outage, a drain.

Gateway and agent hold polls as long as in production: whatever waits for a hold's end fails.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from devops_manager.access.actors import SYSTEM
from hosts_app.models import Host
from hosts_app.services import approve_hosts, disable_host, enable_host
from tests.agent.conftest import AgentProcess
from tests.factories import make_token, started_task
from tests.faults.nginx import Nginx
from tests.faults.world import RealAgent, lines, wait_for
from tests.gateway_process import GatewayProcess

pytestmark = pytest.mark.timeout(120)

START_SECONDS = 2.0
PRODUCTION = {"DM_POLL_HOLD_SECONDS": "25", "DM_OFFLINE_AFTER_SECONDS": "60"}
OWN = ("POLL_WAIT_SECONDS", "RETRY_FIRST_SECONDS", "RETRY_LONGEST_SECONDS")


@pytest.fixture
def patient(start_gateway: Callable[..., GatewayProcess]) -> GatewayProcess:
    """A gateway with production's durations; work whose wake was lost is not looked for."""
    return start_gateway(**PRODUCTION, DM_PENDING_QUERY_SECONDS="60")


@pytest.fixture
def make_patient_agent(make_agent: Callable[..., RealAgent]) -> Callable[..., RealAgent]:
    def make(server: str) -> RealAgent:
        agent = make_agent(server)
        for name in OWN:
            agent.process.settings.pop(name)
        return agent

    return make


def seconds_to_work(host: Host, marks: Path, mark: str) -> float:
    """Start a task and wait until its command has run."""
    path = marks / mark
    began = time.monotonic()
    started_task([host], commands=[{"body": f"echo ran >> {path}"}])
    wait_for(lambda: lines(path), f"the work {mark}")
    return time.monotonic() - began


def waits_in_a_poll(agent: RealAgent) -> None:
    """Wait until a poll of the agent, which is held, has been looked up."""
    wait_for(
        lambda: Host.objects.filter(pk=agent.host.pk, session__isnull=False).exists(), "a poll"
    )


def test_behind_an_impatient_proxy(
    patient: GatewayProcess,
    make_patient_agent: Callable[..., RealAgent],
    marks: Path,
    tmp_path: Path,
) -> None:
    """nginx gives up after 4 s, the gateway holds for 25 s: the agent learns that."""
    with Nginx(tmp_path / "nginx", patient.port, "proxy_read_timeout 4s;") as nginx:
        agent = make_patient_agent(nginx.url)
        log = agent.process.start().log
        wait_for(lambda: "gives up after" in log.read_text(), "the warning")
        # In the holds that come after it, and across their ends.
        for turn in range(8):
            assert seconds_to_work(agent.host, marks, f"mark-{turn}") < START_SECONDS
            time.sleep(0.9)  # the works fall into different parts of a hold
        assert agent.process.terminate() == 0
    said = [line for line in log.read_text().splitlines() if "WARNING" in line or "ERROR" in line]
    assert len(said) == 1, said
    assert "it answers 504" in said[0]
    assert "polls are held for 3.0 s" in said[0]


@pytest.fixture
def newcomer(patient: GatewayProcess, tmp_path: Path) -> Iterator[AgentProcess]:
    """An agent that enrolls by itself and waits for its approval."""
    process = AgentProcess(tmp_path / "newcomer", patient.url)
    for name in OWN:
        process.settings.pop(name)
    process.settings |= {"HOSTNAME": "newcomer", "MACHINE_ID": "of-a-newcomer"}
    process.settings["ENROLLMENT_TOKEN"] = make_token(auto_approve=False)[1]
    yield process
    if process.process is not None and process.process.poll() is None:
        process.kill()
    print(process.log.read_text())


@pytest.mark.parametrize("waits_seconds", [0.5, 8.0])
def test_from_approval_to_work(newcomer: AgentProcess, marks: Path, waits_seconds: float) -> None:
    newcomer.start()
    wait_for(lambda: Host.objects.filter(hostname="newcomer").exists(), "the enrollment")
    time.sleep(waits_seconds)  # it waits for a person
    host = Host.objects.get(hostname="newcomer")
    approve_hosts(actor=SYSTEM, host_ids=[host.host_id])
    assert seconds_to_work(host, marks, "first") < START_SECONDS
    disable_host(actor=SYSTEM, host_id=host.host_id)
    time.sleep(waits_seconds)
    enable_host(actor=SYSTEM, host_id=host.host_id)
    assert seconds_to_work(host, marks, "enabled") < START_SECONDS
    assert newcomer.terminate() == 0


def test_after_an_outage(
    patient: GatewayProcess,
    start_gateway: Callable[..., GatewayProcess],
    make_patient_agent: Callable[..., RealAgent],
    marks: Path,
) -> None:
    agent = make_patient_agent(patient.url)
    agent.process.start()
    assert seconds_to_work(agent.host, marks, "before") < 20.0
    patient.kill()
    time.sleep(10.0)  # the outage
    start_gateway(port=patient.port, **PRODUCTION)
    assert seconds_to_work(agent.host, marks, "after") < START_SECONDS
    assert agent.process.terminate() == 0


def test_after_a_drain(
    patient: GatewayProcess, make_patient_agent: Callable[..., RealAgent], marks: Path
) -> None:
    agent = make_patient_agent(patient.url)
    agent.process.start()
    waits_in_a_poll(agent)
    began = time.monotonic()
    assert agent.process.call("drain").returncode == 0
    assert time.monotonic() - began < START_SECONDS + 1, "a program has to start for it"
    path = marks / "drained"
    started_task([agent.host], commands=[{"body": f"echo ran >> {path}"}])
    time.sleep(2.0)  # nothing happens
    assert lines(path) == []
    began = time.monotonic()
    assert agent.process.call("drain", "--off").returncode == 0
    wait_for(lambda: lines(path), "the work")
    assert time.monotonic() - began < START_SECONDS + 1
    assert agent.process.terminate() == 0
