"""What hosts are like, as their agents tell it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from devops_manager.lib import sql
from hosts_app.selectors import SQL

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


@dataclass(frozen=True, slots=True)
class Description:
    """What one host (primary key) said of itself; None leaves what is stored."""

    host: int
    os: str | None = None
    arch: str | None = None
    ip: str | None = None
    facts: Mapping[str, Any] | None = None


def record_descriptions(descriptions: Sequence[Description]) -> int:
    """Write descriptions in one statement; return how many hosts they changed.

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
            "systems": [one.os for one in ordered],
            "archs": [one.arch for one in ordered],
            "addresses": [one.ip for one in ordered],
            "facts": [
                None if one.facts is None else json.dumps(dict(one.facts)) for one in ordered
            ],
        },
    )
    return len(rows)
