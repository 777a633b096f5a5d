"""Requests that gateways did not survive: counted by death, set aside after the second.

A process that is killed, or that hangs until gunicorn kills it, cannot say of what. It can say what
it had under way. All of that is suspect then and goes alone the next time; what was under way at a
second death is the cause, or was twice beside it, and is not tried a third time.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, NamedTuple

from django.db import transaction
from django.db.models import F, Q
from django.db.models.functions import Now

from agents_app.models import SuspectRequest
from devops_manager.access import audit
from devops_manager.access.actors import SYSTEM
from hosts_app.models import Host
from hosts_app.services import quarantine_host

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from django.db.models import QuerySet

DEATHS_ALLOWED = 2
# A suspect that did no harm for this long is one no more.
_FORGOTTEN_AFTER = timedelta(hours=1)
# Of these the host itself cannot be served; of the others one request or result.
_HOST_KINDS = (
    SuspectRequest.Kind.POLL,
    SuspectRequest.Kind.REPORT,
    SuspectRequest.Kind.HEARTBEAT,
)
_LARGEST_CONTENT = 1_048_576
_MOST_LOADED = 10_000


class Mark(NamedTuple):
    """One request: its kind, its host's primary key (0: none), and what tells it from others.

    ``key`` has 16 bytes: a result's fence, the beginning of an enrollment's SHA-256, or zeros.
    """

    kind: int
    host: int
    key: bytes = bytes(16)


@transaction.atomic
def record_deaths(marks: Iterable[Mark]) -> None:
    """Count one death for each request that was under way; set aside those that have had two.

    What is set aside is audited; a host whose polls, reports or heartbeats are is quarantined.
    """
    wanted = set(marks)
    hosts = set(Host.objects.filter(pk__in={m.host for m in wanted}).values_list("pk", flat=True))
    known = sorted(mark for mark in wanted if mark.host in hosts or not mark.host)
    SuspectRequest.objects.bulk_create(
        (SuspectRequest(kind=m.kind, host_id=m.host or None, key=m.key) for m in known),
        ignore_conflicts=True,
    )
    for mark in known:
        row = _rows(mark).select_for_update().get()
        row.deaths += 1
        aside = row.deaths >= DEATHS_ALLOWED and row.set_aside_at is None
        _rows(mark).update(
            deaths=row.deaths,
            last_death_at=Now(),
            set_aside_at=Now() if aside else F("set_aside_at"),
        )
        if aside:
            _tell(row)


def _tell(row: SuspectRequest) -> None:
    kind = SuspectRequest.Kind(row.kind)
    audit.record(
        actor=SYSTEM,
        action="gateway.set_aside",
        object_type="host" if row.host else "gateway",
        object_ids=[str(row.host.host_id) if row.host else ""],
        after={"kind": kind.name.lower(), "key": bytes(row.key).hex(), "deaths": row.deaths},
    )
    if row.host and kind in _HOST_KINDS:
        quarantine_host(
            host=row.host,
            reason=f"{row.deaths} gateways ended while a {kind.name.lower()} of it was under way",
        )


def load_suspects() -> dict[Mark, int]:
    """Return how many deaths each suspect has had, newest first.

    A host that a person released from quarantine is no suspect any more, and one that did no harm
    for an hour is forgotten.
    """
    SuspectRequest.objects.filter(
        Q(set_aside_at=None, last_death_at__lt=Now() - _FORGOTTEN_AFTER)
        | Q(kind__in=_HOST_KINDS, set_aside_at__isnull=False, host__quarantined_at=None)
    ).delete()
    rows = SuspectRequest.objects.order_by("-id").values_list("kind", "host__pk", "key", "deaths")
    return {
        Mark(kind, host or 0, bytes(key)): deaths for kind, host, key, deaths in rows[:_MOST_LOADED]
    }


def clear_suspects(marks: Sequence[Mark]) -> None:
    """Forget suspects that did no harm when they went alone."""
    for mark in marks:
        _rows(mark).filter(set_aside_at=None).delete()


def keep_content(*, mark: Mark, content: bytes) -> None:
    """Keep what was set aside, at most 1 MiB of it, for whoever looks for the cause."""
    _rows(mark).filter(content=None).update(content=content[:_LARGEST_CONTENT])


def _rows(mark: Mark) -> QuerySet[SuspectRequest]:
    rows = SuspectRequest.objects.filter(kind=mark.kind, key=mark.key)
    return rows.filter(host__pk=mark.host) if mark.host else rows.filter(host=None)
