"""Three real agents on this machine: started, enrolled, approved, online."""

from __future__ import annotations

import json
import shutil
import sys
import uuid
from dataclasses import dataclass
from pathlib import Path

from devops_manager.embedded.language import gettext as _
from devops_manager.embedded.places import PROJECT
from devops_manager.standalone.children import Child, Children
from devops_manager.standalone.client import Api
from devops_manager.standalone.stack import LOGS
from devops_manager.standalone.terminal import progress

# What an agent, and with it every command that it runs, must not see.
_SERVERS = ("DATABASE_URL", "DATABASE_OWNER_URL", "REDIS_URL")
NODES = ("node-1", "node-2", "node-3")
_ENROL_SECONDS = 60.0
_ONLINE_SECONDS = 60.0


@dataclass(frozen=True)
class Agents:
    """The agents of a run. ``directory`` holds each one's state under its host name."""

    program: Path
    directory: Path
    gateway_url: str
    logs: Path = LOGS

    def host_id(self, node: str) -> str | None:
        """Return the id that the server gave to a node's agent, or None before it enrolled."""
        try:
            text = (self.directory / node / "credential.json").read_text(encoding="utf-8")
            return str(json.loads(text)["host_id"])
        except (OSError, ValueError, KeyError):
            return None

    def bring_up(
        self, children: Children, *, environment: dict[str, str], api: Api
    ) -> dict[str, str]:
        """Start the agents, enrol those that are new, approve them, and wait until all are online.

        Returns the host id of each node.
        """
        self._forget_unknown(api)
        new = [node for node in NODES if self.host_id(node) is None]
        token = ""
        if new:
            progress(_("Enrolling the agents %(nodes)s") % {"nodes": ", ".join(new)})
            name = f"make run {uuid.uuid4().hex[:6]}"
            wanted = {"name": name, "auto_approve": False, "max_uses": len(new)}
            token = api.post("enrollment-tokens", wanted)["secret"]
        for node in NODES:
            children.start(self.child(node, environment, token if node in new else ""))
        children.wait_for(
            _("the agents to enrol"),
            lambda: all(self.host_id(node) for node in NODES),
            seconds=_ENROL_SECONDS,
        )
        host_ids = {node: self.host_id(node) or "" for node in NODES}
        self._approve(api, host_ids)
        children.wait_for(
            _("the agents to come online"),
            lambda: _all_online(api, set(host_ids.values())),
            seconds=_ONLINE_SECONDS,
        )
        return host_ids

    def _forget_unknown(self, api: Api) -> None:
        """Remove the state of agents whose host the server no longer has: they enrol anew."""
        known = {host["host_id"] for host in [*api.every("hosts"), *api.every("pending-hosts")]}
        for node in NODES:
            if self.host_id(node) not in known:
                shutil.rmtree(self.directory / node, ignore_errors=True)

    def _approve(self, api: Api, host_ids: dict[str, str]) -> None:
        pending = {host["host_id"] for host in api.every("pending-hosts")}
        for node, host_id in host_ids.items():
            if host_id in pending:
                progress(_("Approving %(node)s") % {"node": node})
                api.post(f"pending-hosts/{host_id}/approve")

    def child(self, node: str, environment: dict[str, str], token: str) -> Child:
        """Return a node's agent, ready to be started; ``token`` enrols it, if it is new."""
        state = self.directory / node
        state.mkdir(parents=True, exist_ok=True)
        machine = uuid.uuid5(uuid.NAMESPACE_URL, str(state))
        own = {
            "DM_AGENT_SERVER": self.gateway_url,
            "DM_AGENT_ALLOW_HTTP": "true",
            "DM_AGENT_PROXY": "none",
            "DM_AGENT_STATE_DIR": str(state),
            "DM_AGENT_HOSTNAME": node,
            "DM_AGENT_MACHINE_ID": machine.hex,
            "DM_AGENT_ENROLLMENT_TOKEN": token,
            "DM_AGENT_RETRY_LONGEST_SECONDS": "2",
            "PYTHONUNBUFFERED": "1",
        }
        # None of the server's secrets: what an agent has, the commands that it runs may see.
        plain = {
            name: value
            for name, value in environment.items()
            if not name.startswith("DM_") and name not in _SERVERS
        }
        return Child(
            name=f"agent-{node}",
            arguments=[sys.executable, str(self.program), "run"],
            environment=plain | own,
            log_path=self.logs / f"agent-{node}.log",
            directory=PROJECT,
        )


def _all_online(api: Api, host_ids: set[str]) -> bool:
    online = {host["host_id"] for host in api.every("hosts") if host["online"]}
    return host_ids <= online
