"""A real gateway while PostgreSQL or Redis is away, while it ends, and beside a second one."""

from __future__ import annotations

import os
import signal
import threading
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import pytest
from django.conf import settings
from django.db import connection

from hosts_app.models import HostHeartbeat, HostSession
from tasks_app.models import CommandHost
from tests.factories import make_enrolled_host, started_task
from tests.gateway_process import GatewayProcess, database_url
from tests.protocol.client import Agent, OpenPoll, eventually, fences, only, result, send
from tests.proxy import Proxy

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _own_channel() -> Iterator[None]:
    before, settings.DM_WAKE_CHANNEL = settings.DM_WAKE_CHANNEL, f"dm:test:{uuid.uuid4().hex}"
    yield
    settings.DM_WAKE_CHANNEL = before


@pytest.fixture
def postgres_proxy() -> Iterator[Proxy]:
    own = connection.settings_dict
    proxy = Proxy(own["HOST"], int(own["PORT"] or 5432))
    yield proxy
    proxy.cut()


@pytest.fixture
def redis_proxy() -> Iterator[Proxy]:
    address = urlsplit(settings.REDIS_URL)
    proxy = Proxy(address.hostname or "127.0.0.1", address.port or 6379)
    yield proxy
    proxy.cut()


def through(proxy: Proxy) -> str:
    """Return the Redis URL by way of a proxy."""
    address = urlsplit(settings.REDIS_URL)
    credentials = address.netloc.rpartition("@")[0]
    netloc = f"{credentials}@" if credentials else ""
    return urlunsplit(address._replace(netloc=f"{netloc}127.0.0.1:{proxy.port}"))


@pytest.fixture
def behind_proxies(
    tmp_path: Path, postgres_proxy: Proxy, redis_proxy: Proxy
) -> Iterator[GatewayProcess]:
    """A gateway whose PostgreSQL and Redis a test can take away."""
    process = GatewayProcess(
        tmp_path / "gateway.log",
        DATABASE_URL=database_url(host="127.0.0.1", port=postgres_proxy.port),
        REDIS_URL=through(redis_proxy),
        DM_PENDING_QUERY_SECONDS="0.5",
    )
    process.start()
    yield process
    process.stop()


def hears_wakes(process: GatewayProcess) -> bool:
    return send(process.port, "/readyz", method="GET").json.get("redis") == "ok"


def test_postgresql_away_is_503_and_nothing_is_lost(
    behind_proxies: GatewayProcess, postgres_proxy: Proxy
) -> None:
    agent = Agent.of(behind_proxies.port, make_enrolled_host())
    idle = Agent.of(behind_proxies.port, make_enrolled_host("idle"))
    started_task([agent.host])
    fence = only(agent.poll())
    agent.poll()
    idle.poll()
    held = idle.open_poll()  # follows an answered poll: needs no look-up for the whole hold
    beats = HostHeartbeat.objects.filter(host=idle.host, boot_id="boot")
    eventually(beats.exists)

    postgres_proxy.cut()
    for reply in (
        agent.report(result(fence)),
        agent.poll(take=False),
        send(agent.port, "/agent/v1/heartbeat", {}, headers=agent.headers),
        send(agent.port, "/readyz", method="GET"),
        send(agent.port, "/agent/v1/enroll", enrolment()),
    ):
        assert (reply.status, reply.code) == (503, "unavailable")
        assert 1 <= int(reply.headers["retry-after"]) <= 5
    assert send(agent.port, "/healthz", method="GET").status == 200
    stranger = {"Authorization": "Bearer dma_aaaaaaaaaaaa_" + "A" * 43}
    assert send(agent.port, "/agent/v1/poll", {}, headers=stranger).status == 503
    assert not held.answered
    assert CommandHost.objects.get(fence=fence).status == "running"

    postgres_proxy.restore()
    eventually(lambda: send(agent.port, "/readyz", method="GET").status == 200)
    eventually(lambda: agent.report(result(fence)).status == 200)
    assert agent.verdict(fence) == "duplicate"
    started_task([idle.host])
    assert len(fences(held.reply())) == 1


def enrolment() -> dict[str, str]:
    return {
        "token": "dme_aaaaaaaaaaaa_" + "A" * 43,
        "hostname": "h",
        "os": "",
        "arch": "",
        "machine_id": "m",
    }


def test_redis_that_goes_and_comes_back_costs_only_time(
    behind_proxies: GatewayProcess, redis_proxy: Proxy
) -> None:
    agent = Agent.of(behind_proxies.port, make_enrolled_host())
    eventually(lambda: hears_wakes(behind_proxies))
    poll = agent.open_poll()
    eventually(HostSession.objects.filter(host=agent.host).exists)
    redis_proxy.cut()
    eventually(lambda: not hears_wakes(behind_proxies))
    started_task([agent.host])
    fence = only(poll.reply())
    agent.holding[fence] = "running"
    assert agent.verdict(fence) == "accepted"
    redis_proxy.restore()
    eventually(lambda: hears_wakes(behind_proxies))
    assert behind_proxies.log.count("wakes are heard") == 2


