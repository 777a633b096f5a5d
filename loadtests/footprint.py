"""What one real agent costs its host: ``python -m loadtests.footprint [--seconds 60] [--gib 5]``.

Starts the whole server with production's durations and one agent, the one-file program, enrols it,
and prints the agent's memory and CPU time: idle, after small commands, and with so much output.
"""

from __future__ import annotations

import argparse
import os
import re
import secrets
import time
from pathlib import Path
from typing import Any

from agents_app.agent_build import build_agent
from devops_manager.standalone.agents import Agents
from devops_manager.standalone.client import Api
from loadtests.swarm_stack import LOGS, SwarmStack, swarm_stack

NODE = "footprint"
SECONDS_AT_MOST = 300.0
_ENDED = ("completed", "partial", "failed", "canceled")


class Measured:
    """One agent process, as /proc counts it."""

    def __init__(self, pid: int) -> None:
        """Look at this process from now on."""
        self._proc = Path(f"/proc/{pid}")

    def memory_mb(self, name: str) -> float:
        """Return ``VmRSS`` or ``VmHWM`` in megabytes of 10^6 bytes."""
        found = re.search(rf"{name}:\s+(\d+)", (self._proc / "status").read_text())
        assert found is not None
        return int(found[1]) * 1024 / 1e6

    def cpu_seconds(self) -> float:
        """Return the CPU time so far of the threads that live, to the nanosecond."""
        tasks = (self._proc / "task").iterdir()
        return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9

    def all_cpu_seconds(self) -> float:
        """Return the CPU time so far, ended threads included, in ticks of 10 ms."""
        fields = (self._proc / "stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def run(api: Api, host_id: str, body: str, timeout_seconds: int = 280) -> None:
    """Run one command on the agent and wait for its end."""
    command = {"kind": "command", "body": body, "timeout_seconds": timeout_seconds}
    made: Any = api.post(
        "tasks", {"name": NODE, "commands": [command], "target": {"hosts": [host_id]}}
    )
    api.post(f"tasks/{made['task_id']}/start")
    until = time.monotonic() + SECONDS_AT_MOST
    while api.get(f"tasks/{made['task_id']}/status")["status"] not in _ENDED:
        assert time.monotonic() < until, "the command did not end"
        time.sleep(0.05)


def measure(stack: SwarmStack, seconds: float, gib: float) -> None:
    """Start the agent and print what it uses."""
    api = stack.api()
    program = LOGS / "devops-agent.pyz"
    build_agent(program)
    directory = LOGS / f"agents-{secrets.token_hex(4)}"
    agents = Agents(
        program=program, directory=directory, gateway_url=stack.addresses.gateway_url, logs=LOGS
    )
    new = {"name": NODE, "auto_approve": True}
    child = agents.child(NODE, stack.environment, api.post("enrollment-tokens", new)["secret"])
    child.start()
    try:
        until = time.monotonic() + SECONDS_AT_MOST
        while agents.host_id(NODE) is None:
            assert time.monotonic() < until, "the agent did not enrol"
            time.sleep(0.05)
        host_id = agents.host_id(NODE) or ""
        assert child.process is not None
        agent = Measured(child.process.pid)
        time.sleep(5)
        print(f"just started:         {agent.memory_mb('VmRSS'):.1f} MB")
        before = agent.cpu_seconds()
        time.sleep(seconds)
        used = agent.cpu_seconds() - before
        print(f"idle for {seconds:g} s:        {agent.memory_mb('VmRSS'):.1f} MB, ", end="")
        print(f"{100 * used / seconds:.4f} % of a core")
        for _ in range(20):
            run(api, host_id, "true")
        print(f"after 20 commands:    {agent.memory_mb('VmRSS'):.1f} MB")
        began, before = time.monotonic(), agent.all_cpu_seconds()
        run(api, host_id, f"head -c {int(gib * 2**30)} /dev/zero")
        used, took = agent.all_cpu_seconds() - before, time.monotonic() - began
        print(
            f"{gib:g} GiB of output:      peak {agent.memory_mb('VmHWM'):.1f} MB, {took:.1f} s, ",
            end="",
        )
        print(f"{used:.1f} s of CPU")
    finally:
        child.stop()


def main() -> None:
    """Read the arguments and measure."""
    parser = argparse.ArgumentParser(prog="python -m loadtests.footprint")
    parser.add_argument("--seconds", type=float, default=60.0, help="how long it is left idle")
    parser.add_argument("--gib", type=float, default=5.0, help="how much a command prints")
    options = parser.parse_args()
    print(f"{os.cpu_count()} cores")
    with swarm_stack() as stack:
        measure(stack, options.seconds, options.gib)


if __name__ == "__main__":
    main()
