"""The door of the API: what no view says that it takes is refused, at every address."""

from __future__ import annotations

import json
import uuid
from typing import Any

import pytest
from django.test import Client, override_settings
from rest_framework.views import APIView

from devops_manager.access.door import Guarded
from devops_manager.access.models import Role
from hosts_app.services import Heartbeat, record_heartbeats
from tasks_app.models import CommandHost
from tests.api.test_permission_matrix import drf_views
from tests.factories import make_host
from tests.permission_walk import Step, documented
from tests.queue_world import make_hosts, make_task, started_task
from tests.task_factories import Api, body_for, make_user

pytestmark = pytest.mark.django_db(transaction=True)

NEVER = "never-heard-of"
# These two only show the description, in whatever form a browser asks for.
DESCRIPTIONS = {"SchemaView", "DocsView"}


@pytest.fixture
def api() -> Api:
    return Api(make_user())


def problem(response: Any, status: int) -> dict[str, Any]:
    assert response.status_code == status, response.content
    assert response["Content-Type"] == "application/problem+json"
    found: dict[str, Any] = response.json()
    return found


def steps_for(role: Role) -> list[Step]:
    """Everything below /api/v1 that a role may do, as docs/permissions.md lists it."""
    return sorted(
        step
        for step, roles in documented().items()
        if step.address.startswith("/api/v1/")
        and role.value in roles
        and step.method != "OPTIONS"  # DRF's own answer about a view
    )


def test_every_view_stands_behind_the_door() -> None:
    beside = {view.__name__ for view, _actions in drf_views() if not issubclass(view, Guarded)}
    assert beside == DESCRIPTIONS
    assert issubclass(Guarded, APIView)


@pytest.mark.parametrize("role", [Role.ADMIN, Role.APPROVER])
def test_no_body_may_say_what_nobody_reads(role: Role) -> None:
    client = Api(make_user(role)).client
    task = make_task(make_hosts(1))
    for step in steps_for(role):
        path = step.path
        if "task_id" in step.address:  # found before its draft is read
            path = path.replace(str(uuid.UUID(int=1)), str(task.task_id))
        answer = client.generic(step.method, path, f'{{"{NEVER}": 1}}', "application/json")
        if step.address.endswith("/logout"):
            client = Api(make_user(role, "another")).client
        assert NEVER in problem(answer, 400)["errors"], step


def test_what_takes_no_fields_takes_an_empty_object_and_nothing_else(api: Api) -> None:
    task = make_task(make_hosts(1))
    path = f"tasks/{task.task_id}/start"
    for body in (["x"], "x", 1, None, [], {"hosts": []}):
        problem(api.post(path, json.dumps(body).encode()), 400)
    problem(api.client.post(f"/api/v1/{path}", {"hosts": "x"}), 415)
    assert api.get(f"tasks/{task.task_id}").json()["status"] == "pending"
    assert api.post(path, {}).json()["status"] == "running"


def test_a_cancel_of_some_hosts_cancels_none(api: Api) -> None:
    hosts = make_hosts(2)
    task = started_task(hosts)
    for act in ("cancel", "stop", "start"):
        answer = api.post(f"tasks/{task.task_id}/{act}", {"hosts": [str(hosts[0].host_id)]})
        assert problem(answer, 400)["errors"] == {"hosts": ["Unknown field."]}
    assert set(CommandHost.objects.values_list("status", flat=True)) == {"pending"}


@pytest.mark.parametrize("query", [f"{NEVER}=1", f"{NEVER}=", "_=1700000000"])
def test_no_address_ignores_a_query_that_it_does_not_know(query: str) -> None:
    client = Api(make_user()).client
    for step in steps_for(Role.ADMIN):
        answer = client.generic(step.method, f"{step.path}?{query}", "", "application/json")
        assert answer.status_code == 400, (step, answer.status_code)
        assert query.split("=", 1)[0] in answer.json()["errors"], step


def test_no_address_takes_one_of_two_values(api: Api) -> None:
    """Given twice, a parameter is refused, or means any of them (tags: all of them)."""
    for step in steps_for(Role.ADMIN):
        if step.method == "GET":
            answer = api.client.get(f"{step.path}?size=1&size=2")
            assert "size" in problem(answer, 400)["errors"], step


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("tasks?status=pending&status=running", ["pending", "running"]),
        ("tasks?status=running&status=running&status=", ["running"]),
        ("tasks?status=&status=", ["pending", "running"]),
    ],
)
def test_states_given_twice_mean_any_of_them(api: Api, query: str, names: list[str]) -> None:
    hosts = make_hosts(1)
    make_task(hosts)
    started_task(hosts)
    found = api.get(query).json()["results"]
    assert sorted(task["status"] for task in found) == names
    wrong = api.get("tasks?status=running&status=odd")
    assert list(problem(wrong, 400)["errors"]) == ["status"]


