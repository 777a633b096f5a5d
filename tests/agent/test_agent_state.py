"""What a person does to a running agent's state: drain, another credential, and no state at all."""

from __future__ import annotations

import os
import pty
import re
import shutil
import sys
import time
from collections.abc import Callable

import pytest

from agents_app.agent.config import Settings
from agents_app.agent.facts import is_machine_id, machine_id
from agents_app.agent.identity import Identity, write_identity
from tests.agent.conftest import PROJECT, AgentProcess
from tests.agent.fake_gateway import CREDENTIAL, HOST_ID, TOKEN, FakeGateway, command, problem
from tests.agent.waiting import wait_until

AT_ONCE_SECONDS = 2.0


def held(agent: AgentProcess) -> AgentProcess:
    """With production's hold: nothing here may wait for its end."""
    agent.settings["POLL_WAIT_SECONDS"] = "25"
    return agent


def test_drain_and_its_end_take_effect_while_a_poll_is_held(
    gateway: FakeGateway, agent: AgentProcess
) -> None:
    held(agent).start()
    assert gateway.next_poll()["draining"] is False
    began = time.monotonic()
    assert agent.call("drain").returncode == 0
    poll = gateway.polls[-1]
    assert (poll["draining"], poll["slots"]) == (True, 0)
    assert time.monotonic() - began < AT_ONCE_SECONDS + 1
    gateway.wait_for(lambda: gateway.polls[-1]["wait_seconds"] == 25, "a poll that is held")
    began = time.monotonic()
    sent = command("echo hello")
    gateway.deliver(sent)
    assert agent.call("drain", "--off").returncode == 0
    assert gateway.result(sent)["status"] == "completed"
    assert time.monotonic() - began < AT_ONCE_SECONDS + 1
    last = gateway.polls[-1]
    assert last["draining"] is False
    assert "slots" not in last
    assert "WARNING" not in agent.log.read_text(), "a poll that is given up is no failure"
    assert agent.terminate() == 0


def test_the_current_name_of_the_host_is_told(gateway: FakeGateway, agent: AgentProcess) -> None:
    agent.settings["HOSTNAME"] = "web-9"
    agent.start()
    assert gateway.next_poll(lambda poll: "host" in poll)["host"]["hostname"] == "web-9"


def test_without_its_state_it_takes_no_work_delivers_and_ends(
    gateway: FakeGateway, agent: AgentProcess
) -> None:
    held(agent).start()
    marker = agent.state_dir.with_suffix(".go")
    running = command(f"while [ ! -e {marker} ]; do sleep 0.02; done; echo done")
    gateway.deliver(running)
    gateway.holding_state(running["fence"], "running")
    shutil.rmtree(agent.state_dir)
    gone_at = time.monotonic()
    gateway.wait_for(lambda: gateway.polls[-1].get("slots") == 0, "a poll without slots")
    assert time.monotonic() - gone_at < AT_ONCE_SECONDS
    assert "THE STATE DIRECTORY WAS DELETED OR REPLACED" in agent.log.read_text()
    never = command("echo never")
    gateway.deliver(never)
    gateway.paused = True
    marker.touch()
    with gateway.changed:
        gateway.paused = False
        gateway.changed.notify_all()
    assert gateway.result(running)["stdout"]["head"] == "done\n"
    assert agent.wait() == 1
    assert f"state_dir {agent.state_dir} was deleted or replaced" in agent.log.read_text()
    assert not gateway.was_reported(never["fence"])
    assert not agent.state_dir.exists()


def test_a_delivery_that_crosses_the_deletion_is_not_run(
    gateway: FakeGateway, agent: AgentProcess
) -> None:
    """The gateway answers after the directory went: the answer is thrown away."""
    held(agent).start()
    gateway.next_poll()
    marker = agent.state_dir.with_suffix(".ran")
    shutil.rmtree(agent.state_dir)
    gateway.deliver(command(f"touch {marker}"))
    assert agent.wait() == 1
    assert not marker.exists()


def test_a_state_directory_that_comes_back_is_used_again(
    gateway: FakeGateway, agent: AgentProcess
) -> None:
    held(agent).start()
    gateway.next_poll()
    away = agent.state_dir.with_name("away")
    agent.state_dir.rename(away)
    gateway.wait_for(lambda: gateway.polls[-1].get("slots") == 0, "a poll without slots")
    # Another one in its place is not it.
    agent.state_dir.mkdir()
    (agent.state_dir / "journal.sqlite3").touch()
    gateway.next_poll(lambda poll: poll.get("slots") == 0)
    shutil.rmtree(agent.state_dir)
    away.rename(agent.state_dir)
    sent = command("echo hello")
    gateway.deliver(sent)
    assert gateway.result(sent)["status"] == "completed"
    gateway.wait_for(
        lambda: "taking work again" in agent.log.read_text(), "the agent to say that it works"
    )
    assert agent.terminate() == 0


