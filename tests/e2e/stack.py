"""The whole product as real processes: two servers, web, gateway, worker, beat and agents.

The processes are those of ``make run`` with small durations. Each can be stopped, killed and
started by itself; ``heal`` brings back whatever a test has broken. Everything ends with the thread
that started it, however that ends.
"""

from __future__ import annotations

import dataclasses
import json
import sys
from functools import partial
from pathlib import Path
from typing import Any

from agents_app.agent.journal import JOURNAL_FILE
from agents_app.agent_build import build_agent
from devops_manager.embedded.places import PROJECT
from devops_manager.embedded.ports import LOOPBACK, free_port
from devops_manager.embedded.process import log_tail
from devops_manager.embedded.servers import EmbeddedServers
from devops_manager.standalone.agents import Agents
from devops_manager.standalone.children import Child
from devops_manager.standalone.client import Api
from devops_manager.standalone.stack import manage, migrate, server_processes
from devops_manager.standalone.surroundings import Addresses, child_environment
from tests.e2e.client import ENDED, Client, Task, wait_until

NODES = ("node-1", "node-2", "node-3")
ADMIN, PASSWORD = "admin", "an-end-to-end-password"
SERVERS = ("web", "gateway", "worker", "beat")
SWEEPER = "sweeper"
START_SECONDS = 40.0

# All small, so that no test takes long. What a test proves with production's own values, it sets.
DURATIONS = {
    "DM_POLL_HOLD_SECONDS": "2",
    "DM_OFFLINE_AFTER_SECONDS": "5",
    "DM_KILL_GRACE_SECONDS": "1",
    "DM_UPLOAD_GRACE_SECONDS": "5",
    "DM_INSTANCE_SETTLE_SECONDS": "3",
    "DM_PENDING_QUERY_SECONDS": "1",
    "DM_SWEEP_SECONDS": "1",
    "DM_SWEEP_STALL_SECONDS": "15",
    "DM_LIVE_INTERVAL_SECONDS": "0.2",
    "DM_DB_POOL_TIMEOUT_SECONDS": "1",
    "DM_LOG_LEVEL": "INFO",
}
AGENT_DURATIONS = {
    "DM_AGENT_RETRY_FIRST_SECONDS": "0.1",
    "DM_AGENT_RETRY_LONGEST_SECONDS": "1",
}


