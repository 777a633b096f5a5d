"""DESIGN.md section 5, "Run and report": a verdict for each result, all of them final."""

from __future__ import annotations

import base64
from collections.abc import Callable
from uuid import UUID

import pytest

from devops_manager.access.actors import SYSTEM
from devops_manager.access.models import AuditEvent
from hosts_app.models import Host
from hosts_app.services import disable_host
from tasks_app.models import CommandHost, CommandOutput
from tests.factories import started_task
from tests.protocol.client import Agent, fences, lose, only, result, send

pytestmark = pytest.mark.usefixtures("promises_hold")


def delivered(agent: Agent, count: int = 1) -> list[str]:
    """Deliver some commands, and let the agent say that they run."""
    for _ in range(count):
        started_task([agent.host])
    found = fences(agent.poll())
    agent.poll()
    assert len(found) == count
    return found


def row(fence: str) -> CommandHost:
    return CommandHost.objects.get(fence=fence)


def verdicts(agent: Agent, *results: dict) -> list[str]:
    return [answer["verdict"] for answer in agent.report(*results).json["results"]]


def test_accepted_is_committed_with_everything_that_was_reported(agent: Agent) -> None:
    (fence,) = delivered(agent)
    reply = agent.report(result(fence, exit_code=0))
    assert reply.status == 200
    assert reply.json == {"results": [{"fence": fence, "verdict": "accepted"}], "output": []}
    kept = row(fence)
    assert (kept.status, kept.exit_code, kept.execution_time) == ("completed", 0, 12)
    assert bytes(kept.output_digest).hex() == result(fence)["output_digest"]
    output = CommandOutput.objects.get(command_host=kept)
    assert (bytes(output.stdout_head), bytes(output.stderr_head)) == (b"hello\n", b"")


@pytest.mark.parametrize(
    ("status", "fields"),
    [
        ("failed", {"exit_code": 3}),
        ("failed", {"exit_code": None, "error_code": "exec_failed", "error_message": "no sh"}),
        ("timeout", {"exit_code": None}),
        ("canceled", {"exit_code": None}),
        ("interrupted", {"exit_code": None}),
    ],
)
def test_every_status_that_an_agent_may_report(agent: Agent, status: str, fields: dict) -> None:
    (fence,) = delivered(agent)
    assert agent.verdict(fence, status=status, **fields) == "accepted"
    kept = row(fence)
    assert (kept.status, kept.exit_code) == (status, fields["exit_code"])
    assert kept.error_message == fields.get("error_message", "")


@pytest.mark.parametrize("status", ["timeout", "canceled", "interrupted"])
def test_what_was_ended_early_has_no_exit_code_of_success(agent: Agent, status: str) -> None:
    """Older agents report one of commands that end politely when they are told to."""
    first, second = delivered(agent, 2)
    assert agent.verdict(first, status=status, exit_code=0) == "accepted"
    assert agent.verdict(first, status=status, exit_code=0) == "duplicate"
    assert agent.verdict(second, status=status, exit_code=143) == "accepted"
    assert [(row(f).status, row(f).exit_code) for f in (first, second)] == [
        (status, None),
        (status, 143),
    ]


def test_a_result_before_the_start_was_acknowledged_is_accepted(agent: Agent) -> None:
    started_task([agent.host])
    assert agent.verdict(only(agent.poll())) == "accepted"


def test_the_same_result_again_is_a_duplicate(agent: Agent) -> None:
    (fence,) = delivered(agent)
    assert [agent.verdict(fence) for _ in range(3)] == ["accepted", "duplicate", "duplicate"]
    assert CommandOutput.objects.filter(command_host=row(fence)).count() == 1


def test_another_result_for_the_fence_is_a_conflict_and_the_first_is_kept(agent: Agent) -> None:
    (fence,) = delivered(agent)
    agent.verdict(fence)
    assert agent.verdict(fence, status="failed", exit_code=1) == "conflict"
    assert (row(fence).status, row(fence).exit_code) == ("completed", 0)
    event = AuditEvent.objects.get(action="result.conflict")
    assert event.after["fence"] == fence


