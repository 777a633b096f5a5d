"""What the API tells of tasks: lists, status, progress, steps, hosts; and starting them."""

from __future__ import annotations

import time
import uuid
from datetime import timedelta
from typing import Any

import pytest
from django.test import override_settings
from django.utils import timezone

from devops_manager.access.models import Role, User
from hosts_app.models import Host
from tasks_app.models import Task
from tests.queue_world import FakeAgent, make_hosts, make_task, only, started_task
from tests.task_factories import Api, body_for, make_user

pytestmark = pytest.mark.django_db(transaction=True)

NO_ONE = uuid.UUID(int=7)
TASK_READS = (
    "tasks/{task}",
    "tasks/{task}/status",
    "tasks/{task}/progress",
    "tasks/{task}/commands",
    "tasks/{task}/hosts",
    "tasks/{task}/logs",
    "tasks/{task}/logs/raw?command={command}&host={host}",
    "tasks/{task}/logs/live?command={command}&host={host}",
    "tasks/{task}/output-groups?command={command}",
)
OTHER_READS = ("tasks", "hosts/{host}/tasks", "stats", "metrics/summary")


@pytest.fixture
def admin() -> User:
    return make_user()


@pytest.fixture
def api(admin: User) -> Api:
    return Api(admin)


def problem(response: Any, status: int) -> dict[str, Any]:
    assert response.status_code == status, response.content
    assert response["Content-Type"] == "application/problem+json"
    return response.json()


def names(response: Any) -> list[str]:
    assert response.status_code == 200, response.content
    return [row["name"] for row in response.json()["results"]]


def one_task(host: Host) -> tuple[Task, dict[str, Any]]:
    """Return a task that ended on one host, and what its addresses are filled in with."""
    task = started_task([host])
    agent = FakeAgent(host)
    agent.report(only(agent.poll()).fence)
    task.refresh_from_db()
    command = task.commands.get()
    return task, {"task": task.task_id, "host": host.host_id, "command": command.command_id}


@pytest.mark.parametrize("role", list(Role))
def test_everybody_reads(role: Role) -> None:
    _task, ids = one_task(make_hosts(1)[0])
    api = Api(make_user(role))
    for path in (*TASK_READS, *OTHER_READS):
        assert api.get(path.format(**ids)).status_code == 200, path


def test_nobody_reads_nothing() -> None:
    _task, ids = one_task(make_hosts(1)[0])
    for path in (*TASK_READS, *OTHER_READS):
        problem(Api().get(path.format(**ids)), 401)


def test_what_is_not_there_is_not_found(api: Api) -> None:
    ids = {"task": NO_ONE, "host": NO_ONE, "command": NO_ONE}
    for path in (*TASK_READS, "hosts/{host}/tasks"):
        assert problem(api.get(path.format(**ids)), 404)["code"] == "not_found", path
    for act in ("start", "stop", "cancel"):
        problem(api.post(f"tasks/{NO_ONE}/{act}"), 404)
    problem(api.get("tasks/not-an-id"), 404)


def test_unknown_parameters_are_named(api: Api) -> None:
    _task, ids = one_task(make_hosts(1)[0])
    for path in (*TASK_READS, *OTHER_READS):
        mark = "&" if "?" in path else "?"
        answer = problem(api.get(path.format(**ids) + f"{mark}colour=red"), 400)
        assert set(answer["errors"]) == {"colour"}, path


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({"status": "done"}, "status"),
        ({"name": "x" * 201}, "name"),
        ({"name": "\x00"}, "name"),
        ({"created_from": "yesterday"}, "created_from"),
        ({"created_to": "2026-13-01T00:00:00Z"}, "created_to"),
        ({"page": "0"}, "page"),
        ({"page": "two"}, "page"),
        ({"size": "201"}, "size"),
        ({"page": "99999999"}, "page"),
    ],
)
def test_a_wrong_filter_is_named(api: Api, query: dict[str, str], field: str) -> None:
    assert set(problem(api.get("tasks", **query), 400)["errors"]) == {field}


