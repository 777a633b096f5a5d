"""A script is run by what its author named: an interpreter, its first line, else the shell."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from typing import Any

import pytest

from agents_app.agent.interpreters import missing_from_path, shebang
from tests.agent.conftest import AgentProcess
from tests.agent.fake_gateway import FakeGateway, command
from tests.agent.runner import Runner
from tests.agent.waiting import wait_until

# What the kernel makes of a first line: fs/binfmt_script.c.
FIRST_LINES: dict[str, list[str]] = {
    "#!/bin/sh": ["/bin/sh"],
    "#!/bin/sh\n": ["/bin/sh"],
    "#!/bin/sh -e\nfalse": ["/bin/sh", "-e"],
    "#!  \t/bin/bash \t -eu  \n": ["/bin/bash", "-eu"],
    "#!/usr/bin/env -S python3 -u\n": ["/usr/bin/env", "-S python3 -u"],
    "#!/usr/bin/perl -w\n": ["/usr/bin/perl", "-w"],
    "#!/usr/bin/awk -f\n": ["/usr/bin/awk", "-f"],
    "#!bash\n": ["./bash"],
    "#!\n": [],
    "#!   \n/bin/sh\n": [],
    "#": [],
    "": [],
    " #!/bin/sh\n": [],
    "\n#!/bin/sh\n": [],
}


@pytest.mark.parametrize("body", FIRST_LINES)
def test_a_first_line_is_read_as_the_kernel_reads_it(body: str) -> None:
    assert shebang(body) == FIRST_LINES[body]


@pytest.mark.parametrize(
    ("body", "stdout", "exit_code"),
    [
        ("#!/bin/sh -e\nfalse\necho should-not-print\n", "", 1),
        ("#!/bin/bash -eu\necho $UNSET\necho never\n", "", 1),
        ("#!/bin/bash\na=(1 2 3); echo ${a[1]}\n", "2\n", 0),
        ("#! /bin/bash\na=(1 2 3); echo ${a[1]}\n", "2\n", 0),
        ("#!/usr/bin/env bash\na=(1 2 3); echo ${a[1]} $1\n", "2 x y\n", 0),
        (
            "#!/usr/bin/env -S python3 -u\nimport sys; print(sys.version_info[0], sys.argv[1])\n",
            "3 x y\n",
            0,
        ),
        ("#!/usr/bin/perl -w\nprint $^W, $ARGV[0], qq(\\n);\n", "1x y\n", 0),
        ("#!/usr/bin/awk -f\nBEGIN { print ARGV[1] }\n", "x y\n", 0),
        ("#!\necho $1\n", "x y\n", 0),
        ("#! \necho $1\n", "x y\n", 0),
        ("echo $1\n", "x y\n", 0),
        ("# !/bin/no-such\necho $1\n", "x y\n", 0),
    ],
    ids=lambda value: str(value).split("\n")[0],
)
def test_the_first_line_decides(runner: Runner, body: str, stdout: str, exit_code: int) -> None:
    outcome, printed, _ = runner.run(body, kind="script", parameters=["x y"])
    assert (outcome.exit_code, printed) == (exit_code, stdout)
    assert outcome.status == ("failed" if exit_code else "completed")


def test_an_interpreter_that_is_given_wins(runner: Runner) -> None:
    body = "#!/bin/no-such -e\nfalse\na=(1 2); echo ${a[1]}\n"
    assert runner.run(body, kind="script", interpreter="/bin/bash")[1] == "2\n"


def test_a_command_stays_the_shells(runner: Runner) -> None:
    outcome, stdout, _ = runner.run("#!/usr/bin/python3 -u\nfalse\necho $0\n")
    assert (outcome.status, stdout) == ("completed", "/dev/fd/9\n")


MISSING: list[tuple[dict[str, Any], str, str]] = [
    ({"body": "#!/usr/local/bin/no-such-shell\n"}, "/usr/local/bin/no-such-shell", "no such file"),
    ({"body": "#!/no/such/shell -e\n"}, "/no/such/shell", "no such file"),
    ({"body": "#!no-such-shell\n"}, "no-such-shell", "no such file"),
    ({"body": "#!/usr/bin/env no-such-shell\n"}, "no-such-shell", "env does not find it"),
    ({"body": "#!/usr/bin/env -S no-such-shell -u\n"}, "no-such-shell", "does not find it"),
    ({"body": "#!/usr/bin/env -Sno-such-shell\n"}, "no-such-shell", "does not find it"),
    ({"body": "#!/usr/bin/env /no/such\n"}, "/no/such", "does not find it"),
    ({"body": "", "interpreter": "env no-such-shell -u"}, "no-such-shell", "does not find it"),
    ({"body": "", "interpreter": "no-such-shell"}, "no-such-shell", "no such file"),
    ({"body": "#!/etc/passwd\n"}, "/etc/passwd", "permission denied"),
    ({"body": "#!/etc/\n"}, "/etc/", "it is a directory"),
    ({"body": "", "interpreter": "/etc"}, "/etc", "it is a directory"),
    ({"body": "#!/bin/sh\r\n"}, "/bin/sh\r", "no such file"),
]


@pytest.mark.parametrize(("fields", "named", "reason"), MISSING)
def test_what_is_not_there_is_named_and_nothing_starts(
    runner: Runner, fields: dict[str, Any], named: str, reason: str
) -> None:
    outcome, stdout, stderr = runner.run(
        **{**fields, "body": fields["body"] + "echo hi\n", "kind": "script"}
    )
    assert (outcome.status, outcome.exit_code, outcome.error_code) == (
        "failed",
        None,
        "exec_failed",
    )
    assert (stdout, stderr) == ("", "")
    assert named in outcome.error_message
    assert reason in outcome.error_message


def test_an_interpreter_whose_own_interpreter_is_missing_says_so(
    runner: Runner, tmp_path: Path
) -> None:
    broken = tmp_path / "broken"
    broken.write_text("#!/no/such/thing\n")
    broken.chmod(0o755)
    outcome = runner.run(f"#!{broken}\necho hi\n", kind="script")[0]
    assert str(broken) in outcome.error_message
    assert "it is there, but" in outcome.error_message


def test_env_finds_what_the_commands_own_path_holds(runner: Runner, tmp_path: Path) -> None:
    (tmp_path / "own-shell").symlink_to("/bin/sh")
    script: dict[str, Any] = {"body": "#!/usr/bin/env own-shell\necho hi\n", "kind": "script"}
    assert runner.run(**script)[0].error_code == "exec_failed"
    path = {"PATH": f"{tmp_path}:/usr/bin:/bin"}
    assert runner.run(**script, environment=path)[1] == "hi\n"


@pytest.mark.parametrize(
    "words",
    [
        ["/usr/bin/env"],
        ["/usr/bin/env", "-i", "no-such"],
        ["/usr/bin/env", "PATH=/opt/bin", "no-such"],
        ["/usr/bin/env", "-S PATH=/opt no-such"],
        ["/usr/bin/env", "-S ${SHELL}"],
        ["/usr/bin/env", '-S "open'],
        ["/usr/bin/env", "-S " + "x" * 100_000],
        ["/usr/bin/env", "./no-such"],
        ["/bin/sh", "no-such"],
    ],
    ids=lambda words: " ".join(words)[:40],
)
def test_what_env_does_with_more_than_a_name_is_left_to_env(words: list[str]) -> None:
    assert missing_from_path(words, "/usr/bin:/bin") == ""


def test_a_path_from_where_the_command_runs_is_left_to_env() -> None:
    assert missing_from_path(["env", "no-such"], "/usr/bin:.") == ""
    assert missing_from_path(["env", "no-such"], "/usr/bin") == "no-such"


def test_what_python_prints_is_seen_at_once_and_outlives_a_timeout(
    gateway: FakeGateway, agent: AgentProcess
) -> None:
    sent = command(
        "import time\nfor i in range(100):\n    print(i)\n    time.sleep(1)\n",
        kind="script",
        interpreter="/usr/bin/python3",
        timeout_seconds=4,
    )
    agent.start()
    gateway.deliver(sent)
    gateway.wait_for(lambda: any(c["data"].startswith("0\n") for c in gateway.chunks), "a line")
    assert sent["fence"] not in gateway.results, "it is seen while it runs"
    result = gateway.result(sent)
    assert result["status"] == "timeout"
    assert result["stdout"]["head"].split()[:3] == ["0", "1", "2"]


def test_programs_are_told_that_there_is_no_terminal_to_draw_on(runner: Runner) -> None:
    outcome, stdout, stderr = runner.run("tput cols; echo rc=$?; echo $TERM")
    assert (outcome.status, stderr) == ("completed", "")
    assert re.fullmatch(r"\d+\nrc=0\ndumb\n", stdout)


def test_the_authors_environment_wins(runner: Runner) -> None:
    own = {"TERM": "vt100", "PYTHONUNBUFFERED": "", "LANG": "C"}
    stdout = runner.run('echo "$TERM|$PYTHONUNBUFFERED|$LANG"', environment=own)[1]
    assert stdout == "vt100||C\n"


def other_pythons() -> list[str]:
    """The oldest and the newest that are installed beside this one."""
    found = [
        str(path)
        for path in Path.home().glob(".pyenv/versions/3.*/bin/python3")
        if int(path.parts[-3].split(".")[1]) >= 9
    ]
    found.sort(key=lambda path: int(path.split("/")[-3].split(".")[1]))
    return [found[0], found[-1]] if found else [sys.executable]


def closed_to_all(place: Path) -> Path:
    """A directory that no user but root may enter, not even its owner."""
    directory = place / "closed"
    directory.mkdir(mode=0)
    return directory


@pytest.mark.parametrize("python", other_pythons())
def test_other_pythons_say_and_do_the_same(
    gateway: FakeGateway, agent: AgentProcess, python: str
) -> None:
    agent.start(python=python)
    failed = command("#!/bin/sh -e\nfalse\necho never\n", kind="script")
    gone = command("#!/usr/local/bin/no-such-shell\n", kind="script")
    long = command("true", working_directory="/" + "a" * 300)
    other = "nobody" if os.geteuid() == 0 else ""
    device = command("echo a >/dev/stdout; echo b >/dev/stderr", run_as=other)
    closed = command("pwd", run_as=other, working_directory=str(closed_to_all(agent.state_dir)))
    gateway.deliver(failed, gone, long, device, closed)
    result = gateway.result(failed)
    assert (result["status"], result["exit_code"], result["stdout"]["head"]) == ("failed", 1, "")
    result = gateway.result(gone)
    assert (result["error_code"], result["error_message"]) == (
        "exec_failed",
        "/usr/local/bin/no-such-shell cannot be started: no such file or directory.",
    )
    result = gateway.result(long)
    assert result["error_code"] == "working_directory_missing"
    assert "file name too long" in result["error_message"]
    assert gateway.result(device)["stderr"]["head"] == "b\n"
    result = gateway.result(closed)
    assert result["error_code"] == "working_directory_missing"
    assert "permission denied" in result["error_message"]


def test_no_script_is_open_for_writing_while_another_command_starts(
    gateway: FakeGateway, agent: AgentProcess
) -> None:
    """The kernel runs no file that any process has open for writing (ETXTBSY)."""
    agent.start()
    sent = [
        command(f'#!/bin/sh\n[ "$1" ] && exit 0\nexec "$0" {n}\n', kind="script") for n in range(60)
    ]
    gateway.deliver(*sent)
    assert {gateway.result(one)["status"] for one in sent} == {"completed"}
    wait_until(lambda: not list((agent.state_dir / "work").iterdir()))
