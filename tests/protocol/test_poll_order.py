"""DESIGN.md section 5, "Order": which of several polls of one host is served."""

from __future__ import annotations

import uuid
from collections.abc import Callable

import pytest

from devops_manager.access.actors import SYSTEM
from devops_manager.access.models import AuditEvent
from hosts_app.models import Host, HostHeartbeat, HostSession
from hosts_app.services import release_quarantine
from tests.factories import started_task
from tests.gateway_process import GatewayProcess
from tests.protocol.client import Agent, eventually, fences, only

pytestmark = pytest.mark.usefixtures("promises_hold")


def stored(agent: Agent) -> tuple[int, int] | None:
    """Return the highest pair that the server keeps of a host."""
    return HostSession.objects.filter(host=agent.host).values_list("run", "seq").first()


def is_held(agent: Agent) -> Callable[[], bool]:
    """Tell whether the server has looked the agent's open poll up."""
    return lambda: stored(agent) == (agent.run, agent.seq)


def test_the_first_poll_stores_its_journal_and_pair(agent: Agent) -> None:
    reply = agent.poll()
    assert (reply.status, reply.json["commands"], reply.json["cancel"]) == (200, [], [])
    session = HostSession.objects.get(host=agent.host)
    assert (session.journal_id, session.instance_id) == (agent.journal_id, agent.instance_id)
    assert (session.run, session.seq) == (1, 1)


def test_the_answer_carries_the_configuration(agent: Agent) -> None:
    config = agent.poll().json["config"]
    assert config["poll_hold_seconds"] == 8
    assert config["max_concurrency"] == agent.host.max_concurrency
    assert config["live_chunk_bytes"] == 65_536
    assert config["upload_grace_seconds"] > 0
    assert config["live_interval_seconds"] > 0
    assert config["server_time"] > 1_700_000_000


def test_a_poll_without_work_is_held_and_then_answered_empty(agent: Agent) -> None:
    poll = agent.open_poll(wait_seconds=0.5)
    reply = poll.reply()
    assert (reply.status, fences(reply)) == (200, [])


def test_the_same_pair_twice_while_held_gives_the_second_409(agent: Agent) -> None:
    first = agent.open_poll()
    eventually(is_held(agent))
    second = agent.open_poll(same=True)
    assert (second.reply().status, second.reply().code) == (409, "poll_superseded")
    assert not first.answered
    task = started_task([agent.host])
    assert len(fences(first.reply())) == 1
    assert task.rows.get().status == "claimed"


def test_the_same_pair_again_after_its_answer_gets_409_and_touches_nothing(agent: Agent) -> None:
    started_task([agent.host])
    fence = only(agent.poll(take=False))
    beats = HostHeartbeat.objects.filter(host=agent.host)
    eventually(beats.exists)
    seen = beats.get().last_seen_at
    again = agent.repeat()
    assert (again.status, again.code) == (409, "poll_superseded")
    row = agent.host.rows.get()
    assert (row.status, str(row.fence), row.attempt) == ("claimed", fence, 1)
    assert beats.get().last_seen_at == seen


def test_a_smaller_seq_gets_409(agent: Agent) -> None:
    agent.seq = 9
    agent.poll()
    agent.seq = 5
    assert agent.repeat().code == "poll_superseded"
    assert stored(agent) == (1, 10)


def test_a_smaller_run_gets_409_whatever_its_seq(agent: Agent) -> None:
    agent.run = 3
    agent.poll()
    agent.run, agent.seq = 2, 100
    assert agent.repeat().code == "poll_superseded"


def test_a_greater_run_is_newer_whatever_its_seq(agent: Agent) -> None:
    agent.seq = 40
    agent.poll()
    agent.restart()
    assert agent.poll().status == 200
    assert stored(agent) == (2, 1)


def test_a_greater_poll_ends_the_held_one_with_409_and_is_served(agent: Agent) -> None:
    older = agent.open_poll()
    eventually(is_held(agent))
    newer = agent.open_poll()
    assert older.reply().code == "poll_superseded"
    started_task([agent.host])
    assert len(fences(newer.reply())) == 1


def test_a_smaller_poll_leaves_the_held_one_alone(agent: Agent) -> None:
    agent.seq = 10
    held = agent.open_poll()
    eventually(is_held(agent))
    agent.seq = 3
    assert agent.repeat().code == "poll_superseded"
    started_task([agent.host])
    assert len(fences(held.reply())) == 1


