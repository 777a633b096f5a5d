"""Changing one host: its tags, groups and limit, whether it may work, and its credential."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.db import transaction
from django.db.models import F
from django.db.models.functions import Coalesce, Now
from django.utils.translation import gettext as _

from devops_manager.access import audit
from devops_manager.lib import announce
from devops_manager.lib.decoding import UTF_8, require_charset
from devops_manager.lib.errors import Conflict, InvalidInput
from devops_manager.lib.one_line import require_one_line
from devops_manager.lib.versions import ANY, Expected
from hosts_app.models import Host, HostGroup, HostGroupMember, RetiredIdentity
from hosts_app.selectors import host_version
from hosts_app.services.locking import lock_host, require_status
from hosts_app.states import HostStatus

if TYPE_CHECKING:
    from uuid import UUID

    from devops_manager.access.actors import Actor
    from hosts_app.records import HostChange


@transaction.atomic
def update_host(
    *, actor: Actor, host_id: UUID, change: HostChange, expected: Expected = ANY
) -> Host:
    """Change what a person says of a host; what is None stays. No change, no audit event.

    Raises NotFound, PreconditionFailed unless it is as ``expected``, InvalidInput naming ``groups``
    that do not exist, new ``tags`` and a ``display_name`` that are no line of text, an
    ``output_charset`` that is not known.
    """
    host = lock_host(host_id)
    expected.require(host_version(host))
    after = _changed_fields(host, change)
    before = {field: getattr(host, field) for field in after}
    if after:
        name = change.display_name
        shown = (
            {"hostname": name or host.reported_hostname or host.hostname}
            if name is not None
            else {}
        )
        Host.objects.filter(pk=host.pk).update(**after, **shown)
    if change.groups is not None:
        old, new = _replace_groups(host, change.groups)
        if old != new:
            before["groups"], after["groups"] = old, new
    if after:
        _audit(actor, host, "host.update", before=before, after=after)
        # A higher limit may let waiting work go out at once.
        announce.wake([host.pk])
        host.refresh_from_db()
    return host


def _changed_fields(host: Host, change: HostChange) -> dict[str, Any]:
    """Return the new values of the fields that differ. Raises InvalidInput."""
    wanted: dict[str, Any] = {
        "tags": None if change.tags is None else list(change.tags),
        "display_name": change.display_name,
        "max_concurrency": change.max_concurrency,
        "output_charset": _charset(change.output_charset),
    }
    after = {
        field: value
        for field, value in wanted.items()
        if value is not None and value != getattr(host, field)
    }
    new_tags = {
        f"tags[{at}]": tag for at, tag in enumerate(after.get("tags", ())) if tag not in host.tags
    }
    require_one_line(new_tags)
    require_one_line({"display_name": after.get("display_name", "")})
    return after


def _charset(name: str | None) -> str | None:
    """Return a charset as it is stored: UTF-8 is empty. Raises InvalidInput."""
    if not name:
        return name
    try:
        charset = require_charset(name)
    except ValueError as error:
        raise InvalidInput(
            _("The host cannot be changed."), fields={"output_charset": [str(error)]}
        ) from None
    return "" if charset == UTF_8 else charset


def _replace_groups(host: Host, names: tuple[str, ...]) -> tuple[list[str], list[str]]:
    """Put the host into exactly these groups; return the names before and after, sorted."""
    groups = dict(HostGroup.objects.filter(name__in=names).values_list("name", "pk"))
    unknown = [name for name in names if name not in groups]
    if unknown:
        raise InvalidInput(
            _("The host cannot be changed."),
            code="unknown_reference",
            fields={"groups": [_("unknown group: %s") % name for name in unknown]},
        )
    members = HostGroupMember.objects.filter(host=host)
    old = sorted(members.values_list("group__name", flat=True))
    members.exclude(group__in=groups.values()).delete()
    HostGroupMember.objects.bulk_create(
        [HostGroupMember(host=host, group_id=pk) for pk in sorted(groups.values())],
        ignore_conflicts=True,
    )
    return old, sorted(groups)


@transaction.atomic
def disable_host(*, actor: Actor, host_id: UUID) -> Host:
    """Give a host no more work; what runs there ends unknown. Again changes nothing.

    Raises NotFound, Conflict for a host that waits for approval.
    """
    host = lock_host(host_id)
    if host.status == HostStatus.DISABLED:
        return host
    require_status([host], allowed={HostStatus.ACTIVE})
    return _move(actor, host, HostStatus.DISABLED, "host.disable")


@transaction.atomic
def enable_host(*, actor: Actor, host_id: UUID) -> Host:
    """Let a disabled (or rejected) host work again. Again changes nothing.

    Raises NotFound, Conflict for a host that waits for approval.
    """
    host = lock_host(host_id)
    if host.status == HostStatus.ACTIVE:
        return host
    require_status([host], allowed={HostStatus.DISABLED})
    return _move(actor, host, HostStatus.ACTIVE, "host.enable")


def _move(actor: Actor, host: Host, to: HostStatus, action: str) -> Host:
    rows = Host.objects.filter(pk=host.pk)
    if to == HostStatus.ACTIVE:
        rows.update(status=to, approved_at=Coalesce("approved_at", Now()))
    else:
        rows.update(status=to)
    _audit(actor, host, action, before={"status": host.status}, after={"status": to.value})
    announce.revoke([host.pk])
    host.refresh_from_db()
    return host


@transaction.atomic
def release_quarantine(*, actor: Actor, host_id: UUID) -> Host:
    """Trust a quarantined host's identity again, whichever of its agents speaks next.

    What was retired is forgotten: a restored snapshot goes on; two agents that still share one
    identity are quarantined again. Raises NotFound, Conflict ``not_quarantined``.
    """
    host = lock_host(host_id)
    if host.quarantined_at is None:
        raise Conflict(_("The host is not quarantined."), code="not_quarantined")
    before = {"quarantine_reason": host.quarantine_reason}
    RetiredIdentity.objects.filter(host=host).delete()
    Host.objects.filter(pk=host.pk).update(quarantined_at=None, quarantine_reason="")
    _audit(actor, host, "host.release", before=before, after={})
    announce.revoke([host.pk])
    host.refresh_from_db()
    return host


@transaction.atomic
def revoke_credential(*, actor: Actor, host_id: UUID) -> Host:
    """Refuse the host's credential from now on: its agent must enrol again. Raises NotFound."""
    host = lock_host(host_id)
    Host.objects.filter(pk=host.pk).update(credential_generation=F("credential_generation") + 1)
    _audit(
        actor,
        host,
        "host.revoke_credential",
        before={"credential_generation": host.credential_generation},
        after={"credential_generation": host.credential_generation + 1},
    )
    announce.revoke([host.pk])
    host.refresh_from_db()
    return host


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
