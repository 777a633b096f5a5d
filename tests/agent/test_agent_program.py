"""The program as people meet it: settings, enrolment, status, drain, and the one file."""

from __future__ import annotations

import os
import re
import shlex
import stat
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from agents_app.agent import AGENT_VERSION
from agents_app.agent.config import ConfigError, load_settings
from agents_app.agent_build import agent_bytes, agent_sha256, build_agent, install_script
from tests.agent.conftest import AgentProcess
from tests.agent.fake_gateway import CREDENTIAL, HOST_ID, TOKEN, FakeGateway, command, problem
from tests.agent.pythons import new_enough
from tests.agent.waiting import wait_until

SERVER = "https://ops.example:50051"


def write(path: Path, text: str) -> str:
    path.write_text(text)
    return str(path)


def test_settings_from_the_file_and_over_it_from_the_environment(tmp_path: Path) -> None:
    text = f"""
    # a comment
    server = "{SERVER}"  # another
    state_dir = '/srv/agent #1'
    hostname = "a\\"b\\tc"
    max_concurrency = 3
    poll_wait_seconds = 2.5
    allow_http = true
    """
    path = write(tmp_path / "agent.toml", text)
    settings = load_settings(path, {"DM_AGENT_MAX_CONCURRENCY": "7", "DM_AGENT_ALLOW_HTTP": "no"})
    assert settings.server == SERVER
    assert settings.state_dir == "/srv/agent #1"
    assert settings.hostname == 'a"b\tc'
    assert settings.max_concurrency == 7
    assert settings.poll_wait_seconds == 2.5
    assert settings.allow_http is False


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "server is not set"),
        ('server = "ops"', "server must begin with https://"),
        ('server = "https://ops:port"', "server is not a URL"),
        ('server = "https://a:b@ops"', "only scheme, host, port and path"),
        ('server = "http://ops.example:50051"', "server is plain http"),
        ('server = "https://ops"\nserver = "https://ops"', "line 2: server is set twice"),
        ("sever = 1", "line 1: unknown setting sever"),
        ("server", "line 1: expected key = value"),
        ("server = https://ops", "line 1: a value is a quoted string"),
        ("server = 5", "server must be a quoted string"),
        ('server = "https://ops"\nmax_concurrency = 1.5', "max_concurrency must be a whole"),
        ('server = "https://ops"\nmax_concurrency = -1', "max_concurrency must be between"),
        ('server = "https://ops"\nmax_concurrency = true', "max_concurrency must be a number"),
        ('server = "https://ops"\nallow_http = 3', "allow_http must be true or false"),
        ('server = "https://ops"\nca_file = "/no/such"', "ca_file /no/such is not a file"),
        ('server = "https://ops"\nstate_dir = "x"', "state_dir must be an absolute path"),
        ('server = "https://ops"\nlog_level = "loud"', "log_level must be one of"),
    ],
)
def test_a_wrong_setting_is_one_clear_line(tmp_path: Path, text: str, complaint: str) -> None:
    path = write(tmp_path / "agent.toml", text)
    with pytest.raises(ConfigError, match=re.escape(complaint)) as caught:
        load_settings(path, {})
    assert "\n" not in str(caught.value)


def test_a_file_that_was_named_must_be_there() -> None:
    with pytest.raises(ConfigError, match="cannot read /no/such: No such file"):
        load_settings("/no/such", {})


def test_plain_http_is_for_this_machine_or_where_it_was_allowed(tmp_path: Path) -> None:
    for server, allowed in (("http://127.0.0.1:1", ""), ("http://gateway:1", "true")):
        environ = {"DM_AGENT_SERVER": server, "DM_AGENT_ALLOW_HTTP": allowed or "false"}
        path = write(tmp_path / "agent.toml", "")
        assert load_settings(path, environ).server == server


def test_secrets_are_in_no_repr(tmp_path: Path) -> None:
    path = write(tmp_path / "agent.toml", f'server = "{SERVER}"\nenrollment_token = "dme_secret"')
    assert "dme_secret" not in repr(load_settings(path, {}))


