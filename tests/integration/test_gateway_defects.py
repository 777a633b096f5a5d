"""The gateway's parts where something goes wrong: defects, lost connections, the process's end."""

from __future__ import annotations

import asyncio
import gc
import uuid
from contextlib import suppress
from typing import Any

import pytest
from django.db import OperationalError

from agents_app.gateway import messages
from agents_app.gateway.authentication import Caller
from agents_app.gateway.database import DatabaseAway, DatabaseThreads
from agents_app.gateway.heartbeats import Arrival, Heartbeats, heartbeat_of
from agents_app.gateway.http import Response
from agents_app.gateway.report_body import Report
from tasks_app.records import Answer
from tests.factories import make_host, started_task
from tests.gateway_parts import Client, Parts, caller_of, fences_of, in_database


def test_a_poll_is_answered_once(transactional_db: None) -> None:
    """An older poll's look-up ends after a newer one took its place, on the same connection."""
    host = make_host()

    async def scene() -> None:
        parts = Parts()
        older = Client(parts, host)
        await asyncio.wait_for(parts.database.committed.wait(), 10)
        newer = Client(parts, host, seq=2, wait_seconds=0.0)
        parts.database.fails = True
        parts.database.go_on.set()
        assert (await asyncio.wait_for(newer.answer, 10)).status == 503
        assert [reply.status for reply in older.replies] == [409]
        assert len(newer.replies) == 1

    asyncio.run(scene())


def test_a_poll_that_leaves_does_not_take_the_newer_one_with_it(transactional_db: None) -> None:
    """Another journal's poll is looked up beside the held one, and its client leaves."""
    host = make_host()

    async def scene() -> None:
        parts = Parts()
        parts.database.go_on.set()
        held = Client(parts, host)
        await asyncio.wait_for(parts.database.committed.wait(), 10)
        parts.database.go_on.clear()
        other = Client(parts, host, journal_id=uuid.UUID(int=9), instance_id=uuid.UUID(int=8))
        other.leave()
        assert parts.hosts.held() == [host.pk]
        parts.database.go_on.set()
        await in_database(lambda: started_task([host]))
        parts.polls.hint([host.pk])
        assert len(await fences_of(held)) == 1

    asyncio.run(scene())


def test_a_poll_that_meets_a_defect_leaves_the_others_of_its_batch_alone(
    transactional_db: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    hosts = [make_host(f"host-{no}") for no in range(3)]
    answered: list[object] = []

    async def scene() -> None:
        parts = Parts()
        parts.database.go_on.set()
        really = parts.polls._answers.response

        def response(answer: Answer) -> Response:
            answered.append(answer)
            if len(answered) == 2:
                raise KeyError("a defect")
            return really(answer)

        monkeypatch.setattr(parts.polls._answers, "response", response)
        clients = [Client(parts, host, wait_seconds=0.0) for host in hosts]
        replies = [await asyncio.wait_for(client.answer, 10) for client in clients]
        assert sorted(reply.status for reply in replies) == [200, 200, 500]
        assert parts.database.look_ups == 1

    asyncio.run(scene())


def test_an_answer_that_meets_a_defect_leaves_the_others_of_its_batch_alone(
    transactional_db: None,
) -> None:
    hosts = [make_host(f"host-{no}") for no in range(3)]
    started_task(hosts)
    told: list[Response] = []

    def defect(_response: Response) -> None:
        raise KeyError("a defect")

    async def scene() -> None:
        parts = Parts()
        parts.database.go_on.set()
        replies = (told.append, defect, told.append)
        for host, reply in zip(hosts, replies, strict=True):
            (fence,) = await fences_of(Client(parts, host))
            results = (messages.ResultMessage(uuid.UUID(fence), "completed", 0),)
            parts.reports.take(parts.reports.prepare(Report(results, ()), caller_of(host)), reply)
        await parts.reports.finish()

    asyncio.run(scene())
    assert [response.status for response in told] == [200, 200]


def test_a_batch_that_meets_a_defect_is_answered_and_logged_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    told: list[Response] = []

    class Defect(DatabaseThreads):
        async def run(self, function: Any, *args: Any, **kwargs: Any) -> Any:
            raise KeyError("a defect")

    async def scene() -> None:
        parts = Parts(Defect("test", 1))
        for host in range(3):
            caller = Caller(host=host, host_id=uuid.UUID(int=host), generation=1)
            results = (messages.ResultMessage(uuid.UUID(int=9 + host), "completed", 0),)
            parts.reports.take(parts.reports.prepare(Report(results, ()), caller), told.append)
        await parts.reports.finish()

    asyncio.run(scene())
    assert [response.status for response in told] == [500] * 3
    (record,) = caplog.records
    assert record.exc_info is not None


def test_results_in_flight_are_written_before_the_end(transactional_db: None) -> None:
    host = make_host()
    started_task([host])

    async def scene() -> None:
        parts = Parts()
        parts.database.go_on.set()
        (fence,) = await fences_of(Client(parts, host))
        reported = asyncio.ensure_future(parts.report(host, fence))
        await asyncio.sleep(0)
        assert parts.reports.busy
        await parts.reports.finish()
        assert not parts.reports.busy
        assert await reported == ["accepted"]

    asyncio.run(scene())


def test_what_cannot_be_written_leaves_nothing_for_the_garbage_collector() -> None:
    """Errors have frames, frames have who waits, who waits has the error."""

    def away(*_args: Any) -> None:
        raise OperationalError("the connection is lost")

    class Away(DatabaseThreads):
        async def run(self, function: Any, *args: Any, **kwargs: Any) -> Any:
            return await super().run(away)

    async def scene() -> None:
        database = Away("test", 1)
        parts = Parts(database)
        caller = Caller(host=1, host_id=uuid.UUID(int=1), generation=1)
        results = (messages.ResultMessage(uuid.UUID(int=2), "completed", 0),)
        report = Report(results, ())
        assert (
            await parts.reports.serve(parts.reports.prepare(report, caller), None)
        ).status == 503
        beat = heartbeat_of(1, messages.HeartbeatMessage(), Arrival.now())
        beats = Heartbeats(database, batch_limit=1)
        with suppress(DatabaseAway):
            await beats.record(beat)
        with suppress(DatabaseAway):
            await parts.authentication.identify(b"Bearer dma_aaaaaaaaaaaa_" + b"A" * 43)
        database.close()

    gc.collect()
    gc.disable()
    try:
        asyncio.run(scene())
        left = {type(one).__name__ for one in gc.get_objects()}
        assert not left & {"_Submitted", "_Beat", "_Wanted"}
    finally:
        gc.enable()
