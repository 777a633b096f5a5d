"""Who wins when two meet: barriers bring them together, the invariants judge."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, TypeVar

import psycopg
import pytest
from django.db import connection
from django.db.models import Count, Q
from django.test import override_settings

from devops_manager.access.actors import SYSTEM
from devops_manager.lib.errors import LimitReached
from hosts_app.models import Host
from tasks_app.models import CommandHost, Task
from tasks_app.records import PollVerdict
from tasks_app.services import admission, dispatch, fan_out, lifecycle, sweeps
from tasks_app.states import Priority
from tests.gateway_process import database_url
from tests.held_commits import held_commits
from tests.protocol.client import eventually
from tests.queue_world import FakeAgent, make_hosts, make_task, only, result, started_task, states
from tests.together import together

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tasks_app.records import Result

pytestmark = pytest.mark.django_db(transaction=True)

T = TypeVar("T")
IN_FLIGHT = Q(rows__status__in=("claimed", "running"))


def test_two_gateways_never_put_a_host_over_its_limit() -> None:
    hosts = make_hosts(50, max_concurrency=2)
    for _ in range(6):
        started_task(hosts)
    agents = [FakeAgent(host) for host in hosts]
    for _ in range(8):
        # The same hosts at the same moment from two gateways, 50 polls each.
        older = [agent.next_poll() for agent in agents]
        newer = [agent.next_poll() for agent in agents]
        answers = together([partial(dispatch.look_up, polls) for polls in (older, newer)])
        over = Host.objects.annotate(n=Count("rows", filter=IN_FLIGHT)).filter(n__gt=2)
        assert not over.exists()
        assert all(
            PollVerdict.OK in verdicts or PollVerdict.SKIPPED in verdicts
            for verdicts in zip(
                *({a.verdict for a in one.values()} for one in answers), strict=False
            )
        )
        for agent, host in zip(agents, hosts, strict=True):
            for answer in answers:
                agent.take(answer[host.pk])
        done = [result(agent.host, fence) for agent in agents for fence in list(agent.holding)[:1]]
        dispatch.report(done)
        for agent in agents:
            for fence in list(agent.holding)[:1]:
                del agent.holding[fence]


def test_fifty_polls_of_one_host_claim_no_more_than_its_limit() -> None:
    (host,) = make_hosts(1, max_concurrency=5)
    for _ in range(20):
        started_task([host])
    agent = FakeAgent(host)
    polls = [agent.next_poll() for _ in range(16)]
    for poll in (polls[:16], polls[::-1]):
        together([lambda p=p: dispatch.look_up([p]) for p in poll])
    assert CommandHost.objects.filter(status__in=("claimed", "running")).count() <= 5


@override_settings(DM_MAX_CONCURRENT_TASKS=5, DM_QUEUE_CAPACITY=6)
def test_concurrent_starts_admit_no_more_than_may_run_and_queue_no_more_than_may_wait() -> None:
    hosts = make_hosts(1)
    tasks = [make_task(hosts) for _ in range(16)]

    def begin(task: Task) -> str:
        try:
            return lifecycle.start_task(actor=SYSTEM, task_id=task.task_id).status
        except LimitReached:
            return "full"

    together([lambda t=t: begin(t) for t in tasks])
    by_status = dict(Task.objects.values_list("status").annotate(n=Count("id")))
    assert by_status == {"running": 5, "queued": 6, "pending": 5}


@override_settings(DM_MAX_CONCURRENT_TASKS=4)
def test_admission_and_starts_at_once_count_after_the_lock() -> None:
    hosts = make_hosts(1)
    for _ in range(8):
        lifecycle.start_task(actor=SYSTEM, task_id=make_task(hosts).task_id)
    for task in Task.objects.filter(status="running")[:2]:
        lifecycle.cancel_task(actor=SYSTEM, task_id=task.task_id)
    together([admission.admit_tasks] * 10)
    assert Task.objects.filter(status="running").count() == 4


@pytest.mark.parametrize("round_no", range(12))
def test_report_against_cancel_never_leaves_a_task_open(round_no: int) -> None:
    hosts = make_hosts(4)
    task = started_task(hosts, steps=2)
    agents = [FakeAgent(host) for host in hosts]
    fences = [only(agent.poll()).fence for agent in agents]
    done = [result(host, fence) for host, fence in zip(hosts, fences, strict=True)]
    if round_no % 2:
        done.reverse()
    together(
        [
            lambda: dispatch.report(done[:2]),
            lambda: dispatch.report(done[2:]),
            lambda: lifecycle.cancel_task(actor=SYSTEM, task_id=task.task_id),
        ]
    )
    task.refresh_from_db()
    assert task.status == "canceled"
    assert set(states(task)[::2]) == {"completed"}
    assert set(states(task)[1::2]) == {"canceled"}


def test_the_same_result_from_many_requests_is_accepted_once() -> None:
    (host,) = make_hosts(1)
    started_task([host])
    agent = FakeAgent(host)
    done = result(host, only(agent.poll()).fence)
    outcomes = together([lambda: dispatch.report([done]).verdicts[0].verdict.value] * 8)
    assert sorted(outcomes) == ["accepted"] + ["duplicate"] * 7


def test_claim_against_cancel_runs_or_cancels_each_row_once() -> None:
    hosts = make_hosts(30)
    task = started_task(hosts)
    agents = [FakeAgent(host) for host in hosts]
    polls = [agent.next_poll() for agent in agents]
    answers, _ = together(
        [
            lambda: dispatch.look_up(polls),
            lambda: lifecycle.cancel_task(actor=SYSTEM, task_id=task.task_id) and {},
        ]
    )
    delivered = {host for host, answer in answers.items() if answer.commands}
    for row in CommandHost.objects.all():
        if row.host_id in delivered:
            assert (row.status, row.cancel_state) == ("claimed", "requested")
        else:
            assert row.status == "canceled"
    for agent in agents:
        for command in answers[agent.host.pk].commands:
            agent.report(command.fence, "canceled")
    task.refresh_from_db()
    assert (task.status, task.canceled_hosts) == ("canceled", 30)


WAITS = """SELECT FROM pg_stat_activity
    WHERE datname = current_database() AND wait_event_type = 'Lock'"""

ROW_WAITS = """SELECT FROM pg_stat_activity
    WHERE datname = current_database() AND wait_event_type = 'Lock'
    AND wait_event = 'transactionid'"""


def test_a_look_up_that_waits_for_a_step_holds_no_later_one() -> None:
    """Two look-ups that took their steps' locks out of order met in a deadlock, for a second."""
    (host,) = make_hosts(1)
    early = started_task([host])
    late = started_task([host], priority=Priority.URGENT)
    agent = FakeAgent(host, slots=1)
    assert only(agent.poll())
    assert states(late) == ["claimed"]
    agent.slots = 2  # the next poll acknowledges the late task's step and claims the early one's
    lock = "SELECT FROM commands WHERE task_id = %s FOR NO KEY UPDATE NOWAIT"
    with ThreadPoolExecutor(1) as threads, psycopg.connect(database_url()) as other:
        other.execute(lock, [early.pk])
        polled = threads.submit(together, [agent.poll])
        try:
            with psycopg.connect(database_url(), autocommit=True) as watch:
                while not watch.execute(WAITS).rowcount:
                    assert not polled.done(), polled.result()
            other.execute(lock, [late.pk])
        finally:
            other.rollback()
        (answer,) = polled.result(timeout=20)
    assert only(answer)
    assert states(early) + states(late) == ["claimed", "running"]


