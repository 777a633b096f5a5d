"""The way of a row: fanned out, claimed, acknowledged, reported, and what follows."""

from __future__ import annotations

import uuid
from datetime import timedelta

import pytest
from django.db.models.functions import Now
from django.test import override_settings

from devops_manager.access.actors import SYSTEM
from devops_manager.access.models import AuditEvent
from devops_manager.lib.errors import Conflict, InvalidInput, LimitReached
from hosts_app.models import Host
from tasks_app.models import Command, CommandHost, CommandOutput, SweepTick, Task, TaskWindow
from tasks_app.records import PollVerdict, StreamOutput
from tasks_app.services import admission, dispatch, fan_out, lifecycle, sweeps
from tests.queue_world import (
    FakeAgent,
    make_hosts,
    make_task,
    only,
    result,
    start,
    started_task,
    states,
)

pytestmark = pytest.mark.django_db(transaction=True)


def counts(task: Task) -> dict[str, int]:
    task.refresh_from_db()
    names = ("completed", "failed", "lost", "canceled", "skipped")
    return {
        name: getattr(task, f"{name}_hosts") for name in names if getattr(task, f"{name}_hosts")
    }


def test_a_task_runs_step_by_step_on_each_host_and_closes() -> None:
    one, two = make_hosts(2)
    task = started_task([one, two], steps=2)
    assert states(task) == ["pending", "blocked", "pending", "blocked"]
    first, second = FakeAgent(one), FakeAgent(two)

    command = only(first.poll())
    assert (command.position, command.attempt, command.task_id) == (1, 1, task.task_id)
    assert states(task)[0] == "claimed"
    assert first.poll().commands == ()
    assert states(task)[0] == "running"
    assert first.report(command.fence) == "accepted"
    assert states(task) == ["completed", "pending", "pending", "blocked"]

    for agent in (first, second, second):
        assert agent.report(only(agent.poll()).fence) == "accepted"
    task.refresh_from_db()
    assert (task.status, task.total_hosts, counts(task)) == ("completed", 2, {"completed": 2})
    assert task.finished_at is not None
    assert set(Command.objects.values_list("status", flat=True)) == {"completed"}


def test_a_failed_step_skips_the_steps_after_it_on_that_host_only() -> None:
    one, two = make_hosts(2)
    task = started_task([one, two], steps=3)
    first, second = FakeAgent(one), FakeAgent(two)
    first.report(only(first.poll()).fence, "failed", exit_code=3)
    for _ in range(3):
        second.report(only(second.poll()).fence)
    assert states(task) == ["failed", "skipped", "skipped"] + ["completed"] * 3
    assert (task.refresh_from_db(), task.status) == (None, "partial")
    assert counts(task) == {"failed": 1, "completed": 1}
    steps = Command.objects.filter(task=task).order_by("position")
    assert [step.status for step in steps] == ["partial", "partial", "partial"]


def test_a_step_that_may_fail_lets_the_next_one_run() -> None:
    (host,) = make_hosts(1)
    task = started_task([host], commands=[{"body": "a", "on_failure": "continue"}, {"body": "b"}])
    agent = FakeAgent(host)
    agent.report(only(agent.poll()).fence, "failed")
    agent.report(only(agent.poll()).fence)
    assert states(task) == ["failed", "completed"]
    assert counts(task) == {"failed": 1}
    assert task.status == "failed"


def test_a_pinned_step_runs_on_its_host_only_and_that_host_joins_the_targets() -> None:
    one, two = make_hosts(2)
    task = start(make_task([one], commands=[{"body": "a"}, {"body": "b", "host": two}]))
    assert [(r.host_id, r.position, r.status) for r in CommandHost.objects.order_by("id")] == [
        (one.pk, 1, "pending"),
        (two.pk, 1, "pending"),
        (two.pk, 2, "blocked"),
    ]
    assert task.total_hosts == 2


def test_slots_are_counted_by_the_server_and_priority_goes_first() -> None:
    (host,) = make_hosts(1, max_concurrency=2)
    low = started_task([host], priority=1)
    urgent = started_task([host], priority=4)
    normal = started_task([host], priority=2)
    agent = FakeAgent(host)
    answer = agent.poll()
    assert [c.task_id for c in answer.commands] == [urgent.task_id, normal.task_id]
    assert answer.more
    assert agent.poll().commands == ()
    agent.report(answer.commands[0].fence)
    assert only(agent.poll()).task_id == low.task_id


def test_an_agent_that_drains_gets_nothing() -> None:
    (host,) = make_hosts(1)
    started_task([host])
    assert FakeAgent(host, slots=0).poll().commands == ()