@pytest.mark.parametrize(
    ("path", "field"),
    [
        ("hosts?outcome=good", "outcome"),
        ("hosts?state=good", "state"),
        ("progress?cursor=yesterday", "cursor"),
        ("progress?cursor=1.2", "cursor"),
        ("progress?size=0", "size"),
        ("logs?host=web-1", "host"),
        ("logs?command=1", "command"),
        ("logs?status=good", "status"),
        ("logs?stream=stdin", "stream"),
        ("logs?encoding=utf-16", "encoding"),
        ("logs?limit_bytes=1", "limit_bytes"),
        ("logs?limit_bytes=1048576&size=200", "limit_bytes"),
        ("logs/raw?command={command}", "host"),
        ("logs/raw?host={host}", "command"),
        ("logs/raw?host={host}&command={command}&stream=x", "stream"),
        ("logs/live?host={host}&command={command}&offset=-1", "offset"),
        ("output-groups", "command"),
    ],
)
def test_a_wrong_parameter_is_named(api: Api, path: str, field: str) -> None:
    _task, ids = one_task(make_hosts(1)[0])
    answer = api.get(f"tasks/{ids['task']}/{path.format(**ids)}")
    assert set(problem(answer, 400)["errors"]) == {field}


def test_the_list_is_newest_first_and_paged(api: Api) -> None:
    (host,) = make_hosts(1)
    api.post("tasks/bulk", {"tasks": [body_for(host, name=f"t{n}") for n in range(5)]})
    answer = api.get("tasks", page=2, size=2)
    assert names(answer) == ["t2", "t1"]
    body = answer.json()
    assert (body["count"], body["page"], body["size"]) == (5, 2, 2)
    assert set(body["results"][0]) == {
        "task_id", "name", "status", "priority", "created_by", "created_at", "started_at",
        "finished_at", "revision", "total_hosts", "completed_hosts", "failed_hosts", "lost_hosts",
        "canceled_hosts", "skipped_hosts",
    }  # fmt: skip
    problem(api.get("tasks", page=4, size=2), 404)
    assert names(api.get("tasks", status="running")) == []


def test_the_list_is_filtered(api: Api, admin: User) -> None:
    (host,) = make_hosts(1)
    other = make_user(Role.ADMIN, "other")
    api.post("tasks", body_for(host, name="Nightly backup"))
    Api(other).post("tasks", body_for(host, name="50% of disks"))
    started_task([host], created_by=admin)
    now = timezone.now()
    Task.objects.filter(name="a task").update(created_at=now - timedelta(days=2))

    assert names(api.get("tasks", name="BACKUP")) == ["Nightly backup"]
    assert names(api.get("tasks", name="50%")) == ["50% of disks"]
    assert names(api.get("tasks", name="%")) == ["50% of disks"]
    assert names(api.get("tasks", status="running")) == ["a task"]
    assert names(api.get("tasks", created_by="other")) == ["50% of disks"]
    assert names(api.get("tasks", created_by="nobody")) == []
    yesterday = (now - timedelta(days=1)).isoformat()
    assert names(api.get("tasks", created_to=yesterday)) == ["a task"]
    assert names(api.get("tasks", created_from=yesterday)) == ["50% of disks", "Nightly backup"]
    both = api.get("tasks", created_from=yesterday, created_by="other", status="pending")
    assert names(both) == ["50% of disks"]


def test_a_task_is_started_stopped_and_canceled(api: Api) -> None:
    hosts = make_hosts(2)
    first, second, third = (
        api.post("tasks", body_for(*hosts)).json()["task_id"] for _number in range(3)
    )
    started = api.post(f"tasks/{first}/start")
    assert started.status_code == 200
    assert (started.json()["status"], started.json()["total_hosts"]) == ("running", 2)
    assert api.post(f"tasks/{first}/cancel").json()["status"] == "canceled"
    assert problem(api.post(f"tasks/{first}/start"), 409)["code"] == "illegal_transition"

    assert problem(api.post(f"tasks/{second}/stop"), 409)["code"] == "illegal_transition"
    api.post(f"tasks/{second}/start")
    assert api.post(f"tasks/{second}/stop").json()["stop_requested_at"] is not None

    assert api.post(f"tasks/{third}/cancel").json()["status"] == "canceled"