@override_settings(DM_BATCH_SIZE=100)
def test_fan_outs_of_one_task_at_once_make_each_row_once() -> None:
    hosts = make_hosts(350)
    task = make_task(hosts, steps=2)
    lifecycle.start_task(actor=SYSTEM, task_id=task.task_id)
    made = together([lambda: fan_out.fan_out_task(task.pk)] * 6)
    assert sum(made) == 350
    assert CommandHost.objects.filter(task=task).count() == 700


def test_every_sweep_twenty_times_at_once_ends_as_one() -> None:
    hosts = make_hosts(20)
    task = started_task(hosts, steps=2)
    agents = [FakeAgent(host) for host in hosts[:10]]
    for agent in agents:
        agent.poll()
    with connection.cursor() as cursor:
        cursor.execute("UPDATE commands_hosts SET deadline = now() WHERE deadline IS NOT NULL")
    for name, sweep in sweeps.SWEEPS.items():
        if name != "partitions":
            together([sweep] * 16)
    assert states(task) == ["lost", "skipped"] * 10 + ["dispatch_failed", "skipped"] * 10
    task.refresh_from_db()
    assert (task.status, task.lost_hosts, task.failed_hosts) == ("failed", 10, 10)


def test_partitions_made_by_many_at_once_exist_once() -> None:
    together([sweeps.sweep_partitions] * 8)
    assert sweeps.sweep_partitions() == 0


def test_a_host_that_is_enabled_amid_its_report_keeps_no_result_to_itself(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Out of service when the result is written, in service when it is asked why it was not."""
    (host,) = make_hosts(1)
    task = started_task([host])
    agent = FakeAgent(host)
    fence = only(agent.poll()).fence
    Host.objects.update(status="disabled")
    report = import_module("tasks_app.queue.report")  # the package has a function of that name
    ask = report._refused_hosts
    asked = []

    def enabled_meanwhile(results: Sequence[Result]) -> dict[int, str]:
        asked.append(len(results))
        together([lambda: Host.objects.update(status="active")])
        return ask(results)

    monkeypatch.setattr(report, "_refused_hosts", enabled_meanwhile)
    assert agent.report(fence) == "accepted"
    assert asked == [1]
    assert states(task) == ["completed"]


def test_a_result_that_meets_its_acknowledgement_counts_from_the_state_that_it_left() -> None:
    """It reads "claimed" without a lock, and waits for a look-up that makes it "running"."""
    (host,) = make_hosts(1)
    task = started_task([host])
    agent = FakeAgent(host)
    fence = only(agent.poll()).fence
    poll = agent.next_poll()
    with ThreadPoolExecutor(2) as threads, held_commits("commands_hosts") as held:
        acknowledged = threads.submit(together, [lambda: dispatch.look_up([poll])])
        eventually(lambda: held.blocked() == 1)
        reported = threads.submit(together, [lambda: agent.report(fence)])
        with psycopg.connect(database_url(), autocommit=True) as watch:
            eventually(lambda: watch.execute(ROW_WAITS).rowcount == 1)
        held.release()
        acknowledged.result()
        assert reported.result() == ["accepted"]
    assert states(task) == ["completed"]
    row = CommandHost.objects.get()
    assert row.started_at is not None
