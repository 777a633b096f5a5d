"""Nothing that is sent to a gateway, and nothing that is printed, takes a second or ends a process.

``DM_FUZZ_SECONDS`` says for how long (20 s; ``make fuzz MINUTES=10``). Examples are hypothesis's; a
failing one is made smaller, and told.
"""

from __future__ import annotations

import base64
import json
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from django.test import Client
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from agents_app import protocol
from tasks_app.models import CommandHost, Task
from tests.factories import make_enrolled_host, started_task
from tests.faults.test_hostile_output import CAP, Slowest
from tests.gateway_process import GatewayProcess
from tests.pages_world import visitor
from tests.protocol.client import Agent, Reply, only, result, send
from tests.unit.test_linear_time import UNITS

SECONDS = float(os.environ.get("DM_FUZZ_SECONDS", "20"))
LIMIT_SECONDS = 1.0
ENDPOINTS = {
    "enroll": protocol.MAX_SMALL_BODY_BYTES,
    "heartbeat": protocol.MAX_SMALL_BODY_BYTES,
    "poll": protocol.MAX_POLL_BYTES,
    "report": protocol.MAX_REPORT_BYTES,
}
SIZES = (1, 50, 4096, 65_536, 300_000, CAP)


@st.composite
def texts(draw: st.DrawFn, most: int = CAP) -> str:
    """A few hostile pieces, repeated to one of several sizes."""
    pieces = draw(
        st.lists(
            st.tuples(
                st.one_of(st.sampled_from(UNITS), st.text(max_size=8)),
                st.sampled_from((1, 3, 1000)),
            ),
            min_size=1,
            max_size=4,
        )
    )
    unit = "".join(piece * times for piece, times in pieces) or " "
    size = min(draw(st.sampled_from(SIZES)), most)
    text = unit * max(1, size // len(unit.encode("utf-8", "replace")))
    return text.encode("utf-8", "replace").decode()[:size]


json_values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), texts(4096)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=5), st.dictionaries(texts(50), inner, max_size=5)
    ),
    max_leaves=20,
)
streams = st.fixed_dictionaries(
    {
        "text": texts(),
        "encoding": st.sampled_from(("utf-8", "base64")),
        "tail": texts(),
        "dropped": st.sampled_from((0, 7)),
    }
)


@dataclass
class World:
    """One gateway, one agent that says what it likes, one reader of pages and API."""

    gateway: GatewayProcess
    agent: Agent
    reader: Client
    until: float

    def ask(self, endpoint: str, body: object) -> Reply:
        began = time.monotonic()
        reply = send(self.gateway.port, f"/agent/v1/{endpoint}", body, headers=self.agent.headers)
        took = time.monotonic() - began
        assert took < LIMIT_SECONDS, f"{endpoint} took {took:.2f} s"
        assert reply.status != 500, reply.body
        return reply

    def run(self) -> tuple[Task, str]:
        """Start a command and take it, as its agent; return the task and the fence."""
        task = started_task([self.agent.host], commands=[{"body": "true"}])
        return task, only(self.agent.poll())

    def read(self, task: Task) -> None:
        row = CommandHost.objects.select_related("host").get(task=task)
        address = f"/tasks/{task.task_id}"
        for path in (
            f"{address}/output",
            f"{address}/hosts/{row.host.host_id}",
            f"/api/v1{address}/logs",
        ):
            began = time.thread_time()
            assert self.reader.get(path).status_code == 200, path
            took = time.thread_time() - began
            assert took < LIMIT_SECONDS, f"{path} took {took:.2f} s"


def as_stream(drawn: dict[str, Any]) -> dict[str, Any]:
    parts = [drawn["text"], drawn["tail"] if drawn["dropped"] else ""]
    if drawn["encoding"] == "base64":
        parts = [base64.b64encode(part.encode()).decode() for part in parts]
    return {
        "encoding": drawn["encoding"],
        "head": parts[0],
        "tail": parts[1],
        "dropped_bytes": drawn["dropped"],
    }


def fuzz_body(world: World, endpoint: str, opening: str, text: str) -> None:
    """Bytes of any kind to any address."""
    world.ask(endpoint, (opening + text).encode()[: ENDPOINTS[endpoint]])