def test_other_output_alone_makes_a_conflict_too(agent: Agent) -> None:
    (fence,) = delivered(agent)
    agent.verdict(fence)
    other = {"encoding": "utf-8", "head": "jello\n", "dropped_bytes": 0}
    assert agent.verdict(fence, stdout=other) == "conflict"


def test_the_encoding_of_equal_output_makes_no_conflict(agent: Agent) -> None:
    (fence,) = delivered(agent)
    agent.verdict(fence)
    same = {"encoding": "base64", "head": base64.b64encode(b"hello\n").decode()}
    assert agent.verdict(fence, stdout=same) == "duplicate"


def test_a_fence_that_nobody_knows_is_unknown(agent: Agent) -> None:
    assert agent.verdict("00000000-0000-4000-8000-000000000000") == "unknown"


def test_a_result_under_a_fence_that_the_row_no_longer_has_leaves_the_row_alone(
    agent: Agent,
) -> None:
    (fence,) = delivered(agent)
    before = row(fence).revision
    of_an_earlier_attempt = str(UUID(int=UUID(fence).int ^ 1))  # it leads to the row all the same
    assert agent.verdict(of_an_earlier_attempt) == "unknown"
    assert agent.verdict("00000000-0000-4000-8000-000000000000") == "unknown"
    assert (row(fence).status, row(fence).revision) == ("running", before)


def test_another_hosts_fence_is_unknown_audited_and_changes_nothing(
    agent: Agent, make_agent: Callable[..., Agent]
) -> None:
    (fence,) = delivered(agent)
    before = row(fence).revision
    assert make_agent().verdict(fence) == "unknown"
    assert (row(fence).status, row(fence).revision) == ("running", before)
    event = AuditEvent.objects.get(action="host.foreign_fence")
    assert event.after["fence"] == fence
    assert agent.verdict(fence) == "accepted"


