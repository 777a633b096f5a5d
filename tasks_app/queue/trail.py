"""What an agent did that it may not, for the audit trail: rare, so a look-up each costs nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from devops_manager.access import audit
from devops_manager.access.actors import Actor
from devops_manager.access.models import AuditEvent, Role
from hosts_app.models import Host

if TYPE_CHECKING:
    from collections.abc import Mapping


def record_agent(*, host: int, action: str, after: Mapping[str, Any]) -> None:
    """Write one event of a host's agent (primary key), in the caller's transaction.

    Actor and object are told by the host's public id: it is what its page looks events up by.
    """
    host_id = Host.objects.values_list("host_id", flat=True).get(pk=host)
    audit.record(
        actor=Actor(kind=AuditEvent.ActorKind.AGENT, name=f"agent:{host_id}", role=Role.VIEWER),
        action=action,
        object_type="host",
        object_ids=[str(host_id)],
        after=after,
    )
