"""The gateway's parts inside one process, where a test can stop them at a barrier."""

from __future__ import annotations

import asyncio
import gc
import threading
import uuid
import weakref
from collections.abc import Sequence
from typing import Any

import pytest
from django.db import connection, transaction

from agents_app.gateway import garbage, messages
from agents_app.gateway.group_commit import GroupCommit
from agents_app.gateway.http import BodyBudget, Problem
from agents_app.gateway.results import cap
from agents_app.gateway.strict_json import decode
from agents_app.gateway.waiters import CANCEL_AGAIN_SECONDS, HostState, due_cancels
from devops_manager.lib import secrets
from hosts_app.models import Host
from tasks_app.records import StreamOutput
from tests.factories import make_host, started_task
from tests.gateway_parts import Client, Parts, fences_of, in_database, refusal_of


@pytest.fixture
def host(transactional_db: None) -> Host:
    return make_host()


def test_a_wake_between_a_look_up_and_its_answer_is_not_missed(host: Host) -> None:
    async def scene() -> None:
        parts = Parts()
        client = Client(parts, host)
        await asyncio.wait_for(parts.database.committed.wait(), 10)  # it has found nothing
        await in_database(lambda: started_task([host]))
        parts.polls.hint([host.pk])
        parts.database.go_on.set()
        assert len(await fences_of(client)) == 1
        assert parts.database.look_ups == 2

    asyncio.run(scene())


def test_a_hint_between_two_polls_makes_the_next_one_look(host: Host) -> None:
    async def scene() -> None:
        parts = Parts()
        parts.database.go_on.set()
        assert len(await fences_of(Client(parts, host, wait_seconds=0.0))) == 0
        await in_database(lambda: started_task([host]))
        parts.polls.hint([host.pk])
        assert len(await fences_of(Client(parts, host, seq=2))) == 1
        assert parts.database.look_ups == 2

    asyncio.run(scene())


def test_a_poll_that_follows_an_answered_one_costs_one_look_up_at_its_end(host: Host) -> None:
    async def scene() -> None:
        parts = Parts()
        parts.database.go_on.set()
        await fences_of(Client(parts, host, wait_seconds=0.0))
        await fences_of(Client(parts, host, seq=2, wait_seconds=0.05))
        assert parts.database.look_ups == 2
        # one that skips a number does not follow: one look-up at once and one at the end
        await fences_of(Client(parts, host, seq=9, wait_seconds=0.5))
        assert parts.database.look_ups == 4

    asyncio.run(scene())


def test_a_client_that_leaves_is_forgotten_at_once(host: Host) -> None:
    async def scene() -> None:
        parts = Parts()
        parts.database.go_on.set()
        client = Client(parts, host)
        await asyncio.wait_for(parts.database.committed.wait(), 10)
        assert parts.hosts.held() == [host.pk]
        client.leave()
        assert parts.hosts.held() == []

    asyncio.run(scene())


def test_a_client_that_leaves_during_the_look_up_gets_its_command_next_time(host: Host) -> None:
    started_task([host])

    async def scene() -> None:
        parts = Parts()
        first = Client(parts, host)
        await asyncio.wait_for(parts.database.committed.wait(), 10)  # claimed, not answered
        first.leave()
        parts.database.go_on.set()
        assert len(await fences_of(Client(parts, host, seq=2))) == 1
        assert not first.answer.done()

    asyncio.run(scene())
    assert host.rows.get().attempt == 1


def test_a_greater_poll_during_the_look_up_of_the_older_gets_its_command(host: Host) -> None:
    started_task([host])

    async def scene() -> None:
        parts = Parts()
        older = Client(parts, host)
        await asyncio.wait_for(parts.database.committed.wait(), 10)
        newer = Client(parts, host, seq=2)
        assert await refusal_of(older) == (409, "poll_superseded")
        parts.database.go_on.set()
        assert len(await fences_of(newer)) == 1

    asyncio.run(scene())


def test_a_host_that_another_transaction_holds_is_tried_again(host: Host) -> None:
    started_task([host])
    locked, release = threading.Event(), threading.Event()

    def hold() -> None:
        with transaction.atomic():
            Host.objects.select_for_update().get(pk=host.pk)
            locked.set()
            release.wait(10)
        connection.close()

    thread = threading.Thread(target=hold)
    thread.start()
    locked.wait(10)

    async def scene() -> None:
        parts = Parts()
        parts.database.go_on.set()
        client = Client(parts, host)
        await asyncio.wait_for(parts.database.committed.wait(), 10)
        assert not client.answer.done()
        release.set()
        assert len(await fences_of(client)) == 1
        assert parts.database.look_ups >= 2

    asyncio.run(scene())
    thread.join()


