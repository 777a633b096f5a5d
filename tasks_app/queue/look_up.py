"""The look-up behind a poll: order, reconciliation, claim, for many hosts in one transaction.

The hosts are locked in a statement of their own; every later statement has a fresh snapshot and
touches only rows of locked hosts. Ending rows needs the tasks' locks, which come before the hosts'
in the lock order, so rows that a poll gave no account of are ended in a second transaction.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from django.conf import settings

from devops_manager.access import audit
from devops_manager.access.actors import SYSTEM
from devops_manager.access.agent_audit import foreign_fences
from hosts_app.states import HostStatus
from tasks_app.queue.deliveries import deliveries_of
from tasks_app.queue.fences import by_fence
from tasks_app.queue.holding import Fate, Reconciliation, reconcile
from tasks_app.queue.moves import Move, Settled, counts_of, lock_tasks, settle
from tasks_app.queue.order import Order, StoredSession, judge_order
from tasks_app.queue.statements import Call, call, in_hot_transaction, run, run_last, run_together
from tasks_app.queue.trail import record_agent
from tasks_app.records import Answer, Delivery, Poll, PollVerdict
from tasks_app.states import ROW_TRANSITIONS, RowStatus, sources

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from uuid import UUID


_SOON_SECONDS = 0.05


@dataclass(slots=True)
class _Asked:
    """One poll that may be served, and what this look-up found for it."""

    poll: Poll
    max_concurrency: int
    hostname: str
    instance_age_seconds: float = 0.0
    found: Reconciliation = field(default_factory=Reconciliation)
    commands: list[Delivery] = field(default_factory=list)
    free: int = 0
    claimed: int = 0
    more: bool = False

    @property
    def settled(self) -> bool:
        """Whether no request of an earlier instance can still be under way."""
        return self.instance_age_seconds >= settings.DM_INSTANCE_SETTLE_SECONDS


def look_up(polls: Sequence[Poll]) -> tuple[dict[int, Answer], Settled]:
    """Serve the open polls of many hosts, at most one poll a host.

    Returns an answer for each host (primary key), and what followed from rows that ended. A host
    that another transaction holds comes back SKIPPED; nothing was changed for it. Deliveries,
    acknowledgements and the polls' order are committed when this returns. Raises
    ``django.db.OperationalError`` when PostgreSQL is away.
    """
    answers, asked = _serve(polls)
    return answers, _end_unaccounted(asked)


@in_hot_transaction
def _serve(polls: Sequence[Poll]) -> tuple[dict[int, Answer], list[_Asked]]:
    answers = {poll.host: Answer(poll.host, PollVerdict.SKIPPED) for poll in polls}
    hosts = [poll.host for poll in polls]
    rows, sessions = run_together(
        call("poll_lock", hosts=hosts), call("poll_sessions", hosts=hosts)
    )
    locked = {row.id: row for row in rows}
    asked: list[_Asked] = []
    for poll in polls:
        host = locked.get(poll.host)
        if host is None:
            continue
        refusal = _refusal(host, poll)
        if refusal is None:
            asked.append(_Asked(poll, host.max_concurrency, host.hostname))
        else:
            answers[poll.host] = Answer(poll.host, refusal)
    asked, newer = _order(asked, _stored(sessions), answers)
    if asked:
        _reconcile(asked, _store_and_read(asked, newer))
        moves = _acknowledge(asked)
        _redeliver(asked)
        moves += _claim(asked)
        _finish(asked, moves)
    for one in asked:
        answers[one.poll.host] = _answer(one)
    return answers, asked


def _finish(asked: Sequence[_Asked], moves: Sequence[Move]) -> None:
    """See which hosts could take more than they have room for, and move the counts.

    Counts once, and last: steps are locked by id after all rows, or two look-ups could deadlock.
    """
    full = [one.poll.host for one in asked if one.claimed == one.free]
    if not full:
        run_last(*counts_of(moves))
        return
    rows = run_last(call("hosts_with_work", hosts=full), *counts_of(moves))[0]
    more = {row.host_id for row in rows}
    for one in asked:
        one.more = one.poll.host in more


def _stored(sessions: Sequence[Any]) -> dict[int, StoredSession]:
    return {
        row.host_id: StoredSession(
            row.journal_id, row.run, row.seq, row.instance_id, row.instance_age_seconds
        )
        for row in sessions
    }


def _refusal(host: Any, poll: Poll) -> PollVerdict | None:
    if host.credential_generation != poll.generation or host.status == HostStatus.RETIRED:
        return PollVerdict.REVOKED
    if host.status == HostStatus.PENDING:
        return PollVerdict.PENDING
    if host.status != HostStatus.ACTIVE:
        return PollVerdict.DISABLED
    return PollVerdict.QUARANTINED if host.quarantined else None


@dataclass(slots=True)
class _Newer:
    """Polls that become the newest of their hosts: of the stored agent, and of another one."""

    known: list[_Asked] = field(default_factory=list)
    other: list[_Asked] = field(default_factory=list)


def _order(
    asked: Sequence[_Asked], stored: Mapping[int, StoredSession], answers: dict[int, Answer]
) -> tuple[list[_Asked], _Newer]:
    """Drop polls that are not the newest of their host; return the others, and what to store."""
    retired = _retired([one.poll for one in asked], stored)
    accepted: list[_Asked] = []
    newer = _Newer()
    shared: list[int] = []
    for one in asked:
        session = stored.get(one.poll.host)
        order = judge_order(one.poll, session, retired[one.poll.host])
        if order is Order.QUARANTINE:
            shared.append(one.poll.host)
            answers[one.poll.host] = Answer(one.poll.host, PollVerdict.QUARANTINED)
        elif order is Order.SUPERSEDED:
            answers[one.poll.host] = Answer(one.poll.host, PollVerdict.SUPERSEDED)
        else:
            accepted.append(one)
            if session is not None and session.is_of(one.poll):
                one.instance_age_seconds = session.instance_age_seconds
            if order is Order.ACCEPT:
                (newer.known if _unchanged(one.poll, stored) else newer.other).append(one)
    _quarantine(shared)
    return accepted, newer


def _unchanged(poll: Poll, stored: Mapping[int, StoredSession]) -> bool:
    """Tell whether the agent is the one that is stored: it has polled before, and not restarted."""
    session = stored.get(poll.host)
    return session is not None and session.is_of(poll)


def _retired(
    polls: Sequence[Poll], stored: Mapping[int, StoredSession]
) -> dict[int, dict[UUID, tuple[int, int]]]:
    """Return which of the polls' journals and instances others replaced, where that matters."""
    retired: dict[int, dict[UUID, tuple[int, int]]] = defaultdict(dict)
    new = [poll for poll in polls if poll.first and not _unchanged(poll, stored)]
    if new:
        identities = [p.journal_id for p in new] + [p.instance_id for p in new]
        hosts = [poll.host for poll in new]
        for row in run("poll_retired", hosts=hosts + hosts, identities=identities):
            retired[row.host_id][row.identity] = (row.run, row.seq)
    return retired


