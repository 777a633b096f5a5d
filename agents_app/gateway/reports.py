"""``report``: results in batches, a verdict for each; chunks beside them, never in their way."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

from django.conf import settings
from msgspec.json import encode

from agents_app import protocol
from agents_app.gateway import authentication as auth
from agents_app.gateway.database import DatabaseAway, detached
from agents_app.gateway.group_commit import GroupCommit
from agents_app.gateway.http import Problem, Response, defect, json_response, response_to
from agents_app.gateway.report_body import Malformed, Report, fences_of
from agents_app.gateway.results import Unstorable, decode_text, result_of, set_aside_result
from agents_app.gateway.suspects import result_mark
from devops_manager.lib import announce
from tasks_app.live_output import Chunk
from tasks_app.records import Result, ResultVerdict, Verdict
from tasks_app.services import dispatch

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Sequence
    from uuid import UUID

    from agents_app.gateway.authentication import Authentication, Caller
    from agents_app.gateway.database import DatabaseThreads
    from agents_app.gateway.live_output import LiveOutput
    from agents_app.gateway.messages import ChunkMessage, ResultMessage
    from agents_app.gateway.polls import Polls
    from agents_app.gateway.suspects import Suspects
    from agents_app.gateway.waiters import Hosts

logger = logging.getLogger(__name__)

# After these the agent's journal drops the fence: nothing more comes for it.
_FINAL = (Verdict.ACCEPTED, Verdict.DUPLICATE, Verdict.CONFLICT, Verdict.UNKNOWN)
_REFUSALS: dict[str, Callable[[], Problem]] = {
    "revoked": auth.unauthorized,
    "pending": auth.host_pending,
    "quarantined": auth.host_quarantined,
}


# What is said of the results of one request, in their order, or why nothing can be said.
_Told: TypeAlias = "list[dict[str, Any]] | Exception"


@dataclass(slots=True)
class Prepared:
    """One report, decoded and checked; made by ``Reports.prepare``, in whatever thread.

    ``entries`` has one entry for each result that was sent, in their order: its fence, or the
    answer where it has none to go by. ``results`` can be stored; ``verdicts`` has those of the
    others. ``chunks`` has the answer in place of what cannot be kept. ``slots`` mark the results as
    under way, until they are told of.
    """

    entries: list[UUID | dict[str, Any]]
    caller: Caller
    results: list[Result]
    verdicts: dict[UUID, ResultVerdict]
    chunks: list[Chunk | dict[str, Any]]
    slots: list[int]
    seen: set[UUID] = field(default_factory=set)


@dataclass(slots=True)
class _Submitted:
    """The results of one request. ``tell`` is given what is said of all of them, once."""

    prepared: Prepared
    tell: Callable[[_Told], object]

    @property
    def caller(self) -> Caller:
        """Return the host that reports."""
        return self.prepared.caller

    @property
    def results(self) -> list[Result]:
        """Return what can be stored."""
        return self.prepared.results


class Reports:
    """Serves ``report`` for all hosts of one process."""

    def __init__(
        self,
        database: DatabaseThreads,
        *,
        hosts: Hosts,
        polls: Polls,
        authentication: Authentication,
        live_output: LiveOutput,
        suspects: Suspects,
    ) -> None:
        """Start with nothing to write."""
        self._database = database
        self._hosts = hosts
        self._polls = polls
        self._authentication = authentication
        self._live_output = live_output
        self._suspects = suspects
        self._cap_bytes = settings.DM_OUTPUT_CAP_BYTES
        self._batches: GroupCommit[_Submitted] = GroupCommit(
            self._write, limit=settings.DM_GATEWAY_BATCH, keys=_keys, size=_size, at_once=2
        )

    @property
    def busy(self) -> bool:
        """Whether results are being written."""
        return self._batches.busy

    async def finish(self) -> None:
        """Return when no results are being written."""
        await self._batches.finish()

    def prepare(self, report: Report, caller: Caller) -> Prepared:
        """Return a report as it will be written: decoded, checked, capped; touches nothing else.

        Of a large one this takes a while: call it beside the event loop. The results are marked as
        under way from here on.
        """
        under_way = self._suspects.under_way
        slots = [under_way.begin(result_mark(caller.host, fence)) for fence in fences_of(report)]
        prepared = Prepared([], caller, [], {}, [], slots)
        try:
            for at, item in enumerate(report.results):
                self._add(prepared, at, item)
            prepared.chunks = [_chunk(item) for item in report.output]
        except BaseException:
            under_way.end_all(slots)
            raise
        return prepared

    def _add(self, prepared: Prepared, at: int, item: ResultMessage | Malformed) -> None:
        fence = item.fence
        if fence is None or fence in prepared.seen:
            prepared.entries.append(_invalid_entry(at, item))
            return
        prepared.seen.add(fence)
        prepared.entries.append(fence)
        if isinstance(item, Malformed):
            prepared.verdicts[fence] = ResultVerdict(fence, Verdict.INVALID, item.detail)
            return
        try:
            result = result_of(item, prepared.caller, cap_bytes=self._cap_bytes)
        except Unstorable as error:
            prepared.verdicts[fence] = ResultVerdict(fence, Verdict.INVALID, str(error))
        else:
            prepared.results.append(result)

    def take(self, prepared: Prepared, reply: Callable[[Response], object]) -> Response | None:
        """Take a report without output in; ``reply`` is given the answer once it is committed.

        Returns the answer where there is nothing to write.
        """
        submitted = _Submitted(prepared, lambda told: reply(_response(told)))
        if submitted.results:
            self._submit(submitted)
            return None
        return _response(self._told(submitted, ()))

    async def serve(self, prepared: Prepared, source_ip: str | None) -> Response:
        """Take a report in, output beside it, and return the answer once it is committed.

        Raises DatabaseAway when output alone cannot be taken.
        """
        written = asyncio.ensure_future(self._written(prepared))
        output = self._take_output(prepared, source_ip)
        return _response(*await asyncio.gather(written, output))

    async def serve_apart(self, report: Report, caller: Caller, source_ip: str | None) -> Response:
        """Take a report in that has suspects among its results: one after another, alone.

        One that two processes did not survive is not looked at: its command is ended with what is
        known of it, and the result is kept for whoever looks for the cause. Raises DatabaseAway.
        """
        answers: list[dict[str, Any]] = []
        async with self._suspects.apart:
            for item in report.results:
                told = await self._one_apart(item, caller)
                if isinstance(told, Exception):
                    return _response(told)
                answers += told
        output = self.prepare(Report((), report.output), caller)
        return _response(answers, await self._take_output(output, source_ip))

    async def _one_apart(self, item: ResultMessage | Malformed, caller: Caller) -> _Told:
        if isinstance(item, Malformed):
            return await self._written(self.prepare(Report([item], ()), caller))
        mark = result_mark(caller.host, item.fence)
        if not self._suspects.set_aside(mark):
            told = await self._written(self.prepare(Report([item], ()), caller))
            if not isinstance(told, Exception):
                self._suspects.survived(mark)
            return told
        logger.error("result %s of host %d is set aside", item.fence, caller.host)
        await self._suspects.keep(mark, encode(item))
        results = [set_aside_result(item, caller)]
        return await self._written(Prepared([item.fence], caller, results, {}, [], []))

    async def _written(self, prepared: Prepared) -> _Told:
        written: asyncio.Future[_Told] = asyncio.get_running_loop().create_future()

        def tell(told: _Told) -> None:
            if not written.done():  # the request was given up
                written.set_result(told)

        submitted = _Submitted(prepared, tell)
        if submitted.results:
            self._submit(submitted)
        else:
            tell(self._told(submitted, ()))
        return await written

    def _submit(self, submitted: _Submitted) -> None:
        fences = [result.fence for result in submitted.results]
        self._hosts.reported(submitted.caller.host, fences)
        self._batches.add(submitted)

    def _told(self, submitted: _Submitted, given: Sequence[ResultVerdict]) -> _Told:
        """Make of what became of the results what their sender is told; they are over."""
        prepared = submitted.prepared
        self._suspects.under_way.end_all(prepared.slots)
        verdicts, caller = prepared.verdicts, prepared.caller
        verdicts.update((verdict.fence, verdict) for verdict in given)
        try:
            self._refuse(verdicts, caller)
            self._follow(verdicts, caller)
            return [
                entry if isinstance(entry, dict) else _result_answer(verdicts[entry])
                for entry in prepared.entries
            ]
        except Problem as refused:
            return detached(refused)
        except Exception:
            # one's defect must not reach the rest of a batch
            logger.exception("host %d: a report was not answered", caller.host)
            return defect()

    def _refuse(self, verdicts: dict[UUID, ResultVerdict], caller: Caller) -> None:
        for verdict in verdicts.values():
            if verdict.verdict == Verdict.REFUSED:
                self._authentication.forget([caller.host])
                refusal = _REFUSALS.get(verdict.reason, auth.host_disabled)
                raise refusal()

    def _follow(self, verdicts: dict[UUID, ResultVerdict], caller: Caller) -> None:
        final = [fence for fence, verdict in verdicts.items() if verdict.verdict in _FINAL]
        self._live_output.ended(caller.host, final)
        stored = [fence for fence in final if verdicts[fence].verdict != Verdict.UNKNOWN]
        self._hosts.acknowledged(caller.host, final, stored)
        if any(verdict.verdict == Verdict.ACCEPTED for verdict in verdicts.values()):
            self._polls.slot_free([caller.host])

    async def _write(self, batch: Sequence[_Submitted]) -> None:
        results = [result for item in batch for result in item.results]
        try:
            outcome = await self._database.run(dispatch.report, results)
        except Exception as error:
            if isinstance(error, DatabaseAway):
                logger.warning("%d results could not be written: %s", len(results), error)
                told = detached(error)
            else:
                # nobody may be left waiting for it
                logger.exception("%d results could not be written", len(results))
                told = defect()
            for item in batch:
                self._suspects.under_way.end_all(item.prepared.slots)
                _tell(item, told)
            return
        # Other processes hear of it over Redis, and this one too, if Redis is there.
        self._polls.hint(outcome.wake_hosts)
        start = 0
        for item in batch:
            end = start + len(item.results)
            _tell(item, self._told(item, outcome.verdicts[start:end]))
            start = end
        hosts = {item.caller.host for item in batch}
        elsewhere = {host for host in hosts if not self._hosts.polls_here(host)}
        if elsewhere:
            await self._announce_free(elsewhere)

    async def _announce_free(self, hosts: set[int]) -> None:
        """Let the gateways where these hosts poll know that slots are free."""
        try:
            await self._database.run(announce.slot_free, hosts)
        except DatabaseAway as error:
            # the query for pending work finds them
            logger.warning("%d hosts with free slots were not announced: %s", len(hosts), error)

    async def _take_output(self, prepared: Prepared, source_ip: str | None) -> list[dict[str, Any]]:
        good = prepared.chunks
        chunks = [chunk for chunk in good if isinstance(chunk, Chunk)]
        try:
            taken = iter(await self._live_output.take(chunks, prepared.caller, source_ip))
        except DatabaseAway:
            if not prepared.entries:
                raise
            taken = iter(())
        return [
            _chunk_answer(chunk, next(taken, None)) if isinstance(chunk, Chunk) else chunk
            for chunk in good
        ]


def _tell(item: _Submitted, told: _Told) -> None:
    try:
        item.tell(told)
    except Exception:
        # a defect; it must not reach the rest of a batch
        logger.exception("host %d was not told what became of its results", item.caller.host)


def _response(told: _Told, output: Sequence[dict[str, Any]] = ()) -> Response:
    if isinstance(told, Exception):
        return response_to(told, "report")
    return json_response({"results": told, "output": output})


def _keys(item: _Submitted) -> Sequence[Hashable]:
    # One request a host in a batch: what a host sends later is judged later. And no fence twice.
    # (A UUID's own hash is slow.)
    return [item.caller.host, *(result.fence.int for result in item.results)]


def _size(item: _Submitted) -> int:
    return len(item.results)


def _invalid_entry(index: int, item: ResultMessage | Malformed) -> dict[str, Any]:
    """Return the answer to a result that no fence tells from the others."""
    twice = "fence: this fence is there twice; the first of them counts"
    detail = item.detail if isinstance(item, Malformed) and item.fence is None else twice
    return {
        "fence": item.fence,
        "index": index,
        "verdict": protocol.VERDICT_INVALID,
        "detail": detail,
    }


def _chunk(item: ChunkMessage | Malformed) -> Chunk | dict[str, Any]:
    """Return a chunk, or the answer to one that cannot be read."""
    if isinstance(item, Malformed):
        return {
            "fence": item.fence,
            "index": item.index,
            "stream": item.stream,
            "verdict": protocol.VERDICT_INVALID,
            "detail": item.detail,
        }
    try:
        data = decode_text(item.data, item.encoding)
    except Unstorable:
        return _chunk_told(item.fence, item.stream, protocol.VERDICT_IGNORED, item.offset)
    return Chunk(fence=item.fence, stream=item.stream, offset=item.offset, data=data)


def _chunk_answer(chunk: Chunk, taken: tuple[str, int] | None) -> dict[str, Any]:
    verdict, offset = taken or (protocol.VERDICT_IGNORED, chunk.offset)
    return _chunk_told(chunk.fence, chunk.stream, verdict, offset)


def _chunk_told(fence: UUID, stream: str, verdict: str, offset: int) -> dict[str, Any]:
    return {"fence": fence, "stream": stream, "verdict": verdict, "offset": offset}


def _result_answer(verdict: ResultVerdict) -> dict[str, Any]:
    answer: dict[str, Any] = {"fence": verdict.fence, "verdict": str(verdict.verdict)}
    if verdict.detail:
        answer["detail"] = verdict.detail
    return answer