def fuzz_poll(world: World, name: str, value: Any) -> None:
    """A poll with an odd value in one of its fields."""
    world.agent.seq += 1
    body = world.agent.message(**{"wait_seconds": 0, name: value})
    world.ask("poll", json.dumps(body).encode()[: protocol.MAX_POLL_BYTES])


def fuzz_result(
    world: World, out: dict[str, Any], err: dict[str, Any], code: str, said: str, escaped: bool
) -> None:
    """A result of a command that runs, with anything printed; then everybody who reads it."""
    task, fence = world.run()
    item = result(
        fence,
        stdout=as_stream(out),
        stderr=as_stream(err),
        error_code=code,
        error_message=said,
        output_digest=None,
    )
    body = json.dumps({"results": [item]}, ensure_ascii=escaped).encode()
    if len(body) > protocol.MAX_REPORT_BYTES:
        body = json.dumps({"results": [result(fence)]}).encode()
    answer = world.ask("report", body)
    assert answer.status == 200, answer.body
    if answer.json["results"][0]["verdict"] == "invalid":
        assert world.ask("report", {"results": [result(fence)]}).status == 200
    world.agent.holding.pop(fence, None)
    world.read(task)


def fuzz_chunk(world: World, text: str, stream: str) -> None:
    """Live output of a command that runs, read while it runs."""
    task, fence = world.run()
    chunks = [
        {"fence": fence, "stream": "stdout", "offset": 0, "data": text},
        {"fence": fence, "stream": stream, "offset": 0, "data": ""},
    ]
    world.ask("report", {"output": chunks[:1]})
    world.ask("report", {"output": chunks})
    world.read(task)
    assert world.ask("report", {"results": [result(fence)]}).status == 200
    world.agent.holding.pop(fence, None)


examples = st.one_of(
    st.tuples(
        st.just(fuzz_body),
        st.sampled_from(sorted(ENDPOINTS)),
        st.sampled_from(("", "{", '{"x":[', '{"results":[', '{"holding":[')),
        texts(protocol.MAX_REPORT_BYTES),
    ),
    st.tuples(
        st.just(fuzz_poll),
        st.sampled_from(("load", "host", "agent_version", "boot_id", "slots", "time", "odd")),
        st.one_of(json_values, st.fixed_dictionaries({"facts": json_values})),
    ),
    st.tuples(st.just(fuzz_result), streams, streams, texts(64), texts(2000), st.booleans()),
    st.tuples(st.just(fuzz_chunk), texts(300_000), texts(20)),
)


class _OverError(Exception):
    """The time is over."""


@pytest.mark.timeout(SECONDS + 240)
@pytest.mark.output_cap(CAP)
# The last example, during which the time is over, is told like a failing one; some are megabytes.
@pytest.mark.filterwarnings("ignore::hypothesis.errors.HypothesisWarning")
def test_nothing_takes_a_second_or_ends_a_gateway(
    start_gateway: Callable[..., GatewayProcess],
) -> None:
    gateway = start_gateway(DM_OUTPUT_CAP_BYTES=str(CAP))
    worker = gateway.worker_pid()
    agent = Agent.of(gateway.port, make_enrolled_host("fuzz-1"))
    world = World(gateway, agent, visitor(), time.monotonic() + SECONDS)
    agent.poll()
    asked = 0

    @settings(
        max_examples=1_000_000,
        deadline=None,
        database=None,
        phases=(Phase.generate,),
        suppress_health_check=list(HealthCheck),
    )
    @given(example=examples)
    def fuzz(example: tuple[Any, ...]) -> None:
        nonlocal asked
        if time.monotonic() > world.until:
            raise _OverError
        kind, *arguments = example
        kind(world, *arguments)
        asked += 1

    slow = Slowest(f"{gateway.url}/healthz")
    with slow.watching(), pytest.raises(_OverError):
        fuzz()
    print(f"{asked} examples in {SECONDS:g} s, slowest /healthz {slow.seconds * 1000:.0f} ms")
    assert asked > 0
    assert slow.seconds < LIMIT_SECONDS
    assert gateway.worker_pid() == worker, "the gateway was restarted"
    assert agent.poll().status == 200