def _store_and_read(asked: Sequence[_Asked], newer: _Newer) -> list[Any]:
    """Make polls the newest of their hosts; return what the hosts have in hand."""
    calls = _advancing([one.poll for one in newer.known])
    storing = len(calls)
    by_host = {one.poll.host: one for one in newer.other}
    if by_host:
        polls = [one.poll for one in newer.other]
        calls.append(call("poll_store", hosts=list(by_host), **_pairs(polls)))
    calls.append(call("pin_order"))
    calls.append(call("poll_in_flight", hosts=[one.poll.host for one in asked]))
    found = run_together(*calls)
    for row in found[storing] if by_host else ():
        by_host[row.host_id].instance_age_seconds = row.instance_age_seconds
    return found[-1]


def _advancing(polls: Sequence[Poll]) -> list[Call]:
    if not polls:
        return []
    return [
        call(
            "poll_advance",
            hosts=[poll.host for poll in polls],
            runs=[poll.run for poll in polls],
            seqs=[poll.seq for poll in polls],
        )
    ]


def _pairs(polls: Sequence[Poll]) -> dict[str, list[Any]]:
    return {
        "journals": [poll.journal_id for poll in polls],
        "instances": [poll.instance_id for poll in polls],
        "runs": [poll.run for poll in polls],
        "seqs": [poll.seq for poll in polls],
    }


def _quarantine(hosts: list[int]) -> None:
    if not hosts:
        return
    reason = "two agents share this host's identity (a clone, or a restored snapshot)"
    rows = run("poll_quarantine", hosts=hosts, reason=reason)
    audit.record(
        actor=SYSTEM,
        action="host.quarantine",
        object_type="host",
        object_ids=[str(row.host_id) for row in rows],
        after={"reason": reason},
    )


def _reconcile(asked: Sequence[_Asked], in_flight: Sequence[Any]) -> None:
    rows: dict[int, list[Any]] = defaultdict(list)
    known: set[tuple[int, UUID]] = set()
    for row in in_flight:
        rows[row.host_id].append(row)
        known.add((row.host_id, row.fence))
    unknown = [
        held.fence
        for one in asked
        for held in one.poll.holding
        if (one.poll.host, held.fence) not in known
    ]
    others = {row.fence: row for row in run("poll_fences", **by_fence(unknown))} if unknown else {}
    for one in asked:
        one.found = reconcile(one.poll, rows[one.poll.host], others, settled=one.settled)
        if one.found.foreign:
            _audit_foreign(one.poll.host, one.found.foreign)


