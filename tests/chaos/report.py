"""What a run prints at its end, and what it keeps when a promise was broken."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path

import psycopg

from tests.chaos.run import Outcome
from tests.chaos.world import ChaosStack

_KEPT_TABLES = (
    *("tasks", "commands", "commands_hosts", "command_host_attempts", "task_windows"),
    *("hosts", "host_sessions", "host_heartbeats", "host_retired_identities", "sweep_ticks"),
)


def table(outcome: Outcome) -> str:
    """Return what was done and what came of it, a line a kind."""
    ledger, world = outcome.ledger, outcome.world
    lines = ["", f"{'fault':<16} {'times':>5}  on what"]
    for kind, targets in sorted(_by_kind(outcome.done).items()):
        lines.append(f"{kind:<16} {sum(targets.values()):>5}  {_listed(targets)}")
    lines.append(f"{'all':<16} {sum(outcome.done.values()):>5}")
    if outcome.missed:
        lines.append(f"not there at that time: {sum(outcome.missed.values())}")
    if outcome.died:
        died = {f"{name} ({status})": n for (name, status), n in outcome.died.items()}
        lines.append(f"ended by themselves and were started again: {_listed(died)}")
    lines += [
        "",
        f"load: {_listed(ledger.counts)}",
        f"answers: {_listed(ledger.answers)}",
    ]
    if world is not None:
        states = Counter(row.status for row in world.rows)
        reasons = Counter(
            f"{row.status} ({row.error_code})"
            for row in world.rows
            if row.status in ("interrupted", "lost", "dispatch_failed")
        )
        lines += [
            f"commands: {len(world.rows)}: {_listed(states)}",
            f"why: {_listed(reasons) or 'none broken off'}",
            f"seen as lost meanwhile: {len(outcome.once_lost)}",
            f"ran (marks): {len(world.marks)}, acknowledged to agents: {len(world.acknowledged)}",
        ]
    lines += [
        f"promises looked at: {outcome.audits} times",
        f"quiet after healing: {outcome.quiet_seconds:.1f} s",
        f"violations: {len(outcome.violations)}",
    ]
    return "\n".join(lines)


def _by_kind(done: Mapping[tuple[str, str], int]) -> dict[str, dict[str, int]]:
    kinds: dict[str, dict[str, int]] = {}
    for (kind, target), times in done.items():
        kinds.setdefault(kind, {})[target] = times
    return kinds


def _listed(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in sorted(counts.items()))


def keep(stack: ChaosStack, directory: Path, violations: Iterable[str]) -> None:
    """Put beside the processes' logs those of the servers, the tables, and what was found."""
    for log in (stack.servers.postgres.log_path, stack.servers.redis.log_path):
        shutil.copy(log, stack.logs)
    (directory / "violations.txt").write_text("\n".join(violations) + "\n", encoding="utf-8")
    tables = directory / "tables"
    tables.mkdir()
    with psycopg.connect(stack.servers.database_url) as connection, connection.cursor() as cursor:
        for name in _KEPT_TABLES:
            query = f"COPY (SELECT * FROM {name} ORDER BY 1) TO STDOUT WITH (FORMAT csv, HEADER)"
            with (
                (tables / f"{name}.csv").open("wb") as file,
                cursor.copy(query.encode()) as copy,
            ):
                for data in copy:
                    file.write(data)
