"""Servers and processes that go away under load and come back: slower, never different."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import psutil
import psycopg
import pytest

from tests.e2e.client import ENDED, Client, Task, step, wait_until
from tests.e2e.stack import ADMIN, NODES, PASSWORD, Stack

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]

# As in production: nothing but the query for pending work finds it when no wake comes.
PRODUCTION = {
    "DM_PENDING_QUERY_SECONDS": "5",
    "DM_POLL_HOLD_SECONDS": "25",
    "DM_OFFLINE_AFTER_SECONDS": "60",
    "DM_INSTANCE_SETTLE_SECONDS": "35",
    # With these the sweeps' restraint after a stall would be felt in the tests that follow.
    "DM_SWEEP_STALL_SECONDS": "60",
}
FOUND_SECONDS = 6.0
FROZEN_SECONDS = 10.0


def marking_steps(marks: Path, count: int, seconds: float) -> list[dict[str, Any]]:
    """Steps that say that they ran; each refuses to be the second of its kind on a host."""
    return [
        step(
            f"set -eu; echo $DM_FENCE >> {marks}/$DM_HOSTNAME.{at}; sleep {seconds}; "
            f"echo step {at} of $DM_HOSTNAME"
        )
        for at in range(1, count + 1)
    ]


def runs(marks: Path) -> dict[str, int]:
    """Return how often each step ran on each host."""
    return {path.name: len(path.read_text().split()) for path in sorted(marks.iterdir())}


def assert_all_ran_once(task: Task, marks: Path, *, steps: int, nodes: tuple[str, ...]) -> None:
    expected = {f"{node}.{at}": 1 for node in nodes for at in range(1, steps + 1)}
    assert runs(marks) == expected
    assert set(task.states().values()) == {"completed"}
    for node in nodes:
        for at in range(1, steps + 1):
            assert task.output(node, at)["stdout"]["head"] == f"step {at} of {node}\n"


@pytest.mark.parametrize("how", ["kill", "restart"])
def test_a_gateway_that_goes_away_while_commands_run(
    stack: Stack, api: Client, marks: Path, how: str
) -> None:
    task = api.start_task("Survives", marking_steps(marks, 2, 1.5), target=stack.target(*NODES))
    first_steps = {f"{node}.1" for node in NODES}
    wait_until(lambda: first_steps <= runs(marks).keys(), 10.0, "the first step to run on all")
    (stack.kill_process if how == "kill" else stack.stop_process)("gateway")
    # Without a gateway people work on, and what is running ends.
    later = api.start_task("Started meanwhile", [step("echo new")], target=stack.target(*NODES))
    later.wait_row("node-1", "pending")
    stack.start_process("gateway")
    assert task.wait(30.0) == "completed"
    assert_all_ran_once(task, marks, steps=2, nodes=NODES)
    assert later.wait() == "completed"


@pytest.fixture
def person(stack: Stack) -> Iterator[httpx.Client]:
    """A person with a browser, but for the browser."""
    with httpx.Client(base_url=stack.addresses.web_url, timeout=10.0, trust_env=False) as client:
        yield client


def sign_in(person: httpx.Client) -> None:
    body = {"username": ADMIN, "password": PASSWORD}
    answer = person.post("/api/v1/auth/login", json=body)
    assert answer.status_code == 200, answer.text


def statuses(person: httpx.Client, *paths: str) -> dict[str, int]:
    return {path: person.get(path).status_code for path in paths}


PAGES = ("/", "/tasks", "/tasks/new", "/hosts", "/admin/", "/api/docs")


def seconds_to_run(api: Client, stack: Stack, mark: Path) -> float:
    """Return how long it takes from the start of a task until its command runs on the host."""
    body = f"date +%s.%N > {mark}.new; mv {mark}.new {mark}"
    task = api.create_task("How long", [step(body)], target=stack.target("node-1"))
    begun = time.time()
    task.start()
    wait_until(mark.exists, 3 * FOUND_SECONDS, lambda: f"the run; {task.states()}")
    assert task.wait() == "completed"
    return float(mark.read_text()) - begun


def test_without_redis_everything_works_and_coming_back_needs_nobody(
    stack: Stack, api: Client, person: httpx.Client, marks: Path
) -> None:
    stack.reconfigure(**PRODUCTION)
    stack.wait_online(*NODES)
    running = api.start_task(
        "Runs through it", marking_steps(marks, 2, 2.0), target=stack.target("node-2")
    )
    running.wait_row("node-2", "running")
    stack.servers.redis.stop()

    sign_in(person)
    assert statuses(person, *PAGES) == dict.fromkeys(PAGES, 200)
    ready = person.get("/readyz")
    assert (ready.status_code, ready.json()["status"]) == (200, "degraded")
    assert api.get("tasks", size=1)["count"] >= 1
    for number in range(2):
        waited = seconds_to_run(api, stack, marks.parent / f"without-{number}")
        assert waited <= FOUND_SECONDS
    assert running.wait(30.0) == "completed"
    assert_all_ran_once(running, marks, steps=2, nodes=("node-2",))
    victim = api.start_task("Canceled", [step("exec sleep 600")], target=stack.target("node-3"))
    victim.wait_row("node-3", "running")
    victim.cancel()
    victim.wait_row("node-3", "canceled", seconds=FOUND_SECONDS + 5.0)

    worker_said = len(stack.log("worker"))
    stack.servers.redis.start()
    assert seconds_to_run(api, stack, marks.parent / "just-back") <= FOUND_SECONDS
    stack.wait_ready()
    # Wakes are heard again, and it is the worker that fans out again.
    wait_until(
        lambda: "] received" in stack.log("worker")[worker_said:], 10.0, "the worker to work"
    )
    for number in range(3):
        assert seconds_to_run(api, stack, marks.parent / f"with-{number}") < 2.5
    assert "tasks_app.fan_out_task" in stack.log("worker")[worker_said:]
    assert statuses(person, *PAGES) == dict.fromkeys(PAGES, 200)


def assert_all_say_unavailable(stack: Stack, api: Client, person: httpx.Client, path: str) -> None:
    """API, pages and gateway say that the database is away, and when to ask again."""
    answers = [
        api.ask("GET", path),
        api.ask("GET", "tasks", params={"name": "not in any cache"}),
        api.ask(
            "POST", "tasks", json={"name": "x", "commands": [step("true")], "target": {"all": True}}
        ),
    ]
    for answer in answers:
        assert answer.status_code == 503, answer.text
        assert int(answer.headers["Retry-After"]) > 0
        assert answer.headers["Content-Type"] == "application/problem+json"
        assert answer.json()["code"] == "unavailable"
    expected = {"/healthz": 200, "/readyz": 503, "/metrics": 200} | dict.fromkeys(PAGES[:2], 503)
    assert statuses(person, *expected) == expected
    assert int(person.get("/tasks").headers["Retry-After"]) > 0
    poll = httpx.post(
        f"{stack.addresses.gateway_url}/agent/v1/heartbeat",
        headers={"Authorization": f"Bearer {stack.credential('node-1')}"},
        json={},
        timeout=10.0,
        trust_env=False,
    )
    assert (poll.status_code, poll.json()["code"]) == (503, "unavailable")
    assert int(poll.headers["Retry-After"]) > 0


def test_a_frozen_redis_holds_nobody_up_for_long(
    stack: Stack, api: Client, person: httpx.Client, marks: Path
) -> None:
    frozen = psutil.Process(stack.servers.redis.pid)
    frozen.suspend()
    try:
        begun = time.monotonic()
        sign_in(person)
        assert statuses(person, *PAGES) == dict.fromkeys(PAGES, 200)
        assert api.get("tasks", size=1)["page"] == 1
        assert time.monotonic() - begun < FROZEN_SECONDS
        # The broker is given up after its time-out of 5 s; then the web process fans out itself.
        assert seconds_to_run(api, stack, marks / "frozen") < FOUND_SECONDS + 5.0
    finally:
        frozen.resume()
    stack.wait_ready()
    assert seconds_to_run(api, stack, marks / "thawed") <= FOUND_SECONDS


def ticked_at(stack: Stack) -> datetime:
    """Return when the sweep of the deadlines last ran."""
    with psycopg.connect(stack.servers.database_url) as database:
        (found,) = database.execute(
            "SELECT ticked_at FROM sweep_ticks WHERE name = 'deadlines'"
        ).fetchone() or (None,)
    assert isinstance(found, datetime)
    return found


def ticked_since(stack: Stack, at: datetime) -> bool:
    """Tell whether it ran after this moment."""
    return ticked_at(stack) > at


def test_a_crash_of_the_database_loses_nothing_that_was_accepted(
    stack: Stack, api: Client, person: httpx.Client, marks: Path
) -> None:
    sign_in(person)
    task = api.start_task(
        "Through a crash", marking_steps(marks, 5, 0.4), target=stack.target(*NODES)
    )
    ids = {name: stack.child(name).process.pid for name in ("web", "gateway", "worker", "beat")}
    wait_until(lambda: len(runs(marks)) >= 2 * len(NODES), 15.0, "two steps a host")
    before = {key: row for key, row in task.rows().items() if row["finished_at"]}
    assert before
    stack.servers.postgres.stop_immediate()
    assert_all_say_unavailable(stack, api, person, task.path)

    stack.servers.postgres.start()
    assert task.wait(40.0) == "completed"
    after = task.rows()
    assert {key: after[key] for key in before} == before, "what was accepted is as it was"
    assert_all_ran_once(task, marks, steps=5, nodes=NODES)
    assert {name: stack.child(name).exit_status for name in ids} == dict.fromkeys(ids)
    # Workers and sweeps go on by themselves, too.
    for _number in range(4):
        at = ticked_at(stack)
        wait_until(partial(ticked_since, stack, at), 30.0, "a sweep that goes on")
    last = api.start_task("Afterwards", [step("true")], target=stack.target(*NODES))
    assert last.wait() == "completed"


def test_sweep_loop_does_the_work_of_celery(stack: Stack, api: Client, marks: Path) -> None:
    stack.stop_process("beat")
    stack.stop_process("worker")
    stack.start_sweeper()

    # Fan-out and steps: the message stays in the broker, the sweep finds the task.
    task = api.start_task("Fan-out", marking_steps(marks, 2, 0.1), target=stack.target(*NODES))
    assert task.wait() == "completed"
    assert_all_ran_once(task, marks, steps=2, nodes=NODES)

    # Out of delivery time, for a host whose agent is not there; and the host is shown as offline.
    lost = api.start_task(
        "Lost and found",
        [step("exec sleep 600", timeout_seconds=1), step("echo never")],
        target=stack.target("node-3"),
    )
    lost.wait_row("node-3", "running")
    stack.kill_process("node-3")
    late = api.start_task(
        "Nobody takes it", [step("echo never")], target=stack.target("node-3"), delivery_seconds=1
    )
    row = late.wait_row("node-3", "dispatch_failed", seconds=15.0)
    assert row["claimed_at"] is None
    assert late.wait() == "failed"
    host = f"hosts/{stack.host_id('node-3')}"
    wait_until(lambda: api.get(host)["heartbeat"]["offline_at"], 20.0, "the host to be offline")
    assert api.get(host)["online"] is False

    # Started, then silence until past its deadline: lost. The agent's late word settles it.
    row = lost.wait_row("node-3", "lost", seconds=30.0)
    assert lost.wait() in ENDED
    assert lost.state()["lost_hosts"] == 1
    assert lost.row("node-3", 2)["status"] == "skipped"
    stack.start_process("node-3")
    lost.wait_row("node-3", "timeout")  # it still ran, and was ended by the agent's next start
    state = lost.state()
    assert (state["status"], state["lost_hosts"], state["failed_hosts"]) == ("failed", 0, 1)
    stack.wait_online("node-3")
    assert api.get(host)["heartbeat"]["offline_at"] is None