@override_settings(DM_MAX_CONCURRENT_TASKS=1, DM_QUEUE_CAPACITY=0)
def test_a_full_queue_says_when_to_come_again(api: Api) -> None:
    hosts = make_hosts(1)
    started_task(hosts)
    waiting = make_task(hosts)
    answer = api.post(f"tasks/{waiting.task_id}/start")
    assert problem(answer, 429)["code"] == "queue_full"
    assert int(answer["Retry-After"]) > 0
    assert api.get(f"tasks/{waiting.task_id}/status").json()["status"] == "pending"


@pytest.mark.parametrize("role", [Role.VIEWER, Role.APPROVER])
def test_who_only_looks_starts_nothing(role: Role) -> None:
    task = make_task(make_hosts(1))
    api = Api(make_user(role))
    for act in ("start", "stop", "cancel"):
        problem(api.post(f"tasks/{task.task_id}/{act}"), 403)
    for method in ("PUT", "PATCH", "DELETE"):
        problem(api.send(method, f"tasks/{task.task_id}", {}), 403)


def test_status_is_small_and_true(api: Api) -> None:
    task, _ids = one_task(make_hosts(1)[0])
    answer = api.get(f"tasks/{task.task_id}/status").json()
    assert answer["status"] == "completed"
    assert (answer["total_hosts"], answer["completed_hosts"]) == (1, 1)
    assert answer["finished_at"] >= answer["started_at"]
    assert answer["revision"] > 0


def test_progress_counts_hosts_and_rows(api: Api) -> None:
    hosts = make_hosts(4)
    task = started_task(hosts, steps=2)
    agent = FakeAgent(hosts[0])
    agent.report(only(agent.poll()).fence, "failed")
    answer = api.get(f"tasks/{task.task_id}/progress").json()
    assert (answer["total_hosts"], answer["ended_hosts"], answer["percent"]) == (4, 1, 25.0)
    assert answer["eta_seconds"] is None  # nothing runs
    first, second = answer["commands"]
    assert first["rows"]["failed"] == 1
    assert first["rows"]["pending"] == 3
    assert (second["rows"]["skipped"], second["rows"]["blocked"]) == (1, 3)
    assert sum(first["rows"].values()) == 4
    assert (answer["changed"], answer["more"]) == (None, False)


def changed(api: Api, path: str, cursor: str) -> tuple[dict[str, str], str]:
    """Return host → state of the rows that are told as changed, and the next cursor."""
    answer = api.get(path, cursor=cursor).json()
    return {row["hostname"]: row["status"] for row in answer["changed"]}, answer["cursor"]


def test_progress_tells_what_moved_since(api: Api) -> None:
    """Nothing that moved is left out; a row may come again while an older transaction is open.

    Any transaction of the whole server counts, so a test beside this one can hold the cursor back.
    """
    hosts = make_hosts(3)
    task = started_task(hosts)
    path = f"tasks/{task.task_id}/progress"
    cursor = api.get(path).json()["cursor"]
    agent = FakeAgent(hosts[1])
    fence = only(agent.poll()).fence
    told, cursor = changed(api, path, cursor)
    assert told.pop("host-2") == "claimed"
    assert set(told.values()) <= {"pending"}

    agent.report(fence)
    told, cursor = changed(api, path, cursor)
    assert told.pop("host-2") == "completed"
    assert set(told.values()) <= {"pending"}
    until = time.monotonic() + 30
    while told and time.monotonic() < until:
        told, cursor = changed(api, path, cursor)
    assert told == {}, "what was told is not told for ever"


def test_many_changed_rows_come_in_pieces(api: Api) -> None:
    hosts = make_hosts(5)
    task = started_task(hosts)
    path = f"tasks/{task.task_id}/progress"
    seen: list[str] = []
    answer = {"cursor": "0", "more": True}
    while answer["more"]:
        answer = api.get(path, cursor=answer["cursor"], size=2).json()
        assert len(answer["changed"]) <= 2
        seen += [row["hostname"] for row in answer["changed"]]
    assert seen == [host.hostname for host in hosts]


