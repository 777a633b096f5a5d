"""The way of a row: fanned out, claimed, acknowledged, reported, and what follows."""

from __future__ import annotations

import uuid

import pytest
from django.test import override_settings

from devops_manager.access.models import AuditEvent
from hosts_app.models import Host
from tasks_app.models import Command, CommandHost, CommandOutput
from tasks_app.records import PollVerdict, StreamOutput
from tasks_app.services import dispatch
from tests.queue_world import (
    FakeAgent,
    make_hosts,
    make_task,
    only,
    outcomes,
    result,
    start,
    started_task,
    states,
)

pytestmark = pytest.mark.django_db(transaction=True)


def test_a_task_runs_step_by_step_on_each_host_and_closes() -> None:
    one, two = make_hosts(2)
    task = started_task([one, two], steps=2)
    assert states(task) == ["pending", "blocked", "pending", "blocked"]
    first, second = FakeAgent(one), FakeAgent(two)

    command = only(first.poll())
    assert (command.attempt, command.command.position) == (1, 1)
    assert command.command.task_id == task.task_id
    assert states(task)[0] == "claimed"
    assert first.poll().commands == ()
    assert states(task)[0] == "running"
    assert first.report(command.fence) == "accepted"
    assert states(task) == ["completed", "pending", "pending", "blocked"]

    for agent in (first, second, second):
        assert agent.report(only(agent.poll()).fence) == "accepted"
    task.refresh_from_db()
    assert (task.status, task.total_hosts, outcomes(task)) == ("completed", 2, {"completed": 2})
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
    assert outcomes(task) == {"failed": 1, "completed": 1}
    steps = Command.objects.filter(task=task).order_by("position")
    assert [step.status for step in steps] == ["partial", "partial", "partial"]


def test_a_step_that_may_fail_lets_the_next_one_run() -> None:
    (host,) = make_hosts(1)
    task = started_task([host], commands=[{"body": "a", "on_failure": "continue"}, {"body": "b"}])
    agent = FakeAgent(host)
    agent.report(only(agent.poll()).fence, "failed")
    agent.report(only(agent.poll()).fence)
    assert states(task) == ["failed", "completed"]
    assert outcomes(task) == {"failed": 1}
    assert task.status == "failed"


def test_a_pinned_step_runs_on_its_host_only_and_that_host_runs_no_other() -> None:
    one, two = make_hosts(2)
    task = start(make_task([one], commands=[{"body": "a"}, {"body": "b", "host": two}]))
    assert [(r.host_id, r.position, r.status) for r in CommandHost.objects.order_by("id")] == [
        (one.pk, 1, "pending"),
        (two.pk, 2, "pending"),
    ]
    assert (task.total_hosts, task.pinned_only_hosts) == (2, 1)
    for host in (two, one):
        agent = FakeAgent(host)
        agent.report(only(agent.poll()).fence)
    task.refresh_from_db()
    assert (task.status, task.completed_hosts) == ("completed", 2)
    steps = Command.objects.filter(task=task).order_by("position")
    assert [step.status for step in steps] == ["completed", "completed"]


def test_a_step_ends_with_the_last_of_its_own_hosts() -> None:
    one, two, three = make_hosts(3)
    task = start(make_task([one, two], commands=[{"body": "a"}, {"body": "b", "host": three}]))
    agents = [FakeAgent(host) for host in (one, two)]
    for agent, status in zip(agents, ("running", "completed"), strict=True):
        agent.report(only(agent.poll()).fence)
        assert Command.objects.get(task=task, position=1).status == status
    task.refresh_from_db()
    assert task.status == "running"


def test_a_pinned_host_that_the_target_names_runs_all_steps() -> None:
    one, two = make_hosts(2)
    task = start(make_task([one, two], commands=[{"body": "a"}, {"body": "b", "host": two}]))
    rows = CommandHost.objects.order_by("host_id", "position")
    assert [(r.host_id, r.position) for r in rows] == [(one.pk, 1), (two.pk, 1), (two.pk, 2)]
    assert (task.total_hosts, task.pinned_only_hosts) == (2, 0)


def test_slots_are_counted_by_the_server_and_priority_goes_first() -> None:
    (host,) = make_hosts(1, max_concurrency=2)
    low = started_task([host], priority=1)
    urgent = started_task([host], priority=4)
    normal = started_task([host], priority=2)
    agent = FakeAgent(host)
    answer = agent.poll()
    assert [c.command.task_id for c in answer.commands] == [urgent.task_id, normal.task_id]
    assert answer.more
    again = agent.poll()
    assert (again.commands, again.more) == ((), True)
    agent.report(answer.commands[0].fence)
    last = agent.poll()
    assert only(last).command.task_id == low.task_id
    # its slots are full, and nothing is left for when one gets free
    assert not last.more
    assert not agent.poll().more


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
    assert outcomes(task) == {"failed": 1}
    assert agent.report(fence) == "accepted"
    assert states(task) == ["completed", "skipped"]
    assert outcomes(task) == {"skipped": 1}
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
