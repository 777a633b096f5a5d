"""How rows and tasks end other than by a result: cancel, stop, expiry; and who is admitted."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.db.models.functions import Now
from django.test import override_settings

from devops_manager.access.actors import SYSTEM
from devops_manager.lib.errors import Conflict, InvalidInput, LimitReached
from tasks_app.models import Command, CommandHost, SweepTick, Task, TaskWindow
from tasks_app.services import admission, dispatch, fan_out, lifecycle, sweeps
from tests.queue_world import (
    FakeAgent,
    make_hosts,
    make_task,
    only,
    outcomes,
    started_task,
    states,
    task_whose_host_is_gone_by_its_turn,
)

pytestmark = pytest.mark.django_db(transaction=True)


def test_cancel_ends_what_waits_and_asks_what_runs() -> None:
    one, two = make_hosts(2)
    task = started_task([one, two], steps=2)
    agent = FakeAgent(one)
    fence = only(agent.poll()).fence
    agent.poll()
    lifecycle.cancel_task(actor=SYSTEM, task_id=task.task_id)
    assert states(task) == ["running", "canceled", "canceled", "canceled"]
    task.refresh_from_db()
    assert task.status == "running"
    assert agent.poll().cancel == (fence,)
    assert agent.report(fence, "canceled") == "accepted"
    row = CommandHost.objects.get(fence=fence)
    assert (row.status, row.cancel_state) == ("canceled", "confirmed")
    assert outcomes(task) == {"canceled": 2}
    assert task.status == "canceled"


def test_a_cancel_that_came_too_late_says_so() -> None:
    (host,) = make_hosts(1)
    task = started_task([host])
    agent = FakeAgent(host)
    fence = only(agent.poll()).fence
    lifecycle.cancel_task(actor=SYSTEM, task_id=task.task_id)
    agent.report(fence)
    assert CommandHost.objects.get().cancel_state == "too_late"
    assert task.refresh_from_db() is None
    assert task.status == "completed"


def test_a_canceled_row_that_was_never_delivered_ends_as_never_started() -> None:
    (host,) = make_hosts(1)
    task = started_task([host])
    agent = FakeAgent(host)
    agent.poll(deliver=False)
    lifecycle.cancel_task(actor=SYSTEM, task_id=task.task_id)
    assert agent.poll().commands == ()
    row = CommandHost.objects.get()
    assert (row.status, row.cancel_state) == ("canceled", "confirmed")
    assert task.refresh_from_db() is None
    assert task.status == "canceled"


def test_stop_lets_what_runs_end() -> None:
    one, two = make_hosts(2)
    task = started_task([one, two])
    agent = FakeAgent(one)
    fence = only(agent.poll()).fence
    lifecycle.stop_task(actor=SYSTEM, task_id=task.task_id)
    assert agent.poll().cancel == ()
    agent.report(fence)
    assert states(task) == ["completed", "canceled"]
    assert outcomes(task) == {"completed": 1, "canceled": 1}
    assert task.status == "canceled"


@override_settings(DM_BATCH_SIZE=100)
def test_cancel_in_the_middle_of_a_fan_out_counts_every_host() -> None:
    hosts = make_hosts(250)
    task = make_task(hosts)
    lifecycle.start_task(actor=SYSTEM, task_id=task.task_id)
    assert TaskWindow.objects.filter(task=task).count() == 3
    lifecycle.cancel_task(actor=SYSTEM, task_id=task.task_id)
    assert fan_out.fan_out_task(task.pk) == 0
    assert outcomes(task) == {"canceled": 250}
    assert task.status == "canceled"


def test_an_overdue_row_is_lost_when_claimed_and_undeliverable_when_pending() -> None:
    one, two = make_hosts(2)
    task = started_task([one, two], steps=2)
    agent = FakeAgent(one)
    fence = only(agent.poll()).fence
    CommandHost.objects.filter(deadline__isnull=False).update(deadline=Now() - timedelta(seconds=1))
    assert sweeps.sweep_deadlines() == 2
    assert states(task) == ["lost", "skipped", "dispatch_failed", "skipped"]
    assert outcomes(task) == {"lost": 1, "failed": 1}
    assert task.status == "failed"
    agent.poll()
    assert states(task)[0] == "lost"
    assert agent.report(fence) == "accepted"
    assert states(task) == ["completed", "skipped", "dispatch_failed", "skipped"]
    assert outcomes(task) == {"skipped": 1, "failed": 1}


def test_a_lost_command_that_still_runs_keeps_its_slot() -> None:
    (host,) = make_hosts(1, max_concurrency=1)
    started_task([host])
    agent = FakeAgent(host)
    fence = only(agent.poll()).fence
    CommandHost.objects.update(deadline=Now() - timedelta(seconds=1))
    sweeps.sweep_deadlines()
    started_task([host])
    answer = agent.poll()
    assert (answer.commands, answer.cancel) == ((), ())
    agent.report(fence)
    assert len(agent.poll().commands) == 1


def test_an_older_holding_does_not_hide_slots_that_reports_have_freed() -> None:
    (host,) = make_hosts(1, max_concurrency=1)
    started_task([host])
    agent = FakeAgent(host)
    fence = only(agent.poll()).fence
    agent.poll()
    open_poll = agent.current_poll(first=False)
    agent.report(fence)
    started_task([host])
    answer = dispatch.look_up([open_poll])[host.pk]
    assert (len(answer.commands), answer.cancel) == (1, ())


def test_after_a_stall_the_sweep_judges_nobody() -> None:
    (host,) = make_hosts(1)
    task = started_task([host])
    sweeps.sweep_deadlines()
    CommandHost.objects.update(deadline=Now() - timedelta(seconds=1))
    SweepTick.objects.update(ticked_at=Now() - timedelta(seconds=31))
    assert sweeps.sweep_deadlines() == 0
    assert states(task) == ["pending"]
    SweepTick.objects.update(grace_until=Now() - timedelta(seconds=1))
    assert sweeps.sweep_deadlines() == 1


@override_settings(DM_BATCH_SIZE=100)
def test_a_fan_out_that_died_half_way_goes_on_with_the_same_hosts() -> None:
    hosts = make_hosts(250)
    task = make_task(hosts)
    lifecycle.start_task(actor=SYSTEM, task_id=task.task_id)
    TaskWindow.objects.filter(task=task, no__gt=1).update(done=True)
    assert fan_out.fan_out_task(task.pk) == 100
    TaskWindow.objects.filter(task=task, no__gt=1).update(done=False)
    assert sweeps.sweep_fan_outs() == 150
    assert CommandHost.objects.filter(task=task).count() == 250
    assert Command.objects.get(task=task).pending_rows == 250
    assert fan_out.fan_out_task(task.pk) == 0


@override_settings(DM_MAX_CONCURRENT_TASKS=1, DM_QUEUE_CAPACITY=2)
def test_admission_by_priority_then_age_and_a_full_queue_says_so() -> None:
    (host,) = make_hosts(1)
    running = started_task([host])
    normal, urgent, late = make_task([host]), make_task([host], priority=4), make_task([host])
    for task in (normal, urgent):
        assert lifecycle.start_task(actor=SYSTEM, task_id=task.task_id).status == "queued"
    with pytest.raises(LimitReached) as full:
        lifecycle.start_task(actor=SYSTEM, task_id=late.task_id)
    assert full.value.code == "queue_full"
    late.refresh_from_db()
    assert late.status == "pending"
    agent = FakeAgent(host)
    agent.report(only(agent.poll()).fence)
    assert admission.admit_tasks() in (0, 1)
    statuses = Task.objects.in_bulk([running.pk, normal.pk, urgent.pk])
    assert [statuses[t.pk].status for t in (running, normal, urgent)] == [
        "completed",
        "queued",
        "running",
    ]


@override_settings(DM_MAX_CONCURRENT_TASKS=1)
def test_a_queued_task_whose_target_is_gone_fails_and_says_why() -> None:
    task, host = task_whose_host_is_gone_by_its_turn()
    admission.admit_tasks()
    task.refresh_from_db()
    assert (task.status, task.error_code) == ("failed", "unknown_target")
    assert str(host.host_id) in task.error_message


def test_an_empty_target_cannot_be_started() -> None:
    task = make_task([])
    with pytest.raises(InvalidInput) as empty:
        lifecycle.start_task(actor=SYSTEM, task_id=task.task_id)
    assert empty.value.code == "empty_target"
    task.refresh_from_db()
    assert task.status == "pending"


def test_what_may_not_follow_is_refused() -> None:
    (host,) = make_hosts(1)
    task = started_task([host])
    lifecycle.cancel_task(actor=SYSTEM, task_id=task.task_id)
    with pytest.raises(Conflict):
        lifecycle.start_task(actor=SYSTEM, task_id=task.task_id)
    done = started_task([host])
    agent = FakeAgent(host)
    agent.report(only(agent.poll()).fence)
    for act in (lifecycle.stop_task, lifecycle.cancel_task):
        with pytest.raises(Conflict):
            act(actor=SYSTEM, task_id=done.task_id)


def test_counts_that_differ_from_rows_are_said_and_mended(caplog: pytest.LogCaptureFixture) -> None:
    (host,) = make_hosts(1)
    task = started_task([host])
    assert sweeps.sweep_counts() == 0
    Command.objects.filter(task=task).update(pending_rows=7)
    assert sweeps.sweep_counts() == 1
    assert "differed" in caplog.text
    assert Command.objects.get(task=task).pending_rows == 1


def test_hosts_by_outcome_that_differ_from_rows_are_said_and_mended(
    caplog: pytest.LogCaptureFixture,
) -> None:
    first, second = make_hosts(2)
    task = started_task([first, second], steps=2)
    agent = FakeAgent(first)
    for _step in range(2):
        agent.report(only(agent.poll()).fence)
    assert sweeps.sweep_counts() == 0
    Task.objects.filter(pk=task.pk).update(completed_hosts=0, lost_hosts=3)
    assert sweeps.sweep_counts() == 1
    assert "differed" in caplog.text
    assert outcomes(task) == {"completed": 1}
    task.refresh_from_db()
    assert task.status == "running"
    assert sweeps.sweep_counts() == 0


def test_a_task_that_only_its_counts_held_open_closes() -> None:
    hosts = make_hosts(2)
    task = started_task(hosts)
    for agent in (FakeAgent(host) for host in hosts):
        agent.report(only(agent.poll()).fence)
        if Task.objects.get(pk=task.pk).status == "running":
            Task.objects.filter(pk=task.pk).update(completed_hosts=0)
    task.refresh_from_db()
    assert (task.status, task.completed_hosts) == ("running", 0)
    assert sweeps.sweep_counts() == 1
    task.refresh_from_db()
    assert (task.status, task.completed_hosts) == ("completed", 2)
    assert task.finished_at is not None


def test_counts_of_hosts_that_a_cancel_left_without_rows_do_not_differ() -> None:
    hosts = make_hosts(3)
    task = make_task(hosts)
    lifecycle.start_task(actor=SYSTEM, task_id=task.task_id)
    lifecycle.cancel_task(actor=SYSTEM, task_id=task.task_id)
    assert outcomes(task) == {"canceled": 3}
    assert sweeps.sweep_counts() == 0
    Task.objects.filter(pk=task.pk).update(canceled_hosts=1)
    assert sweeps.sweep_counts() == 1
    assert outcomes(task) == {"canceled": 3}


@pytest.mark.parametrize("act", [lifecycle.stop_task, lifecycle.cancel_task])
@pytest.mark.parametrize("fan_out", [True, False])
def test_nothing_ends_before_it_was_asked_to(act: Any, fan_out: bool) -> None:
    hosts = make_hosts(2)
    task = started_task(hosts) if fan_out else make_task(hosts)
    if not fan_out:
        lifecycle.start_task(actor=SYSTEM, task_id=task.task_id)
    act(actor=SYSTEM, task_id=task.task_id)
    task.refresh_from_db()
    asked = task.stop_requested_at or task.cancel_requested_at
    assert asked is not None
    assert task.finished_at is not None
    assert task.finished_at >= asked
    for row in CommandHost.objects.filter(task=task):
        assert row.finished_at is not None
        assert row.finished_at >= asked


def test_what_never_arrived_is_not_delivered_after_a_stop() -> None:
    (host,) = make_hosts(1)
    task = started_task([host])
    agent = FakeAgent(host)
    assert len(agent.poll(deliver=False).commands) == 1
    lifecycle.stop_task(actor=SYSTEM, task_id=task.task_id)
    assert agent.poll().commands == ()
    assert states(task) == ["canceled"]
    assert outcomes(task) == {"canceled": 1}
