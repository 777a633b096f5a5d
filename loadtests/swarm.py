"""Thousands of simulated agents on this machine: ``python -m loadtests.swarm one five latency …``.

Starts the whole server on random ports of the loopback, runs the named scenarios one after another
and prints what each took and used. Every scenario ends with the promises checked on the database.
"""

from __future__ import annotations

import argparse
import gc
import os
import secrets
import sys
from collections.abc import Sequence

import django
import uvloop

from loadtests.swarm_scenarios import SCENARIOS, Measured, World, run
from loadtests.swarm_stack import swarm_stack

# Figures that are not seconds.
_NUMBERS = {"agents", "commands", "commands_per_second", "hosts", "missed_wakes", "per_second"}
_NUMBERS |= {"repetitions", "tasks"}


def report(measured: Measured) -> None:
    """Print one scenario."""
    print(measured.name)
    for name, value in measured.figures.items():
        print(f"  {name.replace('_', ' ')}: {in_words(name, value)}")
    used = (
        f"{process} {cpu:.2f} s {memory / 1e6:.0f} MB"
        for process, (cpu, memory) in measured.usage.items()
    )
    print(f"  CPU and memory: {', '.join(used)}")
    print(f"  errors: {measured.errors or 'none'}")
    print(f"  broken promises: {measured.violations or 'none'}", flush=True)


def in_words(name: str, value: float) -> str:
    """Return a figure with its unit."""
    if name in _NUMBERS:
        return f"{value:,.0f}"
    return f"{value * 1e3:.0f} ms" if value < 1 else f"{value:.2f} s"


def faults(measured: Measured) -> int:
    """Return how much went wrong: errors, broken promises, missed wakes."""
    missed = int(measured.figures.get("missed_wakes", 0))
    return sum(measured.errors.values()) + len(measured.violations) + missed


async def run_all(world: World, names: Sequence[str]) -> list[Measured]:
    """Connect, run the scenarios and print each."""
    # What 10,000 agents are made of stays, and would be gone through again and again.
    gc.freeze()
    gc.set_threshold(100_000, 50, 1000)
    done = []
    for name in ["connect", *(name for name in names if name != "connect")]:
        measured = await run(world, name)
        report(measured)
        done.append(measured)
    world.swarm.stop()
    return done


def main() -> int:
    """Run what the command line names; 1 when something went wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("scenarios", nargs="+", choices=sorted(SCENARIOS))
    parser.add_argument("--agents", type=int, default=10_000)
    parser.add_argument("--gateways", type=int, default=1)
    options = parser.parse_args()
    os.environ.setdefault("DM_SECRET_KEY", secrets.token_hex(32))
    with swarm_stack() as stack:
        os.environ.update(stack.environment)
        django.setup()
        stack.start(gateways=options.gateways)
        world = World(stack, options.agents)
        done = uvloop.run(run_all(world, options.scenarios))
        return 1 if any(faults(measured) for measured in done) else 0


if __name__ == "__main__":
    sys.exit(main())
