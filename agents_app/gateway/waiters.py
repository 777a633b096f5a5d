"""Hosts and their held polls, as one gateway process knows them: state, no input or output."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from uuid import UUID

from agents_app import protocol
from agents_app.gateway.http import Problem
from tasks_app.records import Held, Poll

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from agents_app.gateway.authentication import Caller
    from agents_app.gateway.heartbeats import Arrival
    from agents_app.gateway.http import Response
    from agents_app.gateway.messages import PollMessage

# A cancel that was answered is answered again after this time, in case that the answer was lost,
# while the agent kills; sooner would make a loop of polls of it.
CANCEL_AGAIN_SECONDS = 2.0
# A host that is not heard for this long is forgotten; its next poll is looked up, that is all.
FORGET_SECONDS = 300.0


@dataclass(slots=True)
class AnsweredPoll:
    """A poll that this process answered for good: what the next one will say is known.

    ``expected`` are the fences that the next poll lists when all went well, ``delivered`` those of
    them that the database does not know to have arrived.
    """

    journal_id: UUID
    run: int
    seq: int
    instance_id: UUID
    generation: int
    slots: int | None
    expected: set[UUID]
    delivered: tuple[UUID, ...]


@dataclass(slots=True, eq=False)
class HostState:
    """What this process knows of one host.

    ``hint`` counts the reasons to look that came up, ``cleared`` is the count that the last
    look-up had read before it was sent: a hint that comes in between stays. ``full``: the last
    look-up left work that finds room when a slot gets free; ``looking`` look-ups are under
    way that may find so. ``heard`` is what the host said of its boot, version and draining when it
    was last written down as heard, at ``heard_at``. ``final`` are fences whose results were
    answered for good, which a poll that was sent before lists still.
    """

    host: int
    hint: int = 0
    cleared: int = 0
    full: bool = True
    looking: int = 0
    heard_at: float = float("-inf")
    heard: tuple[str, str, bool] = ("", "", False)
    final: tuple[UUID, ...] = ()
    current: Waiter | None = None
    answered: AnsweredPoll | None = None
    canceled: dict[tuple[UUID, UUID], float] = field(default_factory=dict)
    used_at: float = 0.0


@dataclass(slots=True, eq=False)
class Waiter:
    """One poll that is being held. ``holding`` maps fences to whether they are finished.

    ``reply`` is given its answer, once.
    """

    state: HostState
    message: PollMessage
    caller: Caller
    reply: Callable[[Response], object]
    arrival: Arrival
    holding: dict[UUID, bool]
    hold_until: float
    first: bool = True
    final: bool = False
    queued: bool = False
    done: bool = False
    read_hint: int = 0
    hold_timer: asyncio.TimerHandle | None = None
    again_timer: asyncio.TimerHandle | None = None

    @property
    def pair(self) -> tuple[int, int]:
        """What orders the polls of one journal."""
        return (self.message.run, self.message.seq)

    def finish(self, answer: Response | Problem) -> None:
        """Give the poll its answer. Later answers are dropped."""
        if self.done:
            return
        self.leave()
        self.reply(answer.response() if isinstance(answer, Problem) else answer)

    def leave(self) -> None:
        """Forget the poll: it has its answer, or its client is gone."""
        self.done = True
        if self.state.current is self:
            self.state.current = None
        for timer in (self.hold_timer, self.again_timer):
            if timer is not None:
                timer.cancel()

    def poll(self) -> Poll:
        """Return the look-up of this poll as it stands now."""
        message = self.message
        return Poll(
            host=self.state.host,
            generation=self.caller.generation,
            journal_id=message.journal_id,
            run=message.run,
            seq=message.seq,
            instance_id=message.instance_id,
            holding=tuple(Held(fence, finished) for fence, finished in self.holding.items()),
            first=self.first,
            slots=message.offered_slots,
        )

    def follows(self) -> bool:
        """Tell whether this poll directly follows one answered here, and nothing changed."""
        answered = self.state.answered
        message = self.message
        return (
            answered is not None
            and (answered.run, answered.seq + 1) == (message.run, message.seq)
            and answered.journal_id == message.journal_id
            and answered.instance_id == message.instance_id
            and answered.generation == self.caller.generation
            and answered.slots == message.offered_slots
            and answered.expected == self.holding.keys()
        )

    def as_answered(self, delivered: tuple[UUID, ...]) -> AnsweredPoll:
        """Return this poll as the one that the next may follow; it brought these fences."""
        return AnsweredPoll(
            journal_id=self.message.journal_id,
            run=self.message.run,
            seq=self.message.seq,
            instance_id=self.message.instance_id,
            generation=self.caller.generation,
            slots=self.message.offered_slots,
            expected={*self.holding, *delivered},
            delivered=delivered,
        )


class Hosts:
    """All hosts that this process heard of lately, and their held polls."""

    def __init__(self) -> None:
        """Start with none."""
        self._states: dict[int, HostState] = {}

    def state(self, host: int, now: float) -> HostState:
        """Return what is known of a host."""
        state = self._states.get(host)
        if state is None:
            state = self._states[host] = HostState(host)
        state.used_at = now
        return state

    def get(self, host: int) -> HostState | None:
        """Return what is known of a host, or None."""
        return self._states.get(host)

    def all(self) -> Iterator[HostState]:
        """Go through all hosts; none may be added meanwhile."""
        return iter(self._states.values())

    def polls_here(self, host: int) -> bool:
        """Tell whether a host's poll is here, or its next one is expected here."""
        state = self._states.get(host)
        return state is not None and (state.current is not None or state.answered is not None)

    def held(self) -> list[int]:
        """Return the hosts that have a poll here now."""
        return [host for host, state in self._states.items() if state.current is not None]

    def forget_idle(self, now: float) -> None:
        """Drop hosts that were not heard for FORGET_SECONDS."""
        idle = [
            host
            for host, state in self._states.items()
            if state.current is None and now - state.used_at > FORGET_SECONDS
        ]
        for host in idle:
            del self._states[host]

    def reported(self, host: int, fences: Iterable[UUID]) -> None:
        """Note that results of these fences arrived: whatever an open poll says, they ended."""
        state = self._states.get(host)
        if state is not None and state.current is not None:
            holding = state.current.holding
            for fence in fences:
                if fence in holding:
                    holding[fence] = True

    def acknowledged(self, host: int, fences: Sequence[UUID], stored: Sequence[UUID]) -> None:
        """Note that the agent's journal drops these fences: their results were answered for good.

        The host's open poll lists them still, and so may the next; ``stored`` are those of them
        whose result the server has. They take no slot any more and there is nothing of them to
        cancel.
        """
        state = self._states.get(host)
        if state is None:
            return
        if state.current is not None:
            for fence in fences:
                state.current.holding.pop(fence, None)
        if state.answered is not None:
            state.answered.expected.difference_update(fences)
        # Once each: a result whose answer was lost is reported, and answered, again.
        state.final = tuple(dict.fromkeys((*state.final, *stored)))[-protocol.MAX_HOLDING :]


def holding_of(state: HostState, message: PollMessage) -> dict[UUID, bool]:
    """Return a poll's ``holding`` as fence → finished, without what was answered for good.

    Called once for each new poll of a host: what it does not list, none after it will.
    """
    holding = {held.fence: held.state == protocol.HELD_FINISHED for held in message.holding}
    if state.final:
        state.final = tuple(fence for fence in state.final if fence in holding)
        for fence in state.final:
            del holding[fence]
    return holding


def due_cancels(
    state: HostState, instance_id: UUID, cancel: Sequence[UUID], now: float
) -> tuple[list[UUID], float | None]:
    """Return which cancels to tell the agent now, and in how many seconds the next is due."""
    due: list[UUID] = []
    wait: float | None = None
    for fence in cancel:
        told_at = state.canceled.get((fence, instance_id))
        left = 0.0 if told_at is None else told_at + CANCEL_AGAIN_SECONDS - now
        if left <= 0:
            due.append(fence)
        else:
            wait = left if wait is None else min(wait, left)
    return due, wait
