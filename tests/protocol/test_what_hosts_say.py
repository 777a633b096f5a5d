"""What a host says of itself in polls: its name, that it drains, its clock, its figures."""

from __future__ import annotations

import time
from datetime import timedelta

import pytest
from django.db import connection
from django.utils import timezone

from devops_manager.access.actors import SYSTEM
from devops_manager.access.models import AuditEvent
from hosts_app.models import Host, HostHeartbeat
from hosts_app.records import HostChange
from hosts_app.services import retire_host, unretire_host, update_host
from tests.factories import make_token, started_task
from tests.protocol.client import Agent, eventually, fences, only, result, send

pytestmark = pytest.mark.django_db(transaction=True)


def host_of(agent: Agent) -> Host:
    return Host.objects.get(pk=agent.host.pk)


def shown(agent: Agent) -> str:
    return host_of(agent).hostname


def test_a_host_is_shown_under_the_name_that_it_has_now(agent: Agent) -> None:
    agent.poll(host={"hostname": "web-9"})
    eventually(lambda: shown(agent) == "web-9")
    event = AuditEvent.objects.get(action="host.rename")
    assert (event.before, event.after) == ({"hostname": "web-1"}, {"hostname": "web-9"})
    assert (event.actor, event.object_id) == (
        f"agent:{agent.host.host_id}",
        str(agent.host.host_id),
    )
    assert agent.poll().json["config"]["hostname"] == "web-9"
    agent.poll(host={"hostname": "web-9", "os": "Debian 13"})
    eventually(lambda: host_of(agent).os == "Debian 13")
    assert AuditEvent.objects.filter(action="host.rename").count() == 1


def test_a_name_that_a_person_fixed_wins(agent: Agent) -> None:
    change = HostChange(display_name="Shop database")
    update_host(actor=SYSTEM, host_id=agent.host.host_id, change=change)
    assert agent.poll(host={"hostname": "web-9"}).json["config"]["hostname"] == "Shop database"
    eventually(lambda: host_of(agent).reported_hostname == "web-9")
    assert shown(agent) == "Shop database"
    update_host(actor=SYSTEM, host_id=agent.host.host_id, change=HostChange(display_name=""))
    assert shown(agent) == "web-9"
    assert agent.poll().json["config"]["hostname"] == "web-9"


def test_a_host_that_waits_for_approval_is_shown_under_its_name(agent: Agent) -> None:
    Host.objects.filter(pk=agent.host.pk).update(status="pending")
    assert agent.poll(host={"hostname": "web-9"}).code == "host_pending"
    eventually(lambda: shown(agent) == "web-9")


def test_an_agent_that_drains_is_known_to_and_gets_nothing(agent: Agent) -> None:
    started_task([agent.host])
    assert fences(agent.poll(draining=True, slots=5)) == []
    eventually(lambda: HostHeartbeat.objects.filter(host=agent.host, draining=True).exists())
    agent.poll(draining=True)
    assert len(fences(agent.poll(draining=False, slots=5))) == 1
    eventually(lambda: HostHeartbeat.objects.filter(host=agent.host, draining=False).exists())


def test_a_drain_is_known_though_the_host_was_heard_just_now(agent: Agent) -> None:
    agent.poll()
    held = agent.open_poll(draining=True, slots=0)
    eventually(lambda: HostHeartbeat.objects.filter(host=agent.host, draining=True).exists(), 4)
    held.drop()


def test_a_heartbeat_says_that_its_agent_drains(agent: Agent) -> None:
    body = {"draining": True}
    assert send(agent.port, "/agent/v1/heartbeat", body, headers=agent.headers).status == 200
    assert HostHeartbeat.objects.get(host=agent.host).draining


def test_the_clock_of_an_idle_host_is_compared_when_its_poll_arrives(agent: Agent) -> None:
    load = {"cpu_percent": 3.0, "running": 0}
    agent.poll(load=load)
    # One that follows is written down at the end of its hold: by then the poll is 5 s old.
    sent_at = timezone.now()
    assert agent.open_poll(wait_seconds=5, load=load).reply().status == 200
    written = sent_at + timedelta(seconds=4)
    eventually(lambda: HostHeartbeat.objects.get(host=agent.host).last_seen_at > written)
    heard = HostHeartbeat.objects.get(host=agent.host)
    assert abs(heard.clock_skew_ms) < 1000
    assert abs(heard.load_at - sent_at) < timedelta(seconds=1)


def test_a_clock_that_is_wrong_is_told_exactly(agent: Agent) -> None:
    agent.poll(time=time.time() - 90)
    eventually(lambda: HostHeartbeat.objects.filter(host=agent.host).exists())
    assert -91_000 < HostHeartbeat.objects.get(host=agent.host).clock_skew_ms < -89_000


def test_figures_keep_their_age_where_a_poll_brings_none(agent: Agent) -> None:
    agent.poll(load={"cpu_percent": 3.0})
    eventually(lambda: HostHeartbeat.objects.filter(host=agent.host).exists())
    first = HostHeartbeat.objects.get(host=agent.host)
    agent.poll(load={"running": 1}, boot_id="another")
    eventually(lambda: HostHeartbeat.objects.get(host=agent.host).boot_id == "another")
    assert HostHeartbeat.objects.get(host=agent.host).load_at == first.load_at


def test_a_retired_host_is_refused_until_a_person_brings_it_back(agent: Agent) -> None:
    started_task([agent.host])
    fence = only(agent.poll())
    held = agent.open_poll()
    retire_host(actor=SYSTEM, host_id=agent.host.host_id)
    eventually(lambda: agent.poll().status == 401)
    assert agent.report(result(fence)).code == "credential_invalid"
    held.drop()
    unretire_host(actor=SYSTEM, host_id=agent.host.host_id)
    eventually(lambda: agent.poll().status == 200)
    assert agent.report(result(fence)).status == 200


def test_a_retired_host_is_refused_where_no_message_tells_the_gateway(agent: Agent) -> None:
    agent.poll()
    Host.objects.filter(pk=agent.host.pk).update(status="retired")
    assert agent.poll().status == 401


def test_the_machine_of_a_retired_host_becomes_a_new_one(agent: Agent) -> None:
    _token, plain = make_token()
    body = {"token": plain, "hostname": "web-1", "os": "x", "arch": "y", "machine_id": "m-1"}
    first = send(agent.port, "/agent/v1/enroll", body).json["host_id"]
    Host.objects.filter(host_id=first).update(status="retired")
    assert send(agent.port, "/agent/v1/enroll", body).json["host_id"] != first
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM hosts WHERE machine_id = 'm-1'")
        assert cursor.fetchone() == (2,)
