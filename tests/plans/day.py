"""One day of the product: every hot statement once, through the services that send it."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from django.db import connection
from django.test import Client, override_settings

from devops_manager.access.actors import SYSTEM
from hosts_app.models import Host
from tasks_app import live_output
from tasks_app.models import Command, CommandHost, CommandHostAttempt, Task
from tasks_app.records import PollVerdict
from tasks_app.services import dispatch, drafts, lifecycle, submit, sweeps
from tests.queue_world import FakeAgent, result, started_task
from tests.task_factories import Api, actor_for, make_user

BATCH = 100


@dataclass(frozen=True)
class Day:
    """Whom the day is about. The big task has every host, the small one a hundred."""

    hosts: list[Host]
    big: Task
    finished: Task


def prepare(finished: Task, *, number: int) -> Day:
    """Start a task on every host, and twenty on a hundred each: what is open on a busy day.

    Each day begins with other hosts: its agents know nothing of what those of another day hold.
    """
    hosts = list(Host.objects.filter(status="active", quarantined_at=None).order_by("id"))
    hosts = hosts[number * 30 * BATCH :] + hosts[: number * 30 * BATCH]
    big = started_task(hosts)
    for no in range(20):
        started_task(hosts[no * BATCH : (no + 1) * BATCH])
    return Day(hosts, big, finished)


def end_everything() -> None:
    """End what is open, as a night without work would."""
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE commands_hosts SET status = 'canceled', finished_at = now() "
            "WHERE status IN ('blocked', 'pending', 'claimed', 'running')"
        )
        cursor.execute(
            "UPDATE tasks SET status = 'canceled', finished_at = now() WHERE status = 'running'"
        )


def run(day: Day) -> None:
    """Let agents work, people look, sweeps sweep."""
    create_and_change(day.hosts)
    for no in range(10, 30):  # much is in flight elsewhere
        poll_all([FakeAgent(host) for host in day.hosts[no * BATCH : (no + 1) * BATCH]])
    work(day.hosts[:BATCH])
    mishaps(day.hosts[BATCH : 2 * BATCH])
    endings(day.hosts[2 * BATCH : 3 * BATCH])
    late_results()
    dispatch.hosts_with_work([host.pk for host in day.hosts])
    seen = CommandHost.objects.filter(status__in=("lost", "interrupted")).latest("finished_at")
    live_output.append([live_output.Chunk(seen.fence, "stdout", 0, b"seen")])
    for sweep in ("admission", "fan_outs", "deadlines", "offline", "counts", "seen_outputs"):
        sweeps.SWEEPS[sweep]()
    look(day)


def create_and_change(hosts: Sequence[Host]) -> None:
    """Create tasks in bulk, change one, delete one."""
    actor = actor_for(make_user(name=f"creator-{uuid.uuid4()}"))
    body: dict[str, Any] = {
        "name": "created",
        "target": {"hosts": [str(host.host_id) for host in hosts[:BATCH]]},
        "commands": [{"body": "true"}],
    }
    created = submit.create_tasks(
        actor=actor, drafts=[drafts.parse_task(body) for _ in range(BATCH)]
    )
    changes = {"commands": [{"body": "false"}]}
    submit.update_task(actor=actor, task_id=created[0].task_id, value=changes, partial=True)
    submit.delete_task(actor=actor, task_id=created[1].task_id)


def poll_all(agents: Sequence[FakeAgent], *, deliver: bool = True) -> list[list[uuid.UUID]]:
    """Look all agents up in one batch; return the fences that each got."""
    answers = dispatch.look_up([agent.next_poll() for agent in agents])
    taken = [agent.take(answers[agent.host.pk], deliver=deliver) for agent in agents]
    assert {answer.verdict for answer in taken} == {PollVerdict.OK}
    return [[command.fence for command in answer.commands] for answer in taken]


def work(hosts: Sequence[Host]) -> None:
    """A task of two steps on a hundred hosts: claimed, acknowledged, reported, advanced, closed."""
    task = started_task(list(hosts), steps=2, priority=4)
    agents = [FakeAgent(host, slots=1) for host in hosts]
    reported: list[uuid.UUID] = []
    for _step in range(2):
        fences = [fence for (fence,) in poll_all(agents)]
        # The journals had still listed what was reported of the step before.
        for agent, fence in zip(agents, reported, strict=False):
            agent.holding.pop(fence)
        poll_all(agents)
        dispatch.fence_owners(fences)
        results = [result(agent.host, fence) for agent, fence in zip(agents, fences, strict=True)]
        for expected in ("accepted", "duplicate"):
            verdicts = dispatch.report(results).verdicts
            assert {verdict.verdict.value for verdict in verdicts} == {expected}
        reported = fences
    task.refresh_from_db()
    assert (task.status, task.completed_hosts) == ("completed", BATCH)


def mishaps(hosts: Sequence[Host]) -> None:
    """Answers that get lost, a journal that is replaced, an identity that two agents share."""
    started_task(list(hosts), priority=4)
    agents = [FakeAgent(host, slots=1) for host in hosts]
    lost = poll_all(agents, deliver=False)
    assert poll_all(agents) == lost
    for agent in agents[:10]:
        agent.journal_id = uuid.uuid4()
        agent.holding.clear()
    poll_all(agents)
    assert CommandHost.objects.filter(host=hosts[0], status="interrupted").exists()
    one = agents[20]
    FakeAgent(one.host, journal_id=one.journal_id, run=one.run + 1).poll()
    one.journal_id = uuid.uuid4()
    assert one.poll().verdict is PollVerdict.QUARANTINED


def endings(hosts: Sequence[Host]) -> None:
    """A cancel of what waits and of what runs; rows whose time is over."""
    task = started_task(list(hosts), priority=4)
    poll_all([FakeAgent(host, slots=1) for host in hosts[: BATCH // 2]])
    lifecycle.cancel_task(actor=SYSTEM, task_id=task.task_id)
    late = started_task(list(hosts), priority=3)
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE commands_hosts SET deadline = now() - interval '1 second' "
            "WHERE command_id = (SELECT id FROM commands WHERE task_id = %s)",
            [late.pk],
        )
    with override_settings(DM_SWEEP_STALL_SECONDS=3600):
        assert sweeps.sweep_deadlines() == BATCH


def late_results() -> None:
    """Results of attempts that a retry has put away."""
    oldest = CommandHostAttempt.objects.order_by("id").prefetch_related("command_host__host")
    attempts = [attempt for attempt in oldest[: 2 * BATCH] if _works(attempt.command_host.host)]
    attempts = attempts[:BATCH]
    ids = [attempt.pk for attempt in attempts]
    CommandHostAttempt.objects.filter(pk__in=ids).update(result_digest=None, late_result_at=None)
    results = [result(attempt.command_host.host, attempt.fence) for attempt in attempts]
    assert {verdict.verdict.value for verdict in dispatch.report(results).verdicts} == {"accepted"}


def _works(host: Host) -> bool:
    return host.status == "active" and host.quarantined_at is None


def look(day: Day) -> None:
    """Read everything that the API shows of tasks and rows."""
    user = make_user(name=f"reader-{uuid.uuid4()}")
    api = Api(user)
    for query in (
        {},
        {"page": 3},
        {"status": "partial"},
        {"status": "running"},
        {"name": "c4ca42"},  # the first of the copies
        {"created_by": user.username},
        {"created_from": "2026-01-01T00:00:00Z", "created_to": "2036-01-01T00:00:00Z"},
    ):
        get(api, "tasks", query)
    get(api, f"hosts/{day.hosts[0].host_id}/tasks", {})
    get(api, "stats", {})
    get(api, "metrics/summary", {})
    for task in (day.finished, day.big):
        look_at(api, task)
    assert Client().get("/metrics").status_code == 200


def look_at(api: Api, task: Task) -> None:
    """Read one task in every way."""
    path = f"tasks/{task.task_id}"
    command = Command.objects.filter(task=task).values_list("command_id", flat=True)[0]
    for part in ("", "/status", "/progress", "/commands", "/hosts", "/logs"):
        get(api, path + part, {})
    get(api, f"{path}/progress", {"cursor": "1"})
    get(api, f"{path}/hosts", {"outcome": "failed", "hostname": "host-1"})
    get(api, f"{path}/logs", {"status": "failed"})
    get(api, f"{path}/output-groups", {"command": str(command)})


def get(api: Api, path: str, query: dict[str, Any]) -> None:
    """Read one page."""
    answer = api.get(path, **query)
    assert answer.status_code == 200, f"{path} {query}: {answer.content}"
