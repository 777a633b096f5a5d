"""Crashes, restarts, stops, cancels and full disks: real agents, killed at chosen points."""

from __future__ import annotations

import os
import resource
import signal
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from agents_app.agent.faults import EXIT_STATUS
from agents_app.agent.processes import process_table
from tests.agent.conftest import AgentProcess
from tests.agent.fake_gateway import FakeGateway, command, problem
from tests.agent.waiting import wait_until


def live_sleepers(seconds: str) -> list[int]:
    """Processes that run ``sleep`` with this odd number of seconds."""
    wanted = f"sleep\0{seconds}\0".encode()
    found = []
    for pid, process in process_table().items():
        try:
            line = Path(f"/proc/{pid}/cmdline").read_bytes()
        except OSError:
            continue
        if line.endswith(wanted) and process.state not in "ZX":
            found.append(pid)
    return found


def test_a_command_that_kills_its_agent_as_its_first_act_runs_once(
    gateway: FakeGateway, agent: AgentProcess, tmp_path: Path
) -> None:
    """No moment is earlier: what the journal says then was written before the command ran."""
    marker = tmp_path / "marker"
    agent.start()
    sent = command(f"kill -KILL $PPID; echo ran >>{marker}")
    gateway.deliver(sent)
    agent.wait()
    wait_until(marker.exists)
    assert agent.journal("SELECT fence, state FROM attempts") == [(sent["fence"], "running")]
    agent.start()
    assert gateway.result(sent)["status"] == "interrupted"
    assert marker.read_text() == "ran\n"


def test_it_says_when_the_command_is_gone(gateway: FakeGateway, agent: AgentProcess) -> None:
    agent.start()
    sent = command("exec sleep 600.25")
    gateway.deliver(sent)
    gateway.holding_state(sent["fence"], "running")
    agent.kill()
    for pid in live_sleepers("600.25"):
        os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not live_sleepers("600.25"))
    agent.start()

    result = gateway.result(sent)
    assert (result["status"], result["error_code"]) == ("interrupted", "agent_restarted")
    assert result["exit_code"] is None


def test_it_knows_a_restart_of_the_host(gateway: FakeGateway, agent: AgentProcess) -> None:
    agent.start(fault="after_mark_before_start")
    sent = command("true")
    gateway.deliver(sent)
    assert agent.wait() == EXIT_STATUS
    db = sqlite3.connect(agent.state_dir / "journal.sqlite3")
    db.execute("UPDATE attempts SET boot_id = 'another'")
    db.commit()
    db.close()
    agent.start()

    assert gateway.result(sent)["error_code"] == "host_restarted"


def test_what_was_journaled_but_not_started_starts_after_the_restart(
    gateway: FakeGateway, agent: AgentProcess, tmp_path: Path
) -> None:
    agent.start(fault="after_journal_before_start")
    sent = command(f"echo ran >>{tmp_path}/marker")
    gateway.deliver(sent)
    assert agent.wait() == EXIT_STATUS

    agent.start()
    first = gateway.next_poll(lambda poll: poll["run"] == 2)
    assert first["holding"] == [{"fence": sent["fence"], "state": "accepted"}]
    assert first["wait_seconds"] == 0
    assert gateway.result(sent)["status"] == "completed"
    assert (tmp_path / "marker").read_text() == "ran\n"


def test_what_was_not_started_can_be_canceled_before_it_is(
    gateway: FakeGateway, agent: AgentProcess, tmp_path: Path
) -> None:
    agent.start(fault="after_journal_before_start")
    sent = command(f"echo ran >>{tmp_path}/marker")
    gateway.deliver(sent)
    assert agent.wait() == EXIT_STATUS
    gateway.cancel(sent["fence"])
    agent.start()

    result = gateway.result(sent)
    assert (result["status"], result["exit_code"]) == ("canceled", None)
    assert not (tmp_path / "marker").exists()


@pytest.mark.parametrize("fault", ["after_mark_before_start", "after_start_before_ack"])
def test_what_may_have_started_is_interrupted(
    gateway: FakeGateway, agent: AgentProcess, fault: str
) -> None:
    agent.start(fault=fault)
    sent = command("sleep 600.375")
    gateway.deliver(sent)
    assert agent.wait() == EXIT_STATUS
    for pid in live_sleepers("600.375"):
        os.kill(pid, signal.SIGKILL)
    agent.start()
    assert gateway.result(sent)["status"] == "interrupted"


def test_a_journaled_result_is_sent_after_a_crash(
    gateway: FakeGateway, agent: AgentProcess, tmp_path: Path
) -> None:
    agent.start(fault="after_result_journaled")
    sent = command(f"echo ran | tee -a {tmp_path}/marker")
    gateway.deliver(sent)
    assert agent.wait() == EXIT_STATUS
    assert sent["fence"] not in gateway.results
    agent.start()

    assert gateway.result(sent)["stdout"]["head"] == "ran\n"
    assert (tmp_path / "marker").read_text() == "ran\n"


