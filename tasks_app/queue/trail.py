"""Audits what an agent did that it may not, as far as its share of the trail goes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from devops_manager.access.agent_audit import trail
from hosts_app.models import Host

if TYPE_CHECKING:
    from collections.abc import Mapping


def record_agent(*, host: int, action: str, after: Mapping[str, Any]) -> None:
    """Write one event of a host's agent (primary key), in the caller's transaction."""
    trail.record(
        host=host,
        host_id=lambda: Host.objects.values_list("host_id", flat=True).get(pk=host),
        action=action,
        after=after,
    )
