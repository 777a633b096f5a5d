"""A host's share of the audit trail: so many events a minute, the rest by their number."""

from __future__ import annotations

import threading
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from django.db import DatabaseError, connection

from devops_manager.access import agent_audit
from devops_manager.access.agent_audit import EVENTS_A_MINUTE, AgentTrail
from devops_manager.access.models import AuditEvent
from hosts_app.services import Description, record_descriptions
from tests.factories import make_enrolled_host, started_task
from tests.gateway_process import GatewayProcess, own_wake_channel
from tests.protocol.client import Agent, only, result

pytestmark = pytest.mark.django_db
HOST_ID = uuid.UUID(int=5)


class Clock:
    """A clock that stands still until it is moved."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


def fill(trail: AgentTrail, host: int, count: int, action: str = "host.foreign_fence") -> int:
    return sum(
        trail.record(host=host, host_id=lambda: HOST_ID, action=action) for _ in range(count)
    )


def counted() -> list[AuditEvent]:
    return list(AuditEvent.objects.filter(action="host.events_counted").order_by("id"))


def test_beyond_its_share_a_hosts_events_are_counted_and_the_count_is_written() -> None:
    clock = Clock()
    trail = AgentTrail(clock)
    assert fill(trail, 1, EVENTS_A_MINUTE + 7) == EVENTS_A_MINUTE
    assert fill(trail, 1, 2, "result.conflict") == 0
    assert fill(trail, 2, 1) == 1
    assert AuditEvent.objects.count() == EVENTS_A_MINUTE + 1
    assert trail.write_held_back() == 0
    clock.now += 60
    assert trail.write_held_back() == 1
    (event,) = counted()
    assert event.after["count"] == 9
    assert event.after["actions"] == {"host.foreign_fence": 7, "result.conflict": 2}
    assert (event.actor, event.object_id) == ("system", str(HOST_ID))
    assert trail.write_held_back() == 0
    assert fill(trail, 1, 1) == 1


def test_a_count_is_not_lost_to_the_next_minutes_events() -> None:
    clock = Clock()
    trail = AgentTrail(clock)
    for _ in range(3):
        fill(trail, 1, EVENTS_A_MINUTE + 1)
        clock.now += 61
    assert trail.write_held_back() == 1
    assert counted()[0].after["count"] == 3


@pytest.mark.django_db(transaction=True)
def test_a_count_that_could_not_be_written_is_kept() -> None:
    clock = Clock()
    trail = AgentTrail(clock)
    fill(trail, 1, EVENTS_A_MINUTE + 3)
    clock.now += 60

    def away(*_statement: object) -> None:
        raise DatabaseError("away")

    with connection.execute_wrapper(away), pytest.raises(DatabaseError):
        trail.write_held_back()
    assert trail.write_held_back() == 1
    assert counted()[0].after["count"] == 3


def test_what_is_kept_of_many_hosts_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(agent_audit, "HOSTS_AT_MOST", 3)
    clock = Clock()
    trail = AgentTrail(clock)
    assert sum(fill(trail, host, 1) for host in range(1, 4)) == 3
    # Hosts beyond that have one share together.
    assert sum(fill(trail, host, 1) for host in range(4, 104)) == EVENTS_A_MINUTE
    assert len(trail._shares) <= 4
    clock.now += 60
    assert fill(trail, 200, 1) == 1
    assert trail.write_held_back() == 1
    (event,) = counted()
    assert (event.object_id, event.after["count"]) == ("several", 100 - EVENTS_A_MINUTE)


@pytest.mark.django_db(transaction=True)
def test_threads_share_one_share() -> None:
    trail = AgentTrail(Clock())
    meet = threading.Barrier(4)

    def hammer(_no: int) -> int:
        meet.wait()
        try:
            return fill(trail, 1, 20)
        finally:
            connection.close()

    with ThreadPoolExecutor(4) as threads:
        assert sum(threads.map(hammer, range(4))) == EVENTS_A_MINUTE
    assert AuditEvent.objects.count() == EVENTS_A_MINUTE


def test_a_host_that_renames_itself_for_ever_fills_no_trail(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("hosts_app.services.descriptions.trail", AgentTrail())
    host = make_enrolled_host().host
    for no in range(EVENTS_A_MINUTE + 10):
        record_descriptions([Description(host=host.pk, hostname=f"web-{no}")])
    assert AuditEvent.objects.filter(action="host.rename").count() == EVENTS_A_MINUTE
    host.refresh_from_db()
    assert host.hostname == f"web-{EVENTS_A_MINUTE + 9}"


@pytest.mark.django_db(transaction=True)
def test_a_hostile_agent_fills_no_trail(tmp_path: Path) -> None:
    own_wake_channel()
    gateway = GatewayProcess(tmp_path / "gateway.log").start()
    try:
        owner = Agent.of(gateway.port, make_enrolled_host())
        thief = Agent.of(gateway.port, make_enrolled_host("web-2"))
        started_task([owner.host])
        fence = only(owner.poll())
        tries = 3 * EVENTS_A_MINUTE
        for _ in range(tries):
            thief.holding = {fence: "running"}
            assert thief.poll(take=False).status == 200
            thief.report(result(fence))
        thiefs = AuditEvent.objects.filter(object_id=str(thief.host.host_id))
        assert thiefs.count() == EVENTS_A_MINUTE
        assert owner.verdict(fence) == "accepted"
        for at in range(EVENTS_A_MINUTE + 5):
            owner.report(result(fence, status="failed", exit_code=at + 1))
        conflicts = AuditEvent.objects.filter(action="result.conflict")
        assert conflicts.count() == EVENTS_A_MINUTE
    finally:
        gateway.stop()
    connection.close()
    by_host = {event.object_id: event.after["count"] for event in counted()}
    assert by_host == {
        str(thief.host.host_id): 2 * tries - EVENTS_A_MINUTE,
        str(owner.host.host_id): 5,
    }


@pytest.mark.django_db(transaction=True)
def test_of_many_fences_the_first_few_are_named(tmp_path: Path) -> None:
    own_wake_channel()
    gateway = GatewayProcess(tmp_path / "gateway.log").start()
    try:
        owner = Agent.of(gateway.port, make_enrolled_host(max_concurrency=30))
        thief = Agent.of(gateway.port, make_enrolled_host("web-2"))
        for _ in range(30):
            started_task([owner.host])
        owner.poll()
        thief.holding = dict.fromkeys(owner.holding, "running")
        thief.poll(take=False)
        event = AuditEvent.objects.get(action="host.foreign_fence")
        assert (len(event.after["fences"]), event.after["count"]) == (20, 30)
    finally:
        gateway.stop()
