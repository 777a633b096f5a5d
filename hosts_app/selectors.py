"""Reads about hosts that the API, the pages and the other apps share."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.db.models import (
    BooleanField,
    Case,
    Count,
    IntegerField,
    OuterRef,
    Prefetch,
    Q,
    Subquery,
    Value,
    When,
)
from django.db.models.functions import Coalesce, Now
from django.utils.translation import gettext as _

from devops_manager.access.actors import role_of
from devops_manager.access.models import Role
from devops_manager.lib import sql
from devops_manager.lib.errors import Forbidden, InvalidInput, NotFound
from devops_manager.lib.versions import version_of
from devops_manager.lib.wording import labeled
from hosts_app.models import Host, HostGroup, HostGroupGrant, HostGroupMember
from hosts_app.plans import Plan, plan_steps
from hosts_app.records import TagCount
from hosts_app.states import HostStatus

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from uuid import UUID

    from django.db.models import QuerySet

    from devops_manager.access.actors import Actor
    from devops_manager.access.models import User
    from hosts_app.targets import Selection, Target

SQL = Path(__file__).parent / "sql"
# An answer names at most this many unknown things of a kind.
_NAMED_AT_MOST = 20
SAME_MACHINE_AT_MOST = 20


def host_version(host: Host) -> str:
    """Return the version of what people change of a host; what its agent tells does not move it."""
    groups = sorted(group.name for group in host.groups.all())
    return version_of(
        *(host.status, host.tags, groups, host.max_concurrency),
        *(host.display_name, host.output_charset),
    )


def group_version(group: HostGroup) -> str:
    """Return the version of what people change of a group; its members do not move it."""
    return version_of(group.name, group.description)


def allowed_group_ids(actor: Actor) -> list[int] | None:
    """Return the groups whose hosts the actor may run tasks on: None all, [] none.

    Administrators reach every host, operators those of the groups granted, others none.
    """
    return _granted(actor.role, actor.user_id)


def groups_of_person(user: User) -> list[int] | None:
    """Return the groups whose hosts a person may run tasks on now, as ``allowed_group_ids``."""
    return _granted(role_of(user), user.pk)


def _granted(role: Role, user_id: int | None) -> list[int] | None:
    if role == Role.ADMIN:
        return None
    if role != Role.OPERATOR or user_id is None:
        return []
    grants = HostGroupGrant.objects.filter(user_id=user_id)
    return sorted(grants.values_list("group_id", flat=True))


def hosts_within(hosts: Sequence[int], *, groups: Sequence[int]) -> set[int]:
    """Return those of the hosts (primary keys) that are in one of the groups. One statement."""
    members = HostGroupMember.objects.filter(host__in=list(hosts), group__in=list(groups))
    return set(members.values_list("host_id", flat=True))


def resolve_target(*, target: Target, allowed_groups: Sequence[int] | None) -> list[int]:
    """Return the primary keys of the active, not quarantined hosts that a target names, sorted.

    The union of hosts, groups and tags (or all) less the exclusions, and only hosts of
    ``allowed_groups`` (None: any). Five statements at most, whatever the number of hosts.
    Raises InvalidInput ``unknown_target`` naming hosts, groups and tags that do not exist, hosts
    that are not active and, as if they did not exist, hosts named by id that are out of reach;
    InvalidInput ``empty_target`` when nothing is left; Forbidden ``group_not_granted``.
    """
    if not target:
        raise _empty(_("Name hosts, groups or tags, or set all."))
    target = resolve_names(target=target, allowed_groups=allowed_groups)
    allowed = None if allowed_groups is None else list(allowed_groups)
    wrong: dict[str, list[str]] = {}
    groups = _known_groups((*target.groups, *target.exclude.groups))
    for selection, path in ((target, "target"), (target.exclude, "target.exclude")):
        _name_unknown(selection, path, groups, wrong)
    _name_unreachable(target, allowed, wrong)
    if wrong:
        raise InvalidInput(
            _("The target names what cannot be found."), code="unknown_target", fields=wrong
        )
    _refuse_ungranted(target, groups, allowed)
    rows = sql.run(
        SQL,
        "resolve_target",
        {
            "all": target.all,
            "hosts": list(target.hosts),
            "groups": [groups[name] for name in target.groups],
            "tags": list(target.tags),
            "exclude_hosts": list(target.exclude.hosts),
            "exclude_groups": [groups[name] for name in target.exclude.groups],
            "exclude_tags": list(target.exclude.tags),
            "allowed_groups": allowed,
        },
    )
    if not rows:
        raise _empty(_("No active host that you may reach is left in the target."))
    return [row.id for row in rows]


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


@dataclass(frozen=True, slots=True)
class PlanPreview:
    """What a target and the pins of its steps come to now; ``pinned_only`` by name."""

    plan: Plan
    pins: tuple[UUID | None, ...]
    pinned_only: list[Host]


def preview_plan(
    *, target: Target, pins: Sequence[UUID | None], allowed_groups: Sequence[int] | None
) -> PlanPreview:
    """Return which hosts would run which steps if a task with these were started now.

    Raises as ``resolve_target`` does, and InvalidInput naming pinned hosts (``commands[0].host``)
    that are unknown or may not be given work.
    """
    targets = resolve_target(target=target, allowed_groups=allowed_groups)
    usable = usable_hosts({pin for pin in pins if pin}, allowed_groups=allowed_groups)
    unknown = {
        f"commands[{at}].host": [_("unknown host, or not one that you may use now: %s") % pin]
        for at, pin in enumerate(pins)
        if pin is not None and pin not in usable
    }
    if unknown:
        raise InvalidInput(
            _("The task names hosts that cannot be found."), code="unknown_target", fields=unknown
        )
    plan = plan_steps(targets=targets, pins=[usable[pin] if pin else None for pin in pins])
    named = Host.objects.filter(pk__in=plan.pinned_only).order_by("hostname", "id")
    return PlanPreview(plan=plan, pins=tuple(pins), pinned_only=list(named))


def resolve_names(*, target: Target, allowed_groups: Sequence[int] | None) -> Target:
    """Return a target with the ids of hosts in place of their names, which are looked up now.

    What is kept of a target is ids: by the time it runs a name may be another host's. Retired hosts
    and those out of reach have no names here. Raises InvalidInput naming names that no host has
    (``unknown_target``) or that several have, with the ids of those (``ambiguous_target``).
    """
    names = {*target.names, *target.exclude.names}
    if not names:
        return target
    hosts = without_retired(Host.objects.filter(hostname__in=names))
    if allowed_groups is not None:
        members = HostGroupMember.objects.filter(group__in=list(allowed_groups))
        hosts = hosts.filter(pk__in=members.values("host"))
    found: dict[str, list[UUID]] = {}
    for name, host_id in hosts.order_by("id").values_list("hostname", "host_id"):
        found.setdefault(name, []).append(host_id)
    wrong: dict[str, list[str]] = {}
    chosen = _named(target, "target", found, wrong)
    exclude = replace(
        target.exclude, names=(), hosts=_named(target.exclude, "target.exclude", found, wrong)
    )
    if wrong:
        ambiguous = any(len(found.get(name, ())) > 1 for name in names)
        raise InvalidInput(
            _("The target names what cannot be found."),
            code="ambiguous_target" if ambiguous else "unknown_target",
            fields=wrong,
        )
    return replace(target, names=(), hosts=chosen, exclude=exclude)


def _named(
    selection: Selection, path: str, found: dict[str, list[UUID]], wrong: dict[str, list[str]]
) -> tuple[UUID, ...]:
    """Return the hosts that a selection names, one for each name."""
    sentences = []
    hosts = list(selection.hosts)
    for name in selection.names:
        ids = found.get(name, [])
        if len(ids) == 1:
            hosts += ids
        elif ids:
            named = ", ".join(map(str, ids[:_NAMED_AT_MOST]))
            sentences.append(
                _("several hosts have the name %(name)s: %(ids)s") % {"name": name, "ids": named}
            )
        else:
            sentences.append(f"{_('unknown host')}: {name}")
    _note(wrong, f"{path}.hosts", sentences)
    return tuple(dict.fromkeys(hosts))


def _empty(sentence: str) -> InvalidInput:
    return InvalidInput(
        _("The target is empty."), code="empty_target", fields={"target": [sentence]}
    )


def _known_groups(names: Sequence[str]) -> dict[str, int]:
    if not names:
        return {}
    return dict(HostGroup.objects.filter(name__in=names).values_list("name", "id"))


def _name_unknown(
    selection: Selection, path: str, groups: dict[str, int], wrong: dict[str, list[str]]
) -> None:
    unknown = [name for name in selection.groups if name not in groups]
    _note(wrong, f"{path}.groups", [_("unknown group: %s") % name for name in unknown])
    if selection.tags:
        rows = sql.run(SQL, "unknown_tags", {"tags": list(selection.tags)})
        _note(wrong, f"{path}.tags", [_("no host has the tag: %s") % row.tag for row in rows])


def _name_unreachable(
    target: Target, allowed: list[int] | None, wrong: dict[str, list[str]]
) -> None:
    named = (*target.hosts, *target.exclude.hosts)
    if not named:
        return
    rows = sql.run(SQL, "named_hosts", {"hosts": list(named), "allowed_groups": allowed})
    known = {row.host_id: row for row in rows if row.reachable}
    faults = [(host, _fault(known.get(host))) for host in target.hosts]
    _note(wrong, "target.hosts", [labeled(fault, host) for host, fault in faults if fault])
    unknown = [host for host in target.exclude.hosts if host not in known]
    _note(wrong, "target.exclude.hosts", [labeled(_("unknown host"), host) for host in unknown])


def _fault(row: Any) -> str:
    """Return why a named host cannot be given work, or an empty text."""
    if row is None:
        return _("unknown host")
    faults = {
        HostStatus.PENDING: _("host not approved yet"),
        HostStatus.DISABLED: _("host disabled"),
        HostStatus.RETIRED: _("host retired"),
    }
    if row.status in faults:
        return faults[row.status]
    return _("host quarantined") if row.quarantined else ""


def _note(wrong: dict[str, list[str]], path: str, sentences: list[str]) -> None:
    if not sentences:
        return
    more = len(sentences) - _NAMED_AT_MOST
    shown = sentences[:_NAMED_AT_MOST]
    wrong[path] = [*shown, _("and %(count)d more") % {"count": more}] if more > 0 else shown


def _refuse_ungranted(target: Target, groups: dict[str, int], allowed: list[int] | None) -> None:
    if allowed is None:
        return
    ungranted = [name for name in target.groups if groups[name] not in set(allowed)]
    if ungranted:
        raise Forbidden(
            _("The target names groups that are not granted to you."),
            code="group_not_granted",
            fields={"target.groups": [_("not granted: %s") % name for name in ungranted]},
        )


def heard_after() -> Any:
    """Return the moment, in database time, since which an online host was heard."""
    return Now() - timedelta(seconds=settings.DM_OFFLINE_AFTER_SECONDS)


def online_hosts(hosts: QuerySet[Host]) -> QuerySet[Host]:
    """Narrow to the hosts heard within DM_OFFLINE_AFTER_SECONDS."""
    return hosts.filter(heartbeat__last_seen_at__gt=heard_after())


def offline_hosts(hosts: QuerySet[Host]) -> QuerySet[Host]:
    """Narrow to the hosts that were not heard within DM_OFFLINE_AFTER_SECONDS, or never."""
    silent = Q(heartbeat=None) | Q(heartbeat__last_seen_at__lte=heard_after())
    return hosts.filter(silent)


def listed_hosts() -> QuerySet[Host]:
    """Return hosts by name, with heartbeat, groups and ``online``: two statements a page."""
    heard = When(heartbeat__last_seen_at__gt=heard_after(), then=Value(value=True))
    return (
        Host.objects.select_related("heartbeat")
        .prefetch_related(Prefetch("groups", HostGroup.objects.order_by("name")))
        .annotate(online=Case(heard, default=Value(value=False), output_field=BooleanField()))
        .order_by("hostname", "id")
    )


def without_retired(hosts: QuerySet[Host]) -> QuerySet[Host]:
    """Narrow to the hosts that lists show unless retired ones are asked for."""
    return hosts.exclude(status=HostStatus.RETIRED)


def same_machine(host: Host) -> list[Host]:
    """Return other records of a host's machine that are not retired, newest first.

    Machines made from one image may tell one machine id: a person has to say which it is.
    """
    if not host.machine_id:
        return []
    others = without_retired(listed_hosts()).filter(machine_id=host.machine_id)
    return list(others.exclude(pk=host.pk).order_by("-id")[:SAME_MACHINE_AT_MOST])


def hosts_by_keys(keys: Sequence[int]) -> list[Host]:
    """Return the hosts with these primary keys, as lists show them, in the order of the keys."""
    found = {host.pk: host for host in listed_hosts().filter(pk__in=keys)}
    return [found[key] for key in keys if key in found]


def listed_groups() -> QuerySet[HostGroup]:
    """Return groups by name, each with ``host_count``."""
    counted = (
        HostGroupMember.objects.filter(group=OuterRef("pk"))
        .exclude(host__status=HostStatus.RETIRED)
        .order_by()
        .values("group")
        .annotate(count=Count("pk"))
        .values("count")
    )
    return HostGroup.objects.annotate(
        host_count=Coalesce(Subquery(counted, output_field=IntegerField()), 0)
    ).order_by("name")


def group_of(group_id: UUID) -> HostGroup:
    """Return a group. Raises NotFound."""
    group = listed_groups().filter(group_id=group_id).first()
    if group is None:
        raise NotFound(_("There is no such group."))
    return group


def group_grants(group: HostGroup) -> QuerySet[HostGroupGrant]:
    """Return who may run tasks on a group's hosts, by name."""
    grants = HostGroupGrant.objects.filter(group=group)
    return grants.select_related("user").order_by("user__username")


def count_tags(*, contains: str = "") -> list[TagCount]:
    """Return the tags of hosts that are not disabled, in order, with their counts."""
    rows = sql.run(SQL, "count_tags", {"contains": contains})
    return [TagCount(tag=row.tag, hosts=row.hosts) for row in rows]
