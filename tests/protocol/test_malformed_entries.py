"""One malformed entry of a report costs only itself; its neighbours are taken."""

from __future__ import annotations

from typing import Any

import pytest

from tasks_app.models import CommandHost
from tests.factories import started_task
from tests.protocol.client import Agent, fences, only, result, send

pytestmark = pytest.mark.usefixtures("promises_hold")
NOBODYS = "00000000-0000-4000-8000-000000000001"


def delivered(agent: Agent, count: int) -> list[str]:
    for _ in range(count):
        started_task([agent.host])
    found = fences(agent.poll())
    agent.poll()
    return found


def status_of(fence: str) -> str:
    return str(CommandHost.objects.get(fence=fence).status)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"exit_code": "1"}, "exit_code"),
        ({"exit_code": 1.5}, "exit_code"),
        ({"exit_code": [1]}, "exit_code"),
        ({"exit_code": 10**30}, "exit_code"),
        ({"status": 7}, "status"),
        ({"status": None}, "status"),
        ({"status": "exploded"}, "status"),
        ({"error_message": {"a": 1}}, "error_message"),
        ({"stdout": "text"}, "stdout"),
        ({"stdout": {"encoding": "gzip", "head": ""}}, "stdout.encoding"),
        ({"stdout": {"head": 1}}, "stdout.head"),
        ({"execution_time_ms": "12"}, "execution_time_ms"),
        ({"output_digest": 5}, "output_digest"),
        ({"started_at": "now"}, "started_at"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_one_bad_result_costs_only_itself(
    agent: Agent, changes: dict[str, Any], named: str
) -> None:
    first, second, third = delivered(agent, 3)
    reply = agent.report(result(first), result(second, **changes), result(third))
    assert reply.status == 200, reply
    told = reply.json["results"]
    assert [entry["fence"] for entry in told] == [first, second, third]
    assert [entry["verdict"] for entry in told] == ["accepted", "invalid", "accepted"]
    assert named in told[1]["detail"]
    assert [status_of(fence) for fence in (first, third)] == ["completed", "completed"]
    assert status_of(second) == "running"


def test_a_result_without_its_status_is_named(agent: Agent) -> None:
    (fence,) = delivered(agent, 1)
    (told,) = agent.report({"fence": fence}).json["results"]
    assert (told["fence"], told["verdict"]) == (fence, "invalid")
    assert "status" in told["detail"]


@pytest.mark.parametrize(
    "bad",
    [
        {"status": "completed", "exit_code": 0},
        {"fence": "not a uuid", "status": "completed"},
        {"fence": 12, "status": "completed"},
        {"fence": None},
        [],
        "text",
        None,
    ],
    ids=repr,
)
def test_a_result_without_a_fence_is_told_by_its_place(agent: Agent, bad: Any) -> None:
    (fence,) = delivered(agent, 1)
    reply = agent.report(bad, result(fence))
    assert reply.status == 200
    first, second = reply.json["results"]
    assert (first["fence"], first["index"], first["verdict"]) == (None, 0, "invalid")
    assert first["detail"]
    assert second == {"fence": fence, "verdict": "accepted"}


def test_of_one_fence_twice_the_first_counts(agent: Agent) -> None:
    first, second = delivered(agent, 2)
    reply = agent.report(result(first), result(first, status="failed", exit_code=9), result(second))
    assert reply.status == 200
    told = reply.json["results"]
    assert [entry["verdict"] for entry in told] == ["accepted", "invalid", "accepted"]
    assert (told[1]["index"], told[1]["fence"]) == (1, first)
    assert (status_of(first), status_of(second)) == ("completed", "completed")


def test_bad_chunks_cost_only_themselves(agent: Agent) -> None:
    started_task([agent.host])
    fence = only(agent.poll())
    reply = agent.report(
        result(NOBODYS, exit_code="x"),
        output=[
            {"fence": fence, "stream": "stdin", "offset": 0, "data": "x"},
            {"fence": fence, "stream": "stdout", "offset": 0, "data": "one\n"},
            {"fence": fence, "stream": "stdout", "offset": -1, "data": "x"},
            {"stream": "stdout", "offset": 0, "data": "x"},
            7,
        ],
    )
    assert reply.status == 200
    assert reply.json["results"][0]["verdict"] == "invalid"
    told = reply.json["output"]
    assert [entry["verdict"] for entry in told] == ["invalid", "accepted"] + ["invalid"] * 3
    assert [entry.get("index") for entry in told] == [0, None, 2, 3, 4]
    assert (told[0]["fence"], told[0]["stream"]) == (fence, None)
    assert (told[2]["fence"], told[2]["stream"]) == (fence, "stdout")
    assert "offset" in told[2]["detail"]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (b'{"results": 5}', "results"),
        (b'{"output": {}}', "output"),
        (b'{"results": [{"fence": "x", "status": NaN}]}', "body"),
        (b'{"results": [{"fence": "x", "status": 1, "error_message": "\xff\xfe"}]}', "body"),
        (b'{"results": [{"fence": "x", "exit_code": "1", "exit_code": 1}]}', "exit_code"),
    ],
)
def test_what_has_no_entries_to_read_is_refused_as_a_whole(
    agent: Agent, body: bytes, field: str
) -> None:
    reply = send(agent.port, "/agent/v1/report", body, headers=agent.headers)
    assert (reply.status, list(reply.json["errors"])) == (400, [field])


def test_many_bad_results_are_read_in_time(agent: Agent) -> None:
    many = [result(NOBODYS[:-3] + f"{at:03}", exit_code="x" * 50_000) for at in range(100)]
    reply = agent.report(*many)
    assert {entry["verdict"] for entry in reply.json["results"]} == {"invalid"}
    assert all(len(entry["detail"]) <= 300 for entry in reply.json["results"])
