"""Commands that outlive their agent: the next start watches them until they are over."""

from __future__ import annotations

from pathlib import Path

import pytest

from agents_app.agent.processes import read_process
from tests.agent.conftest import AgentProcess
from tests.agent.fake_gateway import FakeGateway, command
from tests.agent.waiting import wait_until

# It says where it is, and goes on until it is told to end, or to the end of the test.
BODY = "echo $$ >{0}/pid; echo ran >>{0}/ran; until [ -e {0}/go ]; do sleep 0.02; done"


def is_alive(pid: int) -> bool:
    process = read_process(pid)
    return process is not None and process.state not in "ZX"


def start_again(gateway: FakeGateway, agent: AgentProcess) -> None:
    """Start a killed agent; return when the poll that it had open has no one to answer to."""
    agent.start()
    for _ in range(2):
        gateway.next_poll(lambda poll: poll["run"] == 2)


class Orphan:
    """A command whose agent was killed, and started again, while it ran."""

    def __init__(
        self, gateway: FakeGateway, agent: AgentProcess, directory: Path, **fields: object
    ) -> None:
        self.directory = directory
        self.sent = command(BODY.format(directory), **fields)
        self.fence = self.sent["fence"]
        agent.start()
        gateway.deliver(self.sent)
        gateway.holding_state(self.fence, "running")
        self.pid = int(wait_until(lambda: self._read("pid")))
        agent.kill()
        assert is_alive(self.pid)
        start_again(gateway, agent)

    def _read(self, name: str) -> str:
        path = self.directory / name
        return path.read_text().strip() if path.exists() else ""

    def runs(self) -> list[str]:
        return self._read("ran").split()


def test_it_counts_as_running_until_it_ends_and_is_not_run_again(
    gateway: FakeGateway, agent: AgentProcess, tmp_path: Path
) -> None:
    orphan = Orphan(gateway, agent, tmp_path)
    held = [{"fence": orphan.fence, "state": "running"}]
    for _ in range(2):
        poll = gateway.next_poll(lambda poll: poll["run"] == 2)
        assert (poll["holding"], poll["load"]["running"]) == (held, 1)
    assert not gateway.was_reported(orphan.fence)
    (tmp_path / "go").touch()
    result = gateway.result(orphan.sent)
    assert not is_alive(orphan.pid)
    assert (result["status"], result["error_code"]) == ("interrupted", "agent_restarted")
    assert result["exit_code"] is None
    assert orphan.runs() == ["ran"]
    gateway.next_poll(lambda poll: poll["holding"] == [])


def test_it_can_be_canceled(gateway: FakeGateway, agent: AgentProcess, tmp_path: Path) -> None:
    orphan = Orphan(gateway, agent, tmp_path)
    gateway.cancel(orphan.fence)
    result = gateway.result(orphan.sent)
    assert (result["status"], result["exit_code"]) == ("canceled", None)
    assert not is_alive(orphan.pid)


def test_its_time_out_counts_from_its_own_start(
    gateway: FakeGateway, agent: AgentProcess, tmp_path: Path
) -> None:
    orphan = Orphan(gateway, agent, tmp_path, timeout_seconds=3, kill_grace_seconds=0.2)
    result = gateway.result(orphan.sent)
    assert (result["status"], result["error_code"]) == ("timeout", "timeout")
    assert 3000 <= result["execution_time_ms"] < 6000
    assert not is_alive(orphan.pid)


def test_an_agent_that_is_stopped_ends_it(
    gateway: FakeGateway, agent: AgentProcess, tmp_path: Path
) -> None:
    agent.settings["STOP_GRACE_SECONDS"] = "0.2"
    orphan = Orphan(gateway, agent, tmp_path)
    assert agent.terminate() == 0
    assert gateway.result(orphan.sent)["error_code"] == "agent_stopped"
    assert not is_alive(orphan.pid)


def test_it_takes_a_slot_of_the_agents_own_limit(
    gateway: FakeGateway, agent: AgentProcess, tmp_path: Path
) -> None:
    agent.settings["MAX_CONCURRENCY"] = "1"
    orphan = Orphan(gateway, agent, tmp_path)
    second = command("echo second")
    gateway.deliver(second)
    gateway.holding_state(second["fence"], "accepted")
    (tmp_path / "go").touch()
    assert gateway.result(orphan.sent)["status"] == "interrupted"
    assert gateway.result(second)["stdout"]["head"] == "second\n"


@pytest.mark.parametrize("note", ["", "1 1", "not a number", "{pid} 0"])
def test_a_note_that_names_no_such_process_adopts_nothing(
    gateway: FakeGateway, agent: AgentProcess, tmp_path: Path, note: str
) -> None:
    """Least of all another process that has got the number since."""
    agent.start()
    sent = command(BODY.format(tmp_path))
    gateway.deliver(sent)
    gateway.holding_state(sent["fence"], "running")
    pid = int(wait_until(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text()))
    agent.kill()
    (agent.state_dir / "running" / sent["fence"]).write_text(note.format(pid=pid))
    agent.start()
    result = gateway.result(sent)
    assert result["error_code"] == "agent_restarted"
    assert f"pid {pid}" in result["error_message"]
    assert is_alive(pid)
    assert list((agent.state_dir / "running").iterdir()) == []
    (tmp_path / "go").touch()
