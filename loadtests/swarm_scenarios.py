"""What a swarm can be put through. Each scenario returns its figures by name; ``run`` adds to them.

Times are seconds since the first start was asked for, unless the name says otherwise.
"""

from __future__ import annotations

import asyncio
import importlib
import random
import statistics
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from loadtests.swarm_agents import Swarm
from loadtests.swarm_stack import SwarmStack

Figures = dict[str, float]

SECONDS_AT_MOST = 120.0
CANCELED_HOSTS = 1000
LATENCY_TASKS = 200
WAKE_REPETITIONS = 20
# With no delivery for so long, what is left was missed by its wake.
STALL_SECONDS = 3.0
# So that within one repetition neither the query for pending work nor a poll's end finds anything.
WAKE_ENVIRONMENT = {"DM_PENDING_QUERY_SECONDS": "60", "DM_POLL_HOLD_SECONDS": "55"}
_QUERY_SECONDS = 60.0
_REPETITION_SECONDS = 12.0


class World:
    """The server's records, through the project's own models and services, and the swarm."""

    def __init__(self, stack: SwarmStack, count: int) -> None:
        """Create the hosts and their credentials in a few statements."""
        self.stack = stack
        # Its models can be loaded only now that there is a database to set Django up for.
        self.records: Any = importlib.import_module("loadtests.swarm_records")
        self.api = stack.api()
        self.hosts, self.credentials = self.records.make_hosts(count)
        self.swarm = Swarm(
            host=stack.addresses.bind,
            ports=stack.gateway_ports,
            credentials=self.credentials,
            jitter=random.Random(1).random,
        )

    async def until(self, reached: Callable[[], bool], what: str) -> None:
        """Wait until something is reached. Raises TimeoutError after two minutes."""
        end = time.perf_counter() + SECONDS_AT_MOST
        while not reached():
            if time.perf_counter() > end:
                raise TimeoutError(f"{what}: {self.swarm.figures.errors}")
            await asyncio.sleep(0.005)

    async def make_tasks(self, count: int, hosts_each: int) -> list[Any]:
        """Create tasks on all hosts, or each on the hosts that follow those of the one before."""
        hosts = self.hosts
        if hosts_each == len(hosts):
            return [await asyncio.to_thread(self.records.make_task, None) for _ in range(count)]
        return [
            await asyncio.to_thread(
                self.records.make_task,
                [hosts[(no * hosts_each + i) % len(hosts)] for i in range(hosts_each)],
            )
            for no in range(count)
        ]

    async def start(self, *tasks: Any) -> float:
        """Start tasks over the API, some at a time; return when the first start was asked for."""
        began = time.perf_counter()
        await asyncio.gather(
            *(asyncio.to_thread(self.api.post, f"tasks/{task.task_id}/start") for task in tasks)
        )
        return began

    async def restart_gateways(self, *, kill: bool, **environment: str) -> float:
        """End all gateways and start them again; return when the first was ended.

        From the main thread: what is started ends with the thread that started it.
        """
        began = time.perf_counter()
        for gateway in self.stack.gateways:
            await asyncio.to_thread(gateway.kill if kill else gateway.stop)
        for gateway in self.stack.gateways:
            gateway.environment = self.stack.environment | dict(gateway.environment) | environment
            gateway.start()
        connected = self.swarm.figures.connected
        await self.until(
            lambda: sum(at > began for at in connected) >= len(self.hosts), "all reconnected"
        )
        return began


@dataclass(frozen=True)
class Measured:
    """One scenario: its figures, what went wrong, and name → (CPU seconds, resident bytes)."""

    name: str
    figures: Figures
    errors: dict[str, int]
    violations: list[str]
    usage: dict[str, tuple[float, int]]


async def connect(world: World) -> Figures:
    """All agents connect and hold a poll."""
    seconds = await world.swarm.connect()
    await asyncio.sleep(3)  # the first look-ups and the first heartbeats are over
    return {"agents": len(world.hosts), "seconds": seconds}


async def dispatch(world: World, tasks: int, hosts_each: int) -> Figures:
    """Tasks on many hosts, all started at once."""
    seen = world.swarm.figures
    size = min(hosts_each, len(world.hosts))
    made = await world.make_tasks(tasks, size)
    expected = tasks * size
    began = await world.start(*made)
    await world.until(lambda: len(seen.finished) >= expected, f"{expected} results")
    await asyncio.to_thread(world.records.wait_closed, made)
    results = [at - began for at in seen.finished]
    return {
        "commands": expected,
        "fan_out": await asyncio.to_thread(world.records.fan_out_seconds, made),
        "first_result": min(results),
        "last_result": max(results),
        "commands_per_second": expected / max(results),
        **percentiles("started", [at - began for at in seen.started.values()]),
        **percentiles("result", results),
    }


async def latency(world: World) -> Figures:
    """From the start of a task on one host to the agent's start, all other polls held."""
    seen = world.swarm.figures
    delays = []
    for host in random.Random(2).sample(world.hosts, min(LATENCY_TASKS, len(world.hosts))):
        seen.started.clear()
        task = await asyncio.to_thread(world.records.make_task, [host])
        began = await world.start(task)
        await world.until(lambda: bool(seen.started), "a start")
        delays.append(next(iter(seen.started.values())) - began)
        await asyncio.sleep(0.02)
    return {"tasks": len(delays), **percentiles("started", delays)}


