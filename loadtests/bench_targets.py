"""Our own figures, each with its target: in process, and of the swarm's scenarios."""

from __future__ import annotations

import statistics
import time
import tracemalloc
from collections.abc import Callable, Mapping, Sequence
from uuid import UUID

from devops_manager.access.actors import SYSTEM
from devops_manager.access.models import User
from devops_manager.lib.pagination import Page
from loadtests.bench_sql import wipe
from loadtests.bench_table import Floor, Goal, Target
from loadtests.swarm_records import make_task
from loadtests.swarm_scenarios import Measured
from tasks_app.models import Task
from tasks_app.selectors.encoded import task_list_json
from tasks_app.selectors.tasks import TaskFilter
from tasks_app.services import drafts, fan_out, lifecycle, submit
from tests.task_factories import actor_for

_BATCH = 500
_ROUNDS = 20
_HITS = 3_000
_MEGABYTE = 1e6

Floors = Mapping[str, Floor]


def create(host: UUID, floor: Floor) -> list[Target]:
    """Batches of 500 tasks with a command each, committed, in this process."""
    wipe()
    user, _made = User.objects.get_or_create(username="bench", defaults={"role": "admin"})
    actor = actor_for(user)
    body = {"name": "bench", "target": {"hosts": [str(host)]}, "commands": [{"body": "true"}]}
    batch = [drafts.parse_task(body) for _ in range(_BATCH)]

    def act() -> None:
        submit.create_tasks(actor=actor, drafts=batch)

    seconds, peak = _median(act, _ROUNDS), _peak_bytes(act)
    return [
        Target(
            "create in bulk, 500 tasks with a command each, in process",
            seconds / _BATCH * 1e6,
            "µs a task",
            Goal(30.6, share=1 / 1.5),
            Goal(20.4),
            floor.value,
        ),
        Target(
            "the same, memory (tracemalloc, peak)", peak / _BATCH, "B", Goal(10_728), Goal(7_510)
        ),
    ]


def list_hit(floor: Floor) -> list[Target]:
    """A page of 20 tasks from the cache, as the API sends it, in this process."""
    for _ in range(20 - Task.objects.count()):
        make_task([])

    def act() -> None:
        task_list_json(asked=Page(1, 20), narrowed=TaskFilter())

    seconds, peak = _median(act, _HITS), _peak_bytes(act)
    return [
        Target(
            "page of 20 tasks, cache hit, in process",
            seconds * 1e6,
            "µs",
            Goal(105.9),
            Goal(31.8),
            floor.value,
        ),
        Target("the same, memory (tracemalloc, peak)", peak, "B", Goal(16_890)),
    ]


def fan_out_all(hosts: Sequence[UUID], floor: Floor) -> list[Target]:
    """A started task's rows for every host, windows, locks, counts and wakes included."""
    seconds = []
    for _ in range(3):
        wipe()
        task = make_task(hosts)
        lifecycle.start_task(actor=SYSTEM, task_id=task.task_id)
        began = time.perf_counter()
        made = fan_out.fan_out_task(task.pk)
        seconds.append(time.perf_counter() - began)
        assert made == len(hosts)
        lifecycle.cancel_task(actor=SYSTEM, task_id=task.task_id)
    return [
        Target(
            f"fan-out, 1 task × {len(hosts):,} hosts",
            min(seconds) * 1e3,
            "ms",
            Goal(share=0.5),
            Goal(250, share=0.8),
            floor.value,
        )
    ]


def _median(act: Callable[[], None], rounds: int) -> float:
    for _ in range(3):
        act()
    seconds = []
    for _ in range(rounds):
        began = time.perf_counter()
        act()
        seconds.append(time.perf_counter() - began)
    return statistics.median(seconds)


def _peak_bytes(act: Callable[[], None]) -> int:
    tracemalloc.start()
    try:
        act()
        before = tracemalloc.get_traced_memory()[0]
        tracemalloc.reset_peak()
        act()
        return tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()


def of_scenario(measured: Measured, floors: Floors) -> list[Target]:
    """Return the targets that a scenario of the swarm has figures for."""
    return _SCENARIOS[measured.name](measured, floors)


def _connect(measured: Measured, _floors: Floors) -> list[Target]:
    agents = measured.figures["agents"]
    return [
        Target(f"{agents:,.0f} agents connect", measured.figures["seconds"], "s", Goal(15)),
    ]


def _one(measured: Measured, floors: Floors) -> list[Target]:
    count = measured.figures["commands"]
    return [
        Target(
            f"round trip, {count:,.0f} held agents × 1 command",
            measured.figures["last_result"],
            "s",
            Goal(3),
            Goal(1.5),
            count / _sql_rate(floors),
        ),
    ]


def _sustained(measured: Measured, floors: Floors) -> list[Target]:
    words = {"five": "5 tasks × all hosts", "hundred": "100 tasks × 100 hosts"}
    return [
        Target(
            f"sustained, {words[measured.name]}",
            measured.figures["commands_per_second"],
            "commands/s",
            Goal(8_000),
            Goal(15_000),
            _sql_rate(floors),
            more_is_better=True,
        )
    ]


def _sql_rate(floors: Floors) -> float:
    """Commands a second if there were only the SQL: a row made, claimed and reported, in turn."""
    each = floors["fan-out"].value / 1e3 / floors["fan-out"].count
    each += 1 / floors["claim"].value + 1 / floors["report"].value
    return 1 / each


def _latency(measured: Measured, _floors: Floors) -> list[Target]:
    return [
        Target(
            f"start of dispatch to start of run, P{at}",
            measured.figures[f"started_p{at}"] * 1e3,
            "ms",
            Goal(limit),
            Goal(aim),
        )
        for at, limit, aim in ((50, 50, 10), (99, 250, 50))
    ]


def _heartbeats(measured: Measured, floors: Floors) -> list[Target]:
    hosts = measured.figures["hosts"]
    return [
        Target(
            f"{hosts:,.0f} heartbeats at once, the last answer (connections opened too)",
            measured.figures["cold_last"],
            "s",
            Goal(5),
            Goal(2.5),
        ),
        Target(
            f"{hosts:,.0f} heartbeats at once, connections open",
            measured.figures["per_second"],
            "/s",
            Goal(share=0.5),
            Goal(share=0.7),
            floors["echo"].value,
            more_is_better=True,
        ),
    ]


def _cancel(measured: Measured, _floors: Floors) -> list[Target]:
    hosts = measured.figures["hosts"]
    name = f"cancel of {hosts:,.0f} running commands, the last confirmed"
    return [Target(name, measured.figures["last"], "s", Goal(3))]


def _reconnect(measured: Measured, _floors: Floors) -> list[Target]:
    name = "all agents back after a kill of the gateway"
    return [Target(name, measured.figures["last"], "s", Goal(20))]


def memory(done: Sequence[Measured]) -> Target:
    """Return the most that a gateway held after any of the scenarios."""
    value, scenario = max(
        (resident, measured.name)
        for measured in done
        for process, (_cpu, resident) in measured.usage.items()
        if process.startswith("gateway")
    )
    name = f"the gateway's memory, the most of all scenarios (after “{scenario}”)"
    return Target(name, value / _MEGABYTE, "MB", Goal(300), Goal(150))


_SCENARIOS: dict[str, Callable[[Measured, Floors], list[Target]]] = {
    "connect": _connect,
    "one": _one,
    "five": _sustained,
    "hundred": _sustained,
    "latency": _latency,
    "heartbeats": _heartbeats,
    "cancel": _cancel,
    "reconnect": _reconnect,
}
