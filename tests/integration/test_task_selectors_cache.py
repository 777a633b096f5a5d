"""The caches of task reads: keys, lifetimes, and that nobody is told what is no longer so."""

from __future__ import annotations

import json
import socketserver
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import pytest
import redis
from django.conf import settings
from django.core.cache import cache as django_cache
from django.db import connection
from django.db.models.functions import Now
from django.test import override_settings
from django.test.utils import CaptureQueriesContext

from devops_manager.access.actors import SYSTEM
from devops_manager.lib.errors import NotFound
from devops_manager.lib.pagination import Page as PageAsked
from tasks_app import cache
from tasks_app.models import CommandHost, Task
from tasks_app.selectors import encoded
from tasks_app.selectors.tasks import TaskFilter
from tasks_app.services import admission, fan_out, lifecycle, submit, sweeps
from tasks_app.services.drafts import parse_task
from tests.queue_world import FakeAgent, make_hosts, make_task, only, started_task
from tests.task_factories import actor_for, body_for, make_user

pytestmark = pytest.mark.django_db(transaction=True)

FIRST = PageAsked(number=1, size=20)


def ended_task() -> Task:
    """Make a task that ended on one host."""
    (host,) = make_hosts(1)
    task = started_task([host])
    agent = FakeAgent(host)
    agent.report(only(agent.poll()).fence)
    return task


def keys(client: redis.Redis) -> set[str]:
    """Return the caches' keys; Celery's queue may stand beside them."""
    return {key.decode() for key in client.keys("*") if not key.startswith((b"celery:", b"_kombu"))}


def test_keys_in_redis_are_exactly_those_of_the_design(redis_client: redis.Redis) -> None:
    task = ended_task()
    host = CommandHost.objects.filter(task=task).select_related("host").first().host
    redis_client.flushdb()
    encoded.task_list_json(
        asked=PageAsked(1, 20), narrowed=TaskFilter(statuses=("failed",), name="a:b")
    )
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
    task = ended_task()
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
        narrowed = TaskFilter(statuses=("running",))
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
        cache.tasks_changed()
        return b"old", False

    assert cache.get_or_build(key, generation=generation, seconds=60, build=slow) == b"old"
    fresh = cache.get_or_build(
        key, generation=generation, seconds=60, build=lambda: (b"new", False)
    )
    assert fresh == b"new"


@override_settings(DM_MAX_CONCURRENT_TASKS=1)
def test_a_sweep_that_admits_nobody_empties_no_cache(redis_client: redis.Redis) -> None:
    hosts = make_hosts(1)
    started_task(hosts)
    lifecycle.start_task(actor=SYSTEM, task_id=make_task(hosts).task_id)
    before = redis_client.get(cache.TASK_GENERATION)
    assert before is not None
    assert admission.admit_tasks() == 0
    assert redis_client.get(cache.TASK_GENERATION) == before


def test_an_evicted_generation_is_not_taken_up_again(redis_client: redis.Redis) -> None:
    encoded.task_list_json(asked=FIRST, narrowed=TaskFilter())
    redis_client.delete(cache.TASK_GENERATION)
    make_task(make_hosts(1))
    body = json.loads(encoded.task_list_json(asked=FIRST, narrowed=TaskFilter()))
    assert body["count"] == 1


@contextmanager
def redis_at(port: int) -> Iterator[None]:
    """Let the caches believe that Redis is at another port."""
    away = {**settings.CACHES["default"], "LOCATION": f"redis://127.0.0.1:{port}/0"}
    with override_settings(CACHES={"default": away}):
        yield


def test_without_redis_everything_comes_from_postgresql() -> None:
    task = ended_task()
    with redis_at(1):
        assert django_cache.get("anything") is None
        assert json.loads(encoded.task_state_json(task_id=task.task_id))["status"] == "completed"
        cache.tasks_changed()
        assert json.loads(encoded.global_stats_json())["recent_tasks"]["completed"] == 1


def test_a_frozen_redis_is_waited_for_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """It takes connections and never answers."""
    monkeypatch.setattr(cache._patience, "exhausted_until", 0.0)
    questions: list[bytes] = []

    class Silent(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            while data := self.request.recv(4096):
                questions.append(data)

    task = ended_task()
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Silent) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        with redis_at(server.server_address[1]):
            first = encoded.task_state_json(task_id=task.task_id)
            asked = len(questions)
            assert asked > 0
            assert encoded.task_state_json(task_id=task.task_id) == first
            assert len(questions) == asked
        server.shutdown()


def test_an_unknown_task_is_cached_by_nobody(redis_client: redis.Redis) -> None:
    unknown = uuid.UUID(int=7)
    with pytest.raises(NotFound):
        encoded.task_state_json(task_id=unknown)
    assert cache.status_key(unknown) not in keys(redis_client)
