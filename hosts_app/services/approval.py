"""Letting hosts in, and sending them away."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.db import transaction
from django.db.models.functions import Coalesce, Now

from devops_manager.access import audit
from devops_manager.lib import announce
from hosts_app.models import Host
from hosts_app.services.locking import lock_hosts, require_status
from hosts_app.states import HostStatus

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from devops_manager.access.actors import Actor


def approve_hosts(*, actor: Actor, host_ids: Sequence[UUID]) -> list[Host]:
    """Make pending hosts active: all of them or none. Return them as they are now.

    Raises NotFound naming hosts that do not exist, Conflict ``illegal_transition`` naming those
    that do not wait for approval.
    """
    return _decide(actor=actor, host_ids=host_ids, to=HostStatus.ACTIVE, action="host.approve")


def reject_hosts(*, actor: Actor, host_ids: Sequence[UUID]) -> list[Host]:
    """Disable pending hosts: all of them or none. Enabling one later lets it in after all.

    Raises as ``approve_hosts`` does.
    """
    return _decide(actor=actor, host_ids=host_ids, to=HostStatus.DISABLED, action="host.reject")


@transaction.atomic
def _decide(*, actor: Actor, host_ids: Sequence[UUID], to: HostStatus, action: str) -> list[Host]:
    hosts = lock_hosts(host_ids)
    require_status(hosts, allowed={HostStatus.PENDING})
    rows = Host.objects.filter(pk__in=[host.pk for host in hosts])
    if to == HostStatus.ACTIVE:
        rows.update(status=to, approved_at=Coalesce("approved_at", Now()))
    else:
        rows.update(status=to)
    audit.record(
        actor=actor,
        action=action,
        object_type="host",
        object_ids=[str(host.host_id) for host in hosts],
        before={"status": HostStatus.PENDING.value},
        after={"status": to.value},
    )
    # The gateways cache what they know of a host: they are to look again.
    announce.revoke([host.pk for host in hosts])
    return list(rows.order_by("pk"))
