"""Fills the test's database as years of work would: finished rows by the million, set-based."""

from __future__ import annotations

import uuid
from collections.abc import Mapping

from django.db import connection
from django.db.models.functions import Now

from hosts_app.models import Host
from hosts_app.states import HostStatus
from tasks_app.models import Command, CommandHost, Task
from tasks_app.services import sweeps

HOSTS = 10_000
# Half of the rows belong to tasks on every host, half to tasks on ten.
_BIG = HOSTS
_SMALL = 10
_OUTPUTS = 20_000


def fill(rows: int) -> None:
    """Create ``rows`` finished rows (a multiple of 20,000) of 10,000 hosts, and their tasks."""
    sweeps.sweep_partitions()
    # The records are made consistent here; checking three million references takes a minute.
    with connection.cursor() as cursor:
        cursor.execute("SET session_replication_role = replica")
    hosts = _hosts()
    big, small = rows // 2 // _BIG, rows // 2 // _SMALL
    tasks, commands = _tasks(big + small)
    _rows(rows, big=big, hosts=hosts, tasks=tasks, commands=commands)
    _windows(big=big, small=small, hosts=hosts, tasks=tasks)
    _outputs()
    _attempts()
    with connection.cursor() as cursor:
        cursor.execute("RESET session_replication_role")


def _copies(
    table: str, template: int, numbers: str, columns: Mapping[str, str], *, reserve: bool = True
) -> int:
    """Insert copies of one row, a copy for each ``n`` of ``numbers``, with these columns changed.

    A copy's id is that of the template plus n. Returns the template's id.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT column_name FROM information_schema.columns "
            "WHERE table_schema = 'public' AND table_name = %s AND column_name <> 'id'",
            [table],
        )
        names = [name for (name,) in cursor.fetchall()]
        values = ", ".join(columns.get(name, f"template.{name}") for name in names)
        cursor.execute(
            f"INSERT INTO {table} (id, {', '.join(names)}) SELECT template.id + n, {values} "
            f"FROM {table} AS template, {numbers} AS numbers (n) "
            f"WHERE template.id = {template} ORDER BY n"
        )
        if reserve:
            cursor.execute(
                f"SELECT setval(pg_get_serial_sequence('{table}', 'id'), max(id)) FROM {table}"
            )
    return template


def _hosts() -> int:
    host = Host.objects.create(hostname="host-0", status=HostStatus.ACTIVE)
    changed = {"host_id": "gen_random_uuid()", "hostname": "'host-' || n"}
    first = _copies("hosts", host.pk, f"generate_series(1, {HOSTS - 1})", changed)
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO host_heartbeats (host_id, last_seen_at, running_count, boot_id) "
            "SELECT id, now(), 0, '' FROM hosts"
        )
    return first


def _tasks(count: int) -> tuple[int, int]:
    task = Task.objects.create(
        name="job 0", status="completed", started_at=Now(), finished_at=Now()
    )
    command = Command.objects.create(task=task, position=1, body="true", status="completed")
    numbers = f"generate_series(1, {count - 1})"
    moment = f"now() - interval '30 days' * (1 - n::float8 / {count})"
    tasks = _copies(
        "tasks",
        task.pk,
        numbers,
        {
            "task_id": "gen_random_uuid()",
            "name": "'job ' || left(md5(n::text), 12)",
            "status": "CASE WHEN n % 20 = 0 THEN 'partial' ELSE 'completed' END",
            "created_at": moment,
            "started_at": moment,
            "finished_at": moment,
        },
    )
    commands = _copies(
        "commands",
        command.pk,
        numbers,
        {"command_id": "gen_random_uuid()", "task_id": f"{tasks} + n"},
    )
    return tasks, commands


def _rows(rows: int, *, big: int, hosts: int, tasks: int, commands: int) -> None:
    row = CommandHost.objects.create(
        command_id=commands,
        host_id=hosts,
        task_id=tasks,
        position=1,
        status="completed",
        attempt=1,
        fence=uuid.uuid4(),
        exit_code=0,
        result_digest=bytes(32),
        output_digest=bytes(32),
        output_digest_normalized=bytes(32),
        execution_time=5,
        priority=2,
        claimed_at=Now(),
        started_at=Now(),
        finished_at=Now(),
        deadline=Now(),
        delivery_deadline=Now(),
        delivered_journal=uuid.uuid4(),
        delivered_instance=uuid.uuid4(),
        delivered_run=1,
        delivered_seq=1,
    )
    half = rows // 2
    task = f"CASE WHEN n < {half} THEN n / {_BIG} ELSE {big} + (n - {half}) / {_SMALL} END"
    # Ten hosts in a row of this walk differ, and so do ten thousand: 7919 is prime.
    host = f"{hosts} + n::bigint * 7919 % {HOSTS}"
    moment = f"now() - interval '30 days' * (1 - n::float8 / {rows})"
    _copies(
        "commands_hosts",
        row.pk,
        f"generate_series(1, {rows - 1})",
        {
            "task_id": f"{tasks} + {task}",
            "command_id": f"{commands} + {task}",
            "host_id": host,
            # in order: random ones would take most of the time
            "fence": "('00000000-0000-7000-8000-' || lpad(to_hex(n), 12, '0'))::uuid",
            "status": "CASE WHEN n % 20 = 0 THEN 'failed' ELSE 'completed' END",
            **dict.fromkeys(
                ("created_at", "claimed_at", "started_at", "finished_at", "deadline"), moment
            ),
        },
    )


def _windows(*, big: int, small: int, hosts: int, tasks: int) -> None:
    half = big * _BIG
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO task_windows (task_id, no, host_ids, done) "
            f"SELECT {tasks} + task, no, array(SELECT {hosts} + h FROM generate_series("
            "(no - 1) * 500, no * 500 - 1) AS h), true "
            f"FROM generate_series(0, {big - 1}) AS task, generate_series(1, {_BIG // 500}) AS no"
        )
        cursor.execute(
            "INSERT INTO task_windows (task_id, no, host_ids, done) "
            f"SELECT {tasks} + {big} + task, 1, array(SELECT {hosts} + n::bigint * 7919 % {HOSTS} "
            f"FROM generate_series({half} + task * {_SMALL}, {half} + task * {_SMALL} + "
            f"{_SMALL - 1}) AS n), true FROM generate_series(0, {small - 1}) AS task"
        )


def _outputs() -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO command_outputs (command_host_id, attempt, created_at, stdout_head, "
            "stdout_tail, stdout_dropped_bytes, stderr_head, stderr_tail, stderr_dropped_bytes) "
            "SELECT id, attempt, finished_at, 'ok', '', 0, '', '', 0 FROM commands_hosts "
            "ORDER BY id DESC LIMIT %s",
            [_OUTPUTS],
        )


def _attempts() -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO command_host_attempts (command_host_id, attempt, fence, status, "
            "error_code, error_message, result_digest, created_at) "
            "SELECT id, 1, gen_random_uuid(), 'failed', '', '', result_digest, created_at "
            "FROM commands_hosts ORDER BY id LIMIT %s",
            [_OUTPUTS],
        )
