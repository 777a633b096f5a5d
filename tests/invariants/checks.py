"""The ten promises of docs/reliability.md as queries; every one must come back empty.

``violations`` opens a connection of its own, so that it looks at what is committed, as an operator
would, and works beside processes that are under test.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import psycopg

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

_STATES = (
    *("blocked", "pending", "claimed", "running"),
    *("completed", "failed", "timeout", "dispatch_failed"),
    *("canceled", "interrupted", "lost", "skipped"),
)
_OPEN = "('blocked', 'pending', 'claimed', 'running')"
_FAILED = "('failed', 'timeout', 'dispatch_failed', 'interrupted')"
_COUNTED = ", ".join(f"count(r.id) FILTER (WHERE r.status = '{state}')" for state in _STATES)
_STORED = ", ".join(f"c.{state}_rows" for state in _STATES)

_OUTCOMES = f"""
    SELECT c.task_id, r.host_id, CASE
        WHEN bool_or(r.status IN {_OPEN}) THEN NULL
        WHEN bool_or(r.status IN {_FAILED}) THEN 'failed'
        WHEN bool_or(r.status = 'lost') THEN 'lost'
        WHEN bool_or(r.status = 'canceled') THEN 'canceled'
        WHEN bool_or(r.status = 'skipped') THEN 'skipped'
        ELSE 'completed' END AS outcome
    FROM commands c JOIN commands_hosts r ON r.command_id = c.id GROUP BY 1, 2
