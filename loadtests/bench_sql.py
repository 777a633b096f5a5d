"""The statements of ``tasks_app/sql`` on a bare psycopg connection: what they cost without us."""

from __future__ import annotations

import json
import time
import uuid
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import psycopg
from django.conf import settings
from django.db import connection as django_connection
from django.db.models.functions import Now
from psycopg.rows import namedtuple_row

from devops_manager.lib.sql import statement
from tasks_app.models import Command, Task, TaskWindow
from tasks_app.queue.fences import by_fence
from tasks_app.queue.submit import NewCommand, NewTask, new_ids

_DIRECTORY = Path(settings.BASE_DIR) / "tasks_app" / "sql"
_GRACE_SECONDS = 95.0
_BATCH = 100


class Rows:
    """The records that the statements work on. ``hosts`` are primary keys."""

    def __init__(self, url: str, hosts: Sequence[int]) -> None:
        """Keep whose they are; nothing is written yet."""
        self.url = url
        self.hosts = list(hosts)
        self.claimed: dict[int, Any] = {}

    def fan_out(self) -> float:
        """Begin anew: a running task with a row for every host; return the seconds of its rows."""
        wipe()
        task = Task.objects.create(
            name="floor", status="running", started_at=Now(), total_hosts=len(self.hosts)
        )
        command = Command.objects.create(task=task, position=1, body="true")
        window = TaskWindow.objects.create(task=task, no=1, host_ids=self.hosts)
        session = Sql(self)
        began = time.perf_counter()
        session.run("fan_out_window", window=window.pk)
        session.commit()
        seconds = time.perf_counter() - began
        session.close()
        Command.objects.filter(pk=command.pk).update(pending_rows=len(self.hosts))
        self.claimed = {}
        return seconds

    def claim_all(self, hosts: Sequence[int]) -> None:
        """Claim a row for each of these hosts."""
        session = Sql(self)
        for at in range(0, len(hosts), _BATCH):
            session.claim(list(hosts[at : at + _BATCH]))
        session.close()

    def task_list(self, count: int) -> str:
        """Return new tasks with a command each, as the product sends them to the database."""
        ids = new_ids(2 * count)
        target = msgspec.Raw(msgspec.json.encode({"hosts": [str(uuid.uuid4())]}))
        tasks = [
            NewTask(
                task_id=ids[no],
                name=f"floor {no}",
                target=target,
                delivery_seconds=3600,
                commands=[
                    NewCommand(
                        command_id=ids[count + no], position=1, body="true", timeout_seconds=300
                    )
                ],
            )
            for no in range(count)
        ]
        return msgspec.json.encode(tasks).decode()


def wipe(*more: str) -> None:
    """Empty the tables of tasks, and ``more``; with them what refers to them."""
    tables = ("tasks", "command_outputs", *more)
    with django_connection.cursor() as cursor:
        cursor.execute(f"TRUNCATE {', '.join(tables)} CASCADE")


class Sql:
    """One session: statements prepared by the server, a transaction for each act."""

    def __init__(self, rows: Rows) -> None:
        """Connect."""
        self._rows = rows
        self._connection: Any = psycopg.connect(rows.url, row_factory=namedtuple_row)
        self._connection.prepare_threshold = 0

    def run(self, name: str, **parameters: Any) -> list[Any]:
        """Run a statement and return its rows."""
        cursor = self._connection.execute(statement(_DIRECTORY, name), parameters, prepare=True)
        return cursor.fetchall() if cursor.description else []

    def commit(self) -> None:
        """Commit."""
        self._connection.commit()

    def close(self) -> None:
        """Disconnect."""
        self._connection.close()

    def claim(self, hosts: list[int]) -> None:
        """Lock hosts, claim a row for each, commit."""
        count = len(hosts)
        self.run("pin_plans")
        self.run("poll_lock", hosts=hosts)
        self.run("pin_order")
        claimed = self.run(
            "claim",
            hosts=hosts,
            free=[5] * count,
            journals=[uuid.uuid4() for _ in hosts],
            instances=[uuid.uuid4() for _ in hosts],
            runs=[1] * count,
            seqs=[1] * count,
            grace_seconds=_GRACE_SECONDS,
        )
        self.commit()
        assert len(claimed) == count, (len(claimed), count)
        self._rows.claimed.update((row.host_id, row) for row in claimed)

    def report(self, hosts: list[int]) -> None:
        """Write a result for each host's row with its output, move the counts, commit."""
        rows = [self._rows.claimed[host] for host in hosts]
        count = len(rows)
        self.run("pin_plans")
        self.run("tasks_lock", tasks=sorted({row.task_id for row in rows}))
        written = self.run(
            "report_apply",
            **by_fence([row.fence for row in rows]),
            hosts=hosts,
            generations=[1] * count,
            statuses=["completed"] * count,
            exit_codes=[0] * count,
            error_codes=[""] * count,
            error_messages=[""] * count,
            execution_times=[1] * count,
            output_digests=[bytes(32)] * count,
            normalized=[bytes(32)] * count,
            digests=[bytes(32)] * count,
            stdout_heads=[b"ok\n"] * count,
            stdout_tails=[b""] * count,
            stdout_dropped=[0] * count,
            stderr_heads=[b""] * count,
            stderr_tails=[b""] * count,
            stderr_dropped=[0] * count,
            sources=["claimed", "running"],
        )
        assert len(written) == count, (len(written), count)
        ended = Counter(row.task_id for row in written)
        nothing = [0] * len(ended)
        self.run(
            "task_outcomes",
            rows=[],
            tasks=[],
            hosts=[],
            old_statuses=[],
            known_tasks=list(ended),
            known_completed=list(ended.values()),
            known_failed=nothing,
            known_lost=nothing,
            known_canceled=nothing,
            known_skipped=nothing,
        )
        # Counted as claimed nowhere, so nothing is taken away there.
        moved = Counter(row.command_id for row in written)
        deltas = [{"id": at, "pending": -n, "completed": n} for at, n in moved.items()]
        self.run("counts_lock", commands=sorted(moved))
        self.run("counts_move", deltas=json.dumps(deltas))
        self.commit()

    def submit(self, tasks: str) -> None:
        """Insert tasks with their commands, commit."""
        self.run("submit_tasks", tasks=tasks, created_by=None, allowed_groups=None)
        self.commit()
