"""Reads of tasks: how many statements they take, which indexes, and what their caches promise."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
import redis
from django.core.cache import cache as django_cache
from django.db import connection
from django.db.models.functions import Now
from django.test import override_settings
from django.test.utils import CaptureQueriesContext

from devops_manager.access.actors import SYSTEM
from devops_manager.lib.pagination import Page as PageAsked
from tasks_app import cache
from tasks_app.models import CommandHost, Task
from tasks_app.selectors import encoded, outputs, progress, rows, stats
from tasks_app.selectors.tasks import TaskFilter, task_commands, task_detail, task_list, task_state
from tasks_app.services import admission, fan_out, lifecycle, submit, sweeps
from tasks_app.services.drafts import parse_task
from tests.queue_world import FakeAgent, make_hosts, make_task, only, started_task
from tests.task_factories import actor_for, body_for, make_user

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
        "detail": lambda: task_detail(task_id=task.task_id, show_environment=True),
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
    "detail": 2,
    "state": 1,
    "commands": 1,
    "progress": 4,
    "changed": 5,
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
    "by state": (TaskFilter(status="running"), "idx_tasks_status"),
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


def keys(client: redis.Redis) -> set[str]:
    """Return the caches' keys; Celery's queue may stand beside them."""
    return {key.decode() for key in client.keys("*") if not key.startswith((b"celery:", b"_kombu"))}


def test_keys_in_redis_are_exactly_those_of_the_design(redis_client: redis.Redis) -> None:
    task = small_world(1)
    host = CommandHost.objects.filter(task=task).select_related("host").first().host
    redis_client.flushdb()
    encoded.task_list_json(asked=PageAsked(1, 20), narrowed=TaskFilter(status="failed", name="a:b"))
    encoded.task_state_json(task_id=task.task_id)
    encoded.host_tasks_json(host_id=host.host_id, asked=PageAsked(1, 50))
    encoded.global_stats_json()
    assert keys(redis_client) == {
        "task:list:1:20:failed:a:b",
        "task:list:generation",
        f"task:status:{task.task_id}",
        f"host:tasks:{host.host_id}:1:50",
        "host:tasks:generation",
        "task:stats:global",
    }
    lifetimes = {"task:list:1:20:failed:a:b": 60, f"task:status:{task.task_id}": 30}
    lifetimes |= {f"host:tasks:{host.host_id}:1:50": 60, "task:stats:global": 300}
    for key, seconds in lifetimes.items():
        assert seconds - 5 <= redis_client.ttl(key) <= seconds, key


def test_a_hit_asks_the_database_nothing_and_says_the_same() -> None:
    task = small_world(1)
    for read in (
        lambda: encoded.task_list_json(asked=FIRST, narrowed=TaskFilter()),
        lambda: encoded.task_state_json(task_id=task.task_id),
        encoded.global_stats_json,
    ):
        first = read()
        with CaptureQueriesContext(connection) as captured:
            assert read() == first
        assert len(captured) == 0


def test_other_filters_bypass_the_cache(redis_client: redis.Redis) -> None:
    encoded.task_list_json(asked=FIRST, narrowed=TaskFilter(created_by="somebody"))
    assert keys(redis_client) == set()


def test_every_change_is_visible_to_the_next_read() -> None:
    actor = actor_for(make_user())
    (host,) = make_hosts(1)

    def seen() -> list[tuple[str, str]]:
        body = json.loads(encoded.task_list_json(asked=FIRST, narrowed=TaskFilter()))
        return [(row["name"], row["status"]) for row in body["results"]]

    assert seen() == []
    task_id = submit.create_task(actor=actor, draft=parse_task(body_for(host, name="a"))).task_id
    assert seen() == [("a", "pending")]
    submit.update_task(actor=actor, task_id=task_id, value={"name": "b"}, partial=True)
    assert seen() == [("b", "pending")]
    submit.delete_task(actor=actor, task_id=task_id)
    assert seen() == []


def test_start_and_end_are_visible_to_the_next_read() -> None:
    (host,) = make_hosts(1)
    task = make_task([host])

    def seen() -> set[str]:
        state = json.loads(encoded.task_state_json(task_id=task.task_id))["status"]
        (row,) = json.loads(encoded.task_list_json(asked=FIRST, narrowed=TaskFilter()))["results"]
        return {state, row["status"]}

    assert seen() == {"pending"}
    from_start = started_task([host])
    Task.objects.filter(pk=task.pk).delete()
    task = from_start
    assert seen() == {"running"}
    agent = FakeAgent(host)
    agent.report(only(agent.poll()).fence)
    assert seen() == {"completed"}


def test_admission_is_visible_to_the_next_read() -> None:
    hosts = make_hosts(1)
    with override_settings(DM_MAX_CONCURRENT_TASKS=0):
        task = make_task(hosts)
        lifecycle.start_task(actor=SYSTEM, task_id=task.task_id)

    def running() -> int:
        narrowed = TaskFilter(status="running")
        return json.loads(encoded.task_list_json(asked=FIRST, narrowed=narrowed))["count"]

    assert running() == 0
    admission.admit_tasks()
    assert running() == 1


def test_what_a_late_result_changes_is_visible_to_the_next_read() -> None:
    (host,) = make_hosts(1)
    task = started_task([host])
    agent = FakeAgent(host)
    fence = only(agent.poll()).fence
    CommandHost.objects.update(deadline=Now() - timedelta(seconds=1))
    sweeps.sweep_deadlines()

    def seen() -> tuple[str, int]:
        state = json.loads(encoded.task_state_json(task_id=task.task_id))
        return state["status"], state["lost_hosts"]

    assert seen() == ("failed", 1)
    agent.report(fence)
    assert seen() == ("completed", 0)


def test_fanned_out_rows_are_visible_to_the_next_read_of_a_host() -> None:
    (host,) = make_hosts(1)
    task = make_task([host])

    def seen() -> int:
        return json.loads(encoded.host_tasks_json(host_id=host.host_id, asked=FIRST))["count"]

    assert seen() == 0
    lifecycle.start_task(actor=SYSTEM, task_id=task.task_id)
    assert seen() == 0
    fan_out.fan_out_task(task.pk)
    assert seen() == 1


def test_what_runs_is_kept_for_a_second_only(redis_client: redis.Redis) -> None:
    task = started_task(make_hosts(1))
    encoded.task_state_json(task_id=task.task_id)
    assert 0 < redis_client.pttl(cache.status_key(task.task_id)) <= 1000


def test_who_read_before_a_change_and_stores_after_it_misleads_nobody() -> None:
    """The reader is overtaken between its reading and its storing."""
    key, generation = "task:list:1:20::", cache.TASK_GENERATION

    def slow() -> tuple[bytes, bool]:
        cache.task_changed([])
        return b"old", False

    assert cache.get_or_build(key, generation=generation, seconds=60, build=slow) == b"old"
    fresh = cache.get_or_build(
        key, generation=generation, seconds=60, build=lambda: (b"new", False)
    )
    assert fresh == b"new"


def test_an_evicted_generation_is_not_taken_up_again(redis_client: redis.Redis) -> None:
    encoded.task_list_json(asked=FIRST, narrowed=TaskFilter())
    redis_client.delete(cache.TASK_GENERATION)
    make_task(make_hosts(1))
    body = json.loads(encoded.task_list_json(asked=FIRST, narrowed=TaskFilter()))
    assert body["count"] == 1


def test_without_redis_everything_comes_from_postgresql() -> None:
    task = small_world(1)
    away = {
        "default": {
            "BACKEND": "django_redis.cache.RedisCache",
            "LOCATION": "redis://127.0.0.1:1/0",
            "KEY_FUNCTION": "devops_manager.lib.cache.plain_key",
            "OPTIONS": {
                "SERIALIZER": "devops_manager.lib.cache.BytesSerializer",
                "SOCKET_CONNECT_TIMEOUT": 0.5,
                "SOCKET_TIMEOUT": 1,
                "IGNORE_EXCEPTIONS": True,
            },
        }
    }
    with override_settings(CACHES=away):
        assert django_cache.get("anything") is None
        assert json.loads(encoded.task_state_json(task_id=task.task_id))["status"] == "completed"
        cache.task_changed([task.task_id])
        assert json.loads(encoded.global_stats_json())["recent_tasks"]["completed"] == 1


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
    view = outputs.stream_view(head, tail, total, outputs.TEXT)
    assert (view.head + view.tail, view.omitted_bytes) == shown


def test_eta_follows_the_pace_so_far() -> None:
    task = started_task(make_hosts(4))
    state = task_state(task_id=task.task_id)
    assert state.started_at is not None
    now = state.started_at.replace(microsecond=0)
    later = now.replace(year=now.year + 1)
    elapsed = (later - state.started_at).total_seconds()
    assert progress.eta_seconds(state, 1, later) == round(elapsed * 3)
    assert progress.eta_seconds(state, 0, later) is None


def test_an_unknown_task_is_cached_by_nobody(redis_client: redis.Redis) -> None:
    unknown = uuid.UUID(int=7)
    with pytest.raises(Exception, match="no such task"):
        encoded.task_state_json(task_id=unknown)
    assert cache.status_key(unknown) not in keys(redis_client)
