"""One stack of real processes for all end-to-end tests; whatever a test breaks is healed after it.

After every test the promises of docs/reliability.md are checked against the database and the
agents' journals.
"""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator
from pathlib import Path

import psutil
import pytest

from devops_manager.embedded.places import VAR
from devops_manager.embedded.servers import embedded_servers
from tests.e2e.client import Client, wait_until
from tests.e2e.stack import Stack
from tests.invariants.checks import violations

FAILED = pytest.StashKey[bool]()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport]:
    """Remember that a test failed, and show the end of the logs with it."""
    report = yield
    started = item.funcargs.get("running_stack") if hasattr(item, "funcargs") else None
    if report.failed and isinstance(started, Stack):
        report.sections.append((f"logs of the processes ({report.when})", started.log_tails()))
    return report


@pytest.fixture(scope="session")
def running_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """The processes, for the whole session. Tests take ``stack``."""
    with embedded_servers(VAR) as servers:
        stack = Stack(directory=tmp_path_factory.mktemp("stack"), servers=servers)
        try:
            stack.start()
            yield stack
        finally:
            stack.stop()


@pytest.fixture
def stack(running_stack: Stack) -> Iterator[Stack]:
    """The processes, all of them running, with no task open; promises are checked at the end."""
    yield running_stack
    running_stack.heal()
    assert violations(running_stack.servers.database_url, running_stack.journals()) == []


@pytest.fixture
def api(stack: Stack) -> Client:
    """The API, as the administrator."""
    return stack.api


class Marked:
    """The processes that carry a mark in their environment, wherever they have gone."""

    def __init__(self, mark: str) -> None:
        self.environment = {"E2E_MARK": mark}

    def pids(self) -> set[int]:
        """Return those that live."""
        found = set()
        for process in psutil.process_iter():
            try:
                if process.environ().get("E2E_MARK") == self.environment["E2E_MARK"]:
                    found.add(process.pid)
            except psutil.Error:
                continue  # it has just ended, or is a zombie
        return found


@pytest.fixture
def marked(request: pytest.FixtureRequest) -> Iterator[Marked]:
    """A mark for the processes of this test; what is left of them is killed at the end."""
    marked = Marked(f"{request.node.name} {os.getpid()}")
    yield marked
    for pid in marked.pids():
        psutil.Process(pid).kill()
    wait_until(lambda: not marked.pids(), 5.0, "the test's processes to end")


@pytest.fixture
def marks(tmp_path: Path) -> Path:
    """A directory that the commands of this test write into."""
    path = tmp_path / "marks"
    path.mkdir()
    return path
