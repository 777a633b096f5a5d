"""Polls of hosts that wait for a person: pending, disabled, quarantined. They are held, too.

Such a poll is answered as soon as the host may be served, so its first work begins at once; else,
at the end of its hold, with the refusal. Nothing of it reaches the look-ups of polls meanwhile. A
revoke message makes the credential be looked at again, and so does a timer, for messages get lost.
"""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING

from django.conf import settings
from msgspec.structs import replace

from agents_app.gateway.http import Problem, response_to, unavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from agents_app.gateway.authentication import Authentication, Caller
    from agents_app.gateway.heartbeats import Arrival
    from agents_app.gateway.http import Response
    from agents_app.gateway.messages import PollMessage

# How often a credential is looked at again, and how many are a second, at most.
LOOK_SECONDS = 1.5
LOOKS_A_SECOND = 500
# Whoever was held need not wait long before it is held again.
RETRY_SECONDS = 1


@dataclass(slots=True, eq=False)
class Guest:
    """One held poll. ``leave_poll`` is set once it has gone over to the polls that are served."""

    message: PollMessage
    authorization: bytes
    host: int
    refusal: Problem
    reply: Callable[[Response], object]
    arrival: Arrival
    hold_timer: asyncio.TimerHandle | None = None
    look_timer: asyncio.TimerHandle | None = None
    leave_poll: Callable[[], None] | None = None
    done: bool = False


class Lobby:
    """Holds such polls, one for each host, in one process."""

    def __init__(
        self,
        authentication: Authentication,
        admit: Callable[
            [PollMessage, Caller, Callable[[Response], object], Arrival],
            Callable[[], None],
        ],
    ) -> None:
        """``admit`` serves a poll whose host need not wait any more, and returns how to leave."""
        self._authentication = authentication
        self._admit = admit
        self._guests: dict[int, Guest] = {}
        self._draining = False
        self._looks: set[asyncio.Task[None]] = set()
        self._loop = asyncio.get_running_loop()

    def hold(
        self,
        message: PollMessage,
        authorization: bytes,
        *,
        host: int,
        refusal: Problem,
        reply: Callable[[Response], object],
        arrival: Arrival,
    ) -> Callable[[], None]:
        """Hold one poll; ``reply`` is given its answer, once, and not before this returns.

        Returns what to call when its client leaves before. Raises the refusal for a poll that is
        not to be held, and then with the time that its agent is to wait.
        """
        if self._draining:
            raise unavailable()
        seconds = settings.DM_POLL_HOLD_SECONDS
        if message.wait_seconds is not None:
            seconds = min(seconds, message.wait_seconds)
        if seconds <= 0:
            raise refusal
        refusal.retry_after_seconds = RETRY_SECONDS
        guest = Guest(message, authorization, host, refusal, reply, arrival)
        before = self._guests.get(host)
        if before is not None:
            self._refuse(before)
        self._guests[host] = guest
        guest.hold_timer = self._loop.call_later(seconds, self._refuse, guest)
        self._look_later(guest)
        return lambda: self._leave(guest)

    def look(self, hosts: Iterable[int]) -> None:
        """Look at these hosts' credentials again, now."""
        for host in hosts:
            guest = self._guests.get(host)
            if guest is not None:
                self._look(guest)

    def drain(self) -> None:
        """Answer every held poll: the process ends."""
        self._draining = True
        for guest in list(self._guests.values()):
            self._finish(guest, unavailable().response())

    def _look_later(self, guest: Guest) -> None:
        seconds = max(LOOK_SECONDS, len(self._guests) / LOOKS_A_SECOND)
        seconds *= random.uniform(0.75, 1.0)  # noqa: S311 - jitter, no secret
        if guest.look_timer is not None:
            guest.look_timer.cancel()
        guest.look_timer = self._loop.call_later(seconds, self._look, guest)

    def _look(self, guest: Guest) -> None:
        if guest.look_timer is not None:
            guest.look_timer.cancel()
        task = self._loop.create_task(self._look_again(guest))
        self._looks.add(task)
        task.add_done_callback(self._looks.discard)

    async def _look_again(self, guest: Guest) -> None:
        try:
            caller, refusal = await self._authentication.identify(guest.authorization)
        except Exception as error:  # noqa: BLE001 - the client gets an answer, the log the rest
            self._finish(guest, response_to(error, "a poll of a host that waits"))
            return
        if guest.done:
            return
        if refusal is not None:
            refusal.retry_after_seconds = RETRY_SECONDS
            guest.refusal = refusal
            self._look_later(guest)
            return
        self._serve(guest, caller)

    def _serve(self, guest: Guest, caller: Caller) -> None:
        """Have it answered at once: the agent learns that it may work, and asks for work."""
        self._end(guest)
        guest.done = True
        try:
            guest.leave_poll = self._admit(
                replace(guest.message, wait_seconds=0.0), caller, guest.reply, guest.arrival
            )
        except Problem as problem:
            guest.reply(problem.response())

    def _refuse(self, guest: Guest) -> None:
        self._finish(guest, guest.refusal.response())

    def _finish(self, guest: Guest, answer: Response) -> None:
        if not guest.done:
            self._end(guest)
            guest.done = True
            guest.reply(answer)

    def _leave(self, guest: Guest) -> None:
        """Forget a poll whose client is gone."""
        self._end(guest)
        guest.done = True
        if guest.leave_poll is not None:
            guest.leave_poll()

    def _end(self, guest: Guest) -> None:
        if self._guests.get(guest.host) is guest:
            del self._guests[guest.host]
        for timer in (guest.hold_timer, guest.look_timer):
            if timer is not None:
                timer.cancel()