@pytest.mark.parametrize(
    ("poison", "word"),
    [
        ({"error_message": "a\0b"}, "NUL"),
        ({"error_code": "a\0b"}, "NUL"),
        ({"error_message": "x" * 2001}, "error_message"),
        ({"error_code": "x" * 65}, "error_code"),
        ({"exit_code": 2**40}, "exit_code"),
        ({"exit_code": 2**70}, "exit_code"),
        ({"execution_time_ms": 2**70}, "execution_time_ms"),
        ({"execution_time_ms": -1}, "execution_time_ms"),
        ({"execution_time_ms": 10**15}, "execution_time_ms"),
        ({"exit_code": 9}, "exit_code 0"),
        ({"exit_code": None}, "exit_code 0"),
        ({"status": "failed", "exit_code": 0}, "error_code"),
        ({"status": "lost"}, "lost"),
        ({"output_digest": "abc"}, "SHA-256"),
        ({"stdout": {"head": "a", "dropped_bytes": -1}}, "dropped_bytes"),
        ({"stdout": {"head": "a", "dropped_bytes": 2**64}}, "dropped_bytes"),
        ({"stdout": {"head": "a", "dropped_bytes": 2**63 - 1}}, "dropped_bytes"),
        ({"stdout": {"head": "a", "dropped_bytes": 5, "total_bytes": 7}}, "total_bytes"),
        ({"stdout": {"encoding": "base64", "head": "not base64!"}}, "base64"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else None,
)
def test_one_poison_result_is_invalid_and_its_neighbours_are_accepted(
    agent: Agent, poison: dict, word: str
) -> None:
    good, bad, fine = delivered(agent, 3)
    reply = agent.report(result(good), result(bad, **poison), result(fine))
    assert reply.status == 200
    answers = reply.json["results"]
    assert [answer["verdict"] for answer in answers] == ["accepted", "invalid", "accepted"]
    assert word in answers[1]["detail"]
    assert row(bad).status == "running"

    digest = result(bad)["output_digest"]
    again = {"stdout": {}, "stderr": {}, "output_digest": digest}
    assert agent.verdict(bad, **again) == "accepted"
    assert bytes(row(bad).output_digest).hex() == digest


def test_a_late_result_resolves_a_lost_row(agent: Agent) -> None:
    task = started_task([agent.host])
    fence = only(agent.poll())
    agent.poll()
    lose(fence)
    task.refresh_from_db()
    assert task.status == "failed"
    assert agent.verdict(fence) == "accepted"
    task.refresh_from_db()
    assert (row(fence).status, task.status, task.completed_hosts) == ("completed", "completed", 1)


def test_a_result_corrects_an_interruption_that_the_server_inferred(agent: Agent) -> None:
    (fence,) = delivered(agent)
    agent.holding.clear()
    agent.poll()
    assert row(fence).status == "interrupted"
    assert agent.verdict(fence) == "accepted"
    assert row(fence).status == "completed"


def test_a_result_does_not_correct_an_interruption_that_the_agent_reported(agent: Agent) -> None:
    (fence,) = delivered(agent)
    agent.verdict(fence, status="interrupted", exit_code=None)
    assert agent.verdict(fence) == "conflict"
    assert row(fence).status == "interrupted"


def test_bytes_that_are_no_text_arrive_as_they_are(agent: Agent) -> None:
    (fence,) = delivered(agent)
    raw = bytes(range(256))
    stdout = {
        "encoding": "base64",
        "head": base64.b64encode(raw).decode(),
        "tail": base64.b64encode(raw[::-1]).decode(),
        "dropped_bytes": 77,
        "total_bytes": 589,
    }
    stderr = {"encoding": "utf-8", "head": "grün\0", "dropped_bytes": 0}
    assert agent.verdict(fence, stdout=stdout, stderr=stderr) == "accepted"
    output = CommandOutput.objects.get(command_host=row(fence))
    assert bytes(output.stdout_head) == raw
    assert bytes(output.stdout_tail) == raw[::-1]
    assert output.stdout_dropped_bytes == 77
    assert bytes(output.stderr_head) == "grün\0".encode()


def test_output_beyond_the_cap_is_cut_and_counted(agent: Agent) -> None:
    (fence,) = delivered(agent)
    sent = "a" * 200_000 + "b" * 200_000
    assert agent.verdict(fence, stdout={"head": sent, "total_bytes": 400_000}) == "accepted"
    output = CommandOutput.objects.get(command_host=row(fence))
    head, tail = bytes(output.stdout_head), bytes(output.stdout_tail)
    assert (head, tail) == (b"a" * 131_072, b"b" * 131_072)
    assert len(head) + output.stdout_dropped_bytes + len(tail) == 400_000


def test_all_results_of_one_request_get_verdicts_in_their_order(agent: Agent) -> None:
    first, second, third = delivered(agent, 3)
    agent.verdict(second)
    found = verdicts(
        agent,
        result(third),
        result(second),
        result("00000000-0000-4000-8000-000000000001"),
        result(first, status="failed", exit_code=9),
    )
    assert found == ["accepted", "duplicate", "unknown", "accepted"]


def test_more_than_a_hundred_results_are_refused(agent: Agent) -> None:
    many = [result(f"00000000-0000-4000-8000-{at:012}") for at in range(101)]
    reply = agent.report(*many)
    assert (reply.status, list(reply.json["errors"])) == (400, ["results"])
    assert len(agent.report(*many[:100]).json["results"]) == 100


def test_an_empty_report_is_answered(agent: Agent) -> None:
    reply = send(agent.port, "/agent/v1/report", {}, headers=agent.headers)
    assert (reply.status, reply.json) == (200, {"results": [], "output": []})


def test_a_disabled_host_may_not_report_and_keeps_its_result(agent: Agent) -> None:
    (fence,) = delivered(agent)
    disable_host(actor=SYSTEM, host_id=agent.host.host_id)
    reply = agent.report(result(fence))
    assert (reply.status, reply.code) == (403, "host_disabled")
    assert int(reply.headers["retry-after"]) > 0
    assert row(fence).status == "running"
    Host.objects.filter(pk=agent.host.pk).update(status="active")
    assert agent.report(result(fence)).status in {200, 403}
