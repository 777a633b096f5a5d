"""Quarantine by the server itself: a host that gets no work until a person lets it go on."""

from __future__ import annotations

from django.db import transaction
from django.db.models.functions import Now

from devops_manager.access import audit
from devops_manager.access.actors import SYSTEM
from devops_manager.lib import announce
from hosts_app.models import Host


@transaction.atomic
def quarantine_host(*, host: Host, reason: str) -> None:
    """Quarantine a host, with a reason that its page shows; one that is already stays as it is."""
    rows = Host.objects.filter(pk=host.pk, quarantined_at=None)
    if not rows.update(quarantined_at=Now(), quarantine_reason=reason):
        return
    audit.record(
        actor=SYSTEM,
        action="host.quarantine",
        object_type="host",
        object_ids=[str(host.host_id)],
        after={"reason": reason},
    )
    announce.revoke([host.pk])
