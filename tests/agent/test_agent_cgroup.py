"""Commands in cgroups of their own: real ones, where cgroup v2 is here and may be divided."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agents_app.agent import cgroup
from agents_app.agent.cgroup import CommandGroups, own_cgroup
from agents_app.agent.processes import read_process
from agents_app.agent.tree import become_subreaper
from tests.agent.conftest import AgentProcess
from tests.agent.fake_gateway import FakeGateway, command
from tests.agent.test_agent_adoption import start_again
from tests.agent.waiting import wait_until

# It leaves the group, the session, its parent and its environment; only a cgroup still holds it.
DAEMON = """\
(exec env -i PATH="$PATH" setsid sh -c 'sh -c "echo \\$\\$ >{pid}; exec sleep 600" & exit 0' \
    >/dev/null 2>&1 </dev/null &)
until [ -s {pid} ]; do sleep 0.02; done
{then}
"""


def is_alive(pid: int) -> bool:
    process = read_process(pid)
    return process is not None and process.still_runs()


def written_pid(path: Path) -> int:
    return int(wait_until(lambda: path.exists() and path.read_text().strip()))


def deliver_daemon(gateway: FakeGateway, pid: Path, *, then: str) -> tuple[Any, int]:
    """Have the agent run a command that leaves a daemon behind; return it and the daemon's pid."""
    sent = command(DAEMON.format(pid=pid, then=then))
    gateway.deliver(sent)
    return sent, written_pid(pid)


@pytest.fixture
def parent(tmp_path: Path) -> Path:
    found = own_cgroup()
    groups = CommandGroups(found, owner=str(tmp_path))
    if found is None or not groups.in_use:
        pytest.skip("needs a cgroup v2 that may be divided: be root, or have one delegated")
    groups.close()
    return found


@pytest.fixture
def subreaper() -> Iterator[None]:
    become_subreaper()
    yield
    ctypes.CDLL(None).prctl(36, 0, 0, 0, 0)


def test_a_daemon_that_left_everything_is_killed_with_its_command(
    parent: Path, gateway: FakeGateway, agent: AgentProcess, tmp_path: Path
) -> None:
    agent.start()
    first = gateway.next_poll()
    assert first["host"]["facts"]["process_tracking"] == "cgroup"
    sent, daemon = deliver_daemon(gateway, tmp_path / "pid", then="exec sleep 600")
    gateway.cancel(sent["fence"])
    assert gateway.result(sent)["status"] == "canceled"
    assert not is_alive(daemon)
    wait_until(lambda: list(parent.glob(f"devops-agent-*-{sent['fence']}")) == [])


def test_what_a_finished_command_left_goes_on_and_its_group_goes_when_it_ends(
    parent: Path, gateway: FakeGateway, agent: AgentProcess, tmp_path: Path
) -> None:
    agent.start()
    sent, daemon = deliver_daemon(gateway, tmp_path / "pid", then="exit 0")
    assert gateway.result(sent)["status"] == "completed"
    assert is_alive(daemon)
    (group,) = parent.glob(f"devops-agent-*-{sent['fence']}")
    assert (group / "cgroup.procs").read_text().split() == [str(daemon)]
    os.kill(daemon, signal.SIGKILL)
    wait_until(lambda: not group.exists())


def test_after_a_restart_the_group_says_what_a_command_has_left(
    parent: Path, gateway: FakeGateway, agent: AgentProcess, tmp_path: Path
) -> None:
    agent.start()
    sent, daemon = deliver_daemon(gateway, tmp_path / "pid", then="exec sleep 600")
    gateway.holding_state(sent["fence"], "running")
    (group,) = parent.glob(f"devops-agent-*-{sent['fence']}")
    wait_until(lambda: len(cgroup.CommandGroup(group).pids()) == 2)
    (main,) = cgroup.CommandGroup(group).pids() - {daemon}
    agent.kill()
    os.kill(main, signal.SIGKILL)
    wait_until(lambda: not is_alive(main))
    agent.start()
    result = gateway.result(sent)
    assert (result["status"], result["error_code"]) == ("interrupted", "agent_restarted")
    assert f"pid {daemon}." in result["error_message"]
    assert is_alive(daemon)
    (group / "cgroup.kill").write_text("1")
    wait_until(lambda: not group.exists())


def test_after_a_restart_all_of_the_group_can_be_canceled(
    parent: Path, gateway: FakeGateway, agent: AgentProcess, tmp_path: Path
) -> None:
    agent.start()
    sent, daemon = deliver_daemon(gateway, tmp_path / "pid", then="exec sleep 600")
    gateway.holding_state(sent["fence"], "running")
    agent.kill()
    start_again(gateway, agent)
    gateway.cancel(sent["fence"])
    assert gateway.result(sent)["status"] == "canceled"
    assert not is_alive(daemon)
    wait_until(lambda: list(parent.glob(f"devops-agent-*-{sent['fence']}")) == [])


def test_what_was_forked_before_the_command_was_moved_is_moved_too(
    parent: Path, subreaper: None, tmp_path: Path
) -> None:
    groups = CommandGroups(parent, owner=str(tmp_path))
    process = subprocess.Popen(
        ["/bin/sh", "-c", DAEMON.format(pid=tmp_path / "pid", then="exit 0")]
    )
    daemon = written_pid(tmp_path / "pid")
    # Ended, and not reaped: the daemon is a child of this process by now.
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    try:
        group = groups.take_in(process.pid, "a-fence")
        assert group is not None
        assert group.pids() == {daemon}
        group.kill()
    finally:
        os.kill(daemon, signal.SIGKILL)
        groups.close()
    process.wait()
    os.waitpid(daemon, 0)
    groups.release(group)
    assert not group.path.exists()
    assert own_cgroup() == parent


def test_where_no_group_can_be_made_commands_run_without(tmp_path: Path) -> None:
    groups = CommandGroups(Path("/proc/no-such-cgroup"), owner="x")
    assert not groups.in_use
    assert groups.take_in(os.getpid(), "a-fence") is None
    assert groups.find("a-fence") is None
    groups.close()


@pytest.mark.parametrize(
    ("mounts", "found"),
    [
        ("30 24 0:26 / {place} rw - cgroup2 cgroup2 rw\n", "{place}/own"),
        ("30 24 0:26 /own {place}/own rw - cgroup2 cgroup2 rw\n", "{place}/own"),
        ("30 24 0:26 / {place} rw - cgroup cgroup rw\n", None),
        ("30 24 0:26 /another {place} rw - cgroup2 cgroup2 rw\n", None),
        ("30 24 0:26 / {place}/not-there rw - cgroup2 cgroup2 rw\n", None),
        ("", None),
    ],
)
def test_the_own_cgroup_is_read_from_the_mounts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mounts: str, found: str | None
) -> None:
    (tmp_path / "own").mkdir()
    (tmp_path / "mounts").write_text(mounts.format(place=tmp_path))
    monkeypatch.setattr(cgroup, "MOUNTS", tmp_path / "mounts")
    monkeypatch.setattr(cgroup, "_own_name", lambda: "/own")
    expected = found and Path(found.format(place=tmp_path))
    assert own_cgroup() == expected