def _audit_foreign(host: int, fences: Sequence[UUID]) -> None:
    record_agent(
        host=host,
        action="host.foreign_fence",
        after=foreign_fences(list(fences), where="poll"),
    )


def _acknowledge(asked: Sequence[_Asked]) -> list[Move]:
    rows = [row for one in asked for row in one.found.rows(Fate.ACKNOWLEDGE)]
    if not rows:
        return []
    return run(
        "poll_acknowledge",
        rows=rows,
        sources=sources(ROW_TRANSITIONS, RowStatus.RUNNING),
        grace_seconds=_grace_seconds(),
    )


def _grace_seconds() -> float:
    """How long after a command's own time-out its result may still arrive."""
    return float(settings.DM_KILL_GRACE_SECONDS + settings.DM_UPLOAD_GRACE_SECONDS)


def _redeliver(asked: Sequence[_Asked]) -> None:
    again = [(one, row) for one in asked for row in one.found.rows(Fate.REDELIVER)]
    if not again:
        return
    by_host = {one.poll.host: one for one in asked}
    delivered = run(
        "poll_redeliver",
        rows=[row for _, row in again],
        grace_seconds=settings.DM_POLL_HOLD_SECONDS + _grace_seconds(),
        **_pairs([one.poll for one, _ in again]),
    )
    for row, delivery in zip(delivered, deliveries_of(delivered), strict=True):
        by_host[row.host_id].commands.append(delivery)


def _claim(asked: Sequence[_Asked]) -> list[Move]:
    by_host = {}
    for one in asked:
        limit = one.max_concurrency
        if one.poll.slots is not None:
            limit = min(limit, one.poll.slots)
        one.free = max(0, limit - one.found.occupied)
        if one.free:
            by_host[one.poll.host] = one
    if not by_host:
        return []
    claimed = run(
        "claim",
        hosts=list(by_host),
        free=[one.free for one in by_host.values()],
        grace_seconds=settings.DM_POLL_HOLD_SECONDS + _grace_seconds(),
        **_pairs([one.poll for one in by_host.values()]),
    )
    claimed.sort(key=lambda row: row.id)
    for row, delivery in zip(claimed, deliveries_of(claimed), strict=True):
        one = by_host[row.host_id]
        one.commands.append(delivery)
        one.claimed += 1
    return claimed


def _answer(one: _Asked) -> Answer:
    return Answer(
        host=one.poll.host,
        verdict=PollVerdict.OK,
        commands=tuple(one.commands),
        cancel=tuple(one.found.cancel),
        more=one.more,
        max_concurrency=one.max_concurrency,
        hostname=one.hostname,
        recheck_seconds=_recheck_seconds(one),
    )


def _recheck_seconds(one: _Asked) -> float | None:
    """Return when to look again unasked: slots that are about to be free, or not settled yet."""
    fates = one.found.fates.values()
    if Fate.INTERRUPT in fates or Fate.NEVER_STARTED in fates:
        return _SOON_SECONDS
    if Fate.WAIT in fates:
        return max(_SOON_SECONDS, settings.DM_INSTANCE_SETTLE_SECONDS - one.instance_age_seconds)
    return None


def _end_unaccounted(asked: Sequence[_Asked]) -> Settled:
    """End, in the full lock order, the rows that polls gave no account of."""
    ends = [
        (one.poll, row, fate is Fate.NEVER_STARTED)
        for one in asked
        for row, fate in one.found.fates.items()
        if fate in (Fate.INTERRUPT, Fate.NEVER_STARTED)
    ]
    return _end_rows(ends) if ends else Settled()


@in_hot_transaction
def _end_rows(ends: Sequence[tuple[Poll, int, bool]]) -> Settled:
    rows = [row for _, row, _ in ends]
    lock_tasks(row.task_id for row in run("unaccounted_tasks", rows=rows))
    run("hosts_lock", hosts=sorted({poll.host for poll, _, _ in ends}))
    moved = run(
        "unaccounted_end",
        rows=rows,
        never_started=[never_started for _, _, never_started in ends],
        journals=[poll.journal_id for poll, _, _ in ends],
        runs=[poll.run for poll, _, _ in ends],
        seqs=[poll.seq for poll, _, _ in ends],
    )
    return settle(moved)
