"""The server's processes for a measurement, on a durable PostgreSQL, and what they use."""

from __future__ import annotations

import json
import os
import secrets
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING

import psutil
import psycopg

from devops_manager.embedded.places import VAR
from devops_manager.embedded.ports import LOOPBACK, free_port
from devops_manager.embedded.servers import EmbeddedServers, embedded_servers
from devops_manager.standalone.children import Child, Children
from devops_manager.standalone.client import Api
from devops_manager.standalone.stack import manage, server_processes
from devops_manager.standalone.surroundings import Addresses, child_environment

if TYPE_CHECKING:
    from collections.abc import Iterator

LOGS = VAR / "swarm-log"


@dataclass
class SwarmStack:
    """The servers and, once started, the project's processes, with what these are given."""

    servers: EmbeddedServers
    addresses: Addresses
    environment: dict[str, str]
    running: Children
    children: dict[str, Child] = field(default_factory=dict)
    gateway_ports: list[int] = field(default_factory=list)

    def start(self, *, gateways: int = 1) -> None:
        """Start web, worker, beat and this many gateways; wait until they answer."""
        ports = [self.addresses.gateway_port] + [free_port() for _ in range(gateways - 1)]
        for no, port in enumerate(ports, start=1):
            for child in self._processes(no, port):
                self.running.start(child)
                self.children[child.name] = child
        self.gateway_ports = ports
        gateway_urls = [f"http://{self.addresses.bind}:{port}" for port in ports]
        for url in (self.addresses.web_url, *gateway_urls):
            service = "web" if url == self.addresses.web_url else "gateway"
            ready = partial(_ready, url, service, self.addresses.instance)
            self.running.wait_for(url, ready, seconds=30)

    def _processes(self, no: int, port: int) -> list[Child]:
        """Return all processes for the first gateway, a gateway alone for the others."""
        children = server_processes(
            addresses=replace(self.addresses, gateway_port=port),
            environment=self.environment,
            schedule=VAR / f"swarm-beat-{no}",
            logs=LOGS,
        )
        if no == 1:
            return children
        (gateway,) = (child for child in children if child.name == "gateway")
        return [replace(gateway, name=f"gateway {no}", log_path=LOGS / f"gateway-{no}.log")]

    @property
    def gateways(self) -> list[Child]:
        """The gateways."""
        return [child for name, child in self.children.items() if name.startswith("gateway")]

    def api(self) -> Api:
        """Return the API as the first administrator uses it."""
        password = {"DM_ADMIN_PASSWORD": secrets.token_urlsafe()}
        made = manage(self.environment | password, "first_admin", "admin")
        return Api(base_url=self.addresses.web_url, token=json.loads(made)["token"])

    def usage(self) -> dict[str, tuple[float, int]]:
        """Return name → (CPU seconds so far, resident bytes) of each process with its children."""
        roots = {name: child.process.pid for name, child in self.children.items() if child.process}
        roots["postgres"] = self.servers.postgres.pid
        roots["redis"] = self.servers.redis.pid
        roots["agents"] = os.getpid()
        return {name: _usage(pid, children=name != "agents") for name, pid in roots.items()}


def _usage(pid: int, *, children: bool) -> tuple[float, int]:
    cpu, memory = 0.0, 0
    root = psutil.Process(pid)
    for process in [root, *(root.children(recursive=True) if children else ())]:
        try:
            times = process.cpu_times()
            cpu += times.user + times.system
            memory += process.memory_info().rss - process.memory_info().shared
        except psutil.NoSuchProcess:
            continue
    # PostgreSQL's backends that ended are in their parent's account
    times = root.cpu_times()
    ended = times.children_user + times.children_system if children else 0.0
    return cpu + ended, memory


@contextmanager
def swarm_stack(**environment: str) -> Iterator[SwarmStack]:
    """Start the servers with an empty database, fsync and synchronous_commit on; stop all after.

    Call it and ``start`` from the main thread: what is started ends with the thread that started
    it.
    """
    LOGS.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        servers = stack.enter_context(embedded_servers(VAR, name="swarm"))
        name = f"swarm_{secrets.token_hex(4)}"
        servers.postgres.create_database(name)
        stack.callback(_drop_database, servers, name)
        addresses = Addresses(LOOPBACK, free_port(), free_port())
        urls = {"DATABASE_URL": servers.postgres.url(name), "REDIS_URL": servers.redis_url}
        given = child_environment(addresses, urls) | {"DM_LOG_LEVEL": "WARNING"} | environment
        manage(given, "migrate", "--verbosity", "0")
        running = Children()
        stack.callback(running.stop)
        yield SwarmStack(servers, addresses, given, running)


def _drop_database(servers: EmbeddedServers, name: str) -> None:
    with psycopg.connect(servers.postgres.url("postgres"), autocommit=True) as connection:
        identifier = psycopg.sql.Identifier(name)
        connection.execute(psycopg.sql.SQL("DROP DATABASE {} WITH (FORCE)").format(identifier))


def _ready(url: str, service: str, instance: str) -> bool:
    return Api(base_url=url, token="").ready(service, instance) is not None