def test_a_lost_answer_is_delivered_again_under_the_same_fence() -> None:
    (host,) = make_hosts(1)
    started_task([host])
    agent = FakeAgent(host)
    lost = only(agent.poll(deliver=False))
    again = only(agent.poll())
    assert (again.fence, again.attempt) == (lost.fence, 1)
    assert agent.report(again.fence) == "accepted"


def test_after_a_restart_redelivery_waits_until_old_requests_are_over() -> None:
    (host,) = make_hosts(1)
    task = started_task([host])
    agent = FakeAgent(host)
    lost = only(agent.poll(deliver=False))
    agent.restart()
    answer = agent.poll()
    assert (answer.commands, states(task)) == ((), ["claimed"])
    assert answer.recheck_seconds is not None
    with override_settings(DM_INSTANCE_SETTLE_SECONDS=0):
        again = only(agent.take(dispatch.look_up([agent.current_poll(first=False)])[host.pk]))
    assert again.fence == lost.fence


def test_a_running_row_that_is_not_listed_any_more_is_interrupted_and_a_result_mends_it() -> None:
    (host,) = make_hosts(1)
    task = started_task([host], steps=2)
    agent = FakeAgent(host)
    fence = only(agent.poll()).fence
    agent.poll()
    agent.holding.clear()
    agent.poll()
    assert states(task) == ["interrupted", "skipped"]
    assert counts(task) == {"failed": 1}
    assert agent.report(fence) == "accepted"
    assert states(task) == ["completed", "skipped"]
    assert counts(task) == {"skipped": 1}
    assert task.status == "failed"


def test_a_claimed_row_under_another_journal_is_interrupted() -> None:
    (host,) = make_hosts(1)
    task = started_task([host])
    agent = FakeAgent(host)
    agent.poll(deliver=False)
    agent.journal_id = uuid.uuid4()
    answer = agent.poll()
    assert (answer.commands, states(task)) == ((), ["interrupted"])


@pytest.mark.parametrize(
    ("earlier", "later", "verdict"),
    [
        ((1, 5), (1, 5), PollVerdict.SUPERSEDED),
        ((1, 5), (1, 4), PollVerdict.SUPERSEDED),
        ((2, 1), (1, 9), PollVerdict.SUPERSEDED),
        ((1, 5), (1, 6), PollVerdict.OK),
        ((1, 5), (2, 1), PollVerdict.OK),
    ],
)
def test_the_order_of_polls(
    earlier: tuple[int, int], later: tuple[int, int], verdict: PollVerdict
) -> None:
    (host,) = make_hosts(1)
    started_task([host])
    agent = FakeAgent(host, slots=0)
    for run, seq in (earlier, later):
        agent.run, agent.seq = run, seq - 1
        answer = agent.poll()
    assert answer.verdict is verdict


def test_a_later_look_up_of_a_poll_that_is_not_the_newest_any_more_gets_nothing() -> None:
    (host,) = make_hosts(1)
    agent = FakeAgent(host)
    agent.poll()
    old = agent.current_poll(first=False)
    agent.poll()
    started_task([host])
    assert dispatch.look_up([old])[host.pk].verdict is PollVerdict.SUPERSEDED
    assert len(agent.poll().commands) == 1


def test_a_replaced_instance_that_comes_back_quarantines_the_host() -> None:
    (host,) = make_hosts(1)
    one = FakeAgent(host)
    one.poll()
    clone = FakeAgent(host, journal_id=one.journal_id, run=one.run + 1)
    clone.poll()
    assert one.poll().verdict is PollVerdict.SUPERSEDED
    one.journal_id, one.run = uuid.uuid4(), 1
    assert one.poll().verdict is PollVerdict.QUARANTINED
    assert clone.poll().verdict is PollVerdict.QUARANTINED
    assert AuditEvent.objects.filter(action="host.quarantine", object_id=host.host_id).count() == 1


def test_a_foreign_fence_is_audited_and_changes_nothing() -> None:
    one, two = make_hosts(2)
    task = started_task([one])
    fence = only(FakeAgent(one).poll()).fence
    stranger = FakeAgent(two)
    stranger.holding[fence] = False
    assert stranger.poll().cancel == ()
    assert stranger.report(fence) == "unknown"
    assert states(task) == ["claimed"]
    assert AuditEvent.objects.filter(action="host.foreign_fence").count() == 2


def test_verdicts() -> None:
    (host,) = make_hosts(1)
    task = started_task([host])
    agent = FakeAgent(host)
    fence = only(agent.poll()).fence
    assert agent.report(fence) == "accepted"
    assert agent.report(fence) == "duplicate"
    assert agent.report(fence, "failed") == "conflict"
    assert agent.report(uuid.uuid4()) == "unknown"
    assert states(task) == ["completed"]
    assert AuditEvent.objects.filter(action="result.conflict").count() == 1