def test_on_a_new_subscription_every_held_host_is_looked_at(
    tmp_path: Path, redis_proxy: Proxy
) -> None:
    process = GatewayProcess(tmp_path / "gateway.log", REDIS_URL=through(redis_proxy))
    process.start()
    try:
        agent = Agent.of(process.port, make_enrolled_host())
        eventually(lambda: hears_wakes(process))
        redis_proxy.cut()
        eventually(lambda: not hears_wakes(process))
        poll = agent.open_poll()
        eventually(HostSession.objects.filter(host=agent.host).exists)
        started_task([agent.host])  # this wake is lost, and the query runs once a minute
        redis_proxy.restore()
        assert len(fences(poll.reply())) == 1
    finally:
        process.stop()


def test_a_frozen_redis_delays_neither_polls_nor_results(
    behind_proxies: GatewayProcess, redis_proxy: Proxy
) -> None:
    agent = Agent.of(behind_proxies.port, make_enrolled_host())
    eventually(lambda: hears_wakes(behind_proxies))
    redis_proxy.freeze()
    started_task([agent.host])
    began_at = time.monotonic()
    fence = only(agent.poll())
    chunk = {"fence": fence, "stream": "stdout", "offset": 0, "data": "x"}
    reply = agent.report(result(fence), output=[chunk])
    assert reply.json["results"][0]["verdict"] == "accepted"
    assert reply.json["output"][0]["verdict"] == "ignored"
    assert time.monotonic() - began_at < 4
    redis_proxy.thaw()


def test_a_gateway_that_ends_answers_its_held_polls_at_once(tmp_path: Path) -> None:
    process = GatewayProcess(tmp_path / "gateway.log", DM_POLL_HOLD_SECONDS="19")
    process.start()
    agent = Agent.of(process.port, make_enrolled_host())
    polls: list[OpenPoll] = [agent.open_poll()]
    eventually(HostSession.objects.filter(host=agent.host).exists)
    process.terminate()
    began_at = time.monotonic()
    reply = polls[0].reply()
    assert (reply.status, reply.code) == (503, "unavailable")
    assert int(reply.headers["retry-after"]) >= 1
    assert process.wait() == 0
    assert time.monotonic() - began_at < 8
    assert "Traceback" not in process.log


def test_a_gateway_whose_gunicorn_was_killed_ends(tmp_path: Path) -> None:
    process = GatewayProcess(tmp_path / "gateway.log", GUNICORN_CMD_ARGS="--timeout=2").start()
    worker = process.worker_pid()
    agent = Agent.of(process.port, make_enrolled_host())
    poll = agent.open_poll()
    eventually(HostSession.objects.filter(host=agent.host).exists)
    process.kill_master()
    try:
        assert poll.reply().status == 503
        eventually(lambda: not runs(worker))
    finally:
        if runs(worker):
            os.kill(worker, signal.SIGKILL)
    assert "Traceback" not in process.log


def runs(pid: int) -> bool:
    """Whether a process is there that has not ended, waited for or not."""
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return False


def test_a_gateway_killed_after_the_claim_delivers_the_same_fences_again(tmp_path: Path) -> None:
    agent = Agent.of(0, make_enrolled_host())
    started_task([agent.host])
    first = GatewayProcess(tmp_path / "first.log").start()
    agent.port = first.port
    claimed = only(agent.poll(take=False))  # as if the answer had been lost with the process
    first.kill()
    second = GatewayProcess(tmp_path / "second.log").start()
    try:
        agent.port = second.port
        assert only(agent.poll()) == claimed
        agent.poll()
        assert CommandHost.objects.get(fence=claimed).attempt == 1
    finally:
        second.stop()


def test_two_gateways_and_fifty_parallel_polls_keep_each_host_within_its_limit(
    tmp_path: Path,
) -> None:
    enrolled = [make_enrolled_host(f"host-{at}", max_concurrency=3) for at in range(5)]
    for _ in range(6):
        started_task([one.host for one in enrolled])
    gateways = [GatewayProcess(tmp_path / f"{at}.log").start() for at in range(2)]
    barrier = threading.Barrier(50)

    def poll(at: int) -> int:
        # Ten polls a host, each as another start of the agent would send it, to both gateways.
        agent = Agent.of(gateways[at % 2].port, enrolled[at // 10])
        agent.journal_id = journals[at // 10]
        agent.seq = at
        barrier.wait()
        reply = agent.poll(take=False)
        assert reply.status in {200, 409}, reply
        return reply.status

    journals = [Agent.of(0, one).journal_id for one in enrolled]
    try:
        with ThreadPoolExecutor(50) as pool:
            statuses = list(pool.map(poll, range(50)))
    finally:
        for process in gateways:
            process.stop()
    assert statuses.count(200) >= len(enrolled)
    in_flight = Counter(
        CommandHost.objects.filter(status__in=["claimed", "running"]).values_list(
            "host_id", flat=True
        )
    )
    assert in_flight == {one.host.pk: 3 for one in enrolled}
