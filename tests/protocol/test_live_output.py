"""DESIGN.md section 5: live chunks, stored in order for viewers, never in a result's way."""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any
from uuid import UUID

import pytest
import redis

from devops_manager.access.models import AuditEvent
from tasks_app import live_output
from tests.factories import started_task
from tests.gateway_process import GatewayProcess
from tests.protocol.client import Agent, only, result

pytestmark = pytest.mark.usefixtures("promises_hold")


def chunk(fence: str, offset: int, data: str, **changes: Any) -> dict[str, Any]:
    return {"fence": fence, "stream": "stdout", "offset": offset, "data": data, **changes}


def answers(agent: Agent, *chunks: dict[str, Any]) -> list[tuple[str, int]]:
    reply = agent.report(output=list(chunks))
    assert reply.status == 200, reply
    for sent, answer in zip(chunks, reply.json["output"], strict=True):
        assert (answer["fence"], answer["stream"]) == (sent["fence"], sent["stream"])
    return [(answer["verdict"], answer["offset"]) for answer in reply.json["output"]]


def running(agent: Agent) -> str:
    started_task([agent.host])
    return only(agent.poll())


def kept(fence: str, stream: str = "stdout", offset: int = 0) -> bytes:
    return live_output.read(UUID(fence), stream, offset)[0]


def test_chunks_in_order_are_accepted_and_can_be_read(agent: Agent) -> None:
    fence = running(agent)
    assert answers(agent, chunk(fence, 0, "one\n")) == [("accepted", 4)]
    assert answers(agent, chunk(fence, 4, "two\n"), chunk(fence, 8, "three\n")) == [
        ("accepted", 8),
        ("accepted", 14),
    ]
    assert live_output.read(UUID(fence), "stdout", 0) == (b"one\ntwo\nthree\n", 14)
    assert live_output.read(UUID(fence), "stdout", 8) == (b"three\n", 14)
    assert live_output.read(UUID(fence), "stdout", 14) == (b"", 14)


def test_the_streams_are_apart_and_bytes_stay_as_they_are(agent: Agent) -> None:
    fence = running(agent)
    raw = base64.b64encode(b"\xff\x00\xfe").decode()
    assert answers(
        agent,
        chunk(fence, 0, "out"),
        chunk(fence, 0, raw, stream="stderr", encoding="base64"),
    ) == [("accepted", 3), ("accepted", 3)]
    assert kept(fence) == b"out"
    assert kept(fence, "stderr") == b"\xff\x00\xfe"


def test_a_chunk_again_is_accepted_and_stored_once(agent: Agent) -> None:
    fence = running(agent)
    answers(agent, chunk(fence, 0, "one\n"))
    assert answers(agent, chunk(fence, 0, "one\n")) == [("accepted", 4)]
    assert answers(agent, chunk(fence, 0, "one\ntwo\n")) == [("accepted", 8)]
    assert answers(agent, chunk(fence, 2, "e\n")) == [("accepted", 4)]
    assert kept(fence) == b"one\ntwo\n"


def test_a_chunk_beyond_what_is_stored_is_a_gap(agent: Agent) -> None:
    fence = running(agent)
    answers(agent, chunk(fence, 0, "one\n"))
    assert answers(agent, chunk(fence, 10, "far\n")) == [("gap", 4)]
    assert kept(fence) == b"one\n"


def test_other_bytes_at_a_stored_offset_are_a_conflict(agent: Agent) -> None:
    fence = running(agent)
    answers(agent, chunk(fence, 0, "one\n"))
    assert answers(agent, chunk(fence, 0, "two\n")) == [("conflict", 4)]
    assert answers(agent, chunk(fence, 2, "x\nmore")) == [("conflict", 4)]
    assert kept(fence) == b"one\n"


def test_after_the_result_chunks_are_ignored(agent: Agent) -> None:
    fence = running(agent)
    answers(agent, chunk(fence, 0, "one\n"))
    agent.verdict(fence)
    assert answers(agent, chunk(fence, 4, "two\n")) == [("ignored", 4)]
    assert kept(fence) == b"one\n"


def test_another_hosts_chunks_are_ignored_and_audited(
    agent: Agent, make_agent: Callable[..., Agent]
) -> None:
    fence = running(agent)
    thief = make_agent()
    for _ in range(2):
        assert answers(thief, chunk(fence, 0, "forged")) == [("ignored", 0)]
    assert kept(fence) == b""
    event = AuditEvent.objects.get(action="host.foreign_fence")
    assert (event.actor, event.after["fences"]) == (f"agent:{thief.host.host_id}", [fence])


def test_a_fence_that_nobody_knows_is_ignored(agent: Agent) -> None:
    assert answers(agent, chunk("00000000-0000-4000-8000-000000000000", 0, "x")) == [("ignored", 0)]


def test_chunks_that_are_not_base64_are_ignored_and_hold_up_nobody(agent: Agent) -> None:
    fence = running(agent)
    assert answers(agent, chunk(fence, 0, "?!", encoding="base64"), chunk(fence, 0, "good")) == [
        ("ignored", 0),
        ("accepted", 4),
    ]


def test_what_the_viewers_store_does_not_take_is_ignored(agent: Agent) -> None:
    fence = running(agent)
    half = "x" * 600_000
    assert answers(agent, chunk(fence, 0, half)) == [("accepted", 600_000)]
    assert answers(agent, chunk(fence, 600_000, half)) == [("ignored", 600_000)]


def test_live_output_goes_after_an_hour(agent: Agent, redis_client: redis.Redis) -> None:
    fence = running(agent)
    answers(agent, chunk(fence, 0, "one\n"))
    assert 3500 < redis_client.ttl(f"dm:live:{fence}:stdout") <= 3600


def test_without_redis_chunks_are_ignored_and_results_accepted(
    agent: Agent, lonely_gateway: GatewayProcess
) -> None:
    agent.port = lonely_gateway.port
    fence = running(agent)
    reply = agent.report(result(fence), output=[chunk(fence, 0, "one\n")])
    assert reply.json["results"] == [{"fence": fence, "verdict": "accepted"}]
    assert [item["verdict"] for item in reply.json["output"]] == ["ignored"]


def test_reading_what_is_not_there(transactional_db: None) -> None:
    assert live_output.read(UUID(int=5), "stdout", 0) == (b"", 0)
    assert live_output.read(UUID(int=5), "stderr", 12) == (b"", 12)


def test_the_synchronous_append_does_the_same(transactional_db: None) -> None:
    fence = UUID(int=7)
    first = live_output.Chunk(fence, "stdout", 0, b"ab")
    beyond = live_output.Chunk(fence, "stdout", 9, b"z")
    assert live_output.append([first, first, beyond]) == [
        live_output.Appended("accepted", 2),
        live_output.Appended("accepted", 2),
        live_output.Appended("gap", 2),
    ]