def test_commands_are_in_order_without_bodies(api: Api) -> None:
    task = started_task(make_hosts(2), steps=3)
    answer = api.get(f"tasks/{task.task_id}/commands").json()
    assert [command["position"] for command in answer] == [1, 2, 3]
    assert "body" not in answer[0]
    assert answer[0]["rows"]["pending"] == 2


def test_hosts_have_outcomes_and_rows(api: Api) -> None:
    good, bad, slow = make_hosts(3)
    task = started_task([good, bad, slow], steps=2)
    for host, status in ((good, "completed"), (bad, "failed")):
        agent = FakeAgent(host)
        agent.report(only(agent.poll()).fence, status)
        if status == "completed":
            agent.report(only(agent.poll()).fence)
    path = f"tasks/{task.task_id}/hosts"
    answer = api.get(path).json()
    assert answer["count"] == 3
    assert [(row["hostname"], row["outcome"]) for row in answer["results"]] == [
        ("host-1", "completed"),
        ("host-2", "failed"),
        ("host-3", None),
    ]
    assert [row["status"] for row in answer["results"][1]["rows"]] == ["failed", "skipped"]

    def hostnames(**query: Any) -> list[str]:
        return [row["hostname"] for row in api.get(path, **query).json()["results"]]

    assert hostnames(outcome="failed") == ["host-2"]
    assert hostnames(outcome="open") == ["host-3"]
    assert hostnames(state="blocked") == ["host-3"]
    assert hostnames(hostname="HOST-1") == ["host-1"]
    assert hostnames(page=2, size=2) == ["host-3"]
    assert hostnames(hostname="%") == []
    problem(api.get(path, page=3, size=2), 404)


def test_hosts_left_out_by_a_cancel_are_canceled(api: Api) -> None:
    hosts = make_hosts(2)
    task_id = api.post("tasks", body_for(*hosts)).json()["task_id"]
    assert api.get(f"tasks/{task_id}/hosts").json()["results"] == []
    api.post(f"tasks/{task_id}/start")
    api.post(f"tasks/{task_id}/cancel")
    answer = api.get(f"tasks/{task_id}/hosts", outcome="canceled").json()
    assert answer["count"] == 2


def test_what_a_host_was_given_is_newest_first(api: Api) -> None:
    (host,) = make_hosts(1)
    first, second = started_task([host], steps=2), started_task([host])
    answer = api.get(f"hosts/{host.host_id}/tasks").json()
    assert answer["count"] == 3
    assert [row["task_id"] for row in answer["results"]] == [
        str(second.task_id),
        str(first.task_id),
        str(first.task_id),
    ]
    assert answer["results"][0]["status"] == "pending"
    assert answer["results"][0]["task_status"] == "running"


def test_stats_count_open_and_recent_tasks(api: Api) -> None:
    hosts = make_hosts(2)
    one_task(hosts[0])
    started_task(hosts, steps=2)
    make_task(hosts)
    answer = api.get("stats").json()
    assert answer["open_tasks"] == {"pending": 1, "queued": 0, "running": 1, "paused": 0}
    assert answer["recent_tasks"]["completed"] == 1
    assert answer["open_rows"] == {"blocked": 2, "pending": 2, "claimed": 0, "running": 0}


@override_settings(DM_MAX_CONCURRENT_TASKS=1)
def test_the_summary_shows_limits_and_hosts(api: Api) -> None:
    hosts = make_hosts(2)
    started_task(hosts)
    waiting = make_task(hosts)
    api.post(f"tasks/{waiting.task_id}/start")
    answer = api.get("metrics/summary").json()
    assert (answer["running_tasks"], answer["running_tasks_limit"]) == (1, 1)
    assert answer["queued_tasks"] == 1
    assert answer["oldest_queued_seconds"] >= 0
    assert (answer["waiting_commands"], answer["commands_in_flight"]) == (2, 0)
    assert answer["hosts_by_status"] == {"pending": 0, "active": 2, "disabled": 0}
    assert (answer["hosts_online"], answer["hosts_offline"]) == (0, 2)
