"""Reads of tasks: how many statements they take, which indexes, and what their caches promise."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from devops_manager.access.actors import SYSTEM
from devops_manager.lib.pagination import Page as PageAsked
from tasks_app.models import CommandHost, Task
from tasks_app.selectors import outputs, progress, rows, stats
from tasks_app.selectors.tasks import TaskFilter, task_commands, task_detail, task_list, task_state
from tests.queue_world import FakeAgent, make_hosts, only, started_task
from tests.task_factories import make_user

pytestmark = pytest.mark.django_db(transaction=True)

FIRST = PageAsked(number=1, size=20)


def small_world(hosts: int) -> Task:
    """Make a task that ended on ``hosts`` hosts, in two steps each."""
    made = make_hosts(hosts)
    task = started_task(made, steps=2)
    for host in made:
        agent = FakeAgent(host)
        for _step in range(2):
            agent.report(only(agent.poll()).fence)
    return task


def reads_of(task: Task) -> dict[str, Callable[[], Any]]:
    command = task.commands.get(position=1)
    host = CommandHost.objects.filter(task=task).select_related("host").first().host
    cursor = progress.parse_cursor("0")
    return {
        "list": lambda: task_list(asked=FIRST, narrowed=TaskFilter()),
        "detail": lambda: task_detail(task_id=task.task_id, reader=SYSTEM),
        "state": lambda: task_state(task_id=task.task_id),
        "commands": lambda: task_commands(task_pk=task.pk),
        "progress": lambda: progress.task_progress(task_id=task.task_id, cursor=None, limit=20),
        "changed": lambda: progress.task_progress(task_id=task.task_id, cursor=cursor, limit=200),
        "hosts": lambda: rows.task_hosts(task_id=task.task_id, asked=FIRST),
        "host_tasks": lambda: rows.host_tasks(host_id=host.host_id, asked=FIRST),
        "logs": lambda: outputs.task_logs(
            task_id=task.task_id, asked=FIRST, narrowed=outputs.LogFilter()
        ),
        "output_groups": lambda: outputs.output_groups(
            task_id=task.task_id, command_id=command.command_id, asked=FIRST
        ),
        "stats": stats.global_stats,
        "metrics": stats.metrics_summary,
    }


STATEMENTS = {
    "list": 2,
    "detail": 5,  # three of them begin, set and end the snapshot
    "state": 1,
    "commands": 1,
    "progress": 7,
    "changed": 8,
    "hosts": 4,
    "host_tasks": 3,
    "logs": 5,
    "output_groups": 4,
    "stats": 3,
    "metrics": 4,
}


def statements(read: Callable[[], Any]) -> list[str]:
    with CaptureQueriesContext(connection) as captured:
        read()
    return [query["sql"] for query in captured.captured_queries]


def test_reads_take_the_same_few_statements_however_many_rows() -> None:
    few = {name: len(statements(read)) for name, read in reads_of(small_world(1)).items()}
    CommandHost.objects.all().delete()
    many = {name: len(statements(read)) for name, read in reads_of(small_world(12)).items()}
    assert many == STATEMENTS
    assert all(few[name] <= many[name] for name in many)


def test_no_list_reads_output_or_bodies() -> None:
    for name, read in reads_of(small_world(2)).items():
        sql = " ".join(statements(read))
        assert ("command_outputs" in sql) == (name == "logs"), name
        assert ('"body"' in sql) == (name == "detail"), name


PLANS = {
    "newest": (TaskFilter(), "idx_tasks_created_at"),
    "by state": (TaskFilter(statuses=("running",)), "idx_tasks_status"),
    "by creator": (TaskFilter(created_by="occasional"), "idx_tasks_created_by"),
    "by name": (TaskFilter(name="task 19999"), "idx_tasks_name_trgm"),
}


def many_tasks() -> None:
    """Store 20,000 ended tasks, one in a hundred of them of the first of two people."""
    creators = [make_user(name=name).pk for name in ("occasional", "prolific")]
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO tasks (task_id, name, description, status, priority, target, total_hosts,"
            " completed_hosts, failed_hosts, lost_hosts, canceled_hosts, skipped_hosts, revision,"
            " offline_policy, delivery_seconds, current_wave, exclusive, template_version,"
            " created_by_id, error_code, error_message, created_at, finished_at)"
            " SELECT gen_random_uuid(), 'task ' || n, '', 'completed', 2, '{}',"
            " 0, 0, 0, 0, 0, 0, 0, 'wait', 3600, 0, false, '',"
            " (%s)[1 + (n %% 100 > 0)::int], '', '',"
            " now() - interval '1 day' + n * interval '1 second', now()"
            " FROM generate_series(1, 20000) AS n",
            [creators],
        )
        cursor.execute("ANALYZE tasks")


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for inner in plan.get("Plans", []):
        yield from nodes(inner)


@pytest.mark.django_db(transaction=False)
def test_each_list_has_its_index() -> None:
    many_tasks()
    for name, (narrowed, index) in PLANS.items():
        with CaptureQueriesContext(connection) as captured:
            task_list(asked=FIRST, narrowed=narrowed)
        for query in captured.captured_queries:
            if query["sql"].startswith('SELECT "users"'):
                continue  # who the creator is
            with connection.cursor() as cursor:
                cursor.execute(f"EXPLAIN (FORMAT JSON) {query['sql']}")
                plan = list(nodes(cursor.fetchone()[0][0]["Plan"]))
            # A count of thousands of rows may scan: it stops at 10,000.
            if "ORDER BY" in query["sql"] or name in {"by state", "by name"}:
                assert "Seq Scan" not in {
                    node["Node Type"] for node in plan if node.get("Relation Name") == "tasks"
                }, name
                assert index in {node.get("Index Name") for node in plan}, name


def test_a_row_that_commits_late_is_told_to_who_read_meanwhile() -> None:
    """The cursor is the oldest transaction at work, so what it commits later is not missed."""
    hosts = make_hosts(2)
    task = started_task(hosts)
    other = connection.copy()
    try:
        with other.cursor() as slow:
            slow.execute("BEGIN")
            slow.execute(
                "UPDATE commands_hosts SET error_code = 'late',"
                " revision = pg_current_xact_id()::text::bigint WHERE host_id = %s",
                [hosts[0].pk],
            )
            before = progress.task_progress(task_id=task.task_id, cursor=None, limit=20)
            FakeAgent(hosts[1]).poll()
            slow.execute("COMMIT")
    finally:
        other.close()
    after = progress.task_progress(
        task_id=task.task_id, cursor=progress.parse_cursor(before.cursor), limit=20
    )
    assert {row.hostname for row in after.changed or []} == {"host-1", "host-2"}


@pytest.mark.parametrize(
    ("head", "tail", "total", "shown"),
    [
        ("你".encode()[:2], b"", 9, ("", 9)),
        (b"a" + "你".encode(), "你".encode()[1:] + b"b", 20, ("a你b", 15)),
        (b"a\xf0\x9f\x98", b"", 9, ("a", 8)),
        (b"", b"\x80" * 6, 9, ("�" * 6, 3)),
    ],
)
def test_cut_characters_are_left_out_and_counted(
    head: bytes, tail: bytes, total: int, shown: tuple[str, int]
) -> None:
    view = outputs.stream_view(head, tail, total, encoding=outputs.TEXT)
    assert (view.head + view.tail, view.omitted_bytes) == shown


def test_eta_follows_the_pace_so_far() -> None:
    task = started_task(make_hosts(4))
    state = task_state(task_id=task.task_id)
    assert state.started_at is not None
    now = state.started_at.replace(microsecond=0)
    later = now.replace(year=now.year + 1)
    elapsed = (later - state.started_at).total_seconds()
    assert progress.eta_seconds(state, 1, later, in_flight=1) == round(elapsed * 3)
    assert progress.eta_seconds(state, 0, later, in_flight=1) is None
    assert progress.eta_seconds(state, 1, later, in_flight=0) is None


@pytest.mark.parametrize(
    ("total", "ended", "minutes"), [(1000, 999, 8), (1000, 999, 0), (100, 95, 5), (2, 1, 0)]
)
def test_the_end_is_not_promised_for_any_moment_now(total: int, ended: int, minutes: int) -> None:
    """One slow host of a thousand: "0 ms to go" stood there for eight minutes."""
    task = started_task(make_hosts(1))
    state = replace(task_state(task_id=task.task_id), total_hosts=total)
    assert state.started_at is not None
    now = state.started_at + timedelta(minutes=minutes, milliseconds=100)
    assert progress.eta_seconds(state, ended, now, in_flight=1) is None
