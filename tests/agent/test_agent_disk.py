"""The agent's disk: full, and cut off from power. Real file systems, mounted for the test."""

from __future__ import annotations

import contextlib
import shutil
import signal
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.agent.conftest import AgentProcess
from tests.agent.fake_gateway import FakeGateway, command, problem
from tests.agent.waiting import wait_until

MIB = 1024 * 1024


class Disks:
    """File systems of a test's own. Only root may mount them; without, the tests cannot be run."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._mounted: list[Path] = []

    def _mount(self, name: str, *arguments: str) -> Path:
        place = self._directory / name
        place.mkdir()
        done = subprocess.run(
            ["mount", *arguments, str(place)], capture_output=True, text=True, check=False
        )
        if done.returncode:
            pytest.skip(f"needs to mount a disk, as root: {done.stderr.strip()}")
        self._mounted.append(place)
        return place

    def small(self, size_bytes: int) -> Path:
        """A disk that holds no more than this."""
        return self._mount("small", "-t", "tmpfs", "-o", f"size={size_bytes}", "tmpfs")

    def from_image(self, image: Path) -> Path:
        """A disk in a file. What was not synced stays out of the file as long as a test lasts."""
        return self._mount(f"on-{image.name}", "-o", "loop,commit=300", str(image))

    def unmount_all(self) -> None:
        while self._mounted:
            place = self._mounted.pop()
            # Lazily: a process that the test left may still be on it.
            subprocess.run(["umount", "--lazy", str(place)], check=True)


@pytest.fixture
def disks(tmp_path: Path) -> Iterator[Disks]:
    disks = Disks(tmp_path)
    yield disks
    disks.unmount_all()


@pytest.fixture
def agent_on(
    tmp_path: Path, gateway: FakeGateway, disks: Disks
) -> Iterator[Callable[[Path], AgentProcess]]:
    """Agents with their state, and nothing else, on the disk that is given."""
    made: list[AgentProcess] = []

    def make(disk: Path) -> AgentProcess:
        agent = AgentProcess(disk / "agent", gateway.url)
        agent.log = tmp_path / f"agent{len(made)}.log"
        made.append(agent)
        return agent

    yield make
    for agent in made:
        if agent.process is not None and agent.process.poll() is None:
            agent.kill()
        agent.end_leftovers()
        print(agent.log.read_text() if agent.log.exists() else "")


def fill(disk: Path) -> Path:
    """Write a file until nothing more fits."""
    filler = disk / "filler"
    with contextlib.suppress(OSError), filler.open("wb", buffering=0) as file:
        while True:
            file.write(b"x" * 4096)
    with contextlib.suppress(OSError), (disk / "filler-2").open("wb", buffering=0) as file:
        while True:
            file.write(b"x")
    assert shutil.disk_usage(disk).free == 0
    return filler


def attempts_in(journal: Path) -> list[tuple[str, str]]:
    with contextlib.closing(sqlite3.connect(journal)) as db:
        if not db.execute("SELECT 1 FROM sqlite_master WHERE name = 'attempts'").fetchall():
            return []
        return db.execute("SELECT fence, state FROM attempts").fetchall()


def waits_for(path: Path, then: str) -> str:
    return f"while [ ! -e {path} ]; do sleep 0.02; done; {then}"


def test_on_a_full_disk_no_work_is_taken_and_the_result_arrives(
    gateway: FakeGateway,
    agent_on: Callable[[Path], AgentProcess],
    disks: Disks,
    tmp_path: Path,
) -> None:
    disk = disks.small(16 * MIB)
    agent_on(disk).enrolled().start()
    printed = 300_000
    going_on = command(
        waits_for(tmp_path / "go", f"head -c {printed} /dev/zero | tr '\\0' x; exit 3"),
        output_cap_bytes=2 * printed,
    )
    gateway.deliver(going_on)
    gateway.holding_state(going_on["fence"], "running")
    filler = fill(disk)
    late = command("echo late")
    # The poll that is open was sent when there was room: this one answers it.
    gateway.next_poll(lambda poll: poll.get("slots") == 0)
    gateway.deliver(late)
    (tmp_path / "go").touch()

    result = gateway.result(going_on)
    assert (result["status"], result["exit_code"]) == ("failed", 3)
    stdout = result["stdout"]
    assert stdout["total_bytes"] == printed
    assert len(stdout["head"]) + len(stdout["tail"]) + stdout["dropped_bytes"] == printed
    gateway.next_poll(lambda poll: poll.get("slots") == 0 and poll["holding"] == [])
    assert not gateway.was_reported(late["fence"])

    filler.unlink()
    assert gateway.result(late)["stdout"]["head"] == "late\n"


def test_a_result_for_which_there_is_little_room_survives_without_its_output(
    gateway: FakeGateway,
    agent_on: Callable[[Path], AgentProcess],
    disks: Disks,
    tmp_path: Path,
) -> None:
    disk = disks.small(16 * MIB)
    agent = agent_on(disk).enrolled().start()
    sent = command(
        waits_for(tmp_path / "go", "head -c 1000000 /dev/zero | tr '\\0' x"),
        output_cap_bytes=1_000_000,
    )
    gateway.deliver(sent)
    gateway.holding_state(sent["fence"], "running")
    fill(disk)
    (disk / "filler-2").unlink(missing_ok=True)
    with (disk / "filler").open("r+b") as file:
        file.truncate((disk / "filler").stat().st_size - MIB // 4)
    gateway.script("report", *[problem(503, "unavailable", Retry_After="60")] * 2)
    (tmp_path / "go").touch()
    wait_until(lambda: agent.journal("SELECT state FROM attempts") == [("finished",)])
    agent.kill()
    gateway.scripted["report"].clear()
    assert sent["fence"] not in gateway.results

    agent.start()
    result = gateway.result(sent)
    assert (result["status"], result["exit_code"]) == ("completed", 0)
    assert result["stdout"]["total_bytes"] == result["stdout"]["dropped_bytes"] == 1_000_000
    assert "disk was full" in result["error_message"]


def test_an_agent_that_finds_no_room_at_its_start_is_to_be_started_again(
    agent_on: Callable[[Path], AgentProcess], disks: Disks
) -> None:
    disk = disks.small(MIB)
    agent = agent_on(disk).enrolled()
    fill(disk)
    ended = agent.call("run")
    # 78 would mean that a person has to put something right: systemd would leave it down.
    assert ended.returncode == 1
    assert "cannot use the journal" in ended.stderr
    assert ended.stderr.count("\n") == 1


def test_after_a_power_cut_nothing_runs_twice(
    gateway: FakeGateway,
    agent_on: Callable[[Path], AgentProcess],
    disks: Disks,
    tmp_path: Path,
) -> None:
    """The file below a mounted disk is what a power cut would leave: copied while the command runs,
    it has what was synced until then, and nothing else.
    """
    image, marker = tmp_path / "disk", tmp_path / "marker"
    with image.open("wb") as file:
        file.truncate(32 * MIB)
    subprocess.run(["mkfs.ext4", "-q", str(image)], check=True)
    before = agent_on(disks.from_image(image)).enrolled().start()
    sent = command(f"echo ran >>{marker}; exec sleep 600.0625")
    gateway.deliver(sent)
    wait_until(lambda: marker.exists() and marker.read_text())
    left = tmp_path / "left"
    shutil.copyfile(image, left)
    assert before.process is not None
    before.process.send_signal(signal.SIGTERM)
    before.wait()
    gateway.results.clear()

    after = agent_on(disks.from_image(left))
    assert attempts_in(after.state_dir / "journal.sqlite3") == [(sent["fence"], "running")]
    after.start()
    assert gateway.result(sent)["status"] == "interrupted"
    assert marker.read_text() == "ran\n"
