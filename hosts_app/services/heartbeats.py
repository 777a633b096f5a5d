"""Who was heard, and who was not."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from django.conf import settings
from msgspec import Struct

from devops_manager.lib import sql
from hosts_app.selectors import SQL

if TYPE_CHECKING:
    from collections.abc import Sequence

# Column widths of Host.agent_version and HostHeartbeat.boot_id.
_VERSION_LENGTH = 32
_BOOT_ID_LENGTH = 64


class Load(Struct, frozen=True):
    """A host's figures, None where the agent could not tell: per cent, and the 1-minute load."""

    cpu_percent: float | None = None
    memory_percent: float | None = None
    load1: float | None = None
    disk_percent: float | None = None


class Heartbeat(Struct, frozen=True):
    """What one host said: ``host`` is its primary key; ``clock_skew_ms`` its clock less ours.

    ``heard_at`` is when it said so, by ``time.monotonic``; None is now.
    """

    host: int
    load: Load | None = None
    heard_at: float | None = None
    draining: bool = False
    running_count: int = 0
    clock_skew_ms: int | None = None
    boot_id: str = ""
    agent_version: str = ""


def record_heartbeats(beats: Sequence[Heartbeat]) -> None:
    """Write heartbeats in one statement; of several for one host the last counts.

    ``last_seen_at`` is the database's time, ``offline_at`` is cleared, figures left out keep their
    last value, hosts that are gone are passed over. Safe to run at the same time as itself: rows
    are taken in host order.
    """
    latest = {beat.host: beat for beat in beats}
    if not latest:
        return
    ordered = [latest[host] for host in sorted(latest)]
    loads = [beat.load or Load() for beat in ordered]
    now = time.monotonic()
    sql.run(
        SQL,
        "record_heartbeats",
        {
            "hosts": [beat.host for beat in ordered],
            "cpu": [load.cpu_percent for load in loads],
            "memory": [load.memory_percent for load in loads],
            "load1": [load.load1 for load in loads],
            "disk": [load.disk_percent for load in loads],
            "running": [beat.running_count for beat in ordered],
            "skew": [beat.clock_skew_ms for beat in ordered],
            "boot": [beat.boot_id[:_BOOT_ID_LENGTH] for beat in ordered],
            "draining": [beat.draining for beat in ordered],
            "load_ages": [_load_age(beat, now) for beat in ordered],
            "version": [beat.agent_version[:_VERSION_LENGTH] for beat in ordered],
        },
    )


def _load_age(beat: Heartbeat, now: float) -> float | None:
    """Return how many seconds ago a host told its figures, None where it told none."""
    if beat.load is None or beat.load == Load():
        return None
    return 0.0 if beat.heard_at is None else max(0.0, now - beat.heard_at)


def sweep_offline_hosts() -> int:
    """Declare hosts offline that were silent for DM_OFFLINE_AFTER_SECONDS; return how many."""
    rows = sql.run(SQL, "sweep_offline", {"seconds": settings.DM_OFFLINE_AFTER_SECONDS})
    return len(rows)
