"""Held polls: when to ask the database about a host, and what to make of its answer.

A poll costs no task and no query of its own. Nothing waits for it but its connection, which
``Waiter.finish`` gives the answer; look-ups go out in batches, one batch at a time.

**When.** A poll is registered first. It is looked up at once unless it directly follows a poll that
this process answered, with the same ``slots`` and credential and a ``holding`` that is that poll's
with what it brought and without what was reported since, and no hint came since that poll's last
look-up was sent. It is looked up again when a hint comes (a wake, an accepted result where the last
look-up had found the slots full, the query for pending work every few seconds, a new subscription),
when a look-up skipped the host or asked to be repeated, and at the end of the hold. A look-up
clears the hints that had come before it was sent, no others.

That a delivery arrived is written down a moment after a poll says so, unless the result is here by
then: of a short command the database hears that it was claimed and that it ended.

**Order.** DESIGN section 5: a poll whose *first* look-up finds its own or a higher (run, seq)
stored gets 409. For a poll that follows one answered here, the first look-up may be the one at the
end of its hold. Until then the server's record shows the poll before, which does no harm:

- nothing is delivered to a poll without a look-up, so no row carries a pair that is not stored;
- a duplicate at another gateway is looked up there at once and stores the pair, which makes this
  one the duplicate: of two equal polls one is served, whichever the database sees first;
- two polls of one journal in this process are compared right here: a greater pair ends the older
  poll with 409, its own or a smaller one gets 409 itself.

A poll of another journal is looked up beside the held one, and takes its place only when the
database says that it may.

**Answers that get lost.** A look-up that fails answers 503 and is not repeated: whether it was
committed is unknown, and the agent's next, greater poll settles it. What was claimed for a client
that left is delivered again to its next poll, which is looked up at once because nothing was
answered.
"""

from __future__ import annotations

import asyncio
import logging
import random
from http import HTTPStatus
from typing import TYPE_CHECKING

from django.conf import settings

from agents_app import protocol
from agents_app.gateway import authentication as auth
from agents_app.gateway import lobby
from agents_app.gateway.database import DatabaseAway
from agents_app.gateway.group_commit import GroupCommit
from agents_app.gateway.heartbeats import heartbeat_of
from agents_app.gateway.http import Problem, Response, defect, unavailable
from agents_app.gateway.poll_answers import PollAnswers
from agents_app.gateway.suspects import POLL
from agents_app.gateway.waiters import Hosts, HostState, Waiter, due_cancels, holding_of
from agents_app.services.suspects import Mark
from tasks_app.records import Answer, PollVerdict
from tasks_app.services import dispatch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from uuid import UUID

    from agents_app.gateway.authentication import Authentication, Caller
    from agents_app.gateway.database import DatabaseThreads
    from agents_app.gateway.heartbeats import Arrival, Heartbeats
    from agents_app.gateway.messages import PollMessage
    from agents_app.gateway.suspects import Suspects

logger = logging.getLogger(__name__)

SKIPPED_AGAIN_SECONDS = (0.05, 0.2)
# How long a command may have been running before people see that it does.
ACKNOWLEDGE_SECONDS = 0.2
# A host that polls more often is written down as heard no more often than this.
HEARD_SECONDS = 8.0


def superseded() -> Problem:
    """Return the answer to a poll that is not its host's newest."""
    return Problem(
        409, protocol.CODE_POLL_SUPERSEDED, "a poll with this pair or a greater one was seen"
    )


