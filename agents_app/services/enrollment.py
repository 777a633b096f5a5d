"""Enrolment: a machine with a good token becomes a host with a credential."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from uuid import UUID

from django.conf import settings
from django.db import transaction
from django.db.models import F, Q
from django.db.models.functions import Now
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from agents_app import protocol
from agents_app.models import EnrollmentToken
from agents_app.services.credentials import issue_credential
from devops_manager.access import audit, bounded_audit
from devops_manager.access.actors import Actor
from devops_manager.access.agent_audit import trail
from devops_manager.access.models import AuditEvent, Role
from devops_manager.lib import secrets
from devops_manager.lib.errors import Forbidden, InvalidInput
from hosts_app.machine_ids import real_machine_id
from hosts_app.models import Host, HostGroupMember
from hosts_app.states import HostStatus

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class Enrolled:
    """A host that came in. ``credential`` is shown only now."""

    host_id: UUID
    credential: str
    status: str


@dataclass(frozen=True, slots=True)
class Machine:
    """What an enrolling agent says of its machine."""

    hostname: str
    os: str
    arch: str
    machine_id: str
    agent_version: str
    ip: str | None
    facts: Mapping[str, Any]


def enroll(
    *,
    token: str,
    hostname: str,
    os: str,
    arch: str,
    machine_id: str,
    agent_version: str,
    ip: str | None,
    facts: Mapping[str, Any],
    source_ip: str | None,
) -> Enrolled:
    """Make a host of an enrolling machine, and give it a credential.

    The host waits for approval unless the token approves at once; it joins the token's groups. An
    agent that lost the answer may ask again: with the same token, machine id, name and address, and
    as long as nothing was heard from the host, it gets the same host and a new credential, and no
    use of the token is counted. Whoever differs in one of these is another machine, though it has
    the machine id of the image that both were made from: it becomes a host of its own, for a new
    credential would lock the other agent out for good. Without a machine id that tells machines
    apart, each request makes a host. Concurrent enrolments with one token take turns.

    Raises Forbidden (``enrollment_token_invalid``) for an unknown, expired, revoked or used-up
    token, InvalidInput for an address that is none.
    """
    machine = Machine(
        hostname=hostname,
        os=os,
        arch=arch,
        machine_id=real_machine_id(machine_id),
        agent_version=agent_version,
        ip=_address(ip) or _address_or_none(source_ip),
        facts=facts,
    )
    with transaction.atomic():
        stored = _lock_token(token)
        host = _silent_host(stored, machine)
        again = host is not None
        if host is None:
            _count_use(stored)
            host = _new_host(stored, machine)
        credential = issue_credential(host=host, enrolled_with=stored)
        _record(host, stored, again=again, source_ip=_address_or_none(source_ip))
    return Enrolled(host_id=host.host_id, credential=credential, status=host.status)


def record_refusal(*, token: str, hostname: str, source_ip: str | None, source: str) -> None:
    """Audit an enrollment that was refused, bounded for each source; never the token itself."""
    prefix = secrets.split(token, protocol.ENROLLMENT_TOKEN_PREFIX) or ""
    known = EnrollmentToken.objects.filter(prefix=prefix).values_list("token_id", flat=True).first()
    bounded_audit.record_bounded(
        actor=bounded_audit.stranger(AuditEvent.ActorKind.AGENT, _address_or_none(source_ip)),
        action="host.enroll_refused",
        object_type="enrollment_token",
        object_id=str(known or ""),
        source=source,
        after={"hostname": hostname},
    )


def _refused() -> Forbidden:
    return Forbidden(
        _("The enrolment token is unknown, expired, revoked or used up."),
        code=protocol.CODE_ENROLLMENT_TOKEN_INVALID,
    )


def _address(ip: str | None) -> str | None:
    if not ip:
        return None
    try:
        return str(ipaddress.ip_address(ip))
    except ValueError:
        text = _("This is not an IP address.")
        raise InvalidInput(text, fields={"ip": [text]}) from None


def _address_or_none(ip: str | None) -> str | None:
    # Where the connection comes from may be a Unix socket, which has no address.
    try:
        return _address(ip)
    except InvalidInput:
        return None


def _lock_token(token: str) -> EnrollmentToken:
    prefix = secrets.split(token, protocol.ENROLLMENT_TOKEN_PREFIX)
    if prefix is None:
        raise _refused()
    stored = (
        EnrollmentToken.objects.select_related("made_with__parent")
        .select_for_update(no_key=True, of=("self",))
        .filter(Q(expires_at__isnull=True) | Q(expires_at__gt=Now()))
        .filter(prefix=prefix, revoked_at__isnull=True)
        .first()
    )
    if stored is None or not secrets.matches(token, stored.secret_hash):
        raise _refused()
    if stored.made_with is not None and not stored.made_with.is_good(timezone.now()):
        raise _refused()
    return stored


def _silent_host(token: EnrollmentToken, machine: Machine) -> Host | None:
    """Return the host that this very machine was given with this token and never used."""
    if not machine.machine_id:
        return None
    return (
        Host.objects.select_for_update(no_key=True, of=("self",))
        .filter(
            machine_id=machine.machine_id,
            reported_hostname=machine.hostname,
            ip=machine.ip,
            credential__enrolled_with=token,
            heartbeat__isnull=True,
            session__isnull=True,
        )
        .exclude(status__in=(HostStatus.DISABLED, HostStatus.RETIRED))
        .order_by("-id")
        .first()
    )


def _count_use(token: EnrollmentToken) -> None:
    if token.max_uses is not None and token.used_count >= token.max_uses:
        raise _refused()
    EnrollmentToken.objects.filter(pk=token.pk).update(used_count=F("used_count") + 1)


def _new_host(token: EnrollmentToken, machine: Machine) -> Host:
    host = Host.objects.create(
        hostname=machine.hostname,
        reported_hostname=machine.hostname,
        ip=machine.ip,
        os=machine.os,
        arch=machine.arch,
        agent_version=machine.agent_version,
        machine_id=machine.machine_id,
        facts=dict(machine.facts),
        status=HostStatus.ACTIVE if token.auto_approve else HostStatus.PENDING,
        approved_at=Now() if token.auto_approve else None,
        max_concurrency=settings.DM_HOST_CONCURRENCY,
    )
    HostGroupMember.objects.bulk_create(
        HostGroupMember(host=host, group=group) for group in token.groups.all()
    )
    return host


def _record(host: Host, token: EnrollmentToken, *, again: bool, source_ip: str | None) -> None:
    after = {
        "hostname": host.hostname,
        "status": str(host.status),
        "enrollment_token": str(token.token_id),
    }
    if again:  # as often as somebody asks
        trail.record(
            host=host.pk,
            host_id=lambda: host.host_id,
            action="host.enroll_again",
            after=after,
            source_ip=source_ip,
        )
        return
    audit.record(
        actor=Actor(
            kind=AuditEvent.ActorKind.AGENT,
            name=f"agent:{host.host_id}",
            role=Role.VIEWER,
            source_ip=source_ip,
        ),
        action="host.enroll",
        object_type="host",
        object_ids=[str(host.host_id)],
        after=after,
    )
