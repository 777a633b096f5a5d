"""Floors and targets in one go, in one table with ratios: ``python -m loadtests.bench``.

``--only create,one`` measures those and the floors that they are held against; ``--write PAGE``
puts the tables between the two marks of a page. By hand and by name, never as a test: nothing else
should run on the machine meanwhile.
"""

from __future__ import annotations

import argparse
import importlib
import os
import platform
import secrets
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import django
import psutil
import psycopg
import uvloop

from loadtests import bench_table as table
from loadtests.swarm import faults, run_all
from loadtests.swarm_scenarios import Measured, World
from loadtests.swarm_stack import SwarmStack, swarm_stack

IN_PROCESS = ("create", "list", "fan-out")
SCENARIOS = ("one", "five", "hundred", "latency", "cancel", "heartbeats", "reconnect")
# Which floors a figure is held against.
FLOORS = {
    "create": ("bulk", "insert"),
    "list": ("redis",),
    "fan-out": ("fan-out",),
    "one": ("fan-out", "claim", "claim 1", "report", "report 1"),
    "five": ("fan-out", "claim", "report"),
    "hundred": ("fan-out", "claim", "report"),
    "heartbeats": ("echo",),
}
BEGIN, END = "<!-- bench: begin -->", "<!-- bench: end -->"


class Bench:
    """One run: the floors by name, the targets in order, and the scenarios as they were."""

    def __init__(self, stack: SwarmStack, agents: int, only: Sequence[str]) -> None:
        """Load what needs Django: there is a database to set it up for only now."""
        self.stack = stack
        self.agents = agents
        self.only = only
        self.load = os.getloadavg()[0]
        self.floors: dict[str, table.Floor] = {}
        self.targets: list[table.Target] = []
        self.measured: list[Measured] = []
        self._floors: Any = importlib.import_module("loadtests.bench_floors")
        self._sql: Any = importlib.import_module("loadtests.bench_sql")
        self._targets: Any = importlib.import_module("loadtests.bench_targets")
        self._records: Any = importlib.import_module("loadtests.swarm_records")

    def run(self) -> None:
        """Measure floors, then what runs in this process, then the swarm."""
        hosts, _credentials = self._records.make_hosts(self.agents)
        rows = self._sql.Rows(
            self.stack.environment["DATABASE_URL"], self._records.primary_keys(hosts)
        )
        self._measure_floors(rows)
        self._measure_in_process(hosts)
        self._sql.wipe("hosts")
        scenarios = [name for name in SCENARIOS if name in self.only]
        if scenarios:
            self.stack.start()
            world = World(self.stack, self.agents)
            self.measured = uvloop.run(run_all(world, scenarios))
            for measured in self.measured:
                self.targets += self._targets.of_scenario(measured, self.floors)
            self.targets.append(self._targets.memory(self.measured))

    def _measure_floors(self, rows: Any) -> None:
        wanted = {floor for name in self.only for floor in FLOORS.get(name, ())}
        floors = self._floors
        how = {
            "insert": lambda: floors.insert(self.stack),
            "fan-out": lambda: floors.fan_out(rows),
            "claim 1": lambda: floors.claim(rows, 1),
            "claim": lambda: floors.claim(rows, 100),
            "report 1": lambda: floors.report(rows, 1),
            "report": lambda: floors.report(rows, 100),
            "bulk": lambda: floors.bulk(rows),
            "redis": lambda: floors.redis_get(self.stack),
            "echo": lambda: uvloop.run(floors.echo(self.agents)),
        }
        for name, measure in how.items():
            if name in wanted:
                self.floors[name] = measure()
                print(table.floor_rows([self.floors[name]])[0], flush=True)

    def _measure_in_process(self, hosts: Sequence[Any]) -> None:
        targets = self._targets
        if "create" in self.only:
            self.targets += targets.create(hosts[0], self.floors["bulk"])
        if "list" in self.only:
            self.targets += targets.list_hit(self.floors["redis"])
        if "fan-out" in self.only:
            self.targets += targets.fan_out_all(hosts, self.floors["fan-out"])

    def machine(self) -> str:
        """Return one line that says where this was measured."""
        with psycopg.connect(self.stack.environment["DATABASE_URL"]) as connection:
            settings = [
                f"{name} {connection.execute(f'SHOW {name}'.encode()).fetchone()[0]}"  # type: ignore[index]
                for name in ("server_version", "fsync", "synchronous_commit", "shared_buffers")
            ]
        memory = psutil.virtual_memory().total / 2**30
        return (
            f"{os.cpu_count()} cores, {memory:.0f} GiB, Python {platform.python_version()}, "
            f"PostgreSQL {', '.join(settings)}; {self.agents:,} simulated agents beside it; "
            f"load average before the run {self.load:.1f}"
        )

    def tables(self, shape: Any) -> str:
        """Return everything, each table in this shape."""
        parts = [
            self.machine() + ".",
            shape(table.HEAD, table.rows_of(self.targets)),
            shape(table.FLOOR_HEAD, table.floor_rows(list(self.floors.values()))),
        ]
        if self.measured:
            parts.append(shape(*self._usage()))
        return "\n\n".join(parts)

    def _usage(self) -> tuple[list[str], list[list[str]]]:
        """Return what each process used in each scenario: CPU seconds, resident memory after."""
        names = list(self.measured[-1].usage)
        rows = []
        for measured in self.measured:
            cells = [
                f"{cpu:.1f} s, {memory / 1e6:.0f} MB"
                for cpu, memory in (measured.usage[name] for name in names)
            ]
            wrong = faults(measured)
            rows.append([measured.name, *cells, "none" if not wrong else str(wrong)])
        return ["scenario", *names, "errors"], rows


def write(page: Path, tables: str) -> None:
    """Put the tables between the marks of a page. Raises SystemExit when it has none."""
    text = page.read_text(encoding="utf-8")
    before, begin, rest = text.partition(BEGIN)
    _old, end, after = rest.partition(END)
    if not begin or not end:
        raise SystemExit(f"{page} has no {BEGIN} … {END}")
    page.write_text(f"{before}{BEGIN}\n{tables}\n{END}{after}", encoding="utf-8")


def main() -> int:
    """Measure what the command line names; 1 when something went wrong or a target is not met."""
    names = (*IN_PROCESS, *SCENARIOS)
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default=",".join(names), help=f"of {', '.join(names)}")
    parser.add_argument("--agents", type=int, default=10_000)
    parser.add_argument("--write", type=Path, metavar="PAGE")
    options = parser.parse_args()
    only = options.only.split(",")
    if unknown := set(only) - set(names):
        parser.error(f"unknown: {', '.join(sorted(unknown))}")
    os.environ.setdefault("DM_SECRET_KEY", secrets.token_hex(32))
    with swarm_stack() as stack:
        os.environ.update(stack.environment)
        django.setup()
        bench = Bench(stack, options.agents, only)
        bench.run()
        print(f"\n{bench.tables(table.as_text)}")
        if options.write is not None:
            write(options.write, bench.tables(table.as_markdown))
        wrong = any(faults(measured) for measured in bench.measured)
        return 1 if wrong or not all(t.goal.met(t) for t in bench.targets) else 0


if __name__ == "__main__":
    sys.exit(main())