def test_one_poison_result_does_not_hold_up_its_neighbours() -> None:
    hosts = make_hosts(4)
    task = started_task(hosts)
    fences = [only(FakeAgent(host).poll()).fence for host in hosts]
    poison = {1: {"error_message": "a\x00b"}, 3: {"exit_code": 2**40}}
    batch = [
        result(host, fence, **poison.get(no, {}))
        for no, (host, fence) in enumerate(zip(hosts, fences, strict=True))
    ]
    verdicts = dispatch.report(batch).verdicts
    assert [v.verdict for v in verdicts] == ["accepted", "invalid", "accepted", "invalid"]
    assert [v.fence for v in verdicts] == fences
    assert states(task) == ["completed", "claimed", "completed", "claimed"]


def test_output_is_kept_exactly() -> None:
    (host,) = make_hosts(1)
    started_task([host])
    agent = FakeAgent(host)
    output = StreamOutput(b"\x00\xff head", b"tail", 12)
    agent.report(only(agent.poll()).fence, stdout=output)
    row = CommandHost.objects.get()
    kept = CommandOutput.objects.get(command_host_id=row.pk)
    assert kept.created_at == row.finished_at
    assert (bytes(kept.stdout_head), bytes(kept.stdout_tail)) == (output.head, output.tail)
    assert kept.stdout_dropped_bytes == 12


def test_a_revoked_or_disabled_host_can_neither_claim_nor_report() -> None:
    (host,) = make_hosts(1)
    task = started_task([host])
    agent = FakeAgent(host)
    fence = only(agent.poll()).fence
    Host.objects.update(credential_generation=2)
    assert agent.poll().verdict is PollVerdict.REVOKED
    assert agent.report(fence) == "refused"
    Host.objects.update(credential_generation=1, status="disabled")
    assert agent.poll().verdict is PollVerdict.DISABLED
    assert agent.report(fence) == "refused"
    assert states(task) == ["claimed"]


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
    assert counts(task) == {"canceled": 2}
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
    assert counts(task) == {"completed": 1, "canceled": 1}
    assert task.status == "canceled"


@override_settings(DM_BATCH_SIZE=100)
def test_cancel_in_the_middle_of_a_fan_out_counts_every_host() -> None:
    hosts = make_hosts(250)
    task = make_task(hosts)
    lifecycle.start_task(actor=SYSTEM, task_id=task.task_id)
    assert TaskWindow.objects.filter(task=task).count() == 3
    lifecycle.cancel_task(actor=SYSTEM, task_id=task.task_id)
    assert fan_out.fan_out_task(task.pk) == 0
    assert counts(task) == {"canceled": 250}
    assert task.status == "canceled"


def test_an_overdue_row_is_lost_when_claimed_and_undeliverable_when_pending() -> None:
    one, two = make_hosts(2)
    task = started_task([one, two], steps=2)
    agent = FakeAgent(one)
    fence = only(agent.poll()).fence
    CommandHost.objects.filter(deadline__isnull=False).update(deadline=Now() - timedelta(seconds=1))
    assert sweeps.sweep_deadlines() == 2
    assert states(task) == ["lost", "skipped", "dispatch_failed", "skipped"]
    assert counts(task) == {"lost": 1, "failed": 1}
    assert task.status == "failed"
    agent.poll()
    assert states(task)[0] == "lost"
    assert agent.report(fence) == "accepted"
    assert states(task) == ["completed", "skipped", "dispatch_failed", "skipped"]
    assert counts(task) == {"skipped": 1, "failed": 1}


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
    one, two = make_hosts(2)
    first = started_task([one])
    second = make_task([two])
    lifecycle.start_task(actor=SYSTEM, task_id=second.task_id)
    Host.objects.filter(pk=two.pk).update(status="disabled")
    lifecycle.cancel_task(actor=SYSTEM, task_id=first.task_id)
    admission.admit_tasks()
    second.refresh_from_db()
    assert (second.status, second.error_code) == ("failed", "unknown_target")
    assert str(two.host_id) in second.error_message


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
    with pytest.raises(Conflict):
        lifecycle.start_task(actor=SYSTEM, task_id=task.task_id)
    lifecycle.cancel_task(actor=SYSTEM, task_id=task.task_id)
    with pytest.raises(Conflict):
        lifecycle.cancel_task(actor=SYSTEM, task_id=task.task_id)


def test_counts_that_differ_from_rows_are_said_and_mended(caplog: pytest.LogCaptureFixture) -> None:
    (host,) = make_hosts(1)
    task = started_task([host])
    assert sweeps.sweep_counts() == 0
    Command.objects.filter(task=task).update(pending_rows=7)
    assert sweeps.sweep_counts() == 1
    assert "differed" in caplog.text
    assert Command.objects.get(task=task).pending_rows == 1
