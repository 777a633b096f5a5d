"""How commands are run: real processes, no server."""

from __future__ import annotations

import ctypes
import hashlib
import os
import resource
import shlex
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agents_app.agent.processes import read_process
from agents_app.agent.records import Outcome
from agents_app.agent.tree import become_subreaper
from tests.agent.runner import Runner
from tests.agent.waiting import wait_until


@pytest.fixture
def subreaper() -> Iterator[None]:
    """As in the agent, orphans of commands come to this process; only for one test."""
    become_subreaper()
    yield
    ctypes.CDLL(None).prctl(36, 0, 0, 0, 0)


def is_alive(pid: int) -> bool:
    process = read_process(pid)
    return process is not None and process.state not in "ZX"


def pid_from(path: Path) -> int:
    return int(wait_until(lambda: path.exists() and path.read_text().strip()))


def test_exit_codes(runner: Runner) -> None:
    assert runner.run("true")[0].status == "completed"
    failed = runner.run("exit 7")[0]
    assert (failed.status, failed.exit_code, failed.error_code) == ("failed", 7, "")


def test_a_signal_is_named(runner: Runner) -> None:
    outcome = runner.run("kill -SEGV $$")[0]
    assert (outcome.status, outcome.exit_code) == ("failed", 139)
    assert outcome.error_code == "signal"
    assert "SIGSEGV" in outcome.error_message


def test_parameters_environment_and_directory(runner: Runner, tmp_path: Path) -> None:
    _, stdout, _ = runner.run(
        'echo "$#|$1|$2|$GREETING|$PWD"; cat',
        parameters=["a b", "$(c)"],
        environment={"GREETING": "h'i"},
        working_directory=str(tmp_path),
    )
    assert stdout == f"2|a b|$(c)|h'i|{tmp_path}\n"


def test_nothing_of_the_agents_environment_gets_in(
    runner: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET_OF_THE_AGENT", "hidden")
    _, stdout, _ = runner.run("env; ls /proc/self/fd")
    assert "SECRET_OF_THE_AGENT" not in stdout
    names = {line.split("=")[0] for line in stdout.splitlines() if "=" in line}
    assert names >= {"PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "DM_FENCE", "DM_TASK_ID"}
    assert "DM_HOSTNAME=web-1\n" in stdout
    descriptors = {line for line in stdout.splitlines() if line.isdigit()}
    assert descriptors <= {"0", "1", "2", "3"}, "the command's text must not stay open"


def test_secrets_in_a_command_are_not_in_the_process_list(runner: Runner) -> None:
    _, stdout, _ = runner.run("true s3cret; tr '\\0' ' ' </proc/$$/cmdline", parameters=["p"])
    assert stdout.strip() == "/bin/sh /dev/fd/9 p"


def test_messages_of_the_shell_are_the_same_everywhere(runner: Runner) -> None:
    first, second = (runner.run("true\nno-such-program-here")[2] for _ in range(2))
    assert first == second
    assert "2: no-such-program-here" in first
    assert str(runner.work_dir) not in first


def test_scripts_run_by_their_interpreter(runner: Runner) -> None:
    outcome, stdout, _ = runner.run(
        "import sys\nprint(sys.argv[1:])\n",
        kind="script",
        interpreter=f"{shlex.quote(sys.executable)} -I",
        parameters=["a b"],
    )
    assert (outcome.status, stdout) == ("completed", "['a b']\n")
    assert list(runner.work_dir.iterdir()) == []


def test_a_script_without_interpreter_is_a_shell_script(runner: Runner) -> None:
    _, stdout, _ = runner.run(
        'echo "$1"; stat -c %a "$0" "${0%/*}"', kind="script", parameters=["x"]
    )
    assert stdout.split() == ["x", "500", "700"]


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"kind": "script", "interpreter": "/no/such/interpreter"}, "exec_failed"),
        ({"kind": "script", "interpreter": "no-such-interpreter"}, "exec_failed"),
        ({"kind": "script", "interpreter": 'sh "'}, "exec_failed"),
        ({"working_directory": "/no/such/directory"}, "working_directory_missing"),
        ({"working_directory": "/etc/passwd"}, "working_directory_missing"),
        ({"run_as": "no-such-user-here"}, "run_as_failed"),
        ({"environment": {"A": "nul\0"}}, "exec_failed"),
        ({"environment": {"A=B": "c"}}, "invalid_command"),
        ({"parameters": ["nul\0"]}, "exec_failed"),
        ({"parameters": ["x" * 200_000]}, "exec_failed"),
        ({"kind": "dance"}, "invalid_command"),
        ({"timeout_seconds": 0}, "invalid_command"),
        ({"body": "echo \ud800"}, "exec_failed"),
    ],
    ids=lambda value: str(value)[:50] if isinstance(value, dict) else value,
)
def test_what_cannot_be_started_fails_and_says_why(
    runner: Runner, fields: dict[str, Any], code: str
) -> None:
    outcome = runner.run(**{"body": "echo never", **fields})[0]
    assert (outcome.status, outcome.exit_code, outcome.error_code) == ("failed", None, code)
    assert outcome.error_message.endswith(".")