def test_cancel_works_while_every_slot_is_busy(gateway: FakeGateway, agent: AgentProcess) -> None:
    agent.settings["MAX_CONCURRENCY"] = "2"
    agent.start()
    running = [command("sleep 600.5 & sleep 600.5"), command("sleep 600.5")]
    waiting = command("echo never")
    gateway.deliver(*running, waiting)
    poll = gateway.holding_state(running[1]["fence"], "running")
    assert poll["slots"] == 2
    assert {"fence": waiting["fence"], "state": "accepted"} in poll["holding"]

    gateway.cancel(waiting["fence"], running[0]["fence"], running[1]["fence"], "no-such-fence")

    for sent in running:
        assert gateway.result(sent)["status"] == "canceled"
    never = gateway.result(waiting)
    assert (never["status"], never["exit_code"], never["started_at"]) == ("canceled", None, None)
    assert live_sleepers("600.5") == []


def test_what_waits_for_a_slot_starts_when_one_is_free(
    gateway: FakeGateway, agent: AgentProcess, tmp_path: Path
) -> None:
    agent.settings["MAX_CONCURRENCY"] = "1"
    agent.start()
    first = command(f"while [ ! -e {tmp_path}/go ]; do sleep 0.02; done")
    second = command("echo second")
    gateway.deliver(first, second)
    gateway.holding_state(second["fence"], "accepted")
    (tmp_path / "go").touch()

    assert gateway.result(second)["stdout"]["head"] == "second\n"
    assert gateway.result(first)["status"] == "completed"


def test_term_ends_what_runs_and_reports_it(gateway: FakeGateway, agent: AgentProcess) -> None:
    agent.settings["STOP_GRACE_SECONDS"] = "0.2"
    agent.start()
    sent = command("echo begun; trap '' TERM; sleep 600.625; sleep 600.625", kill_grace_seconds=60)
    gateway.deliver(sent)
    gateway.wait_for(lambda: gateway.chunks, "live output")

    assert agent.terminate() == 0
    result = gateway.result(sent)
    assert (result["status"], result["error_code"]) == ("interrupted", "agent_stopped")
    assert result["stdout"]["head"] == "begun\n"
    assert live_sleepers("600.625") == []


def test_stopped_without_a_server_it_keeps_the_record(
    gateway: FakeGateway, agent: AgentProcess
) -> None:
    agent.settings["STOP_GRACE_SECONDS"] = "0.2"
    agent.start()
    sent = command("sleep 600.75")
    gateway.deliver(sent)
    gateway.holding_state(sent["fence"], "running")
    gateway.script("report", *[problem(503, "unavailable", Retry_After="60")] * 2)
    assert agent.terminate() == 0
    assert agent.journal("SELECT state FROM attempts") == [("finished",)]
    gateway.scripted["report"].clear()

    agent.start()
    assert gateway.result(sent)["error_code"] == "agent_stopped"


def test_two_terms_end_it_at_once(gateway: FakeGateway, agent: AgentProcess) -> None:
    agent.settings["STOP_GRACE_SECONDS"] = "60"
    agent.start()
    sent = command("trap '' TERM; echo deaf; sleep 600.875; sleep 600.875", kill_grace_seconds=60)
    gateway.deliver(sent)
    gateway.wait_for(lambda: gateway.chunks, "live output")
    assert agent.process is not None
    agent.process.send_signal(signal.SIGTERM)
    log = agent.log
    wait_until(lambda: "stopping" in log.read_text())
    try:
        assert agent.terminate() == 1
    finally:
        for pid in live_sleepers("600.875"):
            os.kill(pid, signal.SIGKILL)


def test_two_agents_never_share_a_directory(gateway: FakeGateway, agent: AgentProcess) -> None:
    agent.start()
    gateway.next_poll()
    second = agent.call("run")
    assert second.returncode == 78
    assert second.stderr.count("\n") == 1
    assert f"pid {agent.pid}" in second.stderr


def test_a_damaged_journal_is_set_aside(gateway: FakeGateway, agent: AgentProcess) -> None:
    (agent.state_dir / "journal.sqlite3").write_bytes(b"this is no database " * 1000)
    agent.start()
    sent = command("echo fine")
    gateway.deliver(sent)
    assert gateway.result(sent)["stdout"]["head"] == "fine\n"
    assert len(list(agent.state_dir.glob("journal.sqlite3.damaged-*"))) == 1


def test_a_journal_that_cannot_be_written_takes_no_work_and_still_reports(
    gateway: FakeGateway, make_agent: Callable[[], AgentProcess], tmp_path: Path
) -> None:
    agent = make_agent().enrolled().start()
    going_on = command(f"while [ ! -e {tmp_path}/go ]; do sleep 0.02; done; echo through")
    gateway.deliver(going_on)
    gateway.holding_state(going_on["fence"], "running")
    # No file of the agent can grow from here on, as on a full disk.
    _, hard = resource.prlimit(agent.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(agent.pid, resource.RLIMIT_FSIZE, (4096, hard))
    late = command("echo late")
    gateway.deliver(late)
    (tmp_path / "go").touch()

    poll = gateway.next_poll(lambda poll: poll.get("slots") == 0)
    assert poll["wait_seconds"] > 0, "it does not hammer the server meanwhile"
    assert gateway.result(going_on)["stdout"]["head"] == "through\n"
    assert late["fence"] not in gateway.results
    resource.prlimit(agent.pid, resource.RLIMIT_FSIZE, (hard, hard))

    gateway.next_poll(lambda poll: "slots" not in poll)
    gateway.deliver(late)
    assert gateway.result(late)["stdout"]["head"] == "late\n"