# --- enroll --again -----------------------------------------------------------------------------


@pytest.fixture
def enrolled(make_agent: Callable[[], AgentProcess]) -> AgentProcess:
    agent = make_agent()
    agent.settings["ENROLLMENT_TOKEN"] = TOKEN
    return agent.enrolled()


def test_a_good_credential_is_not_given_up_without_a_yes(
    gateway: FakeGateway, enrolled: AgentProcess
) -> None:
    asked = enrolled.call("enroll", "--again")
    assert asked.returncode == 1
    assert f"enrolled as {HOST_ID}, and its credential is good" in asked.stdout
    assert "say --yes" in asked.stderr
    assert gateway.enrolments == []
    done = enrolled.call("enroll", "--again", "--yes")
    assert done.returncode == 0
    assert "its record stays on the server" in done.stdout
    assert len(gateway.enrolments) == 1


@pytest.mark.parametrize(("typed", "count"), [("yes\n", 1), ("no\n", 0), ("\n", 0)])
def test_at_a_terminal_it_asks(
    gateway: FakeGateway, enrolled: AgentProcess, typed: str, count: int
) -> None:
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(PROJECT)
        arguments = [sys.executable, "-m", "agents_app.agent", "enroll", "--again"]
        os.execve(sys.executable, arguments, enrolled.environment())
    shown = b""
    while b"[yes/no]" not in shown:
        shown += os.read(terminal, 1000)
    os.write(terminal, typed.encode())
    _, status = os.waitpid(pid, 0)
    os.close(terminal)
    assert os.waitstatus_to_exitcode(status) == (0 if count else 1)
    assert len(gateway.enrolments) == count


def test_what_would_be_lost_is_counted(gateway: FakeGateway, enrolled: AgentProcess) -> None:
    enrolled.start()
    sent = command("sleep 600")
    gateway.deliver(sent)
    gateway.holding_state(sent["fence"], "running")
    assert "1 commands run or are not reported yet" in enrolled.call("enroll", "--again").stdout
    gateway.cancel(sent["fence"])
    gateway.result(sent)


@pytest.mark.parametrize(
    ("refusal", "asks"),
    [
        (problem(401, "credential_invalid"), False),
        (problem(403, "host_pending"), True),
        (problem(503, "unavailable"), True),
        ((401, b"<html>", {}), True),
        ((404, b"<html>", {}), True),
    ],
)
def test_only_a_credential_that_the_gateway_refuses_is_given_up_unasked(
    gateway: FakeGateway, enrolled: AgentProcess, refusal: object, asks: bool
) -> None:
    gateway.script("heartbeat", refusal)  # type: ignore[arg-type]
    assert enrolled.call("enroll", "--again").returncode == (1 if asks else 0)
    assert len(gateway.enrolments) == (0 if asks else 1)


def test_a_running_agent_takes_the_new_credential_on_at_once(
    gateway: FakeGateway, agent: AgentProcess
) -> None:
    held(agent).start()
    gateway.next_poll()
    write_identity(agent.state_dir, Identity(host_id="another", credential="dma_another"))
    wait_until(lambda: gateway.headers[-1]["authorization"] == "Bearer dma_another")
    wait_until(lambda: "enrolled anew as another" in agent.log.read_text())
    write_identity(agent.state_dir, Identity(host_id=HOST_ID, credential=CREDENTIAL))
    wait_until(lambda: gateway.headers[-1]["authorization"] == f"Bearer {CREDENTIAL}")
    assert agent.terminate() == 0


@pytest.mark.parametrize(
    ("text", "good"),
    [
        ("", False),
        ("uninitialized", False),
        ("Uninitialized", False),
        ("0" * 32, False),
        ("00000000-0000-0000-0000-000000000000", False),
        ("b08dfa6083e7567a1921a715000001fb", True),
        ("0" * 31 + "1", True),
        ("box-7", True),
    ],
)
def test_what_is_a_machine_id(tmp_path: object, text: str, good: bool) -> None:
    assert is_machine_id(text) is good
    settings = Settings(state_dir=str(tmp_path), machine_id=text)
    told = machine_id(settings)
    assert (told == text) is good
    assert re.fullmatch(r"[0-9a-f-]{32,36}|box-7", told)