def test_other_choices_given_twice_mean_any_of_them(api: Api) -> None:
    hosts = make_hosts(2)
    assert api.get("hosts?status=active&status=pending").json()["count"] == 2
    assert list(problem(api.get("hosts?status=active&status=odd"), 400)["errors"]) == ["status"]
    task = started_task(hosts)
    path = f"tasks/{task.task_id}"
    assert api.get(f"{path}/hosts?outcome=open&outcome=failed").json()["count"] == 2
    assert api.get(f"{path}/hosts?state=lost&state=pending").json()["count"] == 2
    assert api.get(f"{path}/hosts?state=lost&state=failed").json()["count"] == 0
    assert api.get(f"{path}/logs?status=running&status=lost&stream=stdout").json()["count"] == 0
    kinds = api.get("audit?actor_kind=person&actor_kind=token").json()
    assert kinds["count"] == 0
    assert list(problem(api.get("audit?actor=a&actor=b"), 400)["errors"]) == ["actor"]


def test_an_empty_tag_beside_another_is_none(api: Api) -> None:
    make_hosts(2)
    make_host("tagged", tags=["x", "y"])
    for query in ("tag=x&tag=", "tag=&tag=x", "tag=y&tag=x"):
        found = api.get(f"hosts?{query}").json()["results"]
        assert [one["hostname"] for one in found] == ["tagged"], query
    assert api.get("hosts?tag=&tag=").json()["count"] == 3
    long = "t" * 65
    assert list(problem(api.get(f"hosts?tag={long}&tag=x"), 400)["errors"]) == ["tag"]


FAR = [
    ("audit", "since", "9999-12-31T23:59:59-23:59"),
    ("audit", "until", "0001-01-01T00:00:00+23:59"),
    ("audit", "since", "0001-01-01"),
    ("tasks", "created_from", "0001-01-01T00:00:00+23:59"),
    ("tasks", "created_to", "9999-12-31T23:59:59-00:01"),
    ("tasks", "created_from", "2026-02-30T00:00:00Z"),
    ("tasks", "created_from", "10000-01-01T00:00:00Z"),
]


@pytest.mark.parametrize(("path", "field", "value"), FAR)
def test_a_date_that_no_calendar_reaches_is_refused_by_name(
    api: Api, path: str, field: str, value: str
) -> None:
    for zone in ("UTC", "Asia/Shanghai", "America/Los_Angeles"):
        with override_settings(TIME_ZONE=zone):
            answer = api.get(path, **{field: value})
            assert list(problem(answer, 400)["errors"]) == [field], zone


@pytest.mark.parametrize(
    "value", ["2026-11-24T08:00:00+08:00", "2026-11-24T08:00:00", "1970-01-02T00:00:00Z"]
)
def test_dates_near_us_are_read(api: Api, value: str) -> None:
    assert api.get("audit", since=value).status_code == 200
    assert api.client.get(f"/api/v1/tasks?created_from={value}").status_code == 200


def test_no_filter_no_address_and_no_form_takes_nul(api: Api) -> None:
    task = make_task(make_hosts(1))
    queries = (
        "tasks?name=a%00b",
        "hosts?search=%00",
        "hosts?tag=a&tag=%00",
        "host-tags?contains=%00",
    )
    for query in (*queries, "audit?actor=%00", "tasks?%00=1", f"tasks/{task.task_id}?x=%00"):
        problem(api.client.get(f"/api/v1/{query}"), 400)
    for path in ("/api/v1/hosts/%00", "/api/v1/%00"):
        problem(api.client.get(path), 400)
    for page in ("/tasks?name=%00", "/hosts?search=%00", "/tasks/%00", "/login?next=%00"):
        answer = api.client.get(page)
        assert (answer.status_code, answer["Content-Type"]) == (400, "text/html; charset=utf-8")
    for page in ("/tasks/new", "/tasks/pick/hosts", "/login"):
        answer = api.client.post(page, {"hosts_q": "\x00", "username": "\x00"})
        assert answer.status_code == 400, page
    body = {"name": "x\x00", "target": {}, "commands": []}
    assert list(problem(api.post("tasks", body), 400)["errors"]) == ["name"]


def test_ids_in_capitals_and_a_slash_at_the_end_are_the_same_address(api: Api) -> None:
    (host,) = make_hosts(1)
    task = make_task([host])
    loud = str(task.task_id).upper()
    for path in (f"tasks/{loud}", f"tasks/{loud}/", f"tasks/{task.task_id}//"):
        assert api.get(path).json()["task_id"] == str(task.task_id)
    assert api.get("tasks/").json()["count"] == 1
    assert api.get(f"hosts/{str(host.host_id).upper()}/tasks/").status_code == 200
    for page in (
        f"/tasks/{loud}",
        f"/tasks/{loud}/",
        "/tasks/",
        "/hosts/",
        f"/tasks/{loud}/trail/",
    ):
        assert api.client.get(page).status_code == 200, page
    assert api.post(f"tasks/{loud}/start/").json()["status"] == "running"
    made = api.post("tasks/", body_for(host))
    assert made.status_code == 201
    problem(api.get(f"tasks/{uuid.UUID(int=7)}/"), 404)


