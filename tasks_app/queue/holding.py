"""What a poll's ``holding`` means for the rows of its host. A pure decision, row by row."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from tasks_app.states import RowStatus

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from datetime import datetime
    from uuid import UUID

    from tasks_app.records import Poll


class InFlightRow(Protocol):
    """A claimed or running row, as ``poll_in_flight.sql`` returns it."""

    id: int
    host_id: int
    command_id: int
    fence: UUID
    attempt: int
    status: str
    cancel_requested_at: datetime | None
    out_of_time: bool
    stopped: bool
    delivered_journal: UUID
    delivered_instance: UUID
    delivered_run: int
    delivered_seq: int


class FencedRow(Protocol):
    """A row that is not in flight, found by a listed fence (``poll_fences.sql``)."""

    fence: UUID
    host_id: int
    status: str
    reported: bool
    cancel_requested: bool


class Fate(enum.Enum):
    """What becomes of one in-flight row at a poll."""

    KEEP = "keep"
    ACKNOWLEDGE = "acknowledge"  # claimed and listed: it runs
    REDELIVER = "redeliver"  # never arrived
    NEVER_STARTED = "never_started"  # never arrived, and now must not start
    WAIT = "wait"  # perhaps an old request of another instance is still being served
    INTERRUPT = "interrupt"  # the agent no longer knows of it


@dataclass(slots=True)
class Reconciliation:
    """What one poll means: rows by fate, fences to cancel, fences that are not this host's.

    ``occupied`` is the number of slots in use: in-flight rows and listed unfinished fences
    together.
    """

    fates: dict[int, Fate] = field(default_factory=dict)
    cancel: list[UUID] = field(default_factory=list)
    foreign: list[UUID] = field(default_factory=list)
    occupied: int = 0

    def rows(self, fate: Fate) -> list[int]:
        """Return the ids of the rows with this fate."""
        return [row for row, its in self.fates.items() if its is fate]


def judge_row(row: InFlightRow, poll: Poll, *, listed: bool, settled: bool) -> Fate:
    """Decide the fate of one claimed or running row of the poll's host.

    ``settled``: the polling instance was first heard so long ago that no request of an earlier one
    can still be under way.
    """
    if listed:
        return Fate.ACKNOWLEDGE if row.status == RowStatus.CLAIMED else Fate.KEEP
    if row.delivered_journal != poll.journal_id:
        return Fate.INTERRUPT
    if (poll.run, poll.seq) <= (row.delivered_run, row.delivered_seq):
        return Fate.KEEP
    if row.status == RowStatus.RUNNING:
        return Fate.INTERRUPT
    if row.delivered_instance != poll.instance_id and not settled:
        return Fate.WAIT
    if row.cancel_requested_at is not None or row.out_of_time or row.stopped:
        return Fate.NEVER_STARTED
    return Fate.REDELIVER


def reconcile(
    poll: Poll,
    in_flight: Iterable[InFlightRow],
    others: Mapping[UUID, FencedRow],
    *,
    settled: bool,
) -> Reconciliation:
    """Hold a poll's ``holding`` against the rows of its host.

    ``others`` has the rows of listed fences that are not in flight on this host. A listed fence
    whose result the server has already is finished, whatever an older list says of it. Called under
    the host's lock.
    """
    found = Reconciliation()
    listed = {held.fence: held for held in poll.holding}
    seen: set[UUID] = set()
    for row in in_flight:
        seen.add(row.fence)
        found.fates[row.id] = judge_row(row, poll, listed=row.fence in listed, settled=settled)
        found.occupied += 1
        if row.cancel_requested_at is not None and row.fence in listed:
            found.cancel.append(row.fence)
    for fence, held in listed.items():
        if fence in seen:
            continue
        other = others.get(fence)
        if other is not None and other.host_id != poll.host:
            found.foreign.append(fence)
        elif (other is not None and other.reported) or held.finished:
            continue
        else:
            found.occupied += 1
            if other is None or other.status != RowStatus.LOST or other.cancel_requested:
                found.cancel.append(fence)
    return found
