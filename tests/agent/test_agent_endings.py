"""How commands that are ended are told of: consistently, and with what may go on elsewhere."""

from __future__ import annotations

import ctypes
import signal
import threading
import time
from pathlib import Path

import pytest

from agents_app.agent import accounts, launch
from agents_app.agent.handed_over import handed_over
from agents_app.agent.records import Outcome
from agents_app.agent.supervise import Supervision
from tests.agent.conftest import AgentProcess
from tests.agent.fake_gateway import FakeGateway, command
from tests.agent.runner import Runner
from tests.agent.waiting import wait_until

POLITE = "trap 'exit 0' TERM; echo ready; while :; do sleep 0.02; done"


def ended(supervision: Supervision, status: str) -> Outcome:
    """Ask for the end of a command as soon as it printed something."""
    outcomes: list[Outcome] = []
    thread = threading.Thread(target=lambda: outcomes.append(supervision.execute()))
    thread.start()
    wait_until(lambda: supervision.captures["stdout"].total_bytes)
    supervision.request_end(status)
    thread.join(timeout=20)
    return outcomes[0]


def test_a_timeout_has_no_exit_code_of_success(runner: Runner) -> None:
    outcome, stdout, _ = runner.run(POLITE, timeout_seconds=0.5, kill_grace_seconds=10)
    assert (outcome.status, outcome.exit_code, stdout) == ("timeout", None, "ready\n")
    assert outcome.error_code == "timeout"
    assert "exit code 0" in outcome.error_message


@pytest.mark.parametrize("status", ["canceled", "interrupted"])
def test_nor_has_what_was_canceled_or_interrupted(runner: Runner, status: str) -> None:
    outcome = ended(runner.supervise(POLITE), status)
    assert (outcome.status, outcome.exit_code) == (status, None)
    assert "exit code 0" in outcome.error_message


def test_another_exit_code_is_kept(runner: Runner) -> None:
    body = POLITE.replace("exit 0", "exit 3")
    assert ended(runner.supervise(body), "canceled").exit_code == 3


def test_an_end_at_the_very_limit_is_one_or_the_other(
    gateway: FakeGateway, agent: AgentProcess
) -> None:
    agent.start()
    sent = [command("sleep 1", timeout_seconds=1) for _ in range(20)]
    gateway.deliver(*sent)
    pairs = {(r["status"], r["exit_code"]) for r in map(gateway.result, sent)}
    assert pairs <= {("completed", 0), ("timeout", 143), ("timeout", None)}


HANDED_OVER = {
    "docker run --rm nginx": ["docker"],
    "sudo -u app /usr/bin/docker run -d nginx": ["docker"],
    "docker compose -f x.yml up -d": ["docker"],
    "podman exec web true && docker start db": ["docker", "podman"],
    "systemd-run --scope sleep 60": ["systemd-run"],
    "systemctl restart nginx": ["systemctl"],
    "echo 'make' | at now + 1 minute": ["at"],
    "sudo at -f job now": ["at"],
    "kubectl -n x rollout restart deploy/web": ["kubectl"],
    'subprocess.run(["docker", "run", "nginx"])': ["docker"],
    'if x; then ssh web-1 "make"; fi': ["ssh"],
    "result=$(docker exec web id)": ["docker"],
    "docker ps; docker logs -f web": [],
    "kubectl get pods; systemctl status nginx": [],
    "echo look at me; ls batch": [],
    "# docker run nginx": [],
    "cat /etc/ssh/sshd_config": [],
    "sleep 60 & nohup make &": [],
    "": [],
}


@pytest.mark.parametrize("body", HANDED_OVER)
def test_what_gives_work_to_others_is_known_by_its_words(body: str) -> None:
    assert handed_over([body]) == HANDED_OVER[body]


def test_the_longest_text_of_such_words_costs_little() -> None:
    for words in ("docker ", "at ", "'", "( ", "docker run\n", "env "):
        text = words * (65_536 // len(words))
        began = time.process_time()
        handed_over([text])
        assert time.process_time() - began < 1.0


@pytest.mark.parametrize("status", ["canceled", "interrupted"])
def test_work_that_may_go_on_elsewhere_is_told(runner: Runner, tmp_path: Path, status: str) -> None:
    docker = tmp_path / "docker"
    docker.write_text("#!/bin/sh\necho started\nsleep 60\n")
    docker.chmod(0o755)
    deploy = tmp_path / "deploy"
    deploy.write_text(f"{docker} run nginx\n")
    code = {"canceled": "canceled", "interrupted": "agent_stopped"}[status]
    for body in (f"{docker} run nginx", f"sh {deploy}"):
        outcome = ended(runner.supervise(body), status)
        assert outcome.error_code == f"{code}_work_may_go_on"
        assert outcome.error_message.endswith(" What it gave to docker may go on.")
    assert ended(runner.supervise("echo; sleep 60"), status).error_code == code


def test_a_timeout_tells_it_too(runner: Runner) -> None:
    outcome = runner.run("true || systemd-run true; sleep 60", timeout_seconds=0.2)[0]
    assert (outcome.status, outcome.error_code) == ("timeout", "timeout_work_may_go_on")


def test_a_task_that_stops_its_own_agent_ends_within_15_seconds(
    gateway: FakeGateway, agent: AgentProcess
) -> None:
    agent.start()
    sent = command(
        f"trap '' TERM; echo stopping; kill -TERM {agent.pid}; sleep 60", kill_grace_seconds=60
    )
    began = time.monotonic()
    gateway.deliver(sent)
    assert agent.wait() == 0
    agent.start()
    result = gateway.result(sent)
    assert time.monotonic() - began < 15
    assert (result["status"], result["error_code"]) == ("interrupted", "agent_stopped")
    assert result["stdout"]["head"] == "stopping\n"


def test_it_stops_whichever_of_its_threads_gets_the_signal(
    gateway: FakeGateway, agent: AgentProcess
) -> None:
    """The kernel gives it to another one than the main thread where that one just goes to sleep."""
    agent.start()
    gateway.wait_for(lambda: gateway.polls, "a poll")
    threads = {int(task.name) for task in Path(f"/proc/{agent.pid}/task").iterdir()}
    other = max(threads - {agent.pid})
    assert ctypes.CDLL(None).tgkill(agent.pid, other, signal.SIGTERM) == 0
    assert agent.wait() == 0


def test_a_task_that_has_its_agent_restarted_a_little_later_completes(
    gateway: FakeGateway, agent: AgentProcess, tmp_path: Path
) -> None:
    """The recipe of docs/agent.md, with what every host has in the place of systemd-run."""
    agent.start()
    later = f"sleep 1; kill -TERM {agent.pid}; touch {tmp_path}/done"
    sent = command(f"setsid sh -c '{later}' >/dev/null 2>&1 </dev/null & echo planned")
    gateway.deliver(sent)
    result = gateway.result(sent)
    assert (result["status"], result["stdout"]["head"]) == ("completed", "planned\n")
    assert agent.wait() == 0
    wait_until((tmp_path / "done").exists)


def test_time_counts_from_the_start_of_the_process(
    runner: Runner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither a slow look at its directory nor a slow agent is time of the command."""
    (tmp_path / "ls").write_text("#!/bin/sh\nsleep 1\n")
    (tmp_path / "ls").chmod(0o755)
    monkeypatch.setattr(launch, "SEARCH_PATH", f"{tmp_path}:{accounts.SEARCH_PATH}")
    outcome = runner.run("sleep 0.5", working_directory="/tmp", timeout_seconds=1.4)[0]
    assert outcome.status == "completed"
    assert 500 <= outcome.execution_time_ms < 1400
