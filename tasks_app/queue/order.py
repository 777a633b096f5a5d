"""Is this poll the newest of its host? A pure decision over what is stored."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from uuid import UUID

    from tasks_app.records import Poll


class Order(enum.Enum):
    """What to do with a poll."""

    SAME = "same"  # a later look-up of the poll that is stored
    ACCEPT = "accept"  # newer: store it
    SUPERSEDED = "superseded"
    QUARANTINE = "quarantine"


@dataclass(frozen=True, slots=True)
class StoredSession:
    """The journal that speaks for a host, its highest (run, seq), and its instance."""

    journal_id: UUID
    run: int
    seq: int
    instance_id: UUID
    instance_age_seconds: float

    def is_of(self, poll: Poll) -> bool:
        """Tell whether the poll comes from this very journal and instance."""
        return poll.journal_id == self.journal_id and poll.instance_id == self.instance_id

    @property
    def pair(self) -> tuple[int, int]:
        """The highest (run, seq) that was answered."""
        return (self.run, self.seq)


def judge_order(
    poll: Poll,
    stored: StoredSession | None,
    retired: Mapping[UUID, tuple[int, int]],
) -> Order:
    """Say whether ``poll`` may be served.

    ``retired`` has the journals and instances of this host that others replaced, with the pair that
    each had. One that polls at a greater pair than it had is alive: two agents share an identity.
    At its own or a smaller pair it is an old request. Called under the host's lock.
    """
    pair = (poll.run, poll.seq)
    if stored is None:
        return Order.ACCEPT
    if poll.journal_id == stored.journal_id:
        if pair == stored.pair and not poll.first and poll.instance_id == stored.instance_id:
            return Order.SAME
        if pair <= stored.pair or not poll.first:
            return Order.SUPERSEDED
        came_back = poll.instance_id != stored.instance_id and poll.instance_id in retired
        return Order.QUARANTINE if came_back else Order.ACCEPT
    if poll.journal_id in retired:
        return Order.SUPERSEDED if pair <= retired[poll.journal_id] else Order.QUARANTINE
    if not poll.first:
        return Order.SUPERSEDED
    return Order.QUARANTINE if poll.instance_id in retired else Order.ACCEPT
