"""Asking again after a lost answer: the same state, one run, nothing done twice."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest

from devops_manager.access.models import ApiToken, AuditEvent, IdempotencyKey, Role
from hosts_app.models import HostGroup
from tasks_app.models import CommandHost, Task
from tasks_app.services.admission import _LOCK_KEY
from tasks_app.services.fan_out import fan_out_task
from tests.factories import make_host
from tests.gateway_process import database_url
from tests.protocol.client import eventually
from tests.queue_world import FakeAgent, make_hosts, make_task, only, started_task
from tests.task_factories import Api, body_for, make_user

pytestmark = pytest.mark.django_db(transaction=True)
KEY = {"Idempotency-Key": "k-1"}


@pytest.fixture
def api() -> Api:
    return Api(make_user())


def problem(response: Any, status: int) -> dict[str, Any]:
    assert response.status_code == status, response.content
    assert response["Content-Type"] == "application/problem+json"
    found: dict[str, Any] = response.json()
    return found


@pytest.mark.parametrize("acts", [("start",), ("start", "stop"), ("start", "cancel"), ("cancel",)])
def test_what_was_done_may_be_asked_again(api: Api, acts: tuple[str, ...]) -> None:
    """An answer that was lost on its way is no reason for an error, nor for a second run."""
    task_id = api.post("tasks", body_for(*make_hosts(2))).json()["task_id"]
    first = [api.post(f"tasks/{task_id}/{act}") for act in acts][-1].json()
    fan_out_task(Task.objects.get(task_id=task_id).pk)
    rows = CommandHost.objects.count()
    for _number in range(2):
        again = api.post(f"tasks/{task_id}/{acts[-1]}")
        assert again.status_code == 200
        for name in ("task_id", "status", "started_at", "queued_at", "finished_at"):
            assert again.json()[name] == first[name], name
    assert CommandHost.objects.count() == rows
    audited = AuditEvent.objects.filter(object_id=task_id, action=f"task.{acts[-1]}")
    assert audited.count() == 1


def test_a_task_that_has_ended_by_itself_may_be_started_again_and_runs_no_second_time(
    api: Api,
) -> None:
    (host,) = make_hosts(1)
    task = started_task([host])
    agent = FakeAgent(host)
    agent.report(only(agent.poll()).fence)
    again = api.post(f"tasks/{task.task_id}/start")
    assert (again.status_code, again.json()["status"]) == (200, "completed")
    assert agent.poll().commands == ()
    for act in ("stop", "cancel"):
        assert problem(api.post(f"tasks/{task.task_id}/{act}"), 409)["code"] == "illegal_transition"


def test_a_start_under_a_key_is_answered_with_the_state_as_it_is_and_keeps_no_secret(
    api: Api,
) -> None:
    step = {"body": "true", "environment": {"PASSWORD": "swordfish"}}
    task_id = api.post("tasks", body_for(*make_hosts(1), commands=[step])).json()["task_id"]
    first = api.post(f"tasks/{task_id}/start", **KEY)
    assert first.json()["commands"][0]["environment"] == {"PASSWORD": "swordfish"}
    api.post(f"tasks/{task_id}/cancel")
    again = api.post(f"tasks/{task_id}/start", **KEY)
    assert (again.status_code, again["Idempotency-Replayed"]) == (200, "true")
    assert again.json()["status"] == "canceled"
    assert b"swordfish" not in b"".join(
        bytes(key.response_body or b"") for key in IdempotencyKey.objects.all()
    )
    other = api.post(f"tasks/{task_id}/cancel", **KEY)
    assert problem(other, 409)["code"] == "idempotency_key_reused"


@contextmanager
def somebody_in_the_way(task_id: str) -> Iterator[None]:
    """A session that holds the task, and asks for the admission lock once the start waits for it.

    So the two stand in a deadlock, and PostgreSQL ends the start's transaction: the other is more
    patient.
    """
    with psycopg.connect(database_url()) as other:
        other.execute("SET deadlock_timeout = '30s'")
        other.execute("SELECT 1 FROM tasks WHERE task_id = %s FOR UPDATE", [task_id])

        def get_in_the_way() -> None:
            with psycopg.connect(database_url(), autocommit=True) as watcher:
                eventually(lambda: watcher.execute(_WAITERS).fetchone() == (1,))
            other.execute("SELECT pg_advisory_xact_lock(%s)", [_LOCK_KEY])
            other.rollback()

        with ThreadPoolExecutor(1) as threads:
            way = threads.submit(get_in_the_way)
            yield
            way.result(20)


_WAITERS = """
SELECT count(*)::int FROM pg_stat_activity
WHERE datname = current_database() AND wait_event_type = 'Lock'
"""


@pytest.mark.parametrize("headers", [{}, KEY])
def test_a_start_that_met_a_deadlock_is_tried_again_and_the_log_has_its_sqlstate(
    api: Api, caplog: pytest.LogCaptureFixture, headers: dict[str, str]
) -> None:
    task_id = api.post("tasks", body_for(*make_hosts(1))).json()["task_id"]
    with somebody_in_the_way(task_id):
        answer = api.post(f"tasks/{task_id}/start", **headers)
    assert (answer.status_code, answer.json()["status"]) == (200, "running")
    (said,) = [record.getMessage() for record in caplog.records if "SQLSTATE" in record.msg]
    assert "SQLSTATE 40P01 (DeadlockDetected), try 1 of 6" in said
    assert AuditEvent.objects.filter(action="task.start").count() == 1


def test_a_secret_is_given_once_under_a_key_and_kept_nowhere() -> None:
    api = Api(make_user(Role.ADMIN))
    for path, body in (
        ("tokens", {"name": "deploy", "role": "viewer"}),
        ("enrollment-tokens", {"name": "rack 7"}),
    ):
        key = {"Idempotency-Key": f"one-{path}"}
        made = api.post(path, body, **key)
        assert made.status_code == 201
        told = problem(api.post(path, body, **key), 409)
        assert told["code"] == "secret_not_kept"
        # enough to revoke the one whose secret was lost
        assert made.json()["token_id"] in told["errors"]["Idempotency-Key"][0]
        assert api.get(path).json()["count"] == 1
        kept = IdempotencyKey.objects.get(key=f"one-{path}")
        assert made.json()["secret"].encode() not in bytes(kept.response_body or b"")


def test_every_call_that_makes_something_takes_a_key(api: Api) -> None:
    host = make_host("a-1", status="pending")
    other = make_host("a-2")
    body = {"hosts": [str(other.host_id)]}
    group = api.post("host-groups", {"name": "web"}, **KEY).json()
    assert api.post("host-groups", {"name": "web"}, **KEY).json() == group
    path = f"host-groups/{group['group_id']}"
    calls: list[tuple[str, Any]] = [
        (f"pending-hosts/{host.host_id}/approve", None),
        (f"{path}/add-hosts", body),
        (f"{path}/remove-hosts", body),
        (f"hosts/{other.host_id}/disable", None),
        ("targets/preview", {"target": {"hosts": [str(host.host_id)]}}),
        ("tasks", body_for(host)),
        ("tasks/bulk", {"tasks": [body_for(host)]}),
    ]
    for at, (address, sent) in enumerate(calls):
        key = {"Idempotency-Key": f"call-{at}"}
        first, again = (api.post(address, sent, **key) for _number in range(2))
        assert first.status_code in {200, 201}, address
        assert (again.status_code, again.json()) == (first.status_code, first.json()), address
        assert again["Idempotency-Replayed"] == "true", address
    assert Task.objects.count() == 2
    assert HostGroup.objects.count() == 1
    assert ApiToken.objects.count() == 0


def test_an_edit_under_a_key_is_done_once(api: Api) -> None:
    task = make_task(make_hosts(1))
    path = f"tasks/{task.task_id}"
    for _number in range(2):
        assert api.send("PATCH", path, {"name": "new"}, **KEY).json()["name"] == "new"
    assert AuditEvent.objects.filter(action="task.update").count() == 1
    gone = {"Idempotency-Key": "k-2"}
    for _number in range(2):
        answer = api.send("DELETE", path, **gone)
        assert (answer.status_code, answer.content) == (204, b"")
    assert problem(api.send("DELETE", path), 404)
