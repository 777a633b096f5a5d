"""Groups of hosts: making them, their members, and who may run tasks on them.

Each raises Forbidden for everybody but administrators.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.db import IntegrityError, transaction
from django.utils.translation import gettext as _

from devops_manager.access import audit
from devops_manager.access.models import Role, User
from devops_manager.lib.errors import Conflict, Forbidden, InvalidInput, NotFound
from devops_manager.lib.one_line import require_one_line
from devops_manager.lib.versions import ANY, Expected
from devops_manager.lib.wording import labeled
from hosts_app.models import Host, HostGroup, HostGroupGrant, HostGroupMember
from hosts_app.selectors import group_version

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from devops_manager.access.actors import Actor

_NAMED_AT_MOST = 20


@transaction.atomic
def create_group(*, actor: Actor, name: str, description: str = "") -> HostGroup:
    """Make a group. Raises InvalidInput and Conflict ``name_taken`` naming ``name``."""
    _require_administrator(actor)
    require_one_line({"name": name})
    try:
        with transaction.atomic():
            group = HostGroup.objects.create(name=name, description=description)
    except IntegrityError:
        raise _name_taken() from None
    group.refresh_from_db()
    _audit(actor, group, "group.create", after={"name": name, "description": description})
    return group


@transaction.atomic
def update_group(
    *,
    actor: Actor,
    group_id: UUID,
    name: str | None = None,
    description: str | None = None,
    expected: Expected = ANY,
) -> HostGroup:
    """Change a group's name or description; None stays.

    Raises NotFound, PreconditionFailed unless it is as ``expected``, InvalidInput and Conflict
    ``name_taken`` naming ``name``.

    Targets name groups: a task that was written with the old name no longer finds it.
    """
    _require_administrator(actor)
    group = lock_group(group_id)
    expected.require(group_version(group))
    wanted = {"name": name, "description": description}
    after = {
        key: value
        for key, value in wanted.items()
        if value is not None and value != getattr(group, key)
    }
    if not after:
        return group
    require_one_line({"name": after.get("name", "")})
    before = {key: getattr(group, key) for key in after}
    try:
        with transaction.atomic():
            HostGroup.objects.filter(pk=group.pk).update(**after)
    except IntegrityError:
        raise _name_taken() from None
    _audit(actor, group, "group.update", before=before, after=after)
    group.refresh_from_db()
    return group


@transaction.atomic
def delete_group(*, actor: Actor, group_id: UUID, expected: Expected = ANY) -> None:
    """Delete a group with its memberships and grants; its hosts stay.

    Raises NotFound, PreconditionFailed unless it is as ``expected``.
    """
    _require_administrator(actor)
    group = lock_group(group_id)
    expected.require(group_version(group))
    before = {"name": group.name, "hosts": HostGroupMember.objects.filter(group=group).count()}
    group.delete()
    _audit(actor, group, "group.delete", before=before)


@transaction.atomic
def add_hosts(*, actor: Actor, group_id: UUID, host_ids: Sequence[UUID]) -> int:
    """Put hosts into a group; return how many were not in it before.

    Raises NotFound, InvalidInput naming ``hosts`` that do not exist (then none is added).
    """
    _require_administrator(actor)
    group = lock_group(group_id)
    known = _host_keys(host_ids)
    present = HostGroupMember.objects.filter(group=group, host__in=known.values())
    inside = set(present.values_list("host_id", flat=True))
    new = {host_id: pk for host_id, pk in known.items() if pk not in inside}
    HostGroupMember.objects.bulk_create(
        [HostGroupMember(group=group, host_id=pk) for pk in sorted(new.values())],
        ignore_conflicts=True,
    )
    _audit_members(actor, group, "group.add_hosts", new)
    return len(new)


@transaction.atomic
def remove_hosts(*, actor: Actor, group_id: UUID, host_ids: Sequence[UUID]) -> int:
    """Take hosts out of a group; return how many were in it. Raises as ``add_hosts`` does."""
    _require_administrator(actor)
    group = lock_group(group_id)
    known = _host_keys(host_ids)
    members = HostGroupMember.objects.filter(group=group, host__in=known.values())
    inside = set(members.values_list("host_id", flat=True))
    members.delete()
    gone = {host_id: pk for host_id, pk in known.items() if pk in inside}
    _audit_members(actor, group, "group.remove_hosts", gone)
    return len(gone)


@transaction.atomic
def grant_group(*, actor: Actor, group_id: UUID, username: str) -> bool:
    """Let an operator run tasks on a group's hosts; return False when they already might.

    Raises NotFound, InvalidInput naming ``username``.
    """
    _require_administrator(actor)
    group = lock_group(group_id)
    user = _user(username)
    _grant, made = HostGroupGrant.objects.get_or_create(user=user, group=group)
    if made:
        _audit(actor, group, "group.grant", after={"username": username})
    return made


@transaction.atomic
def revoke_grant(*, actor: Actor, group_id: UUID, username: str) -> None:
    """Take a grant back; doing so again changes nothing. Raises NotFound, InvalidInput."""
    _require_administrator(actor)
    group = lock_group(group_id)
    deleted, _by_model = HostGroupGrant.objects.filter(user=_user(username), group=group).delete()
    if deleted:
        _audit(actor, group, "group.revoke_grant", before={"username": username})


def _require_administrator(actor: Actor) -> None:
    if actor.role != Role.ADMIN:
        raise Forbidden(_("Only administrators change groups and grants."))


def lock_group(group_id: UUID) -> HostGroup:
    """Lock a group. Raises NotFound."""
    group = HostGroup.objects.select_for_update(no_key=True).filter(group_id=group_id).first()
    if group is None:
        raise NotFound(_("There is no such group."))
    return group


def _user(username: str) -> User:
    user = User.objects.filter(username=username).first()
    if user is None:
        raise InvalidInput(
            _("There is no such person."),
            code="unknown_reference",
            fields={"username": [_("unknown person: %s") % username]},
        )
    return user


def _host_keys(host_ids: Sequence[UUID]) -> dict[UUID, int]:
    known = dict(Host.objects.filter(host_id__in=host_ids).values_list("host_id", "pk"))
    unknown = [labeled(_("unknown host"), host) for host in host_ids if host not in known]
    if unknown:
        raise InvalidInput(
            _("The group cannot be changed."),
            code="unknown_reference",
            fields={"hosts": unknown[:_NAMED_AT_MOST]},
        )
    return known


def _audit_members(actor: Actor, group: HostGroup, action: str, hosts: dict[UUID, int]) -> None:
    if hosts:
        _audit(actor, group, action, after={"hosts": sorted(str(host_id) for host_id in hosts)})


def _audit(
    actor: Actor,
    group: HostGroup,
    action: str,
    *,
    before: dict[str, Any] | None = None,
    after: dict[str, Any] | None = None,
) -> None:
    audit.record(
        actor=actor,
        action=action,
        object_type="group",
        object_ids=[str(group.group_id)],
        before=before,
        after=after,
    )


def _name_taken() -> Conflict:
    return Conflict(
        _("There is a group of this name already."),
        code="name_taken",
        fields={"name": [_("Taken.")]},
    )
