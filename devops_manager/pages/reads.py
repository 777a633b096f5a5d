"""Reads that only the pages need: choices for the task form, and audit trails."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from uuid import UUID

from devops_manager.access.models import AuditEvent, Role
from hosts_app.models import Host, HostGroup, HostGroupMember
from hosts_app.selectors import allowed_group_ids, count_tags, listed_hosts
from hosts_app.states import HostStatus
from tasks_app.models import Task
from tasks_app.selectors.tasks import no_such_task

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from django.db.models import QuerySet

    from devops_manager.access.actors import Actor

FOUND_AT_MOST = 20
GROUPS_AT_MOST = 300
TAGS_AT_MOST = 300
NAMES_AT_MOST = 2000


@dataclass(frozen=True, slots=True)
class HostChoice:
    """A host to tick."""

    host_id: UUID
    hostname: str
    ip: str | None
    online: bool


@dataclass(frozen=True, slots=True)
class NamedHosts:
    """What pasted names come to: ids, names that no host has, names that several hosts have."""

    found: list[str]
    unknown: list[str]
    doubtful: list[str]


def _reachable(actor: Actor) -> QuerySet[Host]:
    """Return the hosts that the actor may be given tasks for; for others than operators, all."""
    allowed = allowed_group_ids(actor) if actor.role == Role.OPERATOR else None
    hosts = listed_hosts().filter(status=HostStatus.ACTIVE, quarantined_at=None)
    if allowed is not None:
        members = HostGroupMember.objects.filter(group_id__in=allowed).values("host_id")
        hosts = hosts.filter(pk__in=members)
    return hosts


def _choices(hosts: QuerySet[Host]) -> list[HostChoice]:
    rows: Iterable[Any] = hosts.prefetch_related(None).select_related(None)
    return [HostChoice(row.host_id, row.hostname, row.ip, row.online) for row in rows]


def search_hosts(*, actor: Actor, text: str, without: Iterable[str]) -> list[HostChoice]:
    """Return up to 20 usable hosts whose name contains ``text`` (idx_hosts_hostname_trgm)."""
    hosts = _reachable(actor).filter(hostname__icontains=text)
    return _choices(hosts.exclude(host_id__in=ids_of(without))[:FOUND_AT_MOST])


def hosts_by_id(ids: Iterable[str]) -> list[HostChoice]:
    """Return the hosts with these ids, by name; ids that no host has are left out."""
    wanted = ids_of(ids)
    if not wanted:
        return []
    return _choices(listed_hosts().filter(host_id__in=wanted))


def hosts_by_name(*, actor: Actor, names: Sequence[str]) -> NamedHosts:
    """Return which usable hosts pasted host names or ids mean (idx_hosts_hostname)."""
    asked = list(dict.fromkeys(names))[:NAMES_AT_MOST]
    rows = _reachable(actor).filter(hostname__in=asked).values_list("hostname", "host_id")
    by_name: dict[str, list[str]] = {}
    for hostname, host_id in rows:
        by_name.setdefault(hostname, []).append(str(host_id))
    known_ids = {str(host.host_id) for host in hosts_by_id(asked)}
    found: list[str] = []
    unknown: list[str] = []
    doubtful: list[str] = []
    for name in asked:
        matches = by_name.get(name, [])
        if name.lower() in known_ids:
            found.append(name.lower())
        elif not matches:
            unknown.append(name)
        elif len(matches) > 1:
            doubtful.append(name)
        else:
            found.append(matches[0])
    return NamedHosts(found=found, unknown=unknown, doubtful=doubtful)


def ids_of(texts: Iterable[str]) -> list[UUID]:
    """Return the ids among texts; what is no id is left out."""
    ids = []
    for text in texts:
        try:
            ids.append(UUID(text))
        except ValueError:
            continue
    return ids


def group_names(*, actor: Actor) -> list[str]:
    """Return the groups that the actor may target, by name; at most 300."""
    allowed = allowed_group_ids(actor) if actor.role == Role.OPERATOR else None
    groups = HostGroup.objects.order_by("name")
    if allowed is not None:
        groups = groups.filter(pk__in=allowed)
    return list(groups.values_list("name", flat=True)[:GROUPS_AT_MOST])


def known_tags() -> list[str]:
    """Return tags that hosts have, in order; at most 300."""
    return [found.tag for found in count_tags()[:TAGS_AT_MOST]]


def hosts_by_key(keys: Sequence[int], *, most: int) -> list[HostChoice]:
    """Return the first ``most`` of these hosts (primary keys), by name."""
    return _choices(listed_hosts().filter(pk__in=list(keys))[:most])


def task_of(task_id: UUID) -> Task:
    """Return a task, to be changed or copied. Raises NotFound."""
    task = Task.objects.filter(task_id=task_id).first()
    if task is None:
        raise no_such_task()
    return task


def trail_of(*, object_type: str, object_id: UUID | int, most: int = 50) -> list[AuditEvent]:
    """Return what happened to one thing, newest first (idx_audit_object)."""
    events = AuditEvent.objects.filter(object_type=object_type, object_id=str(object_id))
    return list(events.order_by("-occurred_at", "-id")[:most])
