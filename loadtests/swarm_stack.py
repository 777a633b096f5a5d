"""The server's processes for a measurement, on a durable PostgreSQL, and what they use."""

from __future__ import annotations

import secrets
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.request import urlopen

import psutil

from devops_manager.embedded.places import VAR
from devops_manager.embedded.ports import LOOPBACK, free_port
from devops_manager.embedded.servers import EmbeddedServers, embedded_servers
from devops_manager.standalone.children import Child, Children
from devops_manager.standalone.stack import manage, server_processes
from devops_manager.standalone.surroundings import Addresses, child_environment

if TYPE_CHECKING:
    from collections.abc import Iterator

LOGS = VAR / "swarm-log"


@dataclass
class SwarmStack:
    """Running servers and processes; ``environment`` is what the processes were given."""

    servers: EmbeddedServers
    addresses: Addresses
    environment: dict[str, str]
    children: dict[str, Child]

    def usage(self) -> dict[str, tuple[float, int]]:
        """Return name → (CPU seconds so far, resident bytes) of each process with its children."""
        roots = {name: child.process.pid for name, child in self.children.items() if child.process}
        roots["postgres"] = self.servers.postgres.pid
        roots["redis"] = self.servers.redis.pid
        return {name: _usage(pid) for name, pid in roots.items()}


def _usage(pid: int) -> tuple[float, int]:
    cpu, memory = 0.0, 0
    root = psutil.Process(pid)
    for process in [root, *root.children(recursive=True)]:
        try:
            times = process.cpu_times()
            cpu += times.user + times.system
            memory += process.memory_info().rss - process.memory_info().shared
        except psutil.NoSuchProcess:
            continue
    # PostgreSQL's backends that ended are in their parent's account
    times = root.cpu_times()
    return cpu + times.children_user + times.children_system, memory


@contextmanager
def swarm_stack(**environment: str) -> Iterator[SwarmStack]:
    """Start everything with an empty database, fsync and synchronous_commit on; stop it after.

    Call it from the main thread: what is started ends with the thread that started it.
    """
    LOGS.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        servers = stack.enter_context(embedded_servers(VAR, name="swarm"))
        name = f"swarm_{secrets.token_hex(4)}"
        servers.postgres.create_database(name)
        addresses = Addresses(LOOPBACK, free_port(), free_port())
        urls = {"DATABASE_URL": servers.postgres.url(name), "REDIS_URL": servers.redis_url}
        given = child_environment(addresses, urls) | {"DM_LOG_LEVEL": "WARNING"} | environment
        manage(given, "migrate", "--verbosity", "0")
        running = Children()
        stack.callback(running.stop)
        schedule = VAR / "swarm-beat"
        children = server_processes(
            addresses=addresses, environment=given, schedule=Path(schedule), logs=LOGS
        )
        for child in children:
            running.start(child)
        for url in (addresses.web_url, addresses.gateway_url):
            running.wait_for(url, lambda url=url: _ready(f"{url}/readyz"), seconds=30)
        yield SwarmStack(servers, addresses, given, {child.name: child for child in children})


def _ready(url: str) -> bool:
    try:
        with urlopen(url, timeout=1) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False
