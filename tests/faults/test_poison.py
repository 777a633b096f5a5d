"""What ends a gateway twice is set aside: everything else goes on, and people are told why."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from agents_app.models import SuspectRequest
from devops_manager.access.actors import SYSTEM
from devops_manager.access.models import AuditEvent
from hosts_app.models import Host
from hosts_app.services import release_quarantine
from tasks_app.models import CommandHost, Task
from tests.factories import started_task
from tests.faults.world import REACHED, RealAgent, wait_for
from tests.gateway_process import GatewayProcess
from tests.pages_world import html, visitor

SECONDS = 40.0


def row_of(task: Task) -> CommandHost:
    return CommandHost.objects.get(task=task)


def ended(task: Task) -> Callable[[], bool]:
    return lambda: row_of(task).finished_at is not None


@pytest.mark.timeout(120)
@pytest.mark.parametrize("point", ["gateway_exit_on_result", "gateway_hang_on_result"])
def test_a_result_that_ends_gateways_is_set_aside_after_two(
    start_gateway: Callable[..., GatewayProcess],
    make_agent: Callable[..., RealAgent],
    tmp_path: Path,
    point: str,
) -> None:
    names = tmp_path / "names"
    names.touch()
    gateway = start_gateway(
        DM_FAULT=point, DM_FAULT_NAMES=str(names), GUNICORN_CMD_ARGS="--timeout=4"
    )
    poisoned, healthy = make_agent(gateway.url), make_agent(gateway.url, "web-2")
    poisoned.process.start()
    healthy.process.start()
    bad = started_task(
        [poisoned.host], commands=[{"body": f"echo $DM_FENCE >> {names}; echo poison"}]
    )
    # it has no place in the same request as what others report
    wait_for(lambda: gateway.log.count(REACHED.format(point)) >= 1, "the first death")
    good = started_task([healthy.host], commands=[{"body": "true"}])
    wait_for(ended(bad), "the end of the poisoned command", SECONDS)
    wait_for(ended(good), "the other host's command", SECONDS)
    after = started_task([poisoned.host], commands=[{"body": "true"}])
    wait_for(ended(after), "the next command of the same host", SECONDS)

    assert gateway.log.count(REACHED.format(point)) == 2
    assert row_of(good).status == row_of(after).status == "completed"
    row = row_of(bad)
    assert (row.status, row.error_code) == ("interrupted", "result_set_aside")
    assert "completed, exit code 0" in row.error_message
    wait_for(lambda: poisoned.held == [], "the journal to be empty")

    aside = SuspectRequest.objects.get(kind=SuspectRequest.Kind.RESULT, key=row.fence.bytes)
    assert (aside.deaths, aside.host_id) == (2, poisoned.host.pk)
    assert b"poison" in bytes(aside.content or b"")
    assert AuditEvent.objects.filter(
        action="gateway.set_aside", object_id=str(poisoned.host.host_id)
    ).exists()
    client = visitor()
    assert str(row.fence) in html(client.get(f"/hosts/{poisoned.host.host_id}"))
    assert "it is set aside" in html(client.get(f"/tasks/{bad.task_id}"))


@pytest.mark.timeout(120)
def test_a_host_whose_polls_end_gateways_is_quarantined_after_two(
    start_gateway: Callable[..., GatewayProcess],
    make_agent: Callable[..., RealAgent],
    tmp_path: Path,
) -> None:
    names = tmp_path / "names"
    names.touch()
    gateway = start_gateway(DM_FAULT="gateway_exit_on_poll", DM_FAULT_NAMES=str(names))
    poisoned, healthy = make_agent(gateway.url), make_agent(gateway.url, "web-2")
    names.write_text(str(poisoned.host.host_id))
    poisoned.process.start()
    wait_for(
        lambda: Host.objects.filter(pk=poisoned.host.pk, quarantined_at__isnull=False).exists(),
        "the quarantine",
        SECONDS,
    )
    healthy.process.start()
    good = started_task([healthy.host], commands=[{"body": "true"}])
    wait_for(ended(good), "the other host's command", SECONDS)
    assert gateway.log.count(REACHED.format("gateway_exit_on_poll")) == 2
    assert "2 gateways ended" in Host.objects.get(pk=poisoned.host.pk).quarantine_reason

    names.write_text("")
    release_quarantine(actor=SYSTEM, host_id=poisoned.host.host_id)
    task = started_task([poisoned.host], commands=[{"body": "true"}])
    wait_for(ended(task), "work after the release", SECONDS)
    assert row_of(task).status == "completed"
