"""DESIGN.md section 5, ``heartbeat``, and what polls say of their host."""

from __future__ import annotations

import time

import pytest

from hosts_app.models import Host, HostHeartbeat
from tests.gateway_process import GatewayProcess
from tests.protocol.client import Agent, eventually, send

LOAD = {"cpu_percent": 3.5, "memory_percent": 41, "load1": 0.25, "disk_percent": 60, "running": 2}


def test_a_heartbeat_is_written_before_it_is_answered(agent: Agent) -> None:
    body = {"time": time.time() - 3600, "boot_id": "b1", "agent_version": "9.9", "load": LOAD}
    reply = send(agent.port, "/agent/v1/heartbeat", body, headers=agent.headers)
    assert reply.status == 200
    assert abs(reply.json["server_time"] - time.time()) < 60
    beat = HostHeartbeat.objects.get(host=agent.host)
    assert (beat.cpu_percent, beat.memory_percent, beat.load1, beat.disk_percent) == (
        3.5,
        41,
        0.25,
        60,
    )
    assert (beat.running_count, beat.boot_id, beat.offline_at) == (2, "b1", None)
    assert -3_610_000 < beat.clock_skew_ms < -3_590_000
    assert Host.objects.get(pk=agent.host.pk).agent_version == "9.9"


def test_everything_in_a_heartbeat_may_be_left_out(agent: Agent) -> None:
    reply = send(agent.port, "/agent/v1/heartbeat", {}, headers=agent.headers)
    assert reply.status == 200
    assert HostHeartbeat.objects.filter(host=agent.host).exists()


def test_a_poll_is_a_heartbeat(agent: Agent) -> None:
    agent.poll(load=LOAD, boot_id="b2")
    beats = HostHeartbeat.objects.filter(host=agent.host)
    eventually(beats.exists)
    assert (beats.get().running_count, beats.get().boot_id) == (2, "b2")


def test_health_and_readiness(gateway: GatewayProcess, transactional_db: None) -> None:
    healthy = send(gateway.port, "/healthz", method="GET")
    ready = send(gateway.port, "/readyz", method="GET")
    assert (healthy.status, healthy.json["status"]) == (200, "ok")
    assert (ready.status, ready.json["database"]) == (200, "ok")
    assert send(gateway.port, "/healthz", method="HEAD").status == 200
    assert send(gateway.port, "/readyz", {}).status == 405


def test_what_a_poll_tells_of_its_host_is_kept_and_the_rest_stays(agent: Agent) -> None:
    before = Host.objects.get(pk=agent.host.pk)
    facts = {"kernel": "6.1", "process_tracking": "cgroup", "disks": [{"name": "sda"}]}
    agent.poll(host={"os": "Debian 13", "ip": "192.0.2.9", "facts": facts})
    told = Host.objects.filter(pk=agent.host.pk, os="Debian 13")
    eventually(told.exists)
    host = told.get()
    assert (host.ip, host.facts, host.arch) == ("192.0.2.9", facts, before.arch)
    assert host.hostname == before.hostname
    agent.poll(host={"ip": "fe80::1%eth0"})
    eventually(Host.objects.filter(pk=agent.host.pk, ip="fe80::1", facts=facts).exists)


@pytest.mark.parametrize(
    ("told", "field"),
    [
        ({"ip": "not an address"}, "host.ip"),
        ({"os": "a\nb"}, "host.os"),
        ({"facts": {"a": "\0"}}, "host.facts"),
        ({"facts": {"a": "x" * 70_000}}, "host.facts"),
        ({"facts": []}, "host.facts"),
    ],
)
def test_what_cannot_be_kept_of_a_host_is_named(
    agent: Agent, told: dict[str, object], field: str
) -> None:
    reply = agent.poll(host=told)
    assert (reply.status, list(reply.json["errors"])) == (400, [field])