async def cancel(world: World) -> Figures:
    """Cancel one task that runs on 1,000 hosts."""
    seen = world.swarm.figures
    world.swarm.hold = True
    hosts = world.hosts[:CANCELED_HOSTS]
    task = await asyncio.to_thread(world.records.make_task, hosts)
    await world.start(task)
    await world.until(lambda: len(seen.started) == len(hosts), "all started")
    await asyncio.sleep(1)  # every start is acknowledged
    began = time.perf_counter()
    await asyncio.to_thread(world.records.cancel, task)
    await world.until(lambda: len(seen.finished) == len(hosts), "all confirmed")
    world.swarm.hold = False
    await asyncio.to_thread(world.records.wait_closed, [task])
    confirmed = [at - began for at in seen.finished]
    return {"hosts": len(hosts), "last": max(confirmed), **percentiles("confirmed", confirmed)}


async def heartbeats(world: World) -> Figures:
    """Every host sends a heartbeat at once; and again, with the connections open already."""
    figures: Figures = {"hosts": len(world.hosts)}
    for prefix in ("cold_", ""):
        answered: list[float] = []

        def done(status: int, _body: bytes, answered: list[float] = answered) -> None:
            if status != 200:
                world.swarm.figures.error(f"heartbeat {status}")
            answered.append(time.perf_counter())

        began = time.perf_counter()
        for agent in world.swarm.agents:
            agent.pool.send(agent.request(b"heartbeat", b"{}"), done)
        await world.until(lambda a=answered: len(a) == len(world.hosts), "all answered")
        delays = [at - began for at in answered]
        figures |= {f"{prefix}last": max(delays), **percentiles(f"{prefix}answered", delays)}
    figures["per_second"] = len(world.hosts) / figures["last"]
    return figures


async def reconnect(world: World) -> Figures:
    """The gateways are killed and started again; every agent comes back by itself."""
    began = await world.restart_gateways(kill=True)
    delays = [at - began for at in world.swarm.figures.connected if at > began]
    world.swarm.figures.errors.clear()  # lost connections are what this is about
    await asyncio.sleep(3)
    return {"last": max(delays), **percentiles("connected", delays)}


async def wakes(world: World) -> Figures:
    """Twenty tasks on all hosts in a row, with nothing but wakes to find them.

    The query for pending work runs once a minute, between two repetitions, and polls are held
    longer than a repetition takes. What is not delivered while nothing else is being delivered was
    missed by its wake, and is found by the query or at its poll's end.
    """
    await world.restart_gateways(kill=False, **WAKE_ENVIRONMENT)
    seen = world.swarm.figures
    up_at = min(seen.connected)
    await asyncio.sleep(3)
    seen.errors.clear()  # polls that the restart ended
    missed, lasts = 0, []
    for _ in range(WAKE_REPETITIONS):
        left = _QUERY_SECONDS - (time.perf_counter() - up_at) % _QUERY_SECONDS
        if left < _REPETITION_SECONDS:
            await asyncio.sleep(left + 3)
        seen.started.clear()
        seen.finished.clear()
        (task,) = await world.make_tasks(1, len(world.hosts))
        began = await world.start(task)
        missed += await _missed(world, len(world.hosts))
        await world.until(lambda: len(seen.finished) >= len(world.hosts), "all results")
        lasts.append(max(seen.finished) - began)
        await asyncio.to_thread(world.records.wait_closed, [task])
    errors = dict(seen.errors)
    before = {name: world.stack.environment.get(name, "") for name in WAKE_ENVIRONMENT}
    await world.restart_gateways(kill=False, **before)
    seen.errors.clear()
    seen.errors.update(errors)
    return {
        "repetitions": WAKE_REPETITIONS,
        "commands": WAKE_REPETITIONS * len(world.hosts),
        "missed_wakes": missed,
        "slowest_repetition": max(lasts),
        **percentiles("repetition", lasts),
    }


async def _missed(world: World, expected: int) -> int:
    """Return how many of the commands were not delivered when deliveries had stopped."""
    started = world.swarm.figures.started
    count, changed_at = 0, time.perf_counter()
    while len(started) < expected:
        now = time.perf_counter()
        if len(started) != count:
            count, changed_at = len(started), now
        elif now - changed_at > STALL_SECONDS:
            return expected - count
        await asyncio.sleep(0.02)
    return 0


SCENARIOS: dict[str, Callable[[World], Awaitable[Figures]]] = {
    "connect": connect,
    "one": lambda world: dispatch(world, 1, len(world.hosts)),
    "five": lambda world: dispatch(world, 5, len(world.hosts)),
    "hundred": lambda world: dispatch(world, 100, 100),
    "latency": latency,
    "cancel": cancel,
    "heartbeats": heartbeats,
    "reconnect": reconnect,
    "wakes": wakes,
}


def percentiles(name: str, seconds: Sequence[float]) -> Figures:
    """Return P50, P95 and P99, in seconds, as ``name_p50`` and so on."""
    if len(seconds) < 2:
        return {}
    cut = statistics.quantiles(seconds, n=100)
    return {f"{name}_p{at}": cut[at - 1] for at in (50, 95, 99)}


async def run(world: World, name: str) -> Measured:
    """Run one scenario and check the promises after it. Raises TimeoutError when it hangs."""
    world.swarm.figures.clear()
    before = world.stack.usage()
    figures = await SCENARIOS[name](world)
    usage = {
        process: (max(0.0, cpu - before.get(process, (0.0, 0))[0]), memory)
        for process, (cpu, memory) in world.stack.usage().items()
    }
    errors = dict(world.swarm.figures.errors)
    violations = await asyncio.to_thread(world.records.violations)
    return Measured(name, figures, errors, violations, usage)