def test_a_process_that_drains_lets_every_poll_go(host: Host) -> None:
    async def scene() -> None:
        parts = Parts()
        parts.database.go_on.set()
        client = Client(parts, host)
        await asyncio.wait_for(parts.database.committed.wait(), 10)
        parts.polls.drain()
        for late in (client, Client(parts, host, seq=2)):
            assert await refusal_of(late) == (503, "unavailable")

    asyncio.run(scene())


# --- group commit -----------------------------------------------------------------------------


def batches_of(items: Sequence[str], **options: Any) -> list[list[str]]:
    """Return the batches that items make which arrive while the first is being committed."""
    seen: list[list[str]] = []

    async def scene() -> None:
        first, committed, all_seen = asyncio.Event(), asyncio.Event(), asyncio.Event()

        async def run(batch: Sequence[str]) -> None:
            seen.append(list(batch))
            first.set()
            await committed.wait()
            if sum(len(batch) for batch in seen) == len(items):
                all_seen.set()

        group: GroupCommit[str] = GroupCommit(run, **options)
        group.add(items[0])
        await first.wait()
        for item in items[1:]:
            group.add(item)
        committed.set()
        await asyncio.wait_for(all_seen.wait(), 10)

    asyncio.run(scene())
    return seen


def test_what_arrives_during_a_commit_is_the_next_batch() -> None:
    assert batches_of("abcd", limit=10) == [["a"], ["b", "c", "d"]]


def test_a_batch_has_a_limit() -> None:
    assert batches_of("abcdef", limit=2) == [["a"], ["b", "c"], ["d", "e"], ["f"]]


def test_a_large_item_counts_as_much_as_it_is_and_goes_alone() -> None:
    found = batches_of(["x", "aa", "b", "cccc", "d"], limit=3, size=len)
    assert found == [["x"], ["aa", "b"], ["cccc"], ["d"]]


def test_an_item_whose_key_is_in_the_batch_waits_and_keeps_its_order() -> None:
    found = batches_of(["x", "a1", "b1", "a2", "a3", "c1"], limit=10, keys=lambda item: item[0])
    assert found == [["x"], ["a1", "b1", "c1"], ["a2"], ["a3"]]


def under_way(steps: Sequence[str], **options: Any) -> list[list[list[str]]]:
    """Return which batches are under way after each step: items that come, or ``-`` and one that
    its batch, which ends, begins with.
    """
    seen: list[list[list[str]]] = []

    async def scene() -> None:
        running: dict[str, tuple[list[str], asyncio.Event]] = {}

        async def run(batch: Sequence[str]) -> None:
            end = asyncio.Event()
            running[batch[0]] = list(batch), end
            await end.wait()
            del running[batch[0]]

        group: GroupCommit[str] = GroupCommit(run, **options)
        for step in steps:
            if step.startswith("-"):
                running[step[1:]][1].set()
            else:
                for item in step.split():
                    group.add(item)
            for _ in range(5):  # turns of the loop: nothing here waits for anything else
                await asyncio.sleep(0)
            assert group.busy == bool(running)
            seen.append(sorted(batch for batch, _ in running.values()))

    asyncio.run(scene())
    return seen


def test_a_full_batch_does_not_wait_for_the_one_before_it_and_others_do() -> None:
    steps = ("a", "b", "c", "d e f", "-b", "-a", "-d", "-f")
    assert under_way(steps, limit=2, at_once=2) == [
        [["a"]],
        [["a"]],
        [["a"], ["b", "c"]],
        [["a"], ["b", "c"]],
        [["a"], ["d", "e"]],
        [["d", "e"], ["f"]],
        [["f"]],
        [],
    ]


def test_an_item_whose_key_is_under_way_waits_for_that_batch() -> None:
    steps = ("a1 b1", "a2 b2", "c1", "d1", "-c1", "-a1", "-a2")
    assert under_way(steps, limit=2, at_once=2, keys=lambda item: item[0]) == [
        [["a1", "b1"]],
        [["a1", "b1"]],
        [["a1", "b1"], ["c1"]],
        [["a1", "b1"], ["c1"]],
        [["a1", "b1"], ["d1"]],
        [["a2", "b2"], ["d1"]],
        [["d1"]],
    ]


def test_a_batch_that_fails_does_not_end_the_service(caplog: pytest.LogCaptureFixture) -> None:
    async def scene() -> list[str]:
        done: asyncio.Future[list[str]] = asyncio.get_running_loop().create_future()

        async def run(batch: Sequence[str]) -> None:
            if "bad" in batch:
                raise ValueError("a defect")
            done.set_result(list(batch))

        group: GroupCommit[str] = GroupCommit(run, limit=1)
        for item in ("bad", "good"):
            group.add(item)
        return await asyncio.wait_for(done, 10)

    assert asyncio.run(scene()) == ["good"]
    assert "a batch of 1 failed" in caplog.text


