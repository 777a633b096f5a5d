"""A fake gateway and real agent processes."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path

import pytest

from agents_app.agent.cgroup import CommandGroup, group_name, own_cgroup
from agents_app.agent.identity import Identity, prepare_state_dir, write_identity
from tests.agent.fake_gateway import CREDENTIAL, HOST_ID, FakeGateway
from tests.agent.runner import Runner
from tests.agent.waiting import wait_until

PROJECT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def empty_redis() -> None:
    """The agent knows no Redis: nothing to empty, and nothing to wait for."""


@pytest.fixture
def gateway() -> Iterator[FakeGateway]:
    with FakeGateway() as running:
        yield running


class AgentProcess:
    """A real agent on a state directory of its own."""

    def __init__(self, state_dir: Path, server: str) -> None:
        self.state_dir = state_dir
        self.log = state_dir.with_suffix(".log")
        self.settings = {
            "SERVER": server,
            "STATE_DIR": str(state_dir),
            "CONFIG": str(state_dir.with_suffix(".toml")),
            "POLL_WAIT_SECONDS": "0.3",
            "RETRY_FIRST_SECONDS": "0.02",
            "RETRY_LONGEST_SECONDS": "0.2",
        }
        state_dir.with_suffix(".toml").touch()
        self.process: subprocess.Popen[bytes] | None = None

    def enrolled(self) -> AgentProcess:
        prepare_state_dir(self.state_dir)
        write_identity(self.state_dir, Identity(host_id=HOST_ID, credential=CREDENTIAL))
        return self

    def environment(self, fault: str = "") -> dict[str, str]:
        environment = {f"DM_AGENT_{name}": value for name, value in self.settings.items()}
        if fault:
            environment["DM_AGENT_FAULT"] = fault
        return {"PATH": os.environ["PATH"], "SECRET_OF_THE_AGENT": "hidden", **environment}

    def start(
        self, *, fault: str = "", through: Sequence[str] = (), python: str = sys.executable
    ) -> AgentProcess:
        """Start it, behind the words of ``through`` where a program is to start it."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [*through, python, "-m", "agents_app.agent", "run"],
                cwd=PROJECT,
                env=self.environment(fault),
                stdin=subprocess.DEVNULL,
                stderr=log,
            )
        return self

    def call(self, *arguments: str, timeout: float = 20) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "agents_app.agent", *arguments],
            cwd=PROJECT,
            env=self.environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def wait(self) -> int:
        assert self.process is not None
        return self.process.wait(timeout=20)

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def terminate(self) -> int:
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self.wait()

    def end_leftovers(self) -> None:
        """End the commands that a killed agent has left, and remove their cgroups."""
        parent = own_cgroup()
        for path in parent.glob(group_name(str(self.state_dir)) + "*") if parent else ():
            group = CommandGroup(path)
            group.kill()
            wait_until(lambda group=group: not group.pids())
            path.rmdir()

    def journal(self, query: str) -> list[tuple[object, ...]]:
        path = self.state_dir / "journal.sqlite3"
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as db:
            return db.execute(query).fetchall()


@pytest.fixture
def make_agent(tmp_path: Path, gateway: FakeGateway) -> Iterator[Callable[[], AgentProcess]]:
    made: list[AgentProcess] = []

    def make() -> AgentProcess:
        made.append(AgentProcess(tmp_path / f"agent{len(made)}", gateway.url))
        return made[-1]

    yield make
    for agent in made:
        if agent.process is not None and agent.process.poll() is None:
            agent.kill()
        agent.end_leftovers()
        print(agent.log.read_text() if agent.log.exists() else "")


@pytest.fixture
def agent(make_agent: Callable[[], AgentProcess]) -> AgentProcess:
    """An enrolled agent, not started."""
    return make_agent().enrolled()


@pytest.fixture
def agents_umask() -> Iterator[None]:
    """The umask that the whole agent has."""
    before = os.umask(0o077)
    yield
    os.umask(before)


@pytest.fixture
def runner(tmp_path: Path, agents_umask: None) -> Iterator[Runner]:
    """Runs commands without an agent around it."""
    made = Runner(tmp_path / "work")
    yield made
    made.children.reap_orphans()


@pytest.fixture
def open_place(agents_umask: None) -> Iterator[Path]:
    """A directory that every user may pass through; ``tmp_path`` is this user's alone."""
    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        Path(name).chmod(0o755)
        yield Path(name)
