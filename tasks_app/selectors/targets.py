"""Looks up the hosts that drafts name, before anything is stored."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hosts_app.models import Host
from hosts_app.states import HostStatus

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from uuid import UUID


def usable_hosts(
    host_ids: Iterable[UUID], *, allowed_groups: Sequence[int] | None
) -> dict[UUID, int]:
    """Return id → primary key of those hosts that are active, not quarantined and within reach.

    ``allowed_groups``: None for every host, else the groups whose hosts may be used. One statement.
    """
    wanted = list(host_ids)
    if not wanted:
        return {}
    hosts = Host.objects.filter(
        host_id__in=wanted, status=HostStatus.ACTIVE, quarantined_at__isnull=True
    )
    if allowed_groups is not None:
        hosts = hosts.filter(hostgroupmember__group__in=list(allowed_groups)).distinct()
    return dict(hosts.values_list("host_id", "id"))
