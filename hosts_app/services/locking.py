"""Locks hosts in the one order that everything keeps, and checks what state they are in."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.utils.translation import gettext as _

from devops_manager.lib.errors import Conflict, NotFound
from devops_manager.lib.wording import labeled
from hosts_app.models import Host
from hosts_app.states import HostStatus

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from uuid import UUID

# An answer names at most this many hosts.
_NAMED_AT_MOST = 20


def lock_hosts(host_ids: Sequence[UUID]) -> list[Host]:
    """Lock hosts ``FOR NO KEY UPDATE`` in id order. Raises NotFound naming those not there."""
    locked = list(
        Host.objects.select_for_update(no_key=True).filter(host_id__in=host_ids).order_by("pk")
    )
    found = {host.host_id for host in locked}
    unknown = [str(host_id) for host_id in host_ids if host_id not in found]
    if unknown:
        named = [labeled(_("unknown host"), host_id) for host_id in unknown[:_NAMED_AT_MOST]]
        raise NotFound(_("There is no such host."), code="not_found", fields={"hosts": named})
    return locked


def lock_host(host_id: UUID) -> Host:
    """Lock one host. Raises NotFound."""
    return lock_hosts([host_id])[0]


def require_status(hosts: Sequence[Host], *, allowed: Collection[HostStatus]) -> None:
    """Raise Conflict ``illegal_transition`` naming the hosts that are in no allowed state."""
    wrong = [host for host in hosts if host.status not in allowed]
    if wrong:
        named = [
            labeled(host.host_id, HostStatus(host.status).label) for host in wrong[:_NAMED_AT_MOST]
        ]
        raise Conflict(
            _("The host's state does not allow this."),
            code="illegal_transition",
            fields={"hosts": named},
        )
