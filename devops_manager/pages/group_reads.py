"""Groups of hosts and their grants, as the pages show them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING
from uuid import UUID

from django.db.models import Q

from hosts_app.models import Host, HostGroup, HostGroupGrant, HostGroupMember
from hosts_app.selectors import listed_groups, listed_hosts
from tasks_app.models import Task
from tasks_app.states import TaskStatus

if TYPE_CHECKING:
    from collections.abc import Sequence

    from django.db.models import QuerySet

    from devops_manager.access.models import User

GRANTS_AT_MOST = 500


@dataclass(frozen=True, slots=True)
class FoundHosts:
    """What names and ids of hosts come to; of several hosts of one name none is taken."""

    found: list[UUID]
    unknown: list[str]
    doubtful: list[str]


def group_list(search: str) -> QuerySet[HostGroup]:
    """Return groups by name, each with ``host_count``, narrowed to names with a text."""
    groups = listed_groups()
    return groups.filter(name__icontains=search) if search else groups


def members(group: HostGroup) -> QuerySet[Host]:
    """Return a group's hosts by name."""
    inside = HostGroupMember.objects.filter(group=group).values("host_id")
    return listed_hosts().filter(pk__in=inside)


def waiting_tasks(group: HostGroup) -> int:
    """Return how many tasks that were not started name a group; counted to 1000."""
    waiting = Task.objects.filter(status__in=(TaskStatus.PENDING, TaskStatus.QUEUED))
    named = Q(target__groups__contains=[group.name]) | Q(
        target__exclude__groups__contains=[group.name]
    )
    return waiting.filter(named)[:1000].count()


def grants_of(person: User) -> list[HostGroup]:
    """Return the groups that are granted to a person, by name."""
    granted = HostGroup.objects.filter(grants__user=person).order_by("name")
    return list(granted[:GRANTS_AT_MOST])


def grants_on(group: HostGroup) -> list[HostGroupGrant]:
    """Return who may act on a group, by name."""
    grants = HostGroupGrant.objects.filter(group=group).select_related("user")
    return list(grants.order_by("user__username")[:GRANTS_AT_MOST])


def tagged_hosts(tag: str) -> list[UUID]:
    """Return the hosts that have a tag (idx_hosts_tags)."""
    return list(Host.objects.filter(tags__contains=[tag]).values_list("host_id", flat=True))


def named_hosts(names: Sequence[str]) -> FoundHosts:
    """Return the hosts that host names or ids mean, in whatever state (idx_hosts_hostname)."""
    asked = list(dict.fromkeys(names))
    by_name: dict[str, list[UUID]] = {}
    rows = Host.objects.filter(hostname__in=asked).values_list("hostname", "host_id")
    for hostname, host_id in rows:
        by_name.setdefault(hostname, []).append(host_id)
    ids = {text: given for text in asked if (given := _id(text)) is not None}
    known = Host.objects.filter(host_id__in=ids.values()).values_list("host_id", flat=True)
    for host_id in known:
        for text in (text for text, given in ids.items() if given == host_id):
            by_name[text] = [host_id]
    matches = {text: by_name.get(text, []) for text in asked}
    return FoundHosts(
        found=[hosts[0] for hosts in matches.values() if len(hosts) == 1],
        unknown=[text for text, hosts in matches.items() if not hosts],
        doubtful=[text for text, hosts in matches.items() if len(hosts) > 1],
    )


def _id(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None