"""

CHECKS: dict[str, str] = {
    "1 an attempt in flight has one fence, delivered to the host's own journal": """
        SELECT r.id FROM commands_hosts r
        WHERE r.status IN ('claimed', 'running') AND NOT EXISTS (
            SELECT FROM host_sessions s WHERE s.host_id = r.host_id
            AND s.journal_id = r.delivered_journal
            UNION ALL SELECT FROM host_retired_identities i WHERE i.host_id = r.host_id
            AND i.identity = r.delivered_journal)""",
    "2 what waits to be claimed has never started": """
        SELECT id FROM commands_hosts WHERE status IN ('blocked', 'pending')
        AND (fence IS NOT NULL OR started_at IS NOT NULL OR result_digest IS NOT NULL)""",
    "3 a reported row has its result, its end and its output": """
        SELECT r.id FROM commands_hosts r WHERE r.result_digest IS NOT NULL AND (
            r.status NOT IN ('completed', 'failed', 'timeout', 'canceled', 'interrupted')
            OR r.finished_at IS NULL OR NOT EXISTS (
                SELECT FROM command_outputs o WHERE o.command_host_id = r.id
                AND o.attempt = r.attempt AND o.created_at = r.finished_at))""",
    "3 only a report makes a row completed, failed or timed out": """
        SELECT id FROM commands_hosts
        WHERE status IN ('completed', 'failed', 'timeout') AND result_digest IS NULL""",
    "4 a fence is either the row's or an earlier attempt's": """
        SELECT r.id FROM commands_hosts r JOIN command_host_attempts a ON a.fence = r.fence""",
    "5 nothing stays open beyond its deadline and the sweep": """
        SELECT r.id FROM commands_hosts r JOIN tasks t ON t.id = r.task_id
        WHERE r.status IN ('pending', 'claimed', 'running') AND t.status <> 'paused'
        AND r.deadline < now() - interval '30 seconds' AND NOT EXISTS (
            SELECT FROM sweep_ticks k WHERE k.name = 'deadlines'
            AND k.grace_until > now() - interval '30 seconds')""",
    "5 a blocked row has an open row before it on its host": """
        SELECT r.id FROM commands_hosts r WHERE r.status = 'blocked' AND NOT EXISTS (
            SELECT FROM commands c JOIN commands_hosts e ON e.command_id = c.id
            AND e.host_id = r.host_id
            WHERE c.task_id = r.task_id AND e.position < r.position
            AND e.status IN ('pending', 'claimed', 'running'))""",
    "6 the counts of a step equal its rows by state": f"""
        SELECT c.id FROM commands c LEFT JOIN commands_hosts r ON r.command_id = c.id
        GROUP BY c.id HAVING ({_COUNTED}) IS DISTINCT FROM ({_STORED})""",
    "6 the counts of a task equal its hosts by outcome": f"""
        WITH o AS ({_OUTCOMES}), n AS (
            SELECT t.id,
                count(*) FILTER (WHERE outcome = 'completed') AS completed,
                count(*) FILTER (WHERE outcome = 'failed') AS failed,
                count(*) FILTER (WHERE outcome = 'lost') AS lost,
                count(*) FILTER (WHERE outcome = 'canceled')
                    + GREATEST(0, t.total_hosts - count(o.host_id)) * (
                        t.stop_requested_at IS NOT NULL OR t.cancel_requested_at IS NOT NULL
                    )::int AS canceled,
                count(*) FILTER (WHERE outcome = 'skipped') AS skipped
            FROM tasks t LEFT JOIN o ON o.task_id = t.id GROUP BY t.id)
        SELECT t.id FROM tasks t JOIN n ON n.id = t.id
        WHERE (t.completed_hosts, t.failed_hosts, t.lost_hosts, t.canceled_hosts, t.skipped_hosts)
        IS DISTINCT FROM (n.completed, n.failed, n.lost, n.canceled, n.skipped)""",
    "6 the outcomes of a closed task sum to its hosts, and those of an open one do not": """
        SELECT id FROM tasks WHERE started_at IS NOT NULL AND (
            completed_hosts + failed_hosts + lost_hosts + canceled_hosts + skipped_hosts
            = total_hosts) IS DISTINCT FROM (status NOT IN ('running', 'paused', 'queued'))""",
    "6 a closed task says what its hosts came to": """
        SELECT id FROM tasks WHERE started_at IS NOT NULL AND (
            (status = 'completed' AND completed_hosts <> total_hosts)
            OR (status = 'failed' AND completed_hosts > 0)
            OR (status = 'partial' AND completed_hosts IN (0, total_hosts))
            OR (status = 'canceled'
                AND stop_requested_at IS NULL AND cancel_requested_at IS NULL))""",
    "6 a closed task has no open row and no open window": f"""
        SELECT t.id FROM tasks t WHERE t.status IN ('completed', 'partial', 'failed', 'canceled')
        AND (EXISTS (SELECT FROM commands_hosts r WHERE r.task_id = t.id AND r.status IN {_OPEN})
             OR EXISTS (SELECT FROM task_windows w WHERE w.task_id = t.id AND NOT w.done)
             OR EXISTS (SELECT FROM commands c WHERE c.task_id = t.id
                        AND c.status IN ('pending', 'running')))""",
    "7 no host has more in flight than it may": """
        SELECT h.id FROM hosts h JOIN commands_hosts r ON r.host_id = h.id
        WHERE r.status IN ('claimed', 'running')
        GROUP BY h.id HAVING count(*) > h.max_concurrency""",
    "7 no more tasks run than may": """
        SELECT count(*) FROM tasks WHERE status = 'running' HAVING count(*) > %(running)s""",
    "8 a row belongs to a host that the task was frozen for": """
        SELECT r.id FROM commands_hosts r WHERE NOT EXISTS (
            SELECT FROM task_windows w WHERE w.task_id = r.task_id
            AND r.host_id = ANY(w.host_ids))""",
    "8 a host that is only pinned to runs no other step": """
        SELECT r.id FROM commands_hosts r JOIN commands c ON c.id = r.command_id
        WHERE c.host_id IS NULL AND EXISTS (
            SELECT FROM task_windows w WHERE w.task_id = r.task_id
            AND r.host_id = ANY(w.pinned_ids))""",
    "8 a row's host is there": """
        SELECT r.id FROM commands_hosts r WHERE NOT EXISTS (
            SELECT FROM hosts h WHERE h.id = r.host_id)""",
    "9 output is within the cap, with exact counts": """
        SELECT r.id FROM commands_hosts r JOIN command_outputs o ON o.command_host_id = r.id
        WHERE octet_length(stdout_head) + octet_length(stdout_tail) > %(cap)s
        OR octet_length(stderr_head) + octet_length(stderr_tail) > %(cap)s
        OR stdout_dropped_bytes < 0 OR stderr_dropped_bytes < 0""",
    "10 every frozen target has its rows once its window is done": """
        SELECT w.id FROM task_windows w JOIN tasks t ON t.id = w.task_id
        CROSS JOIN unnest(w.host_ids) AS frozen (host_id)
        WHERE w.done AND t.stop_requested_at IS NULL AND t.cancel_requested_at IS NULL
        AND NOT EXISTS (SELECT FROM commands_hosts r WHERE r.task_id = t.id
                        AND r.host_id = frozen.host_id)""",
}


def violations(
    database_url: str,
    journals: Sequence[Path] = (),
    *,
    max_running_tasks: int = 100,
    output_cap_bytes: int = 262_144,
    checks: Mapping[str, str] = CHECKS,
) -> list[str]:
    """Return a line for each promise that does not hold; an empty list is a pass.

    ``checks`` are all of them, or those that shall be made.
    ``journals`` are the SQLite journals of the agents that took part: each fence in them must be
    one that the server committed (promise 1).
    """
    found = []
    with psycopg.connect(database_url, autocommit=True) as connection:
        limits = {"running": max_running_tasks, "cap": output_cap_bytes}
        for name, query in checks.items():
            rows = connection.execute(query.encode(), limits).fetchall()
            if rows:
                found.append(f"{name}: {len(rows)} rows, such as {rows[:3]}")
        for journal in journals:
            found.extend(_foreign_fences(connection, journal))
    return found


def _foreign_fences(connection: psycopg.Connection, journal: Path) -> Iterator[str]:
    fences = _journal_fences(journal)
    known = connection.execute(
        "SELECT fence::text FROM commands_hosts WHERE fence::text = ANY(%(fences)s) "
        "UNION SELECT fence::text FROM command_host_attempts WHERE fence::text = ANY(%(fences)s)",
        {"fences": fences},
    )
    unknown = set(fences) - {row[0] for row in known}
    if unknown:
        yield f"1 {journal} has fences that the server never committed: {sorted(unknown)[:3]}"


def _journal_fences(journal: Path) -> list[str]:
    with closing(sqlite3.connect(f"file:{journal}?mode=ro", uri=True)) as database:
        rows = database.execute("SELECT fence FROM attempts UNION SELECT fence FROM answered")
        return [row[0] for row in rows]