class Stack:
    """Everything that runs. Use from the main thread only."""

    server_names: tuple[str, ...] = SERVERS

    def __init__(self, *, directory: Path, servers: EmbeddedServers) -> None:
        """Choose ports and places; nothing is started yet."""
        self.directory = directory
        self.servers = servers
        self.addresses = Addresses(LOOPBACK, free_port(), free_port())
        self.logs = directory / "log"
        self.logs.mkdir()
        self._program = directory / "devops-agent.pyz"
        self._children: dict[str, Child] = {}
        self._changed: set[str] = set()
        self.token = ""
        self.api = Client(self.addresses.web_url, "")

    # --- everything at once --------------------------------------------------------------------

    def start(self) -> None:
        """Migrate, make an administrator, start all processes, enrol and approve the agents."""
        environment = self._environment()
        migrate(environment, self.servers.two_roles())
        made = manage(environment | {"DM_ADMIN_PASSWORD": PASSWORD}, "first_admin", ADMIN)
        self.token = json.loads(made)["token"]
        self.api = Client(self.addresses.web_url, self.token)
        build_agent(self._program)
        self._describe_servers()
        for name in self.server_names:
            self._children[name].start()
        self.wait_ready()
        token = self.enrollment_token(auto_approve=True)
        for node in NODES:
            self.start_agent(node, token)
        self.wait_online(*NODES)

    def stop(self) -> None:
        """Stop everything, the last started first."""
        self.api.close()
        while self._children:
            _name, child = self._children.popitem()
            child.stop()

    def heal(self) -> None:
        """Bring back what is broken or was changed, and wait until all of it works."""
        for server in (self.servers.postgres, self.servers.redis):
            if not server.running:
                server.start()
        if SWEEPER in self._children:
            self._children.pop(SWEEPER).stop()
        for name, child in self._children.items():
            if name in self._changed or child.process is None or child.exit_status is not None:
                self.restart(name)
        self.wait_ready()
        self._end_tasks()
        self.wait_online(*NODES)

    def _end_tasks(self) -> None:
        """Cancel what a failed test left open, so that the next one finds free slots."""
        for status in ("running", "queued"):
            for summary in self.api.get("tasks", status=status, size=200)["results"]:
                task = Task(self.api, summary["task_id"])
                if task.status not in ENDED:
                    self.api.ask("POST", f"{task.path}/cancel", json={})
                task.wait()

    def reconfigure(self, **environment: str) -> None:
        """Restart the server processes with these settings; ``heal`` takes them back."""
        for name in self.server_names:
            self.stop_process(name)
        self._describe_servers(**environment)
        self._changed.update(self.server_names)
        for name in self.server_names:
            self._children[name].start()
        self.wait_ready()

    # --- one process ---------------------------------------------------------------------------

    def child(self, name: str) -> Child:
        """Return a process: ``web``, ``gateway``, ``worker``, ``beat``, or an agent's node."""
        return self._children[name]

    def start_process(self, name: str, **environment: str) -> None:
        """Start a stopped process again; what is set beside its settings is taken back by heal."""
        child = self._children[name]
        if environment:
            child = dataclasses.replace(child, environment={**child.environment, **environment})
            self._children[name] = child
            self._changed.add(name)
        child.start()

    def stop_process(self, name: str) -> None:
        """Stop a process in order."""
        self._children[name].stop()

    def kill_process(self, name: str) -> None:
        """Kill -9 a process and the workers that it started."""
        self._children[name].kill()

    def restart(self, name: str) -> None:
        """Stop a process if it runs, and start it with its usual settings."""
        self.stop_process(name)
        if name in self._changed:
            self._changed.discard(name)
            if name in self.server_names:
                usual = {child.name: child for child in self._servers()}
                self._children[name] = usual[name]
            else:
                self._children[name] = self._agent(name, "")
        self._children[name].start()

    def start_sweeper(self) -> None:
        """Start ``manage.py sweep --loop``; ``heal`` ends it."""
        beat = self._children["beat"]
        self._children[SWEEPER] = Child(
            name=SWEEPER,
            arguments=[sys.executable, "manage.py", "sweep", "--loop"],
            environment=beat.environment,
            log_path=self.logs / f"{SWEEPER}.log",
            directory=PROJECT,
        )
        self._children[SWEEPER].start()

    def log(self, name: str) -> str:
        """Return all that a process has logged."""
        return self._children[name].log_path.read_text(encoding="utf-8", errors="replace")

    def log_tails(self) -> str:
        """Return the end of every log, for a test that failed."""
        paths = [
            *sorted(self.logs.glob("*.log")),
            self.servers.postgres.log_path,
            self.servers.redis.log_path,
        ]
        return "\n".join(f"--- {path.name}\n{log_tail(path)}" for path in paths)

    # --- agents --------------------------------------------------------------------------------

    def enrollment_token(self, **fields: Any) -> str:
        """Make an enrolment token and return its secret."""
        return str(self.api.post("enrollment-tokens", {"name": "end to end", **fields})["secret"])

    def start_agent(self, node: str, token: str, **environment: str) -> None:
        """Start a new agent; it enrols by itself."""
        child = self._agent(node, token)
        self._children[node] = dataclasses.replace(
            child, environment={**child.environment, **environment}
        )
        self._children[node].start()

    def remove_agent(self, node: str) -> None:
        """Stop an agent that the next test shall not find."""
        self._children.pop(node).stop()

    def host_id(self, node: str) -> str:
        """Return the id that the server gave to an agent's host; waits for the enrolment."""
        return str(
            wait_until(lambda: self._agents.host_id(node), START_SECONDS, f"{node} to enrol")
        )

    def credential(self, node: str) -> str:
        """Return an agent's credential, as a thief would read it."""
        text = (self._agents.directory / node / "credential.json").read_text(encoding="utf-8")
        return str(json.loads(text)["credential"])

    def target(self, *nodes: str) -> dict[str, Any]:
        """Return the target that names these nodes' hosts."""
        return {"hosts": [self.host_id(node) for node in nodes]}

    def journals(self) -> list[Path]:
        """Return the journal of every agent there has been."""
        return sorted(self._agents.directory.glob(f"*/{JOURNAL_FILE}"))

    def wait_online(self, *nodes: str) -> None:
        """Wait until the agents are heard."""
        ids = {self.host_id(node) for node in nodes}

        def online() -> bool:
            hosts = self.api.get("hosts", online="true", size=200)["results"]
            return ids <= {host["host_id"] for host in hosts}

        wait_until(online, START_SECONDS, f"{nodes} to be online")

    def wait_ready(self) -> None:
        """Wait until web and gateway serve and both see the database and Redis."""
        for url, service in self.served().items():
            ready = partial(_is_ready, url, service, self.addresses.instance)
            wait_until(ready, START_SECONDS, f"{url} to be ready")

    def served(self) -> dict[str, str]:
        """Return the address of each process that serves HTTP, and which service it is."""
        return {self.addresses.web_url: "web", self.addresses.gateway_url: "gateway"}

    # --- how they are started ------------------------------------------------------------------

    @property
    def _agents(self) -> Agents:
        return Agents(
            program=self._program,
            directory=self.directory / "agents",
            gateway_url=self.addresses.gateway_url,
            logs=self.logs,
        )

    def _agent(self, node: str, token: str) -> Child:
        child = self._agents.child(node, self._environment(), token)
        return dataclasses.replace(child, environment={**child.environment, **AGENT_DURATIONS})

    def _describe_servers(self, **environment: str) -> None:
        self._children.update({child.name: child for child in self._servers(**environment)})

    def _servers(self, **environment: str) -> list[Child]:
        return server_processes(
            addresses=self.addresses,
            environment=self._environment() | environment,
            schedule=self.directory / "beat",
            logs=self.logs,
        )

    def _environment(self) -> dict[str, str]:
        return child_environment(self.addresses, self.servers.two_roles()) | DURATIONS


def _is_ready(url: str, service: str, instance: str) -> bool:
    body = Api(base_url=url, token="").ready(service, instance) or {}
    # The gateway says what it finds at the top, the web process below "checks".
    return "ok" in (body.get("redis"), body.get("checks", {}).get("redis"))