# --- garbage ----------------------------------------------------------------------------------


class _Knot:
    """Holds itself, and so is found by the collector alone."""

    def __init__(self) -> None:
        self.itself = self


def test_garbage_is_collected_when_nothing_is_under_way_and_not_before(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(garbage, "_WORTH_A_LOOK", 100)
    monkeypatch.setattr(garbage, "_SECONDS", 0.01)
    busy = True

    async def scene() -> None:
        nonlocal busy
        collector = asyncio.get_running_loop().create_task(garbage.collect_when_idle(lambda: busy))
        gone = weakref.ref(_Knot())
        kept = [[] for _ in range(1000)]  # type: ignore[var-annotated]
        await asyncio.sleep(0.1)
        assert gone() is not None
        busy = False
        async with asyncio.timeout(10):
            while gone() is not None:
                kept.append([])
                await asyncio.sleep(0.01)
        rests = weakref.ref(_Knot())
        kept += [[] for _ in range(1000)]
        await asyncio.sleep(0.1)
        assert rests() is not None
        collector.cancel()

    gc.collect()
    before = gc.get_threshold()
    gc.set_threshold(1_000_000)
    try:
        asyncio.run(scene())
    finally:
        gc.set_threshold(*before)


# --- small decisions --------------------------------------------------------------------------


def test_a_cancel_is_due_once_and_again_after_a_while_and_for_a_new_instance() -> None:
    state, fence, instance, other = HostState(1), *(uuid.UUID(int=at) for at in (1, 2, 3))
    assert due_cancels(state, instance, [fence], 100.0) == ([fence], None)
    state.canceled = {(fence, instance): 100.0}
    assert due_cancels(state, instance, [fence], 100.5) == ([], CANCEL_AGAIN_SECONDS - 0.5)
    assert due_cancels(state, instance, [fence], 100.0 + CANCEL_AGAIN_SECONDS) == ([fence], None)
    assert due_cancels(state, other, [fence], 100.5) == ([fence], None)


@pytest.mark.parametrize(
    ("output", "expected"),
    [
        (StreamOutput(b"abc", b"def"), StreamOutput(b"abc", b"def")),
        (StreamOutput(b"0123456789"), StreamOutput(b"0123", b"6789", 2)),
        (StreamOutput(b"01234", b"56789"), StreamOutput(b"0123", b"6789", 2)),
        (StreamOutput(b"", b"0123456789"), StreamOutput(b"0123", b"6789", 2)),
        (StreamOutput(b"01234", b"56789", 7), StreamOutput(b"0123", b"6789", 9)),
        (StreamOutput(b"0123456", b"89", 7), StreamOutput(b"012345", b"89", 8)),
        (StreamOutput(b"01", b"3456789", 7), StreamOutput(b"01", b"456789", 8)),
        (StreamOutput(b"0123456789", b"", 7), StreamOutput(b"01234567", b"", 9)),
    ],
)
def test_output_is_cut_to_its_cap_and_every_byte_is_counted(
    output: StreamOutput, expected: StreamOutput
) -> None:
    assert cap(output, 8) == expected


def test_large_bodies_share_a_budget() -> None:
    budget = BodyBudget(left=200_000)
    assert budget.take(1000) == 0
    taken = budget.take(150_000)
    with pytest.raises(Problem) as refused:
        budget.take(100_000)
    assert (refused.value.status, refused.value.code) == (503, "busy")
    budget.give_back(taken)
    assert budget.take(100_000) == 100_000


def test_a_secret_has_a_form_a_prefix_and_one_hash() -> None:
    secret = secrets.new_secret("dma")
    assert secrets.split(secret.plain) == secrets.split(secret.plain, "dma_") == secret.prefix
    assert secrets.split(secret.plain, "dme") is None
    assert secrets.matches(secret.plain, secret.hash)
    assert not secrets.matches(secret.plain + "x", secret.hash)
    assert secret.plain not in repr(secret)
    for wrong in ("", "dma_", secret.plain + "\n", secret.plain.upper(), secret.plain[:-1]):
        assert secrets.split(wrong) is None


def test_a_decoder_names_the_key_that_is_there_twice() -> None:
    with pytest.raises(Problem) as refused:
        decode(b'{"boot_id": "a", "boot_id": "a"}', messages.HEARTBEAT)
    assert (refused.value.status, refused.value.field) == (400, "boot_id")
