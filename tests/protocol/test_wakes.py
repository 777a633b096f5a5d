"""DESIGN.md section 5, "Waking": a wake makes it fast, without one it is slower, never wrong."""

from __future__ import annotations

import json
import time
from collections.abc import Callable

import redis
from django.conf import settings

from devops_manager.lib import announce
from hosts_app.models import HostSession
from tests.factories import started_task
from tests.gateway_process import GatewayProcess
from tests.held_commits import held_commits
from tests.protocol.client import Agent, eventually, fences, send


def looked_up(agent: Agent) -> Callable[[], bool]:
    """Tell whether the open poll has been looked up once."""
    sessions = HostSession.objects.filter(host=agent.host, seq=agent.seq)
    return sessions.exists


def test_without_redis_the_query_for_pending_work_finds_it(
    agent: Agent, lonely_gateway: GatewayProcess
) -> None:
    agent.port = lonely_gateway.port
    poll = agent.open_poll()
    eventually(looked_up(agent))
    started_task([agent.host])
    assert len(fences(poll.reply())) == 1
    assert time.monotonic() - poll.sent_at < 6


def test_readiness_says_whether_wakes_are_heard(
    gateway: GatewayProcess, lonely_gateway: GatewayProcess, transactional_db: None
) -> None:
    heard = send(gateway.port, "/readyz", method="GET")
    away = send(lonely_gateway.port, "/readyz", method="GET")
    assert (heard.status, heard.json["redis"]) == (200, "ok")
    assert (away.status, away.json["redis"]) == (200, "away")


def test_a_wake_between_two_polls_is_not_missed(agent: Agent, redis_client: redis.Redis) -> None:
    agent.poll()
    started_task([agent.host])  # the wake comes while no poll of the host is open
    poll = agent.open_poll()
    assert len(fences(poll.reply())) == 1
    assert time.monotonic() - poll.sent_at < 6


def test_a_wake_during_the_first_look_up_is_not_missed(
    gateway: GatewayProcess, agent: Agent, redis_client: redis.Redis
) -> None:
    with held_commits("host_sessions") as held:
        poll = agent.open_poll()
        # The look-up has found nothing to do; all that is left of it is its commit.
        eventually(lambda: held.blocked() == 1)
        started_task([agent.host])
        assert announce._background.flush()
        # One channel, one order: who complains of this has heard the wake.
        redis_client.publish(settings.DM_WAKE_CHANNEL, b"comes after the wake")
        eventually(lambda: "comes after the wake" in gateway.log)
        held.release()
        # The query for pending work is a minute away, the end of the hold eight seconds.
        eventually(lambda: poll.answered, seconds=4)
    assert len(fences(poll.reply())) == 1


def test_wakes_that_cannot_be_read_do_no_harm(agent: Agent, redis_client: redis.Redis) -> None:
    poll = agent.open_poll()
    eventually(looked_up(agent))
    for nonsense in (b"", b"{", b"[]", b"7", b'{"wake": 3}', b'{"wake": ["x"]}', b"\xff\xfe"):
        redis_client.publish(settings.DM_WAKE_CHANNEL, nonsense)
    redis_client.publish(settings.DM_WAKE_CHANNEL, json.dumps({"wake": [2**62], "more": 1}))
    started_task([agent.host])
    assert len(fences(poll.reply())) == 1


def test_a_wake_for_nothing_leaves_the_poll_held(agent: Agent, redis_client: redis.Redis) -> None:
    poll = agent.open_poll(wait_seconds=1)
    eventually(looked_up(agent))
    for _ in range(5):
        redis_client.publish(settings.DM_WAKE_CHANNEL, json.dumps({"wake": [agent.host.pk]}))
    reply = poll.reply()
    assert fences(reply) == []
    assert time.monotonic() - poll.sent_at >= 1


def test_work_on_another_hosts_row_wakes_nobody_else(
    agent: Agent, make_agent: Callable[..., Agent]
) -> None:
    other = make_agent()
    poll = other.open_poll(wait_seconds=1)
    eventually(looked_up(other))
    started_task([agent.host])
    assert len(fences(agent.poll())) == 1
    assert fences(poll.reply()) == []
