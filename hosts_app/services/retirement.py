"""Retiring hosts, bringing them back, and letting a new record take an old one's place."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.db import transaction
from django.db.models.functions import Now
from django.utils.translation import gettext as _

from devops_manager.access import audit
from devops_manager.lib import announce
from devops_manager.lib.errors import Conflict, InvalidInput
from hosts_app.models import Host, HostGroupMember
from hosts_app.services.locking import lock_host, lock_hosts, require_status
from hosts_app.states import HostStatus

if TYPE_CHECKING:
    from uuid import UUID

    from devops_manager.access.actors import Actor


@transaction.atomic
def retire_host(*, actor: Actor, host_id: UUID) -> Host:
    """Take a host out for good: its history stays, it is in no target and in no list unasked.

    Its credential is refused as long as it is retired, and what runs there ends as unknown. Retired
    again, nothing changes. Raises NotFound.
    """
    host = lock_host(host_id)
    if host.status != HostStatus.RETIRED:
        _retire(actor, host, after={"status": HostStatus.RETIRED.value})
    host.refresh_from_db()
    return host


@transaction.atomic
def unretire_host(*, actor: Actor, host_id: UUID) -> Host:
    """Bring a retired host back to where it was; its credential is good again, unless revoked.

    Raises NotFound, Conflict ``illegal_transition``.
    """
    host = lock_host(host_id)
    require_status([host], allowed={HostStatus.RETIRED})
    back = HostStatus(host.retired_from or HostStatus.DISABLED)
    Host.objects.filter(pk=host.pk).update(status=back, retired_at=None, retired_from="")
    _audit(
        actor,
        host,
        "host.unretire",
        before={"status": HostStatus.RETIRED.value},
        after={"status": back.value},
    )
    announce.revoke([host.pk])
    host.refresh_from_db()
    return host


@transaction.atomic
def replace_host(*, actor: Actor, host_id: UUID, replaced_id: UUID) -> Host:
    """Let a host that was enrolled again take the place of its machine's older record.

    The older one is retired. Its groups and tags come in addition to the host's own, its limit,
    its charset and, where the host has none, its display name in place of the host's. Whether the
    host may work stays as it is: it is approved as any other. Raises NotFound, InvalidInput for a
    host that is to replace itself, Conflict ``another_machine`` unless both told the same machine
    id, ``illegal_transition`` when the host that stays is retired.
    """
    if host_id == replaced_id:
        sentence = _("A host cannot replace itself.")
        raise InvalidInput(sentence, fields={"replaces": [sentence]})
    by_id = {host.host_id: host for host in lock_hosts([host_id, replaced_id])}
    host, old = by_id[host_id], by_id[replaced_id]
    if not host.machine_id or host.machine_id != old.machine_id:
        raise Conflict(
            _("These are not known to be the same machine: their machine ids differ."),
            code="another_machine",
        )
    require_status([host], allowed={HostStatus.PENDING, HostStatus.ACTIVE, HostStatus.DISABLED})
    before, after = _carry_over(host, old)
    _audit(
        actor, host, "host.replace", before=before, after={**after, "replaces": str(replaced_id)}
    )
    if old.status != HostStatus.RETIRED:
        _retire(
            actor,
            old,
            after={"status": HostStatus.RETIRED.value, "replaced_by": str(host_id)},
        )
    announce.wake([host.pk])
    host.refresh_from_db()
    return host


def _carry_over(host: Host, old: Host) -> tuple[dict[str, Any], dict[str, Any]]:
    """Give a host what an older record of its machine had; return both sides of the change."""
    members = HostGroupMember.objects.filter(host__in=[host, old])
    groups = {True: set[int](), False: set[int]()}
    names: dict[int, str] = {}
    for group, name, owner in members.values_list("group_id", "group__name", "host_id"):
        groups[owner == host.pk].add(group)
        names[group] = name
    HostGroupMember.objects.bulk_create(
        [HostGroupMember(host=host, group_id=pk) for pk in sorted(groups[False] - groups[True])],
        ignore_conflicts=True,
    )
    fields: dict[str, Any] = {
        "tags": [*host.tags, *(tag for tag in old.tags if tag not in host.tags)],
        "max_concurrency": old.max_concurrency,
        "output_charset": old.output_charset or host.output_charset,
    }
    if old.display_name and not host.display_name:
        fields["display_name"] = fields["hostname"] = old.display_name
    Host.objects.filter(pk=host.pk).update(**fields)
    before = {name: getattr(host, name) for name in fields}
    before["groups"] = sorted(names[group] for group in groups[True])
    return before, {**fields, "groups": sorted(names.values())}


def _retire(actor: Actor, host: Host, *, after: dict[str, Any]) -> None:
    Host.objects.filter(pk=host.pk).update(
        status=HostStatus.RETIRED, retired_at=Now(), retired_from=host.status
    )
    _audit(actor, host, "host.retire", before={"status": host.status}, after=after)
    announce.revoke([host.pk])


def _audit(
    actor: Actor, host: Host, action: str, *, before: dict[str, Any], after: dict[str, Any]
) -> None:
    audit.record(
        actor=actor,
        action=action,
        object_type="host",
        object_ids=[str(host.host_id)],
        before=before,
        after=after,
    )
