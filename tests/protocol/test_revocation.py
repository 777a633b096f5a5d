"""DESIGN.md section 5: a revocation holds at once, with and without Redis; so does approval."""

from __future__ import annotations

import time

import pytest

from agents_app.services.credentials import issue_credential
from devops_manager.access.actors import SYSTEM
from hosts_app.models import Host, HostHeartbeat, HostSession
from hosts_app.services import approve_hosts, disable_host, enable_host, revoke_credential
from tests.factories import make_enrolled_host, started_task
from tests.gateway_process import GatewayProcess
from tests.protocol.client import Agent, eventually, only, result, send


@pytest.fixture(params=["with Redis", "without Redis"])
def either(
    request: pytest.FixtureRequest,
    gateway: GatewayProcess,
    lonely_gateway: GatewayProcess,
    transactional_db: None,
) -> Agent:
    """An agent that speaks to a gateway with Redis, and then to one without."""
    chosen = gateway if request.param == "with Redis" else lonely_gateway
    return Agent.of(chosen.port, make_enrolled_host())


def test_a_cached_credential_is_refused_after_its_revocation(either: Agent) -> None:
    assert either.poll().status == 200
    revoke_credential(actor=SYSTEM, host_id=either.host.host_id)
    reply = either.poll()
    assert (reply.status, reply.code) == (401, "credential_invalid")
    assert reply.headers["www-authenticate"] == "Bearer"


def test_a_result_is_refused_after_the_revocation(either: Agent) -> None:
    started_task([either.host])
    fence = only(either.poll())
    revoke_credential(actor=SYSTEM, host_id=either.host.host_id)
    reply = either.report(result(fence))
    assert (reply.status, reply.code) == (401, "credential_invalid")
    assert either.host.rows.get().status == "claimed"


def test_a_held_poll_gets_no_work_after_the_revocation(either: Agent) -> None:
    poll = either.open_poll(wait_seconds=2)
    eventually(HostSession.objects.filter(host=either.host).exists)
    revoke_credential(actor=SYSTEM, host_id=either.host.host_id)
    started_task([either.host])
    assert poll.reply().code == "credential_invalid"
    assert either.host.rows.get().status == "pending"


def test_a_revoke_message_ends_the_held_poll_at_once(agent: Agent) -> None:
    poll = agent.open_poll()
    eventually(HostSession.objects.filter(host=agent.host).exists)
    revoke_credential(actor=SYSTEM, host_id=agent.host.host_id)
    assert poll.reply().code == "credential_invalid"
    assert time.monotonic() - poll.sent_at < 6


def test_a_new_credential_is_good_and_the_one_before_is_not(either: Agent) -> None:
    either.poll()
    revoke_credential(actor=SYSTEM, host_id=either.host.host_id)
    assert either.poll().status == 401
    old = either.credential
    either.credential = issue_credential(host=Host.objects.get(pk=either.host.pk))
    assert either.poll().status == 200
    either.credential = old
    assert either.poll().status == 401


def test_a_disabled_host_is_told_so_and_served_again_when_enabled(either: Agent) -> None:
    either.poll()
    disable_host(actor=SYSTEM, host_id=either.host.host_id)
    reply = either.poll()
    assert (reply.status, reply.code) == (403, "host_disabled")
    enable_host(actor=SYSTEM, host_id=either.host.host_id)
    eventually(lambda: either.poll().status == 200, seconds=3)


def test_a_host_that_waits_for_approval_is_heard_but_not_served(
    gateway: GatewayProcess, transactional_db: None
) -> None:
    agent = Agent.of(gateway.port, make_enrolled_host(status="pending"))
    reply = agent.poll(load={"cpu_percent": 12.5})
    assert (reply.status, reply.code) == (403, "host_pending")
    assert 1 <= int(reply.headers["retry-after"]) <= 10
    beats = HostHeartbeat.objects.filter(host=agent.host)
    eventually(beats.exists)
    assert beats.get().cpu_percent == 12.5
    assert not HostSession.objects.filter(host=agent.host).exists()
    assert agent.report(result("00000000-0000-4000-8000-000000000000")).code == "host_pending"

    approve_hosts(actor=SYSTEM, host_ids=[agent.host.host_id])
    eventually(lambda: agent.poll().status == 200, seconds=3)


@pytest.mark.parametrize(
    "authorization",
    [
        None,
        "",
        "Bearer",
        "Bearer ",
        "Basic dXNlcjpwYXNz",
        "Bearer dma_aaaaaaaaaaaa_" + "A" * 43,
        "Bearer dme_aaaaaaaaaaaa_" + "A" * 43,
        "Bearer dma_" + "a" * 5000,
        "Bearer \u00e9\u00e9",
    ],
)
@pytest.mark.parametrize("path", ["poll", "report", "heartbeat"])
def test_whoever_has_no_credential_is_refused(
    gateway: GatewayProcess, transactional_db: None, path: str, authorization: str | None
) -> None:
    headers = {} if authorization is None else {"Authorization": authorization}
    reply = send(gateway.port, f"/agent/v1/{path}", {}, headers=headers)
    assert (reply.status, reply.code) == (401, "credential_invalid")


def test_a_known_prefix_with_another_secret_is_refused(agent: Agent) -> None:
    assert agent.poll().status == 200
    agent.credential = agent.credential[:-1] + ("A" if agent.credential[-1] != "A" else "B")
    assert agent.poll().status == 401
