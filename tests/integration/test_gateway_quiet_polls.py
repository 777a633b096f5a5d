"""When the gateway asks the database about a poll, and when it need not."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from hosts_app.models import Host, HostHeartbeat
from tasks_app.models import CommandHost
from tests.factories import make_host, started_task
from tests.gateway_parts import Client, Parts, fences_of, in_database

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.fixture
def host(transactional_db: None) -> Host:
    return make_host(max_concurrency=2)


@pytest.fixture
def parts() -> Callable[[], Parts]:
    def make() -> Parts:
        made = Parts()
        made.database.go_on.set()
        return made

    return make


async def until(condition: Callable[[], bool]) -> None:
    """Wait for what another part of the event loop brings about."""
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 - it is the product's state that is waited for
            await asyncio.sleep(0.005)


def test_a_short_command_costs_one_look_up(host: Host, parts: Callable[[], Parts]) -> None:
    started_task([host])

    async def scene() -> None:
        made = parts()
        (fence,) = await fences_of(Client(made, host))
        following = Client(made, host, seq=2, holding={fence: "running"})
        assert await made.report(host, fence) == ["accepted"]
        await asyncio.sleep(0.3)  # longer than an acknowledgement waits for a result
        assert made.database.look_ups == 1
        await in_database(lambda: started_task([host]))
        made.polls.hint([host.pk])
        assert len(await fences_of(following)) == 1
        assert made.database.look_ups == 2

    asyncio.run(scene())


def test_slots_that_were_filled_by_all_there_was_cost_no_look_up_when_they_get_free(
    host: Host, parts: Callable[[], Parts]
) -> None:
    started_task([host])
    started_task([host])

    async def scene() -> None:
        made = parts()
        first, second = await fences_of(Client(made, host))
        holding = {first: "finished", second: "finished"}
        following = Client(made, host, seq=2, holding=holding)
        assert await made.report(host, first) == ["accepted"]
        assert await made.report(host, second) == ["accepted"]
        await asyncio.sleep(0.3)  # longer than an acknowledgement waits for a result
        assert made.database.look_ups == 1
        following.leave()

    asyncio.run(scene())


def test_that_a_command_runs_is_written_down_soon(host: Host, parts: Callable[[], Parts]) -> None:
    started_task([host])

    async def scene() -> None:
        made = parts()
        (fence,) = await fences_of(Client(made, host))
        following = Client(made, host, seq=2, holding={fence: "running"})
        await until(lambda: made.database.look_ups == 2)
        following.leave()

    asyncio.run(scene())
    assert CommandHost.objects.get().status == "running"


def test_a_fence_that_should_be_listed_and_is_not_is_looked_up_at_once(
    host: Host, parts: Callable[[], Parts]
) -> None:
    started_task([host])

    async def scene() -> None:
        made = parts()
        lost = await fences_of(Client(made, host))
        assert await fences_of(Client(made, host, seq=2)) == lost

    asyncio.run(scene())


def test_a_poll_that_lists_what_was_reported_meanwhile_needs_no_look_up(
    host: Host, parts: Callable[[], Parts]
) -> None:
    started_task([host])

    async def scene() -> None:
        made = parts()
        (fence,) = await fences_of(Client(made, host))
        assert await made.report(host, fence) == ["accepted"]
        # sent before the agent had the verdict
        following = Client(made, host, seq=2, holding={fence: "finished"})
        await asyncio.sleep(0.05)
        assert made.database.look_ups == 1
        following.leave()

    asyncio.run(scene())


def test_a_result_that_was_answered_twice_is_still_one(
    host: Host, parts: Callable[[], Parts]
) -> None:
    started_task([host])

    async def scene() -> None:
        made = parts()
        (fence,) = await fences_of(Client(made, host))
        assert await made.report(host, fence) == ["accepted"]
        assert await made.report(host, fence) == ["duplicate"]  # the answer was lost
        following = Client(made, host, seq=2, holding={fence: "finished"}, wait_seconds=0.0)
        assert await fences_of(following) == []

    asyncio.run(scene())


def test_a_slot_that_gets_free_brings_the_next_command(
    host: Host, parts: Callable[[], Parts]
) -> None:
    for _ in range(3):
        started_task([host])

    async def scene() -> None:
        made = parts()
        first, second = await fences_of(Client(made, host))
        following = Client(made, host, seq=2, holding={first: "running", second: "running"})
        assert await made.report(host, first) == ["accepted"]
        (third,) = await fences_of(following)
        after = Client(made, host, seq=3, holding={second: "running", third: "running"})
        assert await made.report(host, second, third) == ["accepted"] * 2
        await until(lambda: not made.hosts.state(host.pk, 0.0).full)
        after.leave()

    asyncio.run(scene())


def test_a_result_that_comes_during_a_look_up_which_finds_the_slots_full_is_not_missed(
    transactional_db: None, parts: Callable[[], Parts]
) -> None:
    host = make_host(max_concurrency=1)
    started_task([host])

    async def scene() -> None:
        made = parts()
        (fence,) = await fences_of(Client(made, host))
        made.hosts.state(host.pk, 0.0).full = False  # as a look-up with room left would say
        following = Client(made, host, seq=2, holding={fence: "running"})
        await in_database(lambda: started_task([host]))
        made.database.go_on.clear()
        made.database.committed.clear()
        made.polls.hint([host.pk])
        async with asyncio.timeout(10):
            await made.database.committed.wait()  # it has found the one slot taken
        assert await made.report(host, fence) == ["accepted"]
        made.database.go_on.set()
        assert len(await fences_of(following)) == 1

    asyncio.run(scene())


def test_a_host_that_polls_all_the_time_is_written_down_as_heard_now_and_then(
    host: Host, parts: Callable[[], Parts]
) -> None:
    beats = HostHeartbeat.objects.filter(host=host)

    async def scene() -> None:
        made = parts()
        for seq in (1, 2, 3):
            await fences_of(Client(made, host, seq=seq, wait_seconds=0.0, boot_id="one"))
        await until(lambda: made.database.heartbeats == 1)
        await fences_of(Client(made, host, seq=4, wait_seconds=0.0, boot_id="two"))
        await until(lambda: made.database.heartbeats == 2)

    asyncio.run(scene())
    assert beats.get().boot_id == "two"
