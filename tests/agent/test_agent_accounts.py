"""Commands and scripts as another user: what they may reach, and what they are told."""

from __future__ import annotations

import os
import pwd
from pathlib import Path

import pytest

from agents_app.agent import accounts, launch
from tests.agent.conftest import AgentProcess
from tests.agent.fake_gateway import TOKEN, FakeGateway, command
from tests.agent.runner import Runner

NOBODY = pwd.getpwnam("nobody")
AS_ROOT = os.geteuid() == 0


@pytest.fixture
def reachable(open_place: Path) -> Runner:
    """A runner whose scripts any user could reach, if their directories let it."""
    return Runner(open_place / "work")


def is_refused(runner: Runner) -> bool:
    """Whether this user cannot be another; then commands for another are refused."""
    outcome = runner.run("true", run_as="nobody")[0]
    assert (outcome.error_code == "") is AS_ROOT
    return not AS_ROOT


def test_runs_as_another_user_or_says_that_it_may_not(reachable: Runner) -> None:
    if is_refused(reachable):
        return
    account = pwd.getpwnam("daemon")
    groups = " ".join(map(str, os.getgrouplist("daemon", account.pw_gid)))
    for kind in ("command", "script"):
        outcome, stdout, stderr = reachable.run(
            'echo "$(id -un):$(id -G):$HOME:$USER"; test -w / || echo no; umask',
            kind=kind,
            run_as="daemon",
        )
        assert (outcome.status, stderr) == ("completed", "")
        assert stdout == f"daemon:{groups}:{account.pw_dir}:daemon\nno\n0022\n"


