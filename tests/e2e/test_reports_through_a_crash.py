"""Fault 10: PostgreSQL crashes while results come in; what was answered 200 has survived."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.e2e.client import Client, Task, step, wait_until
from tests.e2e.stack import NODES, Stack
from tests.protocol.client import Agent, Reply, result, send

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]

HOSTS, TASKS, STEPS = 10, 4, 8
BEFORE_THE_CRASH = 60
REFUSED_REPORTS = 10
RETRY_SECONDS = 0.05
FINAL = {"accepted", "duplicate"}


@dataclass
class Reporter:
    """An agent that reports whatever it gets until nothing is left, and remembers the answers."""

    agent: Agent
    ended: threading.Event
    sent: dict[str, dict[str, Any]] = field(default_factory=dict)
    accepted: list[str] = field(default_factory=list)
    refused: list[tuple[str, Reply]] = field(default_factory=list)

    def run(self) -> None:
        while not self.ended.is_set():
            self.agent.seq += 1
            poll = self.agent.repeat(wait_seconds=0.2)
            if poll.status != 200:
                self._refused("poll", poll)
                continue
            for command in poll.json["commands"]:
                self.agent.holding[command["fence"]] = "running"
            for fence in list(self.agent.holding):
                self._report(fence)

    def _report(self, fence: str) -> None:
        record = self.sent.setdefault(fence, result(fence))
        while (reply := self.agent.report(record)).status != 200:
            self._refused("report", reply)
        (answer,) = reply.json["results"]
        assert answer["verdict"] in FINAL, answer
        self.accepted.append(fence)
        del self.agent.holding[fence]

    def _refused(self, what: str, reply: Reply) -> None:
        self.refused.append((what, reply))
        time.sleep(RETRY_SECONDS)  # as an agent would, only sooner


@pytest.fixture
def reporters(stack: Stack, api: Client) -> Iterator[list[Reporter]]:
    """Hand-written agents of new hosts; the hosts are disabled in the end."""
    token, ended = stack.enrollment_token(auto_approve=True), threading.Event()
    port = stack.addresses.gateway_port
    made, hosts = [], []
    for no in range(HOSTS):
        about = {"hostname": f"crash-{no}", "os": "linux", "arch": "x", "machine_id": f"crash-{no}"}
        answer = send(port, "/agent/v1/enroll", {"token": token, **about}).json
        hosts.append(answer["host_id"])
        made.append(Reporter(Agent(port, answer["credential"], answer["host_id"]), ended))
    yield made
    ended.set()
    for host_id in hosts:
        api.post(f"hosts/{host_id}/disable")


def count_refused(reporters: list[Reporter]) -> int:
    return sum(what == "report" for one in reporters for what, _ in one.refused)


def test_every_result_that_was_accepted_survives_a_crash(
    stack: Stack, api: Client, reporters: list[Reporter]
) -> None:
    target = {"hosts": [one.agent.host for one in reporters]}
    tasks: list[Task] = [
        api.start_task(f"Crash {no}", [step("true")] * STEPS, target=target) for no in range(TASKS)
    ]
    with ThreadPoolExecutor(HOSTS) as threads:
        running = [threads.submit(one.run) for one in reporters]
        try:
            wait_until(
                lambda: sum(len(one.accepted) for one in reporters) >= BEFORE_THE_CRASH,
                20.0,
                "results to be accepted",
            )
            stack.servers.postgres.stop_immediate()
            survivors = [(one, list(one.accepted)) for one in reporters]
            wait_until(lambda: count_refused(reporters) >= REFUSED_REPORTS, 20.0, "refused reports")
            stack.servers.postgres.start()
            # They are there, as they were accepted, before anything else can have sent them.
            for one, fences in survivors:
                for fence in fences:
                    assert verdict_of_again(one, fence) == "duplicate"
            # No connection that the crash cut is given to a request.
            pages = [api.ask("GET", "hosts", params={"size": 1}) for _ in range(20)]
            assert {page.status_code for page in pages} == {200}
            assert [task.wait(40.0) for task in tasks] == ["completed"] * TASKS
            # Real agents come back by themselves, each when its own wait is over.
            after = api.start_task("After it", [step("true")], target=stack.target(*NODES))
            assert after.wait(20.0) == "completed"
        finally:
            reporters[0].ended.set()
        for future in running:
            future.result()
    for one in reporters:
        assert len(set(one.accepted)) == len(one.accepted) == TASKS * STEPS
        for _what, reply in one.refused:
            assert (reply.status, reply.code) == (503, "unavailable")
            assert 1 <= int(reply.headers["retry-after"]) <= 5
    refused = count_refused(reporters)
    print(f"{sum(len(fences) for _, fences in survivors)} accepted before, {refused} refused")


def verdict_of_again(reporter: Reporter, fence: str) -> str:
    """Send a result again until the server answers, and return its verdict."""
    reply = wait_until(
        lambda: (seen := reporter.agent.report(reporter.sent[fence])).status == 200 and seen, 20.0
    )
    return str(reply.json["results"][0]["verdict"])
