"""Live chunks of reports: to Redis for viewers, if it is there, and never in a result's way."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING
from uuid import UUID

import redis

from agents_app import protocol
from agents_app.gateway.database import DatabaseAway
from devops_manager.access.agent_audit import foreign_fences, trail
from tasks_app import live_output
from tasks_app.services import dispatch
from tasks_app.states import ROW_IN_FLIGHT

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from agents_app.gateway.authentication import Caller
    from agents_app.gateway.database import DatabaseThreads
    from tasks_app.live_output import Appended, Chunk

logger = logging.getLogger(__name__)

# How long a fence is taken to be in flight without asking again.
_OWNED_SECONDS = 5.0
_MAX_CACHED = 50_000
# After a failure Redis is left alone for this long.
_REST_SECONDS = 3.0
_APPEND_SECONDS = 1.0

_VERDICTS = {
    live_output.ACCEPTED: protocol.VERDICT_ACCEPTED,
    live_output.GAP: protocol.VERDICT_GAP,
    live_output.CONFLICT: protocol.VERDICT_CONFLICT,
    live_output.FULL: protocol.VERDICT_IGNORED,
}


class LiveOutput:
    """Takes chunks of commands that are in flight on the host that sends them."""

    def __init__(self, database: DatabaseThreads) -> None:
        """Connect to Redis at the first chunk."""
        self._database = database
        self._client = live_output.async_client()
        self._resting_until = 0.0
        self._owned: dict[tuple[int, UUID], float] = {}
        self._audited: set[tuple[int, UUID]] = set()

    async def take(
        self, chunks: Sequence[Chunk], caller: Caller, source_ip: str | None
    ) -> list[tuple[str, int]]:
        """Store chunks and return a verdict and the next offset for each, in their order.

        Raises DatabaseAway when it cannot be told whose the fences are.
        """
        mine = await self._owned_fences({chunk.fence for chunk in chunks}, caller, source_ip)
        stored = [chunk for chunk in chunks if chunk.fence in mine]
        appended = iter(await self._append(stored))
        answers = []
        for chunk in chunks:
            done = next(appended, None) if chunk.fence in mine else None
            if done is None:
                answers.append((protocol.VERDICT_IGNORED, chunk.offset))
            else:
                answers.append((_VERDICTS[done.outcome], done.offset))
        return answers

    def ended(self, host: int, fences: Iterable[UUID]) -> None:
        """Note that these fences have their results."""
        for fence in fences:
            self._owned.pop((host, fence), None)

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def _append(self, chunks: Sequence[Chunk]) -> list[Appended]:
        if not chunks or time.monotonic() < self._resting_until:
            return []
        try:
            async with asyncio.timeout(_APPEND_SECONDS):
                return await live_output.append_async(self._client, chunks)
        except (redis.RedisError, OSError, TimeoutError) as error:
            self._resting_until = time.monotonic() + _REST_SECONDS
            logger.warning("live output is not kept: %s", str(error) or type(error).__name__)
            return []

    async def _owned_fences(
        self, fences: set[UUID], caller: Caller, source_ip: str | None
    ) -> set[UUID]:
        now = time.monotonic()
        host = caller.host
        mine = {fence for fence in fences if self._owned.get((host, fence), 0.0) > now}
        unsure = list(fences - mine)
        if not unsure:
            return mine
        owners = await self._database.run(dispatch.fence_owners, unsure)
        foreign = []
        if len(self._owned) > _MAX_CACHED:
            self._owned.clear()
        for fence, (owner, status) in owners.items():
            if owner != host:
                foreign.append(fence)
            elif status in ROW_IN_FLIGHT:
                self._owned[(host, fence)] = now + _OWNED_SECONDS
                mine.add(fence)
        await self._audit([f for f in foreign if (host, f) not in self._audited], caller, source_ip)
        return mine

    async def _audit(self, foreign: Sequence[UUID], caller: Caller, source_ip: str | None) -> None:
        """Write down, once a process and fence, that a host sent what is another's."""
        if not foreign:
            return
        if len(self._audited) > _MAX_CACHED:
            self._audited.clear()
        self._audited.update((caller.host, fence) for fence in foreign)
        try:
            await self._database.run(
                trail.record,
                host=caller.host,
                host_id=lambda: caller.host_id,
                action="host.foreign_fence",
                after=foreign_fences(list(foreign), where="output"),
                source_ip=source_ip,
            )
        except DatabaseAway:
            self._audited.difference_update((caller.host, fence) for fence in foreign)
            raise