def test_timeout_kills_what_ignores_term(runner: Runner) -> None:
    outcome, stdout, _ = runner.run(
        "trap '' TERM; echo deaf; while :; do sleep 0.05; done",
        timeout_seconds=0.3,
        kill_grace_seconds=0.3,
    )
    assert (outcome.status, outcome.error_code, stdout) == ("timeout", "timeout", "deaf\n")
    assert outcome.exit_code == 128 + signal.SIGKILL
    assert 600 <= outcome.execution_time_ms < 3000


def test_timeout_lets_a_polite_command_clean_up(runner: Runner) -> None:
    outcome, stdout, _ = runner.run(
        "trap 'echo cleaned; exit 5' TERM; sleep 60 & wait",
        timeout_seconds=0.3,
        kill_grace_seconds=10,
    )
    assert (outcome.status, outcome.exit_code, stdout) == ("timeout", 5, "cleaned\n")
    assert outcome.execution_time_ms < 5000


def test_cancel_ends_the_whole_tree(runner: Runner, subreaper: None, tmp_path: Path) -> None:
    supervision = runner.supervise(
        f"""
        sleep 600 & echo $! >{tmp_path}/child
        setsid sh -c 'trap "" TERM; echo $$ >{tmp_path}/leader; sleep 600; sleep 600' &
        (setsid sh -c 'echo $$ >{tmp_path}/orphan; exec sleep 600' &) &
        wait
        """,
        kill_grace_seconds=0.5,
    )
    outcomes: list[Outcome] = []
    thread = threading.Thread(target=lambda: outcomes.append(supervision.execute()))
    thread.start()
    pids = [pid_from(tmp_path / name) for name in ("child", "leader", "orphan")]
    assert all(is_alive(pid) for pid in pids)

    supervision.request_end("canceled")
    thread.join(timeout=5)

    assert not thread.is_alive()
    assert outcomes[0].status == "canceled"
    assert [pid for pid in pids if is_alive(pid)] == []


def test_a_stopped_command_can_be_canceled(runner: Runner) -> None:
    outcome = runner.run("kill -STOP $$", timeout_seconds=0.3, kill_grace_seconds=30)[0]
    assert outcome.status == "timeout"
    assert outcome.execution_time_ms < 5000


def test_a_background_child_that_holds_the_pipe_delays_nothing(
    runner: Runner, tmp_path: Path
) -> None:
    outcome, stdout, _ = runner.run(f"sleep 600 & echo $! >{tmp_path}/pid; echo done")
    pid = pid_from(tmp_path / "pid")
    try:
        assert (outcome.status, stdout) == ("completed", "done\n")
        assert outcome.execution_time_ms < 2000
        assert is_alive(pid), "what a finished command left in the background is left alone"
    finally:
        os.kill(pid, signal.SIGKILL)


def test_a_background_child_that_never_stops_printing_delays_little(
    runner: Runner, tmp_path: Path
) -> None:
    outcome = runner.run(f"yes & echo $! >{tmp_path}/pid")[0]
    try:
        assert outcome.status == "completed"
        assert outcome.execution_time_ms < 3000
    finally:
        os.kill(pid_from(tmp_path / "pid"), signal.SIGKILL)


def test_output_that_comes_just_after_the_end_is_kept(runner: Runner) -> None:
    assert runner.run("(sleep 0.05; echo late) & exit 0")[1] == "late\n"


def test_a_command_that_closes_its_output_runs_on(runner: Runner, tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    outcome = runner.run(f"exec >&- 2>&-; sleep 0.2; touch {marker}")[0]
    assert outcome.status == "completed"
    assert marker.exists()


def test_an_end_wanted_before_the_start_starts_nothing(runner: Runner, tmp_path: Path) -> None:
    supervision = runner.supervise(f"touch {tmp_path}/marker")
    supervision.request_end("canceled")
    outcome = supervision.execute()
    assert (outcome.status, outcome.exit_code, outcome.started_at) == ("canceled", None, None)
    assert not (tmp_path / "marker").exists()


def test_100_mb_of_output_is_counted_digested_and_bounded(runner: Runner) -> None:
    pattern = "0123456789abcde\n"
    total = 100 * 1024 * 1024
    supervision = runner.supervise(
        f"yes {pattern.strip()} | head -c {total}", output_cap_bytes=65536
    )
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    outcome = supervision.execute()
    grown_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before

    assert outcome.status == "completed"
    record: Any = supervision.captures["stdout"].as_record()
    assert len(record["head"]) == len(record["tail"]) == 32768
    assert record["total_bytes"] == total
    assert record["dropped_bytes"] == total - 65536
    assert record["tail"].endswith(pattern)
    expected = hashlib.sha256()
    for _ in range(1024):
        expected.update(pattern.encode() * 6400)
    assert supervision.captures["stdout"].digest() == expected.digest()
    assert grown_kib < 8 * 1024


def test_orphans_are_reaped(runner: Runner, subreaper: None, tmp_path: Path) -> None:
    runner.run(f"(setsid sh -c 'echo $$ >{tmp_path}/pid' &)")
    pid = pid_from(tmp_path / "pid")
    wait_until(lambda: (process := read_process(pid)) is None or process.state == "Z")
    runner.children.reap_orphans()
    assert read_process(pid) is None
