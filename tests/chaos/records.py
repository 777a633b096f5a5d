"""What is left when all is quiet: the server's rows, the agents' journals, the hosts' marks."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg
from psycopg.rows import class_row

_TASKS = """
    SELECT task_id, name, status, offline_policy, delivery_seconds, started_at, queued_at,
        stop_requested_at, cancel_requested_at
    FROM tasks
"""
_ROWS = """
    SELECT t.task_id, c.command_id, c.name AS step, r.position, h.hostname, r.status, r.attempt,
        r.fence, r.exit_code, r.error_code, r.error_message, r.claimed_at, r.started_at,
        r.finished_at, r.deadline, r.result_digest IS NOT NULL AS reported, r.cancel_state,
        o.stdout_head || o.stdout_tail AS stdout, o.stdout_dropped_bytes AS dropped
    FROM commands_hosts r
    JOIN commands c ON c.id = r.command_id
    JOIN tasks t ON t.id = r.task_id
    JOIN hosts h ON h.id = r.host_id
    LEFT JOIN command_outputs o
        ON o.command_host_id = r.id AND o.attempt = r.attempt AND o.created_at = r.finished_at
"""


@dataclass(frozen=True, slots=True)
class TaskRow:
    """A task, as the database has it."""

    task_id: UUID
    name: str
    status: str
    offline_policy: str
    delivery_seconds: int
    started_at: datetime | None
    queued_at: datetime | None
    stop_requested_at: datetime | None
    cancel_requested_at: datetime | None


@dataclass(frozen=True, slots=True)
class HostRow:
    """One step on one host, as the database has it, with what it printed."""

    task_id: UUID
    command_id: UUID
    step: str
    position: int
    hostname: str
    status: str
    attempt: int
    fence: UUID | None
    exit_code: int | None
    error_code: str
    error_message: str
    claimed_at: datetime | None
    started_at: datetime | None
    finished_at: datetime | None
    deadline: datetime | None
    reported: bool
    cancel_state: str
    stdout: bytes | None
    dropped: int | None

    def __str__(self) -> str:
        """Return what a person needs to find it again, without what it printed."""
        code = f" {self.error_code}" if self.error_code else ""
        return (
            f"task {self.task_id} step {self.position} ({self.step}) on {self.hostname}: "
            f"{self.status}{code} exit {self.exit_code} fence {self.fence} claimed "
            f"{self.claimed_at} started {self.started_at} finished {self.finished_at}"
        )


@dataclass(frozen=True, slots=True)
class Mark:
    """One line that a command wrote when it began to run."""

    hostname: str
    task_id: str
    command_id: str
    attempt: str
    fence: str


@dataclass(frozen=True, slots=True)
class World:
    """Everything that the verdict is found from."""

    tasks: list[TaskRow]
    rows: list[HostRow]
    marks: list[Mark]
    torn_marks: list[str]
    # Of each result that was acknowledged to an agent: host, fence, status.
    acknowledged: list[tuple[str, str, str]]


def read_world(database_url: str, marks: Path, journals: Iterable[Path]) -> World:
    """Read it all; the processes may go on running."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        tasks = connection.cursor(row_factory=class_row(TaskRow)).execute(_TASKS).fetchall()
        rows = connection.cursor(row_factory=class_row(HostRow)).execute(_ROWS).fetchall()
    found, torn = _read_marks(marks)
    acknowledged = [
        (journal.parent.name, *result) for journal in journals for result in _answered(journal)
    ]
    return World(tasks, rows, found, torn, acknowledged)


def _read_marks(directory: Path) -> tuple[list[Mark], list[str]]:
    marks, torn = [], []
    for path in sorted(directory.iterdir()):
        for line in path.read_text(encoding="utf-8").splitlines():
            words = line.split(" ")
            if len(words) == 4:
                marks.append(Mark(path.name, *words))
            else:
                torn.append(f"{path.name}: {line!r}")
    return marks, torn


def _answered(journal: Path) -> list[tuple[str, str]]:
    with closing(sqlite3.connect(f"file:{journal}?mode=ro", uri=True)) as database:
        rows = database.execute("SELECT fence, record FROM answered").fetchall()
    records: list[tuple[str, dict[str, Any]]] = [(fence, json.loads(text)) for fence, text in rows]
    return [(fence, str(record["status"])) for fence, record in records]


def unanswered(journals: Iterable[Path]) -> int:
    """Return how many fences the agents still hold whose result was not acknowledged."""
    total = 0
    for journal in journals:
        with closing(sqlite3.connect(f"file:{journal}?mode=ro", uri=True)) as database:
            total += database.execute("SELECT count(*) FROM attempts").fetchone()[0]
    return total