class Polls:
    """Serves ``poll`` for all hosts of one process."""

    def __init__(
        self,
        database: DatabaseThreads,
        *,
        hosts: Hosts,
        heartbeats: Heartbeats,
        authentication: Authentication,
        suspects: Suspects,
    ) -> None:
        """Start with no poll held."""
        self._database = database
        self._hosts = hosts
        self._heartbeats = heartbeats
        self._authentication = authentication
        self._suspects = suspects
        self._answers = PollAnswers()
        self._draining = False
        self._loop = asyncio.get_running_loop()  # each time that is asked, it is a system call
        # Often enough that no host is declared offline that polls.
        self._hold_seconds = settings.DM_POLL_HOLD_SECONDS
        spare = settings.DM_OFFLINE_AFTER_SECONDS - self._hold_seconds
        self._heard_seconds = min(HEARD_SECONDS, spare / 4)
        self._lookups: GroupCommit[Waiter] = GroupCommit(
            self._look_up_batch,
            limit=settings.DM_GATEWAY_BATCH,
            keys=lambda waiter: (waiter.state.host,),
            size=self._weight,
        )

    def serve(
        self,
        message: PollMessage,
        caller: Caller,
        reply: Callable[[Response], object],
        arrival: Arrival,
    ) -> Callable[[], None]:
        """Hold one poll; ``reply`` is given its answer, once, and not before this returns.

        Returns what to call when its client leaves before. Raises Problem for a refusal at once.
        """
        if self._draining:
            raise unavailable()
        return self._register(message, caller, reply, arrival).leave

    @property
    def busy(self) -> bool:
        """Whether look-ups are under way."""
        return self._lookups.busy

    def hint(self, hosts: Iterable[int]) -> None:
        """Note a reason to look at these hosts; those with a poll here are looked up now."""
        for host in hosts:
            state = self._hosts.get(host)
            if state is not None:
                self._hint(state)

    def hint_all(self) -> None:
        """Note a reason to look at every host that is known here."""
        for state in self._hosts.all():
            self._hint(state)

    def slot_free(self, hosts: Iterable[int]) -> None:
        """Look at hosts again where work may have been left for want of a free slot."""
        for host in hosts:
            state = self._hosts.get(host)
            if state is not None and (state.full or state.looking):
                self._hint(state)

    def drain(self) -> None:
        """Answer every held poll, and from now on every new one, with 503: the process ends."""
        self._draining = True
        for state in self._hosts.all():
            if state.current is not None:
                state.current.finish(unavailable())

    def _hint(self, state: HostState) -> None:
        state.hint += 1
        if state.current is not None:
            self._look(state.current)

    def _register(
        self,
        message: PollMessage,
        caller: Caller,
        reply: Callable[[Response], object],
        arrival: Arrival,
    ) -> Waiter:
        state = self._hosts.state(caller.host, self._loop.time())
        held = state.current
        pair = (message.run, message.seq)
        if held is not None and held.message.journal_id == message.journal_id:
            if pair <= held.pair:
                raise superseded()
            held.finish(superseded())
            held = None
        hold = self._hold_seconds
        if message.wait_seconds is not None:
            hold = min(hold, message.wait_seconds)
        waiter = Waiter(
            state=state,
            message=message,
            caller=caller,
            reply=reply,
            arrival=arrival,
            holding=holding_of(state, message),
            hold_until=self._loop.time() + hold,
            final=hold <= 0,
        )
        answered = state.answered
        quiet = held is None and waiter.follows() and state.hint == state.cleared
        if held is None:
            state.current = waiter
            state.answered = None
        if quiet and not waiter.final and answered is not None:
            self._heard(waiter)
            self._acknowledge_later(waiter, answered.delivered)
        else:
            self._look(waiter)
        if not waiter.final:
            waiter.hold_timer = self._loop.call_at(waiter.hold_until, self._end_hold, waiter)
        return waiter

    def _weight(self, waiter: Waiter) -> int:
        """Return what a look-up counts towards a batch: a suspect goes alone."""
        suspect = self._suspects.deaths(Mark(POLL, waiter.state.host))
        return settings.DM_GATEWAY_BATCH if suspect else 1

    def _end_hold(self, waiter: Waiter) -> None:
        waiter.final = True
        self._look(waiter)

    def _look(self, waiter: Waiter) -> None:
        if not waiter.done and not waiter.queued:
            waiter.queued = True
            waiter.state.looking += 1
            self._lookups.add(waiter)

    def _acknowledge_later(self, waiter: Waiter, delivered: Sequence[UUID]) -> None:
        if _running(waiter, delivered):
            waiter.again_timer = self._loop.call_later(
                ACKNOWLEDGE_SECONDS, self._acknowledge, waiter, delivered
            )

    def _acknowledge(self, waiter: Waiter, delivered: Sequence[UUID]) -> None:
        if _running(waiter, delivered):
            self._look(waiter)

    def _look_in(self, seconds: float, waiter: Waiter) -> None:
        if waiter.again_timer is not None:
            waiter.again_timer.cancel()
        waiter.again_timer = self._loop.call_later(seconds, self._look, waiter)

    def _heard(self, waiter: Waiter) -> None:
        """Write down that the host was heard, unless that was done just now."""
        state, message = waiter.state, waiter.message
        now = self._loop.time()
        said = (message.boot_id, message.agent_version, message.draining)
        if now - state.heard_at >= self._heard_seconds or state.heard != said:
            state.heard_at, state.heard = now, said
            self._heartbeats.note(heartbeat_of(state.host, message, waiter.arrival))

    async def _look_up_batch(self, batch: Sequence[Waiter]) -> None:
        live = [waiter for waiter in batch if not waiter.done]
        try:
            if live:
                await self._look_up(live)
        finally:
            for waiter in batch:
                waiter.state.looking -= 1

    async def _look_up(self, live: Sequence[Waiter]) -> None:
        marks = [Mark(POLL, waiter.state.host) for waiter in live]
        slots = [self._suspects.under_way.begin(mark) for mark in marks]
        try:
            if await self._look_up_marked(live):
                for mark in marks:
                    self._suspects.survived(mark)
        finally:
            self._suspects.under_way.end_all(slots)

    async def _look_up_marked(self, live: Sequence[Waiter]) -> bool:
        """Look polls up and answer those that have something; return whether that went well."""
        for waiter in live:
            waiter.read_hint = waiter.state.hint
        failure = None
        answers: dict[int, Answer] = {}
        try:
            answers = await self._database.run(dispatch.look_up, [waiter.poll() for waiter in live])
        except DatabaseAway as error:
            logger.warning("%d polls could not be looked up: %s", len(live), error)
            failure = unavailable
        except Exception:
            # a defect; nobody may be left waiting for it
            logger.exception("%d polls could not be looked up", len(live))
            failure = defect
        for waiter in live:
            waiter.queued = False
            if failure is not None:
                waiter.state.answered = None
                waiter.finish(failure())
            else:
                self._settle_or_fail(waiter, answers.get(waiter.state.host))
        return failure is None

    def _settle_or_fail(self, waiter: Waiter, answer: Answer | None) -> None:
        try:
            self._settle(waiter, answer)
        except Exception:
            # a defect; nobody of the batch may be left waiting for it
            logger.exception("a poll of host %d was not answered", waiter.state.host)
            waiter.state.answered = None
            waiter.finish(defect())

    def _settle(self, waiter: Waiter, answer: Answer | None) -> None:
        if waiter.done:  # its client left, or a greater poll came: that one is looked up anyway
            waiter.state.answered = None
            return
        if answer is None or answer.verdict is PollVerdict.SKIPPED:
            self._look_in(random.uniform(*SKIPPED_AGAIN_SECONDS), waiter)  # noqa: S311 - jitter
            return
        problem = _problem_of(answer.verdict)
        if problem is None:
            self._serve_answer(waiter, answer)
            return
        if answer.verdict is not PollVerdict.SUPERSEDED:
            self._authentication.forget([waiter.state.host])
        waiter.finish(problem)

    def _serve_answer(self, waiter: Waiter, answer: Answer) -> None:
        state = waiter.state
        if waiter.first:
            waiter.first = False
            self._heard(waiter)
            if state.current is not None and state.current is not waiter:
                state.current.finish(superseded())
            state.current = waiter
            state.answered = None
        state.cleared = max(state.cleared, waiter.read_hint)
        state.full = answer.more
        now = self._loop.time()
        due, next_due = due_cancels(state, waiter.message.instance_id, answer.cancel, now)
        if answer.commands or due or waiter.final or self._draining:
            self._answer(waiter, answer, now)
            return
        if state.hint > waiter.read_hint:
            self._look(waiter)
        waits = [wait for wait in (answer.recheck_seconds, next_due) if wait is not None]
        if waits:
            self._look_in(min(waits), waiter)

    def _answer(self, waiter: Waiter, answer: Answer, now: float) -> None:
        state = waiter.state
        instance = waiter.message.instance_id
        state.canceled = {(fence, instance): now for fence in answer.cancel}
        # After a cancel, or with a delivery that is not settled yet, the next poll is looked up at
        # once.
        settled = not (answer.cancel or answer.recheck_seconds)
        delivered = tuple(delivery.fence for delivery in answer.commands)
        state.answered = waiter.as_answered(delivered) if settled else None
        waiter.finish(self._answers.response(answer))


def _running(waiter: Waiter, delivered: Sequence[UUID]) -> bool:
    """Tell whether the agent runs one of these; a finished one's result is on its way."""
    return any(waiter.holding.get(fence) is False for fence in delivered)


_PROBLEMS = {
    PollVerdict.SUPERSEDED: superseded,
    PollVerdict.PENDING: auth.host_pending,
    PollVerdict.DISABLED: auth.host_disabled,
    PollVerdict.QUARANTINED: auth.host_quarantined,
    PollVerdict.REVOKED: auth.unauthorized,
}


def _problem_of(verdict: PollVerdict) -> Problem | None:
    found = _PROBLEMS.get(verdict)
    if found is None:
        return None
    problem = found()
    if problem.status == HTTPStatus.FORBIDDEN:
        problem.retry_after_seconds = lobby.RETRY_SECONDS  # the next poll is held there
    return problem
