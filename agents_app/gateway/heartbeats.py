"""Heartbeats of polls and of agents that do not poll, written in batches."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING

import msgspec

from agents_app.gateway.database import DatabaseAway, detached
from agents_app.gateway.group_commit import GroupCommit
from hosts_app.services import Heartbeat, Load, record_heartbeats

if TYPE_CHECKING:
    from collections.abc import Sequence

    from agents_app.gateway.database import DatabaseThreads
    from agents_app.gateway.messages import HeartbeatMessage, PollMessage

logger = logging.getLogger(__name__)


class _Beat(msgspec.Struct, frozen=True):
    beat: Heartbeat
    written: asyncio.Future[None] | None


class Heartbeats:
    """Collects heartbeats while the batch before is being written."""

    def __init__(self, database: DatabaseThreads, *, batch_limit: int) -> None:
        """Start with none."""
        self._database = database
        self._batches = GroupCommit(self._write, limit=batch_limit)

    def note(self, beat: Heartbeat) -> None:
        """Write a heartbeat soon; a lost one is made good by the next poll."""
        self._batches.add(_Beat(beat, None))

    async def record(self, beat: Heartbeat) -> None:
        """Write a heartbeat and return when it is committed. Raises DatabaseAway."""
        written = asyncio.get_running_loop().create_future()
        self._batches.add(_Beat(beat, written))
        try:
            await written
        finally:
            del written  # it has the error, which has this frame

    async def _write(self, batch: Sequence[_Beat]) -> None:
        failure: Exception | None = None
        try:
            await self._database.run(record_heartbeats, [item.beat for item in batch])
        except DatabaseAway as error:
            failure = detached(error)
            logger.warning("%d heartbeats were not written: %s", len(batch), error)
        except Exception as error:
            # a defect; nobody may be left waiting for it
            logger.exception("%d heartbeats were not written", len(batch))
            failure = detached(error)
        for item in batch:
            if item.written is None or item.written.done():
                continue
            if failure is None:
                item.written.set_result(None)
            else:
                item.written.set_exception(failure)


class Arrival(msgspec.Struct, frozen=True, gc=False):
    """When a request arrived: by this machine's clock, and by one that nobody sets."""

    clock: float
    monotonic: float

    @classmethod
    def now(cls) -> Arrival:
        """Return this moment."""
        return cls(time.time(), time.monotonic())


def heartbeat_of(host: int, message: PollMessage | HeartbeatMessage, arrival: Arrival) -> Heartbeat:
    """Return what a message says of its host, compared with the time at which it arrived.

    A poll is held long after that; its time of sending says nothing about the end of the hold.
    """
    load = message.load
    return Heartbeat(
        host=host,
        load=None
        if load is None
        else Load(
            cpu_percent=load.cpu_percent,
            memory_percent=load.memory_percent,
            load1=load.load1,
            disk_percent=load.disk_percent,
        ),
        running_count=(load.running or 0) if load is not None else 0,
        clock_skew_ms=None if message.time is None else int((message.time - arrival.clock) * 1000),
        heard_at=arrival.monotonic,
        draining=message.draining,
        boot_id=message.boot_id,
        agent_version=message.agent_version,
    )