def test_enrols_by_itself_at_the_first_start(
    gateway: FakeGateway, make_agent: Callable[[], AgentProcess], tmp_path: Path
) -> None:
    agent = make_agent()
    agent.settings["ENROLLMENT_TOKEN_FILE"] = write(tmp_path / "token", TOKEN + "\n")
    agent.settings["HOSTNAME"] = "web-1"
    agent.settings["MACHINE_ID"] = "machine-1"
    gateway.script("enroll", problem(503, "unavailable", Retry_After="0"))
    agent.start()
    gateway.next_poll()

    assert len(gateway.enrolments) == 2
    sent = gateway.enrolments[-1]
    assert (sent["hostname"], sent["machine_id"]) == ("web-1", "machine-1")
    assert sent["agent_version"] == AGENT_VERSION
    assert sent["arch"] == os.uname().machine
    assert sent["ip"] == "127.0.0.1"
    credential = agent.state_dir / "credential.json"
    assert stat.S_IMODE(credential.stat().st_mode) == 0o600
    assert stat.S_IMODE((agent.state_dir / "journal.sqlite3").stat().st_mode) == 0o600
    assert agent.terminate() == 0
    agent.start()
    gateway.next_poll(lambda poll: poll["run"] == 2)
    assert len(gateway.enrolments) == 2
    log = agent.log.read_text()
    assert TOKEN not in log
    assert CREDENTIAL not in log


@pytest.mark.parametrize(
    ("token", "complaint"),
    [("", "this host is not enrolled"), ("dme_wrong", "the enrolment token is wrong, expired")],
)
def test_without_a_good_token_it_ends_with_one_clear_line(
    make_agent: Callable[[], AgentProcess], token: str, complaint: str
) -> None:
    agent = make_agent()
    agent.settings["ENROLLMENT_TOKEN"] = token
    ended = agent.call("run")
    assert ended.returncode == 78
    assert complaint in ended.stderr
    assert "Traceback" not in ended.stderr


def test_enroll_and_enroll_again(make_agent: Callable[[], AgentProcess]) -> None:
    agent = make_agent()
    agent.settings["ENROLLMENT_TOKEN"] = TOKEN
    assert f"Enrolled as {HOST_ID}." in agent.call("enroll").stdout
    assert "enrolled already" in agent.call("enroll").stdout
    assert "Enrolled as" in agent.call("enroll", "--again", "--yes").stdout


def test_a_person_enrols_a_host_anew_while_the_agent_runs(
    gateway: FakeGateway, make_agent: Callable[[], AgentProcess]
) -> None:
    agent = make_agent()
    agent.settings["ENROLLMENT_TOKEN"] = TOKEN
    agent.enrolled()
    credential = agent.state_dir / "credential.json"
    credential.write_text(credential.read_text().replace(CREDENTIAL, "dma_old"))
    agent.start()
    wait_until(lambda: "401 credential_invalid" in agent.log.read_text())
    assert agent.call("enroll", "--again").returncode == 0
    gateway.next_poll()


def test_status_shows_what_is_in_hand(gateway: FakeGateway, agent: AgentProcess) -> None:
    stopped = agent.call("status")
    assert stopped.returncode == 1
    assert "not running" in stopped.stdout
    agent.start()
    sent = command("sleep 600")
    gateway.deliver(sent)
    gateway.holding_state(sent["fence"], "running")
    shown = agent.call("status")
    assert shown.returncode == 0
    assert f"running, pid {agent.pid}" in shown.stdout
    assert re.search(r"^running: +1$", shown.stdout, re.MULTILINE)
    assert CREDENTIAL not in shown.stdout
    gateway.cancel(sent["fence"])
    gateway.result(sent)


def test_drain_waits_for_what_runs_and_can_be_undone(
    gateway: FakeGateway, agent: AgentProcess, tmp_path: Path
) -> None:
    agent.start()
    sent = command(f"while [ ! -e {tmp_path}/go ]; do sleep 0.02; done")
    gateway.deliver(sent)
    gateway.holding_state(sent["fence"], "running")
    assert agent.call("drain", "--no-wait").returncode == 0
    gateway.next_poll(lambda poll: poll.get("slots") == 0)
    (tmp_path / "go").touch()
    drained = agent.call("drain")
    assert drained.returncode == 0
    assert sent["fence"] in gateway.results
    assert agent.call("drain", "--off").returncode == 0
    gateway.next_poll(lambda poll: "slots" not in poll)


