"""The agent against a gateway: order, holding, refusals, verdicts."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from tests.agent.conftest import AgentProcess
from tests.agent.fake_gateway import FakeGateway, command, problem


def test_runs_what_it_gets_and_reports_it(gateway: FakeGateway, agent: AgentProcess) -> None:
    agent.start()
    hello = command("echo hello; echo oops >&2")

    gateway.deliver(hello)
    result = gateway.result(hello)

    assert result["status"] == "completed"
    assert result["exit_code"] == 0
    assert result["error_code"] == ""
    assert result["stdout"]["head"] == "hello\n"
    assert result["stderr"]["head"] == "oops\n"
    assert result["finished_at"] >= result["started_at"]
    gateway.next_poll(lambda poll: poll["holding"] == [])
    assert agent.terminate() == 0
    assert agent.journal("SELECT * FROM attempts") == []


def test_the_next_poll_acknowledges_the_start_at_once(
    gateway: FakeGateway, agent: AgentProcess
) -> None:
    agent.settings["POLL_WAIT_SECONDS"] = "20"
    agent.start()
    first = gateway.next_poll()
    sleeper = command("sleep 30")

    gateway.deliver(sleeper)
    second = gateway.holding_state(sleeper["fence"], "running")

    assert (second["run"], second["seq"]) == (first["run"], first["seq"] + 1)
    assert second["journal_id"] == first["journal_id"]
    assert second["instance_id"] == first["instance_id"]
    assert second["load"]["running"] == 1


def test_each_start_counts_a_run_and_is_a_new_instance(
    gateway: FakeGateway, agent: AgentProcess
) -> None:
    agent.start()
    first = gateway.next_poll()
    agent.kill()
    agent.start()
    second = gateway.next_poll(lambda poll: poll["instance_id"] != first["instance_id"])

    assert (first["run"], second["run"]) == (1, 2)
    assert (first["seq"], second["seq"]) == (1, 1)
    assert first["journal_id"] == second["journal_id"]


def test_the_host_is_described_until_the_server_has_heard_it(
    gateway: FakeGateway, agent: AgentProcess
) -> None:
    gateway.script("poll", problem(503, "unavailable", Retry_After="0"))
    agent.start()
    gateway.wait_for(lambda: len(gateway.polls) >= 4, "four polls")
    refused, heard, *later = gateway.polls
    assert refused["host"] == heard["host"]
    assert {"hostname", "os", "arch", "ip", "facts"} == set(heard["host"])
    facts = heard["host"]["facts"]
    assert set(facts) == {"kernel", "python", "cpu_count", "memory_bytes", "process_tracking"}
    assert facts["process_tracking"] in {"cgroup", "subreaper"}
    assert ["host" in poll for poll in later] == [False] * len(later)


def test_a_superseded_poll_makes_a_new_journal_and_keeps_what_it_holds(
    gateway: FakeGateway, agent: AgentProcess
) -> None:
    agent.start()
    sleeper = command("sleep 30")
    gateway.deliver(sleeper)
    before = gateway.holding_state(sleeper["fence"], "running")

    gateway.script("poll", problem(409, "poll_superseded"))
    after = gateway.next_poll(lambda poll: poll["journal_id"] != before["journal_id"])

    assert after["holding"] == [{"fence": sleeper["fence"], "state": "running"}]
    assert after["seq"] > before["seq"]


@pytest.mark.parametrize(
    "refusal",
    [
        problem(403, "host_pending", Retry_After="0"),
        problem(429, "busy", Retry_After="0"),
        problem(503, "unavailable", Retry_After="0"),
        problem(400, "invalid_request"),
        problem(401, "credential_invalid"),
        problem(404, "not_found"),
        (502, {}, {}),
    ],
    ids=lambda answer: str(answer[0]),
)
def test_goes_on_after_a_refused_poll_and_report(
    gateway: FakeGateway, agent: AgentProcess, refusal: Any
) -> None:
    gateway.script("poll", refusal, refusal)
    gateway.script("report", refusal)
    agent.start()
    hello = command("echo hello")
    gateway.deliver(hello)

    assert gateway.result(hello)["stdout"]["head"] == "hello\n"
    seqs = [poll["seq"] for poll in gateway.polls]
    assert seqs == list(range(1, len(seqs) + 1))


def test_waits_as_long_as_the_server_asks(gateway: FakeGateway, agent: AgentProcess) -> None:
    agent.settings["LOG_LEVEL"] = "debug"
    gateway.script("poll", problem(403, "host_pending", Retry_After="1"))
    agent.start()

    first = gateway.wait_for(lambda: gateway.polls[:1])[0]
    second = gateway.wait_for(lambda: gateway.polls[1:2])[0]

    assert second["time"] - first["time"] >= 1.0


@pytest.mark.parametrize("name", ["shop-1", "Shop 数据库"])
def test_commands_know_the_host_by_the_name_that_the_server_shows(
    gateway: FakeGateway, agent: AgentProcess, name: str
) -> None:
    agent.start()
    gateway.next_poll()
    gateway.config["hostname"] = name
    asking = command('printf %s "$DM_HOSTNAME"')
    gateway.deliver(asking)
    assert gateway.result(asking)["stdout"]["head"] == name


@pytest.mark.parametrize("name", [7, None, "a\nb", "a\0b", ""])
def test_a_name_that_is_none_leaves_the_hosts_own(
    gateway: FakeGateway, agent: AgentProcess, name: Any
) -> None:
    agent.settings["HOSTNAME"] = "web-7"
    gateway.config["hostname"] = name
    agent.start()
    assert gateway.next_poll()["host"]["hostname"] == "web-7"
    asking = command('printf %s "$DM_HOSTNAME"')
    gateway.deliver(asking)
    assert gateway.result(asking)["stdout"]["head"] == "web-7"


@pytest.mark.parametrize("name", ["two words", "a" * 254, "a\u200bb"])
def test_a_name_that_the_server_would_refuse_is_not_told(
    gateway: FakeGateway, agent: AgentProcess, name: str
) -> None:
    agent.settings["HOSTNAME"] = name
    agent.start()
    assert "hostname" not in gateway.next_poll()["host"]


def test_a_lost_report_answer_sends_the_same_result_again(
    gateway: FakeGateway, agent: AgentProcess
) -> None:
    agent.start(fault="drop_report_answer:5")
    hello = command("date +%N")
    gateway.deliver(hello)

    gateway.wait_for(lambda: len(gateway.verdicts) == 6, "the sixth answer")
    gateway.next_poll(lambda poll: poll["holding"] == [])

    assert [verdict for _, verdict in gateway.verdicts] == ["accepted"] + ["duplicate"] * 5
    assert agent.terminate() == 0
    assert agent.journal("SELECT * FROM attempts") == []


def test_a_lost_poll_answer_is_not_run(gateway: FakeGateway, agent: AgentProcess) -> None:
    agent.start(fault="drop_poll_answer:1")
    lost, found = command("echo lost"), command("echo found")
    gateway.deliver(lost)
    gateway.wait_for(lambda: len(gateway.polls) == 2)

    gateway.deliver(found)
    gateway.result(found)

    assert gateway.polls[1]["holding"] == []
    assert lost["fence"] not in gateway.results


def test_a_fence_that_comes_twice_runs_once(
    gateway: FakeGateway, agent: AgentProcess, tmp_path: Any
) -> None:
    marker = tmp_path / "marker"
    agent.start()
    once = command(f"echo ran >> {marker}")
    gateway.deliver(once, once)
    first = gateway.result(once)
    gateway.next_poll(lambda poll: poll["holding"] == [])

    gateway.deliver(once)
    gateway.wait_for(lambda: len(gateway.verdicts) == 2, "the second report")

    assert marker.read_text() == "ran\n"
    again = gateway.reports[-1]["results"][0]
    assert again["status"] == first["status"]
    assert again["output_digest"] == first["output_digest"]


def test_an_invalid_result_is_sent_once_more_without_text(
    gateway: FakeGateway, agent: AgentProcess
) -> None:
    def refuse(message: dict[str, Any]) -> Any:
        fences = [record["fence"] for record in message["results"]]
        verdicts = [{"fence": f, "verdict": "invalid", "detail": "no"} for f in fences]
        return 200, {"results": verdicts, "output": []}, {}

    gateway.script("report", refuse, refuse)
    agent.start()
    poison = command("echo poison; exit 3")
    gateway.deliver(poison)
    gateway.wait_for(lambda: len(gateway.reports) == 2, "two reports")
    gateway.next_poll(lambda poll: poll["holding"] == [])

    full, reduced = (report["results"][0] for report in gateway.reports)
    assert full["stdout"]["head"] == "poison\n"
    assert reduced["stdout"]["head"] == ""
    assert reduced["stdout"]["dropped_bytes"] == reduced["stdout"]["total_bytes"] == 7
    assert reduced["output_digest"] == full["output_digest"]
    assert (reduced["status"], reduced["exit_code"]) == ("failed", 3)


def test_one_result_that_is_refused_does_not_hold_up_its_neighbours(
    gateway: FakeGateway, agent: AgentProcess
) -> None:
    poison = command("echo poison")
    good = [command(f"echo {n}") for n in range(4)]

    def answer(message: dict[str, Any]) -> Any:
        if any(record["stdout"]["head"] == "poison\n" for record in message["results"]):
            return problem(400, "invalid_request")
        return gateway._report(message)

    gateway.script("report", problem(503, "unavailable", Retry_After="0"), *[answer] * 50)
    agent.start()
    gateway.deliver(poison, *good)

    for sent in (*good, poison):
        assert gateway.result(sent)["status"] == "completed"
    assert gateway.results[poison["fence"]]["stdout"]["head"] == ""
    assert gateway.results[good[0]["fence"]]["stdout"]["head"] == "0\n"


def test_any_verdict_is_final(gateway: FakeGateway, agent: AgentProcess) -> None:
    agent.start()
    for verdict in ("accepted", "duplicate", "conflict", "unknown"):
        sent = command("true")
        gateway.script(
            "report",
            (200, {"results": [{"fence": sent["fence"], "verdict": verdict}], "output": []}, {}),
        )
        gateway.deliver(sent)
        gateway.wait_for(partial(gateway.was_reported, sent["fence"]), "the report")
        gateway.next_poll(lambda poll: poll["holding"] == [])


def test_results_wait_for_a_server_that_comes_back(
    make_agent: Callable[[], AgentProcess], gateway: FakeGateway
) -> None:
    agent = make_agent().enrolled().start()
    sent = command("echo kept")
    gateway.script("report", *[problem(503, "unavailable", Retry_After="0")] * 3)
    gateway.deliver(sent)
    gateway.wait_for(lambda: len(gateway.reports) >= 3)

    assert gateway.result(sent)["stdout"]["head"] == "kept\n"
    records = [report["results"][0] for report in gateway.reports]
    assert all(record == records[0] for record in records)
    assert agent.terminate() == 0


def test_malformed_answers_do_not_end_it(gateway: FakeGateway, agent: AgentProcess) -> None:
    bad: list[Any] = [
        (200, {"commands": "x", "cancel": 3, "config": []}, {}),
        (200, {"commands": [{"body": "true"}, 4], "cancel": [None]}, {}),
        (200, [], {}),
    ]
    gateway.script("poll", *bad)
    gateway.script("report", (200, {"results": 7}, {}), (200, {"results": [1]}, {}))
    agent.start()
    odd = command("true", timeout_seconds="soon")
    hello = command("echo hello")
    gateway.deliver(odd, hello)

    assert gateway.result(hello)["status"] == "completed"
    assert gateway.result(odd)["status"] == "failed"
    assert gateway.results[odd["fence"]]["error_code"] == "invalid_command"
