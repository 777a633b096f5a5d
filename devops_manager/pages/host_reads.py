"""Hosts as the pages list them: 10,000 of them, a page at a time, with what was last heard."""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING, Any

from django.db.models import Q

from agents_app.models import EnrollmentToken
from devops_manager.pages.listing import COUNT_AT_MOST
from hosts_app.models import Host, HostGroup, HostGroupMember
from hosts_app.selectors import listed_hosts, offline_hosts, online_hosts, without_retired
from hosts_app.states import HostStatus

if TYPE_CHECKING:
    from collections.abc import Mapping
    from uuid import UUID

    from django.db.models import QuerySet


def host_list(narrowed: Mapping[str, Any]) -> QuerySet[Host]:
    """Return hosts by name, narrowed as HostListFilter says (idx_hosts_hostname, _trgm, _tags)."""
    hosts = listed_hosts()
    if narrowed["status"]:
        hosts = hosts.filter(status=narrowed["status"])
    else:
        hosts = without_retired(hosts)
    if narrowed["online"] == "quarantined":
        hosts = hosts.filter(quarantined_at__isnull=False)
    elif narrowed["online"] == "draining":
        hosts = hosts.filter(heartbeat__draining=True)
    elif narrowed["online"]:
        hosts = online_hosts(hosts) if narrowed["online"] == "yes" else offline_hosts(hosts)
    if narrowed["group"]:
        group = HostGroup.objects.filter(name=narrowed["group"]).values("pk")
        members = HostGroupMember.objects.filter(group__in=group).values("host_id")
        hosts = hosts.filter(pk__in=members)
    if narrowed["tag"]:
        hosts = hosts.filter(tags__contains=[narrowed["tag"]])
    if narrowed["search"]:
        hosts = hosts.filter(_named(narrowed["search"]))
    return hosts


def _named(text: str) -> Q:
    try:
        return Q(ip=str(ipaddress.ip_address(text)))
    except ValueError:
        return Q(hostname__icontains=text)


def waiting_hosts(*, most: int) -> list[Host]:
    """Return hosts that wait for approval, oldest first (idx_hosts_status)."""
    return list(Host.objects.filter(status=HostStatus.PENDING).order_by("id")[:most])


def count_waiting() -> int:
    """Return how many hosts wait for approval; counting stops at 10,000."""
    return Host.objects.filter(status=HostStatus.PENDING)[:COUNT_AT_MOST].count()


def one_host(host_id: UUID) -> Host | None:
    """Return one host with its groups and what was last heard of it, or None."""
    return listed_hosts().filter(host_id=host_id).first()


def enrollment_tokens() -> QuerySet[EnrollmentToken]:
    """Return enrolment tokens, newest first, with the groups that new hosts join."""
    return EnrollmentToken.objects.prefetch_related("groups").order_by("-id")
