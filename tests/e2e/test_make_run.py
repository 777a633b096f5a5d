"""`make run`, as a person has it: once, killed, again at once, ended with Ctrl-C, nothing left."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import psutil
import pytest

from devops_manager.embedded.places import remove_places
from devops_manager.embedded.ports import LOOPBACK

PROJECT = Path(__file__).resolve().parent.parent.parent
STANDALONE = [sys.executable, "-m", "devops_manager.standalone"]
STARTED = "Running until Ctrl-C."

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]


@pytest.fixture(scope="module")
def var(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """One var/ for all runs here, below a private directory, with a space in its path."""
    path = tmp_path_factory.mktemp("make run") / "var"
    yield path
    remove_places(path)


def environment(var: Path, **ports: int) -> dict[str, str]:
    servers = {"DATABASE_URL", "REDIS_URL", "DM_SECRET_KEY"}
    kept = {name: value for name, value in os.environ.items() if name not in servers}
    chosen = {f"DM_{name.upper()}_PORT": str(port) for name, port in ports.items()}
    return kept | chosen | {"DM_VAR": str(var), "PYTHONUNBUFFERED": "1", "LANG": "C.UTF-8"}


class Run:
    """A run that stays up, and every process that it started."""

    def __init__(self, var: Path) -> None:
        self.process = subprocess.Popen(
            STANDALONE,
            cwd=PROJECT,
            env=environment(var),  # the ports are those of the run before
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.output = ""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.output += line
            if STARTED in line:
                break
        if STARTED not in self.output:
            self.end(signal.SIGKILL)
            pytest.fail(self.output)
        self.processes = psutil.Process(self.process.pid).children(recursive=True)

    def end(self, how: signal.Signals) -> tuple[int, str]:
        self.process.send_signal(how)
        rest, _nothing = self.process.communicate(timeout=60)
        return self.process.returncode, rest

    def addresses(self) -> list[str]:
        return re.findall(r"(?:Pages|Gateway): +(http://\S+)$", self.output, re.MULTILINE)

    def token(self) -> str:
        (token,) = re.findall(r" TOKEN=(\S+)$", self.output, re.MULTILINE)
        return str(token)

    def alive(self, seconds: float) -> list[str]:
        _gone, alive = psutil.wait_procs(self.processes, timeout=seconds)
        return [str(process) for process in alive]


def roles_of(run: Run) -> set[str]:
    """Return the database roles that the servers of a run have, after their environments."""
    found = set()
    for process in run.processes:
        given = process.environ()
        if "DM_PROCESS_NAME" in given:
            assert "DATABASE_OWNER_URL" not in given
            found.add(str(urlsplit(given["DATABASE_URL"]).username))
    return found


@pytest.fixture
def start(var: Path) -> Iterator[Callable[[], Run]]:
    """Starts runs, and kills at the end what a failed test has left."""
    runs: list[Run] = []

    def begin() -> Run:
        runs.append(Run(var))
        return runs[-1]

    yield begin
    for run in runs:
        if run.process.poll() is None:
            run.end(signal.SIGKILL)


def test_once_shows_three_steps_on_three_hosts_with_its_ports_taken(var: Path) -> None:
    with ExitStack() as stack:
        taken = []
        for _number in range(2):
            listener = stack.enter_context(socket.socket())
            listener.bind((LOOPBACK, 0))
            listener.listen()
            taken.append(listener.getsockname()[1])
        done = subprocess.run(
            [*STANDALONE, "--once"],
            cwd=PROJECT,
            env=environment(var, web=taken[0], gateway=taken[1]),
            capture_output=True,
            text=True,
            check=False,
        )
    shown = done.stdout
    assert done.returncode == 0, shown + done.stderr
    assert all(f"Port {port} is taken" in shown for port in taken)
    assert all(f"Step {position}:" in shown for position in (1, 2, 3))
    assert "node-1, node-2, node-3: Completed successfully, exit code 0" in shown
    assert "node-1, node-2: Completed successfully, exit code 0" in shown
    assert "node-3: Execution failed, exit code 3" in shown
    assert re.search(r"^  URL=http://127\.0\.0\.1:\d+ TOKEN=dmt_\S+$", shown, re.MULTILINE)
    assert "the planned failure included" in shown


def test_a_killed_run_leaves_nothing_in_the_way_and_ctrl_c_stops_all(
    start: Callable[[], Run],
) -> None:
    first = start()
    assert "Enrolling" not in first.output, "the agents of the earlier run are known"
    assert len(first.processes) > 10
    first.end(signal.SIGKILL)
    second = start()  # at once
    assert first.alive(seconds=0) == [], "a second run begins when the first has gone"
    assert len(second.addresses()) == 2
    assert second.addresses() == first.addresses()
    assert "from now on" not in second.output
    assert "The API token of the last run has been revoked" in second.output
    asked = f"{second.addresses()[0]}api/v1/tasks"
    statuses = [
        httpx.get(asked, headers={"Authorization": f"Bearer {token}"}).status_code
        for token in (first.token(), second.token())
    ]
    assert statuses == [401, 200]
    assert roles_of(second) == {"devops_manager_run"}
    status, rest = second.end(signal.SIGINT)
    assert status == 0, rest
    assert "Everything has been stopped" in rest
    assert second.alive(seconds=5) == []
    password = [line for line in first.output.splitlines() if "Password:" in line]
    assert password
    assert password[0] in second.output
