"""Thousands of simulated agents on this machine: ``python -m loadtests.swarm one five latency …``.

Starts the whole server on random ports of the loopback, runs the named scenarios one after another
and prints what each took and used. Every scenario ends with the promises checked on the database.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib
import os
import random
import secrets
import statistics
import sys
import time
from typing import TYPE_CHECKING, Any

import django
import uvloop

from loadtests.swarm_agents import Swarm
from loadtests.swarm_stack import SwarmStack, swarm_stack

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

SECONDS_AT_MOST = 120.0


class World:
    """The server's records, through the project's own models and services, and the swarm."""

    def __init__(self, stack: SwarmStack, count: int) -> None:
        """Create the hosts and their credentials in a few statements."""
        self.stack = stack
        # Its models can be loaded only now that there is a database to set Django up for.
        self.records: Any = importlib.import_module("loadtests.swarm_records")
        self.hosts, self.credentials = self.records.make_hosts(count)
        self.swarm = Swarm(
            host=stack.addresses.bind,
            port=stack.addresses.gateway_port,
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

    async def start(self, *tasks: Any) -> float:
        """Start tasks in another thread; return when the first start was asked for."""
        began = time.perf_counter()
        for task in tasks:
            await asyncio.to_thread(self.records.start, task)
        return began


async def connect(world: World) -> None:
    """All agents connect and hold a poll."""
    seconds = await world.swarm.connect()
    print(f"  connected {len(world.hosts)} agents in {seconds:.2f} s")
    await asyncio.sleep(3)


async def dispatch(world: World, tasks: int, hosts_each: int) -> None:
    """Tasks on many hosts, all started at once."""
    figures = world.swarm.figures
    figures.finished.clear()
    figures.started.clear()
    size = min(hosts_each, len(world.hosts))
    made = [
        await asyncio.to_thread(
            world.records.make_task,
            [world.hosts[(no * size + i) % len(world.hosts)] for i in range(size)],
        )
        for no in range(tasks)
    ]
    expected = tasks * size
    before = world.stack.usage()
    began = await world.start(*made)
    await world.until(lambda: len(figures.finished) >= expected, f"{expected} results")
    last = max(figures.finished) - began
    first = min(figures.finished) - began
    print(
        f"  {tasks} × {size}: first result {first:.3f} s, last {last:.2f} s, "
        f"{expected / last:,.0f} commands/s"
    )
    started = [at - began for at in figures.started.values()]
    print(f"  delivered: {percentiles(started)}")
    await asyncio.to_thread(world.records.wait_closed, made)
    report_usage(before, world.stack.usage(), last)


async def latency(world: World) -> None:
    """From the start of a task on one host to the agent's start, all other polls held."""
    figures = world.swarm.figures
    seen = []
    chosen = random.Random(2).sample(world.hosts, min(200, len(world.hosts)))
    for host in chosen:
        figures.started.clear()
        task = await asyncio.to_thread(world.records.make_task, [host])
        began = await world.start(task)
        await world.until(lambda: bool(figures.started), "a start")
        seen.append(next(iter(figures.started.values())) - began)
        await asyncio.sleep(0.02)
    print(f"  start to run: {percentiles(seen)}")


async def cancel(world: World) -> None:
    """Cancel one task that runs on 1,000 hosts."""
    figures = world.swarm.figures
    figures.canceled.clear()
    figures.started.clear()
    figures.finished.clear()
    world.swarm.hold = True
    hosts = world.hosts[:1000]
    task = await asyncio.to_thread(world.records.make_task, hosts)
    await world.start(task)
    await world.until(lambda: len(figures.started) == len(hosts), "all started")
    await asyncio.sleep(1)
    began = time.perf_counter()
    await asyncio.to_thread(world.records.cancel, task)
    await world.until(lambda: len(figures.finished) == len(hosts), "all confirmed")
    world.swarm.hold = False
    print(f"  cancel of {len(hosts)} confirmed in {max(figures.finished) - began:.2f} s")
    await asyncio.to_thread(world.records.wait_closed, [task])


async def heartbeats(world: World) -> None:
    """Every host sends a heartbeat at once."""
    answered: list[float] = []
    statuses: set[int] = set()

    def done(status: int, _body: bytes) -> None:
        statuses.add(status)
        answered.append(time.perf_counter())

    began = time.perf_counter()
    for agent in world.swarm.agents:
        world.swarm.report(agent.request(b"heartbeat", b"{}"), done)
    await world.until(lambda: len(answered) == len(world.hosts), "all answered")
    print(f"  {len(answered)} heartbeats in {max(answered) - began:.2f} s, answers {statuses}")


async def reconnect(world: World) -> None:
    """The gateway restarts; every agent comes back by itself."""
    gateway = world.stack.children["gateway"]
    connected = world.swarm.figures.connected
    began = time.perf_counter()
    await asyncio.to_thread(gateway.kill)
    gateway.start()
    await world.until(
        lambda: world.swarm.figures.connected - connected >= len(world.hosts), "all reconnected"
    )
    print(f"  all connected again after {time.perf_counter() - began:.2f} s")
    world.swarm.figures.errors.clear()
    await asyncio.sleep(3)


async def wakes(world: World) -> None:
    """Twenty tasks on all hosts in a row: a missed wake would show as seconds."""
    for _ in range(20):
        await dispatch(world, 1, len(world.hosts))


SCENARIOS: dict[str, Callable[[World], Awaitable[None]]] = {
    "one": lambda world: dispatch(world, 1, len(world.hosts)),
    "five": lambda world: dispatch(world, 5, len(world.hosts)),
    "hundred": lambda world: dispatch(world, 100, 100),
    "latency": latency,
    "cancel": cancel,
    "heartbeats": heartbeats,
    "reconnect": reconnect,
    "wakes": wakes,
}


def percentiles(seconds: Sequence[float]) -> str:
    """Return P50, P95 and P99 in milliseconds."""
    if len(seconds) < 2:
        return "too few"
    cut = statistics.quantiles(seconds, n=100)
    return f"P50 {cut[49] * 1e3:.0f} ms, P95 {cut[94] * 1e3:.0f} ms, P99 {cut[98] * 1e3:.0f} ms"


def report_usage(before: dict[str, Any], after: dict[str, Any], seconds: float) -> None:
    """Print what each process used meanwhile."""
    words = [
        f"{name} {cpu - before[name][0]:.2f} s {memory / 1e6:.0f} MB"
        for name, (cpu, memory) in after.items()
    ]
    print(f"  CPU and memory in {seconds:.2f} s: {', '.join(words)}")


async def run(world: World, names: list[str]) -> int:
    """Connect, run the scenarios, check the promises; return how many errors were seen."""
    await connect(world)
    errors = 0
    for name in names:
        print(name)
        await SCENARIOS[name](world)
        errors += sum(world.swarm.figures.errors.values())
        print(f"  errors: {world.swarm.figures.errors or 'none'}")
        broken = await asyncio.to_thread(world.records.violations)
        print(f"  broken promises: {broken or 'none'}")
        errors += len(broken)
    world.swarm.stop()
    return errors


def main() -> int:
    """Run what the command line names."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("scenarios", nargs="+", choices=sorted(SCENARIOS))
    parser.add_argument("--agents", type=int, default=10_000)
    options = parser.parse_args()
    os.environ.setdefault("DM_SECRET_KEY", secrets.token_hex(32))
    with swarm_stack() as stack:
        os.environ.update(stack.environment)
        django.setup()
        world = World(stack, options.agents)
        return 1 if uvloop.run(run(world, options.scenarios)) else 0


if __name__ == "__main__":
    sys.exit(main())