def test_an_address_that_is_too_long_is_told_so(api: Api) -> None:
    long = "x" * 4000
    answer = api.get("tasks", name=long)
    assert problem(answer, 414)["code"] == "address_too_long"
    page = api.client.get(f"/tasks?name={long}")
    assert (page.status_code, page["Content-Type"]) == (414, "text/html; charset=utf-8")


def test_a_precondition_that_nobody_looks_at_is_refused(api: Api) -> None:
    task = make_task(make_hosts(1))
    for act in ("stop", "cancel"):
        answer = api.post(f"tasks/{task.task_id}/{act}", **{"If-Match": '"1"'})
        assert list(problem(answer, 400)["errors"]) == ["If-Match"]


@pytest.mark.parametrize("text", ['"', "a b", "1 ,", '"a" "b"', "*,", '"a",', "x" * 2000])
def test_an_if_match_that_cannot_be_read_is_refused(api: Api, text: str) -> None:
    task = make_task(make_hosts(1))
    answer = api.send("PATCH", f"tasks/{task.task_id}", {"name": "x"}, **{"If-Match": text})
    assert list(problem(answer, 400)["errors"]) == ["If-Match"]


def things(api: Api) -> list[tuple[str, str, dict[str, Any], dict[str, Any]]]:
    """Every kind of thing that is edited, with two editors' changes."""
    (host,) = make_hosts(1)
    task = make_task([host])
    group = api.post("host-groups", {"name": "web"}).json()["group_id"]
    whole = body_for(host)
    return [
        (f"tasks/{task.task_id}", "PATCH", {"name": "one"}, {"description": "two"}),
        (f"tasks/{task.task_id}", "PUT", whole | {"name": "one"}, whole | {"name": "two"}),
        (f"hosts/{host.host_id}", "PATCH", {"tags": ["one"]}, {"max_concurrency": 2}),
        (f"host-groups/{group}", "PATCH", {"name": "one"}, {"description": "two"}),
    ]


def test_the_later_editor_is_told(api: Api) -> None:
    for path, method, first, second in things(api):
        seen = {"If-Match": api.get(path)["ETag"]}
        done = api.send(method, path, first, **seen)
        assert done.status_code == 200, path
        assert done["ETag"] == api.get(path)["ETag"] != seen["If-Match"], path
        late = problem(api.send(method, path, second, **seen), 412)
        assert late["code"] == "precondition_failed", path
        # knowing it, on purpose, or without looking, it goes
        bare = done["ETag"].strip('"')
        assert api.send(method, path, second, **{"If-Match": bare}).status_code == 200
        assert api.send(method, path, first, **{"If-Match": "*"}).status_code == 200
        assert api.send(method, path, second).status_code == 200


def test_what_another_changed_is_neither_started_nor_deleted_unseen(api: Api) -> None:
    task = make_task(make_hosts(1))
    path = f"tasks/{task.task_id}"
    seen = {"If-Match": api.get(path)["ETag"]}
    api.send("PATCH", path, {"name": "other"})
    problem(api.post(f"{path}/start", **seen), 412)
    problem(api.send("DELETE", path, **seen), 412)
    group = f"host-groups/{api.post('host-groups', {'name': 'web'}).json()['group_id']}"
    old = {"If-Match": api.get(group)["ETag"]}
    api.send("PATCH", group, {"name": "front"})
    problem(api.send("DELETE", group, **old), 412)
    assert api.get(path).json()["status"] == "pending"
    now = {"If-Match": f'"x,y", W/"z" ,{api.get(path)["ETag"]}, bare'}
    for _again in range(2):
        assert api.post(f"{path}/start", **now).status_code == 200


def test_an_etag_is_of_what_people_edit(api: Api) -> None:
    """An agent that is heard in between makes nobody the later editor."""
    (host,) = make_hosts(1)
    before = api.get(f"hosts/{host.host_id}")["ETag"]
    record_heartbeats([Heartbeat(host=host.pk)])
    assert api.get(f"hosts/{host.host_id}")["ETag"] == before


def test_a_person_is_found_with_what_the_persons_tokens_did(api: Api) -> None:
    (host,) = make_hosts(1)
    secret = api.post("tokens", {"name": "x", "role": "admin"}).json()["secret"]
    other = Api(make_user(name="admin-2"))
    other.post("host-groups", {"name": "theirs"})
    script = Client(headers={"Authorization": f"Bearer {secret}"})
    body = api.client._encode_json({"name": "made"}, "application/json")
    made = script.post("/api/v1/host-groups", body, content_type="application/json")
    assert made.status_code == 201
    api.post("tasks", body_for(host))
    found = api.get("audit", actor="the-admin").json()["results"]
    kinds = {(event["actor_kind"], event["action"]) for event in found}
    assert ("person", "token.create") in kinds
    assert ("person", "task.create") in kinds
    assert all("the-admin" in event["actor"] for event in found)
    by_token = api.get("audit", actor="the-admin", actor_kind="token").json()["results"]
    assert [(event["actor_kind"], event["action"]) for event in by_token] == [
        ("token", "group.create")
    ]
    named = by_token[0]["actor"]
    assert api.get("audit", actor=named).json()["count"] == len(by_token)
