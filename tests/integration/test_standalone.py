"""What `make run` is made of: children that are watched and stopped, ports, locks, environment."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from devops_manager.embedded.ports import LOOPBACK, free_port, is_free
from devops_manager.standalone import children as children_module
from devops_manager.standalone import surroundings
from devops_manager.standalone.children import Child, Children
from devops_manager.standalone.errors import StandaloneError
from devops_manager.standalone.surroundings import (
    Addresses,
    agents_directory,
    child_environment,
    choose_addresses,
    only_run,
)

PROJECT = Path(__file__).resolve().parent.parent.parent
STUBBORN = "import signal, sys; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(1, flush=True)"


@pytest.fixture
def children() -> Iterator[Children]:
    started = Children()
    yield started
    started.stop()


@pytest.fixture
def var(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(surroundings, "VAR", tmp_path / "var")
    (tmp_path / "var").mkdir()
    return tmp_path / "var"


def child(tmp_path: Path, program: str, name: str = "sample") -> Child:
    return Child(
        name=name,
        arguments=[sys.executable, "-c", program],
        environment=dict(os.environ),
        log_path=tmp_path / f"{name}.log",
        directory=tmp_path,
    )


def test_a_child_that_dies_is_started_again(
    children: Children, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    marks = tmp_path / "marks"
    program = (
        f"import time; marks = open({str(marks)!r}, 'a+'); marks.write('x'); marks.flush()\n"
        "marks.seek(0)\n"
        "if len(marks.read()) < 2: raise SystemExit('first time unlucky')\n"
        "time.sleep(600)"
    )
    children.start(child(tmp_path, program))
    children.wait_for("the second start", lambda: marks_of(marks) == "xx", seconds=20)
    shown = capsys.readouterr().out
    assert "sample stopped (exit status 1) and is started again" in shown
    assert "first time unlucky" in shown


def test_what_a_dead_child_leaves_behind_ends_before_it_is_started_again(
    children: Children, tmp_path: Path
) -> None:
    """gunicorn's worker survives its master's kill -9, and would hold the port."""
    orphan, marks = tmp_path / "orphan", tmp_path / "marks"
    program = (
        "import os, pathlib, subprocess, sys, time\n"
        f"orphan, marks = pathlib.Path({str(orphan)!r}), pathlib.Path({str(marks)!r})\n"
        "if not orphan.exists():\n"
        "    left = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
        "    orphan.write_text(str(left.pid)); os.kill(os.getpid(), 9)\n"
        "stat = pathlib.Path('/proc/' + orphan.read_text() + '/stat')\n"
        "gone = not stat.exists() or ') Z' in stat.read_text()\n"
        "marks.write_text('gone' if gone else 'alive')\n"
        "time.sleep(600)"
    )
    children.start(child(tmp_path, program))
    children.wait_for("the second start", lambda: bool(marks_of(marks)), seconds=20)
    assert marks_of(marks) == "gone"


def marks_of(path: Path) -> str:
    return path.read_text() if path.exists() else ""


def test_a_child_that_keeps_dying_ends_the_run_with_its_last_words(
    children: Children, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(children_module, "RESTART_PAUSE_SECONDS", 0.01)
    children.start(child(tmp_path, "raise SystemExit('never any luck')"))
    with pytest.raises(StandaloneError, match=r"(?s)keeps stopping.*never any luck"):
        children.wait_for("luck", lambda: False, seconds=30)


def test_a_wait_is_bounded_and_shown(
    children: Children, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(StandaloneError, match="Waited 1 s for nothing, in vain"):
        children.wait_for("nothing", lambda: False, seconds=1.5)
    assert "waiting for nothing: 1 s" in capsys.readouterr().out


def test_stopping_takes_the_whole_group_and_insists(
    children: Children, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(children_module, "STOP_SECONDS", 0.3)
    program = (
        "import subprocess, sys, time\n"
        f"inner = subprocess.Popen([sys.executable, '-c', {STUBBORN + '; sys.stdin.read()'!r}],"
        " stdin=subprocess.PIPE, stdout=subprocess.PIPE)\n"
        "inner.stdout.readline()\n"
        f"{STUBBORN}; print(inner.pid, flush=True); time.sleep(600)"
    )
    stubborn = child(tmp_path, program)
    children.start(stubborn)
    children.wait_for("it", lambda: len(marks_of(stubborn.log_path).split()) == 2, seconds=20)
    inner = psutil.Process(int(marks_of(stubborn.log_path).split()[1]))
    children.stop()
    assert stubborn.exit_status == -signal.SIGKILL
    gone, _alive = psutil.wait_procs([inner], timeout=10)
    assert gone


def test_a_ctrl_c_at_the_terminal_does_not_reach_the_children(
    children: Children, tmp_path: Path
) -> None:
    sleeper = child(tmp_path, "import time; time.sleep(600)")
    children.start(sleeper)
    assert sleeper.process is not None
    assert os.getsid(sleeper.process.pid) == sleeper.process.pid


def test_a_taken_port_is_replaced_and_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.socket() as taken:
        taken.bind((LOOPBACK, 0))
        taken.listen()
        port = taken.getsockname()[1]
        monkeypatch.setenv("DM_WEB_PORT", str(port))
        monkeypatch.setenv("DM_GATEWAY_PORT", str(free_port()))
        assert not is_free(port)
        addresses = choose_addresses()
    assert addresses.web_port != port
    assert f"Port {port} is taken; using {addresses.web_port} instead" in capsys.readouterr().out


@pytest.mark.parametrize("text", ["http", "0", "65536", "-1"])
def test_a_port_that_is_none_is_refused(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("DM_WEB_PORT", text)
    with pytest.raises(StandaloneError, match="DM_WEB_PORT must be a port number"):
        choose_addresses()


def test_one_run_at_a_time(var: Path) -> None:
    running = pytest.raises(StandaloneError, match="is running in this directory")
    with only_run(), running, only_run():
        pass
    with only_run():
        pass


def test_what_a_killed_run_left_is_waited_for(var: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with only_run() as inherited:
        leftover = subprocess.Popen(
            [sys.executable, "-c", "import sys; sys.stdin.read()"],
            stdin=subprocess.PIPE,
            pass_fds=(inherited,),
        )
    monkeypatch.setattr(surroundings, "_LEFTOVER_SECONDS", 0.2)
    with pytest.raises(StandaloneError, match="Processes of an earlier run"), only_run():
        pass
    leftover.communicate()
    with only_run():
        pass


def test_children_get_a_lasting_secret_and_what_the_person_set(
    var: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DM_SECRET_KEY")
    monkeypatch.setenv("DM_POLL_HOLD_SECONDS", "7")
    addresses = Addresses(bind=LOOPBACK, web_port=1, gateway_port=2)
    servers = {"DATABASE_URL": "postgresql://x/y", "REDIS_URL": "redis://x"}
    environment = child_environment(addresses, servers)
    assert len(environment["DM_SECRET_KEY"]) >= 32
    assert child_environment(addresses, servers)["DM_SECRET_KEY"] == environment["DM_SECRET_KEY"]
    assert environment["DATABASE_URL"] == "postgresql://x/y"
    assert environment["DM_GATEWAY_URL"] == "http://127.0.0.1:2"
    assert environment["DM_POLL_HOLD_SECONDS"] == "7"
    monkeypatch.setenv("DM_SECRET_KEY", "mine")
    assert child_environment(addresses, servers)["DM_SECRET_KEY"] == "mine"


def test_agents_belong_to_a_database_whatever_its_password() -> None:
    first = agents_directory("postgresql://u:one@db:5432/a")
    assert first == agents_directory("postgresql://v:two@db:5432/a")
    assert first != agents_directory("postgresql://u:one@db:5432/b")
    assert agents_directory(None) == agents_directory(None) != first
