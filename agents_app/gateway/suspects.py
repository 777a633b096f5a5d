"""Keeps what ended a gateway from ending the next: suspects go alone, after two deaths not at all.

Whatever a request of an agent does to this process, it may do twice. It is marked in a file while
it is under way (``under_way``); the next worker counts a death for each mark that it finds, in
PostgreSQL, where all gateways see it (``agents_app.services.suspects``).
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from contextlib import contextmanager
from typing import TYPE_CHECKING

from agents_app.gateway.database import DatabaseAway
from agents_app.gateway.http import unavailable
from agents_app.gateway.under_way import Remains, UnderWay, find_remains
from agents_app.models import SuspectRequest
from agents_app.services import suspects as records
from agents_app.services.suspects import DEATHS_ALLOWED, Mark

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from uuid import UUID

    from agents_app.gateway.database import DatabaseThreads

logger = logging.getLogger(__name__)

POLL = SuspectRequest.Kind.POLL.value
REPORT = SuspectRequest.Kind.REPORT.value
HEARTBEAT = SuspectRequest.Kind.HEARTBEAT.value
ENROLL = SuspectRequest.Kind.ENROLL.value
RESULT = SuspectRequest.Kind.RESULT.value

# A worker that ended is found by those beside it within this time, sooner than its agents are back.
_LOOK_SECONDS = 1.0
# How often deaths of gateways elsewhere are read.
_LOAD_ROUNDS = 5


def result_mark(host: int, fence: UUID) -> Mark:
    """Return what marks one result."""
    return Mark(RESULT, host, fence.bytes)


class Suspects:
    """What is under way in this process, and what others ended of."""

    def __init__(self, database: DatabaseThreads) -> None:
        """Take over what workers that are gone had under way; ``load`` then learns the rest."""
        self._database = database
        self.under_way = UnderWay()
        self._remains: list[Remains] = find_remains()
        self._deaths: dict[Mark, int] = dict(
            Counter(mark for remains in self._remains for mark in set(remains.marks))
        )
        self._loaded = not self._deaths
        self._cleared: list[Mark] = []
        # Held by the one suspect that goes alone.
        self.apart = asyncio.Lock()

    def deaths(self, mark: Mark) -> int:
        """Return how many processes ended while this request was under way.

        Raises Problem (503) for a suspect as long as it is not known whether it is its first.
        """
        if not self._deaths:
            return 0
        deaths = self._deaths.get(mark, 0)
        if deaths and not self._loaded:
            raise unavailable()
        return deaths

    def set_aside(self, mark: Mark) -> bool:
        """Tell whether this request is not to be tried again."""
        return self.deaths(mark) >= DEATHS_ALLOWED

    def among(self, host: int, fences: Iterable[UUID]) -> bool:
        """Tell whether one of these results is a suspect."""
        return bool(self._deaths) and any(self.deaths(result_mark(host, f)) for f in fences)

    @contextmanager
    def marked(self, mark: Mark) -> Iterator[None]:
        """Mark a request as under way while the block runs.

        A poll is not over with that: its look-up comes later, and tells whether it did harm.
        """
        slot = self.under_way.begin(mark)
        try:
            yield
        finally:
            self.under_way.end(slot)
            if mark.kind != POLL:
                self.survived(mark)

    def survived(self, mark: Mark) -> None:
        """Note that a suspect did no harm."""
        if self._deaths and self._deaths.get(mark, DEATHS_ALLOWED) < DEATHS_ALLOWED:
            del self._deaths[mark]
            self._cleared.append(mark)

    async def load(self) -> None:
        """Write down the deaths that were found, and learn of all others. Raises DatabaseAway."""
        while self._remains:
            one = self._remains[0]
            if one.marks:
                logger.error("a gateway ended with %d requests under way", len(one.marks))
                await self._database.run(records.record_deaths, one.marks)
            # At once: what is counted must not be counted again when a later one fails.
            one.discard()
            del self._remains[0]
        cleared, self._cleared = self._cleared, []
        await self._database.run(records.clear_suspects, cleared)
        self._deaths = await self._database.run(records.load_suspects)
        self._loaded = True

    async def watch(self) -> None:
        """Look for workers that ended, and now and then for deaths elsewhere, until canceled."""
        rounds = 0
        while True:
            rounds += 1
            if not self._remains:
                self._remains = find_remains()
            if self._remains or self._cleared or not self._loaded or rounds % _LOAD_ROUNDS == 0:
                try:
                    await self.load()
                except DatabaseAway as error:
                    logger.warning("suspect requests are not known: %s", error)
                except Exception:
                    # a defect; the next round may well succeed
                    logger.exception("suspect requests are not known")
            await asyncio.sleep(_LOOK_SECONDS)

    async def keep(self, mark: Mark, content: bytes) -> None:
        """Keep what was set aside. Raises DatabaseAway."""
        await self._database.run(records.keep_content, mark=mark, content=content)

    def close(self) -> None:
        """Remove this process's file: it ends of itself."""
        self.under_way.close()
