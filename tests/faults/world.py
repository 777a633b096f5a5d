"""The project's processes on the test's own database and Redis, started and broken one by one."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import psycopg
from django.conf import settings

from agents_app.agent.identity import Identity, prepare_state_dir, write_identity
from devops_manager.embedded.places import PROJECT
from devops_manager.embedded.ports import LOOPBACK, free_port
from devops_manager.standalone.stack import server_processes
from devops_manager.standalone.surroundings import Addresses
from tests.agent.conftest import AgentProcess
from tests.factories import EnrolledHost
from tests.gateway_process import database_url

if TYPE_CHECKING:
    from collections.abc import Callable

    from devops_manager.standalone.children import Child
    from hosts_app.models import Host

SECONDS = 20.0
REACHED = "fault point {} in process"

# Small, so that a deadline can be waited for; where a test proves that nothing is sooner, it says.
DURATIONS = {
    "DM_POLL_HOLD_SECONDS": "1",
    "DM_OFFLINE_AFTER_SECONDS": "5",
    "DM_KILL_GRACE_SECONDS": "0.3",
    "DM_UPLOAD_GRACE_SECONDS": "0.5",
    "DM_INSTANCE_SETTLE_SECONDS": "1",
    "DM_PENDING_QUERY_SECONDS": "0.3",
    "DM_SWEEP_SECONDS": "0.3",
    "DM_SWEEP_STALL_SECONDS": "60",
    "DM_LOG_LEVEL": "INFO",
}


def wait_for(happened: Callable[[], Any], what: str, seconds: float = SECONDS) -> Any:
    """Look again and again until the function gives something true, and give that."""
    until = time.monotonic() + seconds
    while not (value := happened()):
        assert time.monotonic() < until, f"waited {seconds:g} s in vain for {what}"
        time.sleep(0.02)
    return value


def environment(**changes: str) -> dict[str, str]:
    """Return the environment of a process on the test's database and Redis."""
    own = {
        "DATABASE_URL": database_url(),
        "REDIS_URL": settings.REDIS_URL,
        "DM_WAKE_CHANNEL": settings.DM_WAKE_CHANNEL,
        "DJANGO_SETTINGS_MODULE": "devops_manager.settings",
    }
    return {**os.environ, **own, **DURATIONS, **changes}


def manage(*arguments: str, **changes: str) -> subprocess.CompletedProcess[str]:
    """Run ``manage.py`` to its end, however that comes."""
    return subprocess.run(
        [sys.executable, "manage.py", *arguments],
        cwd=PROJECT,
        env=environment(**changes),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )


class Celery:
    """A worker and beat; a context manager that starts and kills them."""

    def __init__(self, directory: Path, *names: str, **changes: str) -> None:
        """``names`` are those of ``worker`` and ``beat`` that shall run; both unless said."""
        directory.mkdir()
        children = server_processes(
            addresses=Addresses(LOOPBACK, free_port(), free_port()),
            environment=environment(**changes),
            schedule=directory / "schedule",
            logs=directory,
        )
        self._children: dict[str, Child] = {
            child.name: child for child in children if child.name in (names or ("worker", "beat"))
        }

    def __enter__(self) -> Celery:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def start(self) -> None:
        """Start what shall run."""
        for child in self._children.values():
            child.start()

    def kill(self) -> None:
        """Kill all of it, as a power cut would; harmless twice."""
        for child in self._children.values():
            child.kill()

    def log(self, name: str = "worker") -> str:
        """Return what a process has logged."""
        return self._children[name].log_path.read_text(errors="replace")

    def pool(self) -> list[psutil.Process]:
        """Return the processes in which the worker runs its jobs."""
        process = self._children["worker"].process
        assert process is not None
        return psutil.Process(process.pid).children()


@dataclass
class RealAgent:
    """A real agent's process and its host on the server."""

    process: AgentProcess
    host: Host

    @property
    def held(self) -> list[tuple[object, ...]]:
        """What its journal still has."""
        return self.process.journal("SELECT fence FROM attempts")

    def stop(self) -> None:
        """Stop it as SIGSTOP does: it is there and does nothing."""
        os.kill(self.process.pid, signal.SIGSTOP)

    def go_on(self) -> None:
        """Let it go on."""
        os.kill(self.process.pid, signal.SIGCONT)


def real_agent(directory: Path, enrolled: EnrolledHost, server: str) -> RealAgent:
    """Return the agent of a host, not started; it finds the gateway at ``server``."""
    process = AgentProcess(directory, server)
    process.settings |= {"POLL_WAIT_SECONDS": "5", "HOSTNAME": enrolled.host.hostname}
    prepare_state_dir(directory)
    identity = Identity(host_id=str(enrolled.host.host_id), credential=enrolled.credential)
    write_identity(directory, identity)
    return RealAgent(process, enrolled.host)


def waits_for_lock(connection: psycopg.Connection, application: str) -> bool:
    """Whether a session of that program waits for a lock."""
    found = connection.execute(
        "SELECT FROM pg_stat_activity WHERE application_name = %s AND wait_event_type = 'Lock' "
        "AND datname = current_database()",
        [application],
    )
    return found.fetchone() is not None


def lines(path: Path) -> list[str]:
    """Return the words that commands have left in a file."""
    return path.read_text(encoding="utf-8").split() if path.exists() else []
