"""The product under attack: two gateways behind a load balancer, every connection cuttable.

Each process reaches PostgreSQL and Redis, and each agent the gateways, over a line of its own.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from urllib.parse import SplitResult, urlsplit, urlunsplit

from devops_manager.embedded.ports import LOOPBACK, free_port
from devops_manager.embedded.servers import EmbeddedServers
from devops_manager.standalone.children import Child
from tests.chaos import plan
from tests.e2e.stack import Stack
from tests.proxy import Proxy

# Few, so that tasks wait for their turn, and now and then the queue is full.
MAX_RUNNING_TASKS = 8
QUEUE_CAPACITY = 6
LIMITS = {
    "DM_MAX_CONCURRENT_TASKS": str(MAX_RUNNING_TASKS),
    "DM_QUEUE_CAPACITY": str(QUEUE_CAPACITY),
}
# Short, so that agents give polls up that a stopped gateway still serves, and ask the other one.
AGENT_LIMITS = {
    "DM_AGENT_POLL_WAIT_SECONDS": "2",
    "DM_AGENT_REQUEST_TIMEOUT_SECONDS": "5",
}


class ChaosStack(Stack):
    """Everything that runs, with a second gateway and with lines between all of it."""

    server_names = plan.SERVERS

    def __init__(self, *, directory: Path, servers: EmbeddedServers) -> None:
        """Lay the lines; nothing is started yet."""
        super().__init__(directory=directory, servers=servers)
        self.second_port = free_port()
        self.lines: dict[str, Proxy] = {}
        ports = (self.addresses.gateway_port, self.second_port)
        for line, port in zip(plan.FRONT_LINES, ports, strict=True):
            self.lines[line] = Proxy(LOOPBACK, port)
        fronts = [(LOOPBACK, self.lines[line].port) for line in plan.FRONT_LINES]
        for line in plan.AGENT_LINES:
            self.lines[line] = Proxy(*fronts[0], *fronts[1:])
        for url, lines in (
            (servers.postgres.run_url(), plan.POSTGRES_LINES),
            (servers.redis_url, plan.REDIS_LINES),
        ):
            for line in lines:
                self.lines[line] = Proxy(LOOPBACK, _port(urlsplit(url)))

    def lines_of(self, target: str) -> list[Proxy]:
        """Return the lines that a fault's target names."""
        return [self.lines[line] for line in plan.ALL_LINES.get(target, (target,))]

    def served(self) -> dict[str, str]:
        return {**super().served(), f"http://{LOOPBACK}:{self.second_port}": "gateway"}

    def _servers(self, **environment: str) -> list[Child]:
        children = super()._servers(**LIMITS, **environment)
        children.insert(2, self._second_gateway(children[1]))
        return [
            dataclasses.replace(child, environment={**child.environment, **self._urls(child.name)})
            for child in children
        ]

    def _second_gateway(self, first: Child) -> Child:
        name = plan.GATEWAYS[1]
        first_port = f":{self.addresses.gateway_port}"
        return dataclasses.replace(
            first,
            name=name,
            arguments=[
                argument.replace(first_port, f":{self.second_port}") for argument in first.arguments
            ],
            environment={**first.environment, "DM_PROCESS_NAME": f"devops-manager-{name}"},
            log_path=self.logs / f"{name}.log",
        )

    def _urls(self, name: str) -> dict[str, str]:
        return {
            "DATABASE_URL": self._by_way_of(f"{name}>postgres", self.servers.postgres.run_url()),
            "REDIS_URL": self._by_way_of(f"{name}>redis", self.servers.redis_url),
        }

    def _by_way_of(self, line: str, url: str) -> str:
        parts = urlsplit(url)
        place = parts.netloc.removesuffix(f":{_port(parts)}")
        return urlunsplit(parts._replace(netloc=f"{place}:{self.lines[line].port}"))

    def _agent(self, node: str, token: str) -> Child:
        child = super()._agent(node, token)
        server = f"http://{LOOPBACK}:{self.lines[f'{node}>gateways'].port}"
        own = {**AGENT_LIMITS, "DM_AGENT_SERVER": server}
        return dataclasses.replace(child, environment={**child.environment, **own})


def _port(parts: SplitResult) -> int:
    assert parts.port is not None
    return parts.port