def test_the_build_is_reproducible(tmp_path: Path) -> None:
    digest = build_agent(tmp_path / "a.pyz")
    script = "import sys, agents_app.agent_build as b; sys.exit(b.main())"
    other = tmp_path / "deep" / "b.pyz"
    subprocess.run([sys.executable, "-c", script, "--output", str(other)], check=True)
    assert (tmp_path / "a.pyz").read_bytes() == other.read_bytes() == agent_bytes()
    assert digest == agent_sha256()
    names = zipfile.ZipFile(other).namelist()
    assert names == sorted(names)
    assert "agents_app/models.py" not in names


@pytest.mark.parametrize("python", new_enough())
def test_the_one_file_runs_a_command_on_this_python(
    gateway: FakeGateway, agent: AgentProcess, tmp_path: Path, python: str
) -> None:
    program = tmp_path / "devops-agent.pyz"
    build_agent(program)
    version = subprocess.run(
        [python, str(program), "version"], capture_output=True, text=True, check=True, cwd=tmp_path
    )
    assert version.stdout == f"devops-agent {AGENT_VERSION}\n"
    with agent.log.open("ab") as log:
        agent.process = subprocess.Popen(
            [python, "-W", "error", str(program), "run"],
            cwd=tmp_path,
            env=agent.environment(),
            stderr=log,
        )
    sent = command("print(6 * 7)", kind="script", interpreter=shlex.quote(sys.executable))
    gateway.deliver(sent)
    assert gateway.result(sent)["stdout"]["head"] == "42\n"
    assert agent.terminate() == 0


def test_the_install_script_is_whole_and_is_shell(tmp_path: Path) -> None:
    script = install_script(server_url=SERVER, download_url="https://ops/it's here")
    assert "@" not in re.sub(r"\S+@\S+\.\S+|\$@", "", script)
    assert agent_sha256() in script
    assert "[Service]" in script
    path = tmp_path / "install.sh"
    path.write_text(script)
    subprocess.run(["sh", "-n", str(path)], check=True)


def test_installs_twice_and_uninstalls(gateway: FakeGateway, tmp_path: Path) -> None:
    root = tmp_path / "root"
    program = build_agent_to_download(tmp_path)
    script = tmp_path / "install.sh"
    script.write_text(install_script(server_url=gateway.url, download_url=program.as_uri()))
    token = tmp_path / "token"
    token.write_text(TOKEN + "\n")

    def install(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["sh", str(script), *arguments],
            env={"PATH": os.environ["PATH"], "DM_INSTALL_ROOT": str(root)},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )

    refused = install("--token-file", str(tmp_path / "no-such-token"))
    assert refused.returncode == 1
    assert "cannot read enrollment_token_file" in refused.stderr
    first = install("--token-file", str(token), "--hostname", "web-7")
    assert first.returncode == 0, first.stderr
    assert f"Enrolled as {HOST_ID}." in first.stdout
    config = root / "etc/devops-agent/agent.toml"
    assert load_settings(str(config), {}).server == gateway.url
    second = install()
    assert second.returncode == 0, second.stderr
    assert "enrolled already" in second.stdout
    assert len(gateway.enrolments) == 1
    agent = root / "usr/local/bin/devops-agent"
    version = subprocess.run([agent, "version"], capture_output=True, text=True, check=True)
    assert version.stdout == f"devops-agent {AGENT_VERSION}\n"
    program.write_bytes(b"something else")
    assert "not what this script was made for" in install().stderr
    assert install("--uninstall").returncode == 0
    assert [path for path in root.rglob("*") if path.is_file()] == []


def build_agent_to_download(tmp_path: Path) -> Path:
    path = tmp_path / "download" / "devops-agent.pyz"
    build_agent(path)
    return path


def test_an_idle_agent_is_small_and_quiet(gateway: FakeGateway, agent: AgentProcess) -> None:
    agent.settings["POLL_WAIT_SECONDS"] = "25"
    agent.start()
    gateway.next_poll()
    hello = command("echo hello")
    gateway.deliver(hello)
    gateway.result(hello)
    stat_path = Path(f"/proc/{agent.pid}/stat")
    before = sum(map(int, stat_path.read_text().rpartition(")")[2].split()[11:13]))
    time.sleep(2)  # what is measured is that nothing happens
    after = sum(map(int, stat_path.read_text().rpartition(")")[2].split()[11:13]))
    status = Path(f"/proc/{agent.pid}/status").read_text()
    resident_kib = int(re.findall(r"VmRSS:\s+(\d+)", status)[0])
    assert after - before <= 2
    assert resident_kib <= 35 * 1024
