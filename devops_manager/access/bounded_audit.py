"""The audit trail's door for what strangers cause: wrong passwords, wrong tokens.

Each source has a few events of a kind a minute; further ones are counted, and the count is written
as one event when the minute is over. So the trail tells of every try and cannot be flooded.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from django.db import transaction

from devops_manager.access import audit
from devops_manager.access.actors import Actor
from devops_manager.access.models import AuditEvent, Role
from devops_manager.lib import sql

if TYPE_CHECKING:
    from collections.abc import Mapping

SQL = Path(__file__).parent / "sql"
EVENTS_A_MINUTE = 5
MINUTE_SECONDS = 60.0


def stranger(kind: AuditEvent.ActorKind, source_ip: str | None) -> Actor:
    """Return the actor of an act of somebody who did not prove who it is.

    No person can have this name: user names have no brackets.
    """
    return Actor(kind=kind, name="(unknown)", role=Role.VIEWER, source_ip=source_ip)


@transaction.atomic
def record_bounded(
    *,
    actor: Actor,
    action: str,
    object_type: str,
    object_id: str,
    source: str,
    after: Mapping[str, Any] | None = None,
) -> bool:
    """Write one event, or only count it; return whether it was written.

    ``source`` is whose minute it is: an address, or its network.
    """
    _write(sql.run(SQL, "close_counts", _closing(action, source)))
    counted = sql.run(
        SQL,
        "count_event",
        {
            "action": action,
            "source": source,
            "actor_kind": str(actor.kind),
            "actor": actor.name,
            "source_ip": actor.source_ip,
        },
    )
    if counted[0].events > EVENTS_A_MINUTE:
        return False
    audit.record(
        actor=actor,
        action=action,
        object_type=object_type,
        object_ids=[object_id],
        after=after,
    )
    return True


@transaction.atomic
def write_counted_events() -> int:
    """Write the counts of minutes that are over; return how many. Safe at any time, and twice."""
    return _write(sql.run(SQL, "close_counts", _closing(None, None)))


def _closing(action: str | None, source: str | None) -> dict[str, Any]:
    return {"action": action, "source": source, "seconds": MINUTE_SECONDS}


def _write(rows: list[Any]) -> int:
    over = [row for row in rows if row.events > EVENTS_A_MINUTE]
    for row in over:
        audit.record(
            actor=Actor(
                kind=AuditEvent.ActorKind(row.actor_kind),
                name=row.actor,
                role=Role.VIEWER,
                source_ip=row.source_ip,
            ),
            action=row.action,
            object_type="source",
            object_ids=[row.source[:64]],
            after={
                "further_events": row.events - EVENTS_A_MINUTE,
                "since": row.since.astimezone(UTC).isoformat(timespec="seconds"),
                "until": datetime.now(UTC).isoformat(timespec="seconds"),
            },
        )
    return len(over)