def test_a_script_that_the_user_cannot_reach_says_so(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    outcome = Runner(tmp_path / "work").run("true", kind="script", run_as="daemon")[0]
    assert (outcome.error_code, outcome.exit_code) == ("run_as_failed", None)
    why = str(tmp_path) if AS_ROOT else "does not run as root"
    assert why in outcome.error_message


@pytest.mark.parametrize("work_mode", [None, 0o700], ids=["new", "of an older agent"])
def test_an_agent_runs_scripts_as_another_user(
    gateway: FakeGateway, open_place: Path, work_mode: int | None
) -> None:
    agent = AgentProcess(open_place / "agent", gateway.url)
    if work_mode is None:
        agent.settings["STATE_DIR"] = str(open_place / "made" / "by the agent")
        agent.settings["ENROLLMENT_TOKEN"] = TOKEN
    else:
        agent.enrolled()
        (agent.state_dir / "work").mkdir()
        (agent.state_dir / "work").chmod(work_mode)
        agent.state_dir.chmod(work_mode)
    agent.start()
    try:
        sent = command("id -un", kind="script", run_as="nobody" if AS_ROOT else "")
        gateway.deliver(sent)
        result = gateway.result(sent)
        me = "nobody" if AS_ROOT else pwd.getpwuid(os.geteuid()).pw_name
        assert (result["status"], result["stdout"]["head"]) == ("completed", f"{me}\n")
    finally:
        agent.terminate()
        print(agent.log.read_text())


def test_access_through_a_group_counts(reachable: Runner, open_place: Path) -> None:
    if is_refused(reachable):
        return
    account = pwd.getpwnam("daemon")
    closed = open_place / "closed"
    closed.mkdir()
    os.chown(closed, 0, account.pw_gid)
    closed.chmod(0o710)
    runner = Runner(closed / "work")
    assert runner.run("echo in", kind="script", run_as="daemon")[1] == "in\n"
    refused = runner.run("echo in", kind="script", run_as="nobody")[0]
    assert refused.error_code == "run_as_failed"
    assert str(closed) in refused.error_message


def test_a_script_is_its_users_to_run_and_nobody_elses(reachable: Runner) -> None:
    for run_as in ("nobody", "") if AS_ROOT else ("",):
        _, stdout, _ = reachable.run(
            'stat -c "%a %U" "$0" "${0%/*}"; [ -z "$1" ] || echo "again: $1"; '
            '[ -n "$1" ] || exec "$0" x',
            kind="script",
            run_as=run_as,
        )
        own = run_as or pwd.getpwuid(os.geteuid()).pw_name
        assert stdout == f"500 {own}\n700 {own}\n" * 2 + "again: x\n"


@pytest.mark.parametrize("run_as", ["", "nobody"] if AS_ROOT else [""])
def test_a_script_may_lock_and_run_itself(reachable: Runner, run_as: str) -> None:
    body = (
        '#!/bin/bash\n[ "${LOCKED}" != "$0" ] && '
        'exec env LOCKED="$0" flock -en "$0" "$0" "$@" || :\necho locked work\n'
    )
    outcome, stdout, stderr = reachable.run(body, kind="script", run_as=run_as)
    assert (outcome.status, stdout, stderr) == ("completed", "locked work\n", "")


@pytest.mark.parametrize("kind", ["command", "script"])
@pytest.mark.parametrize("run_as", ["", "nobody"] if AS_ROOT else [""])
def test_the_devices_of_its_output_can_be_opened(reachable: Runner, run_as: str, kind: str) -> None:
    outcome, stdout, stderr = reachable.run(
        "echo a >/dev/stdout; echo b >/dev/stderr; echo c >>/proc/self/fd/2; echo rc=$?",
        kind=kind,
        run_as=run_as,
    )
    assert (outcome.status, stdout, stderr) == ("completed", "a\nrc=0\n", "b\nc\n")


def test_a_uid_will_do(reachable: Runner) -> None:
    uid = str(NOBODY.pw_uid if AS_ROOT else os.geteuid())
    for kind in ("command", "script"):
        outcome, stdout, _ = reachable.run("id -u", kind=kind, run_as=uid)
        assert (outcome.status, stdout) == ("completed", f"{uid}\n")


@pytest.mark.parametrize(
    "run_as", ["svc_app@corp.example", "CORP\\svc-app", "no-such-user", "4000000000", "²", "9" * 30]
)
def test_an_account_that_the_host_does_not_know_is_named(runner: Runner, run_as: str) -> None:
    outcome = runner.run("true", run_as=run_as)[0]
    assert (outcome.error_code, outcome.started_at is None) == ("run_as_failed", False)
    assert run_as in outcome.error_message


def blocked_directory(place: Path) -> Path:
    """A directory of root's alone."""
    directory = place / "of another"
    directory.mkdir(mode=0o700)
    return directory


def test_a_working_directory_of_another_is_not_entered(reachable: Runner, open_place: Path) -> None:
    if is_refused(reachable):
        return
    for kind in ("command", "script"):
        outcome = reachable.run(
            "pwd", kind=kind, run_as="nobody", working_directory=str(blocked_directory(open_place))
        )[0]
        (open_place / "of another").rmdir()
        assert (outcome.status, outcome.error_code) == ("failed", "working_directory_missing")
        assert "permission denied" in outcome.error_message
        assert "of another" in outcome.error_message


@pytest.mark.parametrize(
    ("directory", "reason"),
    [
        ("/" + "a" * 300, "file name too long"),
        ("/" + "a/" * 2100, "file name too long"),
        ("/no/such/directory", "no such file or directory"),
        ("/etc/passwd", "not a directory"),
        ("/proc/self/cwd/../nul\0", "NUL"),
        ("tmp", "does not begin with /"),
    ],
    ids=["name", "path", "missing", "file", "nul", "relative"],
)
@pytest.mark.parametrize("run_as", ["", "nobody"] if AS_ROOT else [""])
def test_why_a_working_directory_cannot_be_entered(
    reachable: Runner, run_as: str, directory: str, reason: str
) -> None:
    outcome = reachable.run("true", run_as=run_as, working_directory=directory)[0]
    assert (outcome.status, outcome.error_code) == ("failed", "working_directory_missing")
    assert reason in outcome.error_message


def test_a_loop_of_links_is_said_to_be_one(reachable: Runner, open_place: Path) -> None:
    (open_place / "loop").symlink_to("loop")
    outcome = reachable.run("true", working_directory=str(open_place / "loop"))[0]
    assert "too many levels of symbolic links" in outcome.error_message


def test_a_file_system_that_does_not_answer_holds_nothing_up(
    reachable: Runner, open_place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A program in the place of ls that hangs, as ls does on a mount whose server is away."""
    (open_place / "ls").write_text("#!/bin/sh\nexec sleep 60\n")
    (open_place / "ls").chmod(0o755)
    monkeypatch.setattr(launch, "SEARCH_PATH", f"{open_place}:{accounts.SEARCH_PATH}")
    monkeypatch.setattr(launch, "LOOK_SECONDS", 0.3)
    outcome = reachable.run("true", working_directory="/tmp")[0]
    assert (outcome.status, outcome.error_code) == ("failed", "working_directory_missing")
    assert "nothing was heard of its file system" in outcome.error_message
    assert reachable.run("echo on")[1] == "on\n"


def test_a_home_that_cannot_be_entered_gives_the_root(reachable: Runner) -> None:
    if is_refused(reachable):
        return
    assert not Path(NOBODY.pw_dir).exists()
    assert reachable.run("pwd", run_as="nobody")[1] == "/\n"


def test_root_with_fewer_rights_than_the_account_still_gets_it_there(
    reachable: Runner, gateway: FakeGateway, open_place: Path
) -> None:
    """As on a network file system that maps root to nobody: only the account may enter."""
    if is_refused(reachable):
        return
    home = open_place / "home of nobody"
    home.mkdir(mode=0o700)
    os.chown(home, NOBODY.pw_uid, NOBODY.pw_gid)
    agent = AgentProcess(open_place / "agent", gateway.url).enrolled()
    without = "-dac_override,-dac_read_search"
    agent.start(through=["setpriv", f"--bounding-set={without}", f"--inh-caps={without}"])
    try:
        where = command("pwd; echo $0 $1", run_as="nobody", parameters=["it's"])
        where["working_directory"] = str(home)
        gateway.deliver(where)
        assert gateway.result(where)["stdout"]["head"] == f"{home}\n/dev/fd/9 it's\n"
        script = command("pwd", kind="script", run_as="nobody", working_directory=str(home))
        gateway.deliver(script)
        assert gateway.result(script)["stdout"]["head"] == f"{home}\n"
    finally:
        agent.terminate()
        print(agent.log.read_text())


def test_the_runtime_directory_is_named_where_there_is_one(
    reachable: Runner, open_place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = open_place / str(os.geteuid())
    monkeypatch.setattr(accounts, "RUNTIME_DIRECTORIES", open_place)
    body = 'echo "${XDG_RUNTIME_DIR-none}"'
    assert reachable.run(body)[1] == "none\n"
    own.mkdir()
    assert reachable.run(body)[1] == f"{own}\n"
    assert reachable.run(body, environment={"XDG_RUNTIME_DIR": "/mine"})[1] == "/mine\n"
