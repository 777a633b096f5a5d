"""A host that waits for a person is held, and works as soon as that person lets it."""

from __future__ import annotations

import time
import uuid

import pytest

from devops_manager.access.actors import SYSTEM
from hosts_app.models import HostHeartbeat, HostSession
from hosts_app.services import approve_hosts, disable_host, enable_host, revoke_credential
from tests.factories import make_enrolled_host, started_task
from tests.gateway_process import GatewayProcess
from tests.protocol.client import Agent, OpenPoll, eventually, only

# The figure is 2 s for all of it; what is measured here is the server's part.
AT_ONCE_SECONDS = 2.0


@pytest.fixture(params=["with Redis", "without Redis"])
def pending(
    request: pytest.FixtureRequest,
    gateway: GatewayProcess,
    lonely_gateway: GatewayProcess,
    transactional_db: None,
) -> Agent:
    """An agent whose host nobody has approved, of a gateway with Redis and of one without."""
    chosen = gateway if request.param == "with Redis" else lonely_gateway
    return Agent.of(chosen.port, make_enrolled_host(status="pending"))


def held(agent: Agent, **changes: object) -> OpenPoll:
    """A poll that has arrived, which the server's having heard the host shows."""
    HostHeartbeat.objects.filter(host=agent.host).delete()
    poll = agent.open_poll(**changes)
    eventually(HostHeartbeat.objects.filter(host=agent.host).exists)
    assert not poll.answered
    return poll


def seconds_until_answered(poll: OpenPoll) -> float:
    began = time.monotonic()
    assert poll.reply().status == 200
    return time.monotonic() - began


def test_the_first_work_begins_within_two_seconds_of_the_approval(pending: Agent) -> None:
    poll = held(pending)
    approve_hosts(actor=SYSTEM, host_ids=[pending.host.host_id])
    approved_at = time.monotonic()
    started_task([pending.host])
    reply = poll.reply()
    if not reply.json["commands"]:
        reply = pending.poll(wait_seconds=8)
    only(reply)
    assert time.monotonic() - approved_at < AT_ONCE_SECONDS


def test_a_disabled_host_is_held_too_and_served_when_it_is_enabled(pending: Agent) -> None:
    approve_hosts(actor=SYSTEM, host_ids=[pending.host.host_id])
    eventually(lambda: pending.poll().status == 200)
    disable_host(actor=SYSTEM, host_id=pending.host.host_id)
    assert pending.poll().code == "host_disabled"
    poll = held(pending)
    enable_host(actor=SYSTEM, host_id=pending.host.host_id)
    assert seconds_until_answered(poll) < AT_ONCE_SECONDS


def test_a_host_that_is_disabled_while_its_poll_is_held_asks_again_soon(
    gateway: GatewayProcess, transactional_db: None
) -> None:
    agent = Agent.of(gateway.port, make_enrolled_host())
    poll = agent.open_poll()
    eventually(HostSession.objects.filter(host=agent.host).exists)
    disable_host(actor=SYSTEM, host_id=agent.host.host_id)
    reply = poll.reply()
    assert (reply.code, reply.headers["retry-after"]) == ("host_disabled", "1")


def test_at_the_end_of_the_hold_it_is_told_to_come_back_at_once(pending: Agent) -> None:
    poll = held(pending, wait_seconds=1)
    reply = poll.reply()
    assert (reply.status, reply.code) == (403, "host_pending")
    assert reply.headers["retry-after"] == "1"
    assert time.monotonic() - poll.sent_at > 0.9
    assert int(pending.poll(wait_seconds=0).headers["retry-after"]) >= 5


def test_a_second_poll_takes_the_place_of_the_first(pending: Agent) -> None:
    first = held(pending)
    second = held(pending)
    assert first.reply().code == "host_pending"
    assert not second.answered
    second.drop()


def test_a_client_that_leaves_is_forgotten(pending: Agent) -> None:
    held(pending).drop()
    approve_hosts(actor=SYSTEM, host_ids=[pending.host.host_id])
    eventually(lambda: pending.poll().status == 200)


def test_a_revoked_credential_ends_the_wait(pending: Agent) -> None:
    poll = held(pending)
    revoke_credential(actor=SYSTEM, host_id=pending.host.host_id)
    assert poll.reply().code == "credential_invalid"


def test_two_journals_of_one_waiting_host_are_no_quarantine(pending: Agent) -> None:
    held(pending).drop()
    pending.journal_id = uuid.uuid4()
    poll = held(pending)
    approve_hosts(actor=SYSTEM, host_ids=[pending.host.host_id])
    assert poll.reply().status == 200


def test_a_gateway_that_ends_lets_them_go(
    gateway: GatewayProcess, transactional_db: None, tmp_path_factory: pytest.TempPathFactory
) -> None:
    own = GatewayProcess(tmp_path_factory.mktemp("own") / "gateway.log").start()
    try:
        agent = Agent.of(own.port, make_enrolled_host(status="pending"))
        poll = held(agent)
        own.terminate()
        assert poll.reply().code == "unavailable"
        assert own.wait() == 0
    finally:
        own.stop()
