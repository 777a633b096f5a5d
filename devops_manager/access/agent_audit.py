"""The audit trail's door for agents: whatever an agent can cause is written here, within a bound.

A host that lists another's fences in each poll would otherwise fill the trail's table as fast as it
can poll. Beyond its share of a minute its events are counted instead of written, and the count is
written when the minute is over (``write_held_back``). What happens to a host at most once before a
person acts (it enrolls, it is quarantined) does not need a bound and is always written.

Counts are kept by each process for itself; a host that speaks to several has a share in each.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from devops_manager.access import audit
from devops_manager.access.actors import SYSTEM, Actor
from devops_manager.access.models import AuditEvent, Role

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from uuid import UUID

EVENTS_A_MINUTE = 20
MINUTE_SECONDS = 60.0
HOSTS_AT_MOST = 10_000
# More hosts than that at once share one share.
_OTHERS = 0
_FENCES_NAMED = 20


@dataclass(slots=True)
class _Share:
    """One host's minute: events written, and those only counted, by action."""

    began_at: float
    since: datetime
    host_id: UUID | None = None
    written: int = 0
    held_back: Counter[str] = field(default_factory=Counter)


class AgentTrail:
    """Shares out what agents may write; safe to use from several threads."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Begin with nothing written."""
        self._clock = clock
        self._lock = threading.Lock()
        self._shares: dict[int, _Share] = {}
        self._due: dict[int, _Share] = {}

    def record(
        self,
        *,
        host: int,
        host_id: Callable[[], UUID],
        action: str,
        before: Mapping[str, Any] | None = None,
        after: Mapping[str, Any] | None = None,
        source_ip: str | None = None,
    ) -> bool:
        """Write one event of a host's agent (primary key) in the caller's transaction.

        Returns False where it was only counted. ``host_id`` is asked when it is written: its page
        looks events up by the public id.
        """
        with self._lock:
            share = self._share(host)
            if share.written >= EVENTS_A_MINUTE:
                share.held_back[action] += 1
                return False
            share.written += 1
        public = host_id()
        if share is not self._shares.get(_OTHERS):
            share.host_id = public
        audit.record(
            actor=Actor(
                kind=AuditEvent.ActorKind.AGENT,
                name=f"agent:{public}",
                role=Role.VIEWER,
                source_ip=source_ip,
            ),
            action=action,
            object_type="host",
            object_ids=[str(public)],
            before=before,
            after=after,
        )
        return True

    def write_held_back(self, *, everything: bool = False) -> int:
        """Write the counts of minutes that are over (or of all); return how many events that was.

        If that fails they are kept for the next time.
        """
        with self._lock:
            now = self._clock()
            for host, share in list(self._shares.items()):
                if everything or self._is_over(share, now):
                    self._end(host, share)
            due, self._due = self._due, {}
        written = 0
        try:
            for host, share in list(due.items()):
                _record_count(share)
                del due[host]
                written += 1
        finally:
            with self._lock:
                for host, share in due.items():
                    self._keep(host, share)
        return written

    def _share(self, host: int) -> _Share:
        now = self._clock()
        share = self._shares.get(host)
        if share is not None and self._is_over(share, now):
            self._end(host, share)
            share = None
        if share is not None:
            return share
        if len(self._shares) >= HOSTS_AT_MOST and host != _OTHERS:
            for other, old in list(self._shares.items()):
                if self._is_over(old, now):
                    self._end(other, old)
            if len(self._shares) >= HOSTS_AT_MOST:
                return self._share(_OTHERS)
        share = self._shares[host] = _Share(began_at=now, since=datetime.now(UTC))
        return share

    def _is_over(self, share: _Share, now: float) -> bool:
        return now - share.began_at >= MINUTE_SECONDS

    def _end(self, host: int, share: _Share) -> None:
        del self._shares[host]
        if share.held_back:
            self._keep(host, share)

    def _keep(self, host: int, share: _Share) -> None:
        if host not in self._due and len(self._due) >= HOSTS_AT_MOST:
            host = _OTHERS
        kept = self._due.setdefault(host, share)
        if kept is not share:
            kept.held_back.update(share.held_back)


def _record_count(share: _Share) -> None:
    audit.record(
        actor=SYSTEM,
        action="host.events_counted",
        object_type="host",
        object_ids=[str(share.host_id) if share.host_id else "several"],
        after={
            "count": share.held_back.total(),
            "actions": dict(sorted(share.held_back.items())),
            "since": share.since.isoformat(timespec="seconds"),
        },
    )


def foreign_fences(fences: list[UUID], *, where: str) -> dict[str, Any]:
    """Return what the trail says of fences that are another host's: the first few, and how many."""
    named = [str(fence) for fence in fences[:_FENCES_NAMED]]
    return {"fences": named, "count": len(fences), "where": where}


trail = AgentTrail()
