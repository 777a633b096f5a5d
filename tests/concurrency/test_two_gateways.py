"""Two real gateway processes on one database, asked by the same hosts at the same moment."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest
from django.db.models import Count, Q

from hosts_app.models import Host, HostSession
from tasks_app.models import Task
from tests.factories import make_enrolled_host, started_task
from tests.gateway_process import GatewayProcess, own_wake_channel
from tests.protocol.client import Agent, Reply, eventually, fences, send

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.django_db(transaction=True)

HOSTS = 50
LIMIT = 2
TASKS = 4
ROUNDS = 30
BEFORE_THE_HOLD_ENDS = 5.0
IN_FLIGHT = Q(rows__status__in=("claimed", "running"))


@pytest.fixture(scope="module", autouse=True)
def _own_channel() -> None:
    own_wake_channel()


@pytest.fixture
def ports(tmp_path: Path) -> Iterator[list[int]]:
    gateways = [GatewayProcess(tmp_path / f"gateway-{n}.log").start() for n in range(2)]
    yield [gateway.port for gateway in gateways]
    for gateway in gateways:
        gateway.stop()


def poll_all(agents: list[Agent], ports: list[int], threads: ThreadPoolExecutor) -> list[Reply]:
    """Let each agent send two polls at the same moment, one to each gateway; take what they bring.

    It is what a gateway sees when an agent gave an answer up and asked again elsewhere.
    """
    barrier = threading.Barrier(len(agents) * len(ports))

    def poll(agent: Agent, port: int, seq: int) -> Reply:
        barrier.wait(timeout=20)
        message = agent.message(seq=seq, wait_seconds=0)
        return send(port, "/agent/v1/poll", message, headers=agent.headers)

    under_way = []
    for agent in agents:
        for port in ports:
            agent.seq += 1
            under_way.append((agent, threads.submit(poll, agent, port, agent.seq)))
    replies = []
    for agent, future in under_way:
        reply = future.result()
        replies.append(reply)
        if reply.status == 200:
            agent.holding.update(dict.fromkeys(fences(reply), "running"))
    return replies


def test_two_gateways_and_fifty_hosts_never_put_a_host_over_its_limit(ports: list[int]) -> None:
    enrolled = [make_enrolled_host(f"web-{n}", max_concurrency=LIMIT) for n in range(HOSTS)]
    agents = [Agent.of(ports[0], one) for one in enrolled]
    tasks = [started_task([agent.host for agent in agents]) for _ in range(TASKS)]
    served = [0, 0]
    with ThreadPoolExecutor(HOSTS * len(ports)) as threads:
        for _ in range(ROUNDS):
            replies = poll_all(agents, ports, threads)
            assert {reply.status for reply in replies} <= {200, 409}
            for n in (0, 1):
                served[n] += sum(bool(r.status == 200 and fences(r)) for r in replies[n::2])
            counted = Host.objects.annotate(n=Count("rows", filter=IN_FLIGHT))
            assert not counted.filter(n__gt=LIMIT).exists()
            for agent in agents:
                for fence in list(agent.holding)[:1]:
                    assert agent.verdict(fence) == "accepted"
            if not Task.objects.filter(status="running").exists():
                break
    assert min(served) > 0, "one gateway was never asked at the right moment"
    ended = Task.objects.filter(pk__in=[task.pk for task in tasks])
    assert set(ended.values_list("status", "completed_hosts")) == {("completed", HOSTS)}


def test_a_result_at_one_gateway_brings_the_next_command_to_the_poll_at_the_other(
    ports: list[int],
) -> None:
    agent = Agent.of(ports[0], make_enrolled_host(max_concurrency=1))
    tasks = [started_task([agent.host]) for _ in range(3)]
    (fence,) = fences(agent.poll())
    for _ in tasks[1:]:
        poll = agent.open_poll(port=ports[0])  # the query for pending work is as good as off
        eventually(lambda: is_looked_up(agent))
        agent.port = ports[1]
        assert agent.verdict(fence) == "accepted"
        (fence,) = fences(poll.reply(BEFORE_THE_HOLD_ENDS))
        agent.holding[fence] = "running"
    assert agent.verdict(fence) == "accepted"
    assert set(Task.objects.values_list("status", flat=True)) == {"completed"}


def is_looked_up(agent: Agent) -> bool:
    """Tell whether the poll that the agent holds open was looked up."""
    return HostSession.objects.filter(host=agent.host, seq=agent.seq).exists()
