"""Faults 8 and 17: simulated agents, a real gateway and real workers."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import redis
from django.db import connection

from loadtests import swarm_records
from loadtests.swarm_agents import Swarm
from tasks_app.models import CommandHost, Task
from tests.faults.world import Celery, wait_for
from tests.gateway_process import GatewayProcess
from tests.queue_world import start as fully_started

pytestmark = pytest.mark.timeout(90)

DISPATCHED = 1000
RESTARTED = 300
FLUSHES = (100, 400, 700)
PATIENCE_SECONDS = 30.0
LONG_POLLS = {"DM_POLL_HOLD_SECONDS": "10", "DM_OFFLINE_AFTER_SECONDS": "30"}


async def until(happened: Callable[[], Any], what: str) -> None:
    end = asyncio.get_running_loop().time() + PATIENCE_SECONDS
    while not happened():
        assert asyncio.get_running_loop().time() < end, f"waited in vain for {what}"
        await asyncio.sleep(0.005)


def swarm_of(gateway: GatewayProcess, credentials: list[str]) -> Swarm:
    return Swarm(
        host="127.0.0.1",
        ports=[gateway.port],
        credentials=credentials,
        jitter=random.Random(17).random,
    )


async def in_thread(call: Callable[[], Any]) -> None:
    """Do what asks PostgreSQL, and waits for it, in another thread."""

    def run() -> None:
        call()
        connection.close()

    await asyncio.to_thread(run)


async def stop(swarm: Swarm) -> None:
    """Close all connections, those that are just being made included."""
    await asyncio.gather(*swarm._tasks, *(task for pool in swarm.pools for task in pool._tasks))
    swarm.stop()
    for _ in range(3):
        await asyncio.sleep(0)  # each transport says good-bye in a later turn of the loop


def assert_all_ran_once(hosts: int) -> None:
    wait_for(lambda: Task.objects.get().status == "completed", "the task to be closed")
    assert Task.objects.get().completed_hosts == hosts
    assert CommandHost.objects.filter(attempt=1, status="completed").count() == hosts


def refused(swarm: Swarm) -> dict[str, int]:
    """Return what a gateway that is there answered badly; losing a connection is no answer."""
    return {what: n for what, n in swarm.figures.errors.items() if what.split()[-1][0] == "5"}


def test_redis_emptied_while_a_thousand_hosts_are_served(
    start_gateway: Callable[..., GatewayProcess], redis_client: redis.Redis, tmp_path: Path
) -> None:
    gateway = start_gateway(**LONG_POLLS)
    hosts, credentials = swarm_records.make_hosts(DISPATCHED)
    task = swarm_records.make_task(hosts)
    swarm = swarm_of(gateway, credentials)
    celery = Celery(tmp_path / "celery")

    async def dispatch() -> None:
        await swarm.connect()
        # "Fan this task out" is in Redis when it is emptied: the sweep has to find the task.
        await in_thread(lambda: swarm_records.start(task))
        await until(lambda: redis_client.llen("celery:celery"), "the message")
        redis_client.flushall()
        celery.start()
        for reached in FLUSHES:
            await until(lambda n=reached: len(swarm.figures.finished) >= n, f"{reached} results")
            redis_client.flushall()
        celery.kill()  # what was made is claimed without it
        await until(lambda: len(swarm.figures.finished) == DISPATCHED, "all results")
        await stop(swarm)

    try:
        asyncio.run(dispatch())
    finally:
        celery.kill()
    assert_all_ran_once(DISPATCHED)
    assert swarm.figures.errors == {}


def test_many_agents_that_restart_at_once_and_lose_their_gateway(
    start_gateway: Callable[..., GatewayProcess],
) -> None:
    gateway = start_gateway(**LONG_POLLS)
    hosts, credentials = swarm_records.make_hosts(RESTARTED)
    task = swarm_records.make_task(hosts)

    async def all_at_once() -> Swarm:
        before, after = swarm_of(gateway, credentials), swarm_of(gateway, credentials)
        await before.connect(at_once=RESTARTED)
        await until(lambda: before.figures.polls >= RESTARTED, "a poll of each")
        await stop(before)
        for agent, old in zip(after.agents, before.agents, strict=True):
            agent.speak_for(old.journal)  # another instance of the same agent
            agent.seq = old.seq
        await after.connect(at_once=RESTARTED)
        gateway.kill()
        await asyncio.to_thread(start_gateway, port=gateway.port, **LONG_POLLS)
        await until(lambda: len(after.figures.connected) >= 2 * RESTARTED, "all to be back")
        await in_thread(lambda: fully_started(task))
        await until(lambda: len(after.figures.finished) == RESTARTED, "all results")
        await stop(after)
        return after

    after = asyncio.run(all_at_once())
    assert sum(refused(after).values()) < 0.01 * after.figures.polls, after.figures.errors
    assert_all_ran_once(RESTARTED)