def test_of_two_equal_polls_at_two_gateways_only_the_first_is_served(
    agent: Agent, lonely_gateway: GatewayProcess
) -> None:
    first = agent.open_poll()
    eventually(is_held(agent))
    copy = agent.open_poll(port=lonely_gateway.port, same=True)
    assert copy.reply().code == "poll_superseded"
    started_task([agent.host])
    assert len(fences(first.reply())) == 1


def test_a_copy_at_another_gateway_makes_the_unstored_original_the_duplicate(
    agent: Agent, lonely_gateway: GatewayProcess
) -> None:
    agent.poll()
    # It follows one that was answered here: no look-up until its end.
    original = agent.open_poll(wait_seconds=2, boot_id="another")
    eventually(HostHeartbeat.objects.filter(host=agent.host, boot_id="another").exists)
    copy = agent.open_poll(port=lonely_gateway.port, same=True, wait_seconds=0)
    assert copy.reply().status == 200
    assert original.reply().code == "poll_superseded"


def test_a_poll_that_follows_an_answered_one_is_not_looked_up_until_the_hold_ends(
    agent: Agent,
) -> None:
    agent.poll()
    held = agent.open_poll(wait_seconds=1, boot_id="another")
    eventually(HostHeartbeat.objects.filter(host=agent.host, boot_id="another").exists)
    assert stored(agent) == (1, 1)
    assert held.reply().status == 200
    assert stored(agent) == (1, 2)


def test_after_409_a_new_journal_goes_on(agent: Agent) -> None:
    agent.seq = 5
    agent.poll()
    assert agent.repeat().status == 409
    agent.journal_id = uuid.uuid4()
    assert agent.poll().status == 200


def test_an_old_request_of_a_replaced_journal_gets_409(agent: Agent) -> None:
    agent.poll()
    old = (agent.journal_id, agent.seq)
    agent.journal_id = uuid.uuid4()
    agent.poll()
    reply = agent.repeat(journal_id=str(old[0]), seq=old[1])
    assert reply.code == "poll_superseded"
    assert agent.poll().status == 200


def test_an_old_request_of_a_replaced_journal_leaves_the_held_poll_alone(agent: Agent) -> None:
    agent.poll()
    old = (agent.journal_id, agent.seq)
    agent.journal_id = uuid.uuid4()
    held = agent.open_poll()
    eventually(is_held(agent))
    assert agent.repeat(journal_id=str(old[0]), seq=old[1]).code == "poll_superseded"
    started_task([agent.host])
    assert len(fences(held.reply())) == 1


def test_a_new_journal_takes_the_place_of_the_held_poll(agent: Agent) -> None:
    held = agent.open_poll()
    eventually(is_held(agent))
    agent.journal_id = uuid.uuid4()
    newer = agent.open_poll()
    assert held.reply().code == "poll_superseded"
    started_task([agent.host])
    assert len(fences(newer.reply())) == 1


def test_a_replaced_journal_that_goes_on_is_a_clone_and_quarantined(agent: Agent) -> None:
    agent.poll()
    clone = agent.journal_id
    agent.journal_id = uuid.uuid4()
    started_task([agent.host])
    fence = only(agent.poll())
    reply = agent.poll(journal_id=str(clone))
    assert (reply.status, reply.code) == (403, "host_quarantined")
    assert int(reply.headers["retry-after"]) > 0
    assert Host.objects.get(pk=agent.host.pk).quarantined_at is not None
    assert AuditEvent.objects.filter(action="host.quarantine").count() == 1
    assert agent.poll().code == "host_quarantined"
    assert agent.verdict(fence) == "accepted"  # what ran is still worth knowing

    release_quarantine(actor=SYSTEM, host_id=agent.host.host_id)
    eventually(lambda: agent.poll().status == 200)


def test_a_replaced_instance_that_goes_on_is_a_clone_and_quarantined(agent: Agent) -> None:
    agent.poll()
    clone = agent.instance_id
    agent.restart()
    agent.poll()
    reply = agent.poll(instance_id=str(clone))
    assert (reply.status, reply.code) == (403, "host_quarantined")


def test_an_old_request_of_a_replaced_instance_gets_409(agent: Agent) -> None:
    agent.poll()
    old = (agent.instance_id, agent.run, agent.seq)
    agent.restart()
    agent.poll()
    reply = agent.repeat(instance_id=str(old[0]), run=old[1], seq=old[2])
    assert reply.code == "poll_superseded"
