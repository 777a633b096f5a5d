"""Takes results in: a transaction a batch, a verdict for each, no poison for the neighbours."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from django.db import DataError, IntegrityError, OperationalError
from psycopg.errors import SerializationFailure

from hosts_app.states import HostStatus
from tasks_app.normalize import normalized_digest
from tasks_app.queue.fences import by_fence, row_of
from tasks_app.queue.moves import Settled, settle
from tasks_app.queue.statements import Call, call, in_hot_transaction, run, run_together
from tasks_app.queue.trail import record_agent
from tasks_app.records import Result, ResultVerdict, Verdict
from tasks_app.states import ROW_TRANSITIONS, RowStatus, sources

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from uuid import UUID

logger = logging.getLogger(__name__)

# the states that a result may end
_SOURCES = sources(ROW_TRANSITIONS, RowStatus.COMPLETED)
# SQLSTATE class 22 and 23, and text that cannot be encoded: the data is at fault, not the database
_POISON = (DataError, IntegrityError, UnicodeError)


def report(results: Sequence[Result]) -> tuple[list[ResultVerdict], list[Settled]]:
    """Write results and say what became of each, in their order; committed when this returns.

    A batch that fails on its data is split until the offender is alone; that one is ``invalid``.
    Raises ``django.db.OperationalError`` when PostgreSQL is away; then nothing of the last
    attempted part was kept and the agents send again.
    """
    verdicts: list[ResultVerdict] = []
    settled: list[Settled] = []
    parts = [list(results)]
    while parts:
        part = parts.pop()
        try:
            part_verdicts, part_settled = _write(part)
        except _POISON as error:
            if len(part) == 1:
                logger.warning("result %s cannot be stored: %s", part[0].fence, error)
                verdicts.append(
                    ResultVerdict(part[0].fence, Verdict.INVALID, detail=_reason(error))
                )
            else:
                half = len(part) // 2
                parts += [part[half:], part[:half]]
            continue
        verdicts += part_verdicts
        settled.append(part_settled)
    return verdicts, settled


def _reason(error: Exception) -> str:
    return str(error).splitlines()[0][:200]


@in_hot_transaction
def _write(results: Sequence[Result]) -> tuple[list[ResultVerdict], Settled]:
    first: dict[UUID, Result] = {}
    for result in results:
        first.setdefault(result.fence, result)
    tasks, moves = run_together(
        call("report_lock", **by_fence(list(first))), _applying(list(first.values()))
    )
    written = {move.fence for move in moves}
    left = [result for result in first.values() if result.fence not in written]
    refused, judged = _judge_left(left) if left else ({}, {})
    settled = settle(moves, steps=tasks, last=True)
    verdicts = []
    for result in results:
        if result.host in refused:
            verdict = ResultVerdict(result.fence, Verdict.REFUSED, reason=refused[result.host])
        elif result is not first[result.fence]:
            same = result.digest == first[result.fence].digest
            verdict = ResultVerdict(result.fence, Verdict.DUPLICATE if same else Verdict.CONFLICT)
        elif result.fence in judged:
            verdict = ResultVerdict(result.fence, judged[result.fence])
        else:
            verdict = ResultVerdict(result.fence, Verdict.ACCEPTED)
        verdicts.append(verdict)
    return verdicts, settled


def _judge_left(left: Sequence[Result]) -> tuple[dict[int, str], dict[UUID, Verdict]]:
    """Say of what was not written which hosts are refused, and what the others' results are."""
    refused = _refused_hosts(left)
    usable = [result for result in left if result.host not in refused]
    late = _keep_late(usable)
    return refused, _judge([result for result in usable if result.fence not in late])


def _refused_hosts(results: Iterable[Result]) -> dict[int, str]:
    """Say which hosts may not report: their results stay with the agent."""
    generations = {result.host: result.generation for result in results}
    refused = dict.fromkeys(generations, "revoked")
    for row in run("report_hosts", hosts=list(generations)):
        if row.credential_generation != generations[row.id] or row.status == HostStatus.RETIRED:
            continue
        if row.status == HostStatus.ACTIVE:
            del refused[row.id]
        else:
            refused[row.id] = row.status
    return refused


def _columns(results: Sequence[Result]) -> dict[str, list[Any]]:
    return {
        "fences": [r.fence for r in results],
        "statuses": [r.status for r in results],
        "exit_codes": [r.exit_code for r in results],
        "error_codes": [r.error_code for r in results],
        "error_messages": [r.error_message for r in results],
        "execution_times": [r.execution_time_ms for r in results],
        "output_digests": [r.output_digest for r in results],
        "normalized": [normalized_digest(r.stdout, r.stderr) for r in results],
        "digests": [r.digest for r in results],
    }


def _applying(results: Sequence[Result]) -> Call:
    return call(
        "report_apply",
        rows=[row_of(r.fence) for r in results],
        hosts=[r.host for r in results],
        generations=[r.generation for r in results],
        sources=_SOURCES,
        **_columns(results),
        **_outputs(results),
    )


def _outputs(results: Sequence[Result]) -> dict[str, list[Any]]:
    return {
        "stdout_heads": [r.stdout.head for r in results],
        "stdout_tails": [r.stdout.tail for r in results],
        "stdout_dropped": [r.stdout.dropped_bytes for r in results],
        "stderr_heads": [r.stderr.head for r in results],
        "stderr_tails": [r.stderr.tail for r in results],
        "stderr_dropped": [r.stderr.dropped_bytes for r in results],
    }


def _keep_late(results: Sequence[Result]) -> set[UUID]:
    """Keep results of attempts that a retry put away, with their attempts."""
    if not results:
        return set()
    rows = run("report_late", hosts=[r.host for r in results], **_columns(results))
    if rows:
        reported = {result.fence: result for result in results}
        run(
            "report_outputs",
            rows=[row.command_host_id for row in rows],
            attempts=[row.attempt for row in rows],
            **_outputs([reported[row.fence] for row in rows]),
        )
    return {row.fence for row in rows}


def _judge(results: Sequence[Result]) -> dict[UUID, Verdict]:
    """Say why results were not written: the same again, another one, or not this host's.

    One that could be written now was not a moment ago, because its host was out of service: raises
    what has the transaction run again. Called a conflict, the agent would throw it away.
    """
    if not results:
        return {}
    stored = {row.fence: row for row in run("report_judge", **by_fence([r.fence for r in results]))}
    verdicts = {}
    for result in results:
        row = stored.get(result.fence)
        if row is None:
            verdicts[result.fence] = Verdict.UNKNOWN
        elif row.host_id != result.host:
            verdicts[result.fence] = Verdict.UNKNOWN
            _audit("host.foreign_fence", result, {"where": "report"})
        elif row.result_digest is None and row.status in _SOURCES and not row.retried:
            raise OperationalError("a host came back in the middle") from SerializationFailure()
        elif row.result_digest == result.digest:
            verdicts[result.fence] = Verdict.DUPLICATE
        else:
            verdicts[result.fence] = Verdict.CONFLICT
            _audit("result.conflict", result, {"kept": row.status, "reported": result.status})
    return verdicts


def _audit(action: str, result: Result, after: dict[str, str]) -> None:
    record_agent(host=result.host, action=action, after={"fence": str(result.fence), **after})
