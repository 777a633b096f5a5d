"""Writes the audit trail, in the transaction of the act."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from devops_manager.access.models import AuditEvent
from devops_manager.lib.requests import current_request_id

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from devops_manager.access.actors import Actor


def record(
    *,
    actor: Actor,
    action: str,
    object_type: str,
    object_ids: Iterable[str],
    before: Mapping[str, Any] | None = None,
    after: Mapping[str, Any] | None = None,
) -> None:
    """Write one event for each object, in one INSERT, in the caller's transaction.

    ``action`` is ``<object type>.<verb>``, such as ``task.start``. ``before`` and ``after`` are
    plain JSON values; the caller leaves secrets out.
    """
    request_id = current_request_id()
    AuditEvent.objects.bulk_create(
        AuditEvent(
            actor_kind=actor.kind,
            actor=actor.name,
            action=action,
            object_type=object_type,
            object_id=object_id,
            source_ip=actor.source_ip,
            request_id="" if request_id == "-" else request_id,
            before=before,
            after=after,
        )
        for object_id in object_ids
    )
