"""What hosts are like, as their agents tell it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from django.db import transaction

from devops_manager.access.agent_audit import trail
from devops_manager.lib import sql
from hosts_app.selectors import SQL

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


@dataclass(frozen=True, slots=True)
class Description:
    """What one host (primary key) said of itself; None leaves what is stored."""

    host: int
    hostname: str | None = None
    os: str | None = None
    arch: str | None = None
    ip: str | None = None
    facts: Mapping[str, Any] | None = None


@transaction.atomic
def record_descriptions(descriptions: Sequence[Description]) -> int:
    """Write descriptions in one statement; return how many hosts they changed.

    A host that calls itself by another name than before is shown under it from now on, unless a
    person fixed its name; the old one stays in the audit trail.

    Of several for one host the last counts, hosts that are gone are passed over, and nothing is
    written where nothing changed: an agent tells it at each start. Safe to run at the same time as
    itself: rows are taken in host order.
    """
    latest = {one.host: one for one in descriptions}
    ordered = [latest[host] for host in sorted(latest)]
    rows = sql.run(
        SQL,
        "record_descriptions",
        {
            "hosts": [one.host for one in ordered],
            "names": [one.hostname for one in ordered],
            "systems": [one.os for one in ordered],
            "archs": [one.arch for one in ordered],
            "addresses": [one.ip for one in ordered],
            "facts": [
                None if one.facts is None else json.dumps(dict(one.facts)) for one in ordered
            ],
        },
    )
    for row in rows:
        if row.reported_hostname and row.reported_hostname != row.told_before:
            _record_rename(row)
    return len(rows)


def _record_rename(row: Any) -> None:
    trail.record(
        host=row.id,
        host_id=lambda: row.host_id,
        action="host.rename",
        before={"hostname": row.told_before},
        after={"hostname": row.reported_hostname},
    )
