"""Creating, changing and deleting tasks over the API."""

from __future__ import annotations

import uuid
from typing import Any

import pytest

from devops_manager.access.models import AuditEvent, Role
from hosts_app.models import Host
from hosts_app.states import HostStatus
from tasks_app.models import Command, Task
from tests.queue_world import make_hosts, start
from tests.task_factories import Api, body_for, grant, make_user

pytestmark = pytest.mark.django_db

ANOTHER = str(uuid.UUID(int=7))


@pytest.fixture
def host() -> Host:
    return make_hosts(1)[0]


@pytest.fixture
def api() -> Api:
    return Api(make_user())


def problem(response: Any, status: int) -> dict[str, Any]:
    assert response.status_code == status, response.content
    assert response["Content-Type"] == "application/problem+json"
    return response.json()


def errors(response: Any) -> set[str]:
    return set(problem(response, 400)["errors"])


def test_a_task_is_created_with_everything_that_it_says(api: Api, host: Host) -> None:
    body = body_for(
        host,
        name="nightly report",
        description="for the team",
        priority="high",
        offline_policy="fail",
        delivery_seconds=120,
        commands=[
            {
                "name": "report",
                "kind": "script",
                "body": "print('你好')",
                "interpreter": "/usr/bin/python3",
                "parameters": ["--all", ""],
                "environment": {"LC_ALL": "C.UTF-8"},
                "working_directory": "/tmp",
                "run_as": "nobody",
                "timeout_seconds": 30,
                "on_failure": "continue",
            },
            {"body": "df -h", "host": str(host.host_id)},
        ],
    )
    answer = api.post("tasks", body)
    assert answer.status_code == 201, answer.content
    created = answer.json()
    assert created["status"] == "pending"
    assert created["target_hosts"] == 1
    assert answer["Location"] == f"/api/v1/tasks/{created['task_id']}"

    task = api.get(f"tasks/{created['task_id']}").json()
    for name in ("name", "description", "priority", "target", "offline_policy"):
        assert task[name] == body[name]
    assert task["delivery_seconds"] == 120
    first, second = task["commands"]
    for name, value in body["commands"][0].items():
        assert first[name] == value
    assert (first["position"], second["position"]) == (1, 2)
    assert second["host"] == str(host.host_id)
    assert second["timeout_seconds"] == 300
    assert task["created_by"] == "the-admin"


def test_ids_are_uuid7_and_rise(api: Api, host: Host) -> None:
    answer = api.post("tasks/bulk", {"tasks": [body_for(host, name=f"t{n}") for n in range(50)]})
    ids = [uuid.UUID(row["task_id"]) for row in answer.json()["results"]]
    assert {one.version for one in ids} == {7}
    assert ids == sorted(ids)


def test_mistakes_are_all_named_by_their_full_path(api: Api, host: Host) -> None:
    body = body_for(
        host,
        name="",
        priority="soon",
        delivery_seconds=0,
        commands=[
            {"body": "ok"},
            {
                "body": "  ",
                "timeout_seconds": "60",
                "environment": {"1A": "x", "B": 2},
                "parameters": [1],
                "interpreter": "/bin/bash",
                "run_as": "root; rm",
                "working_directory": "tmp",
                "host": "web-1",
                "status": "completed",
            },
        ],
        created_by="somebody",
    )
    assert errors(api.post("tasks", body)) == {
        "name",
        "priority",
        "delivery_seconds",
        "created_by",
        "commands[1].body",
        "commands[1].timeout_seconds",
        "commands[1].environment.1A",
        "commands[1].environment.B",
        "commands[1].parameters[0]",
        "commands[1].interpreter",
        "commands[1].run_as",
        "commands[1].working_directory",
        "commands[1].host",
        "commands[1].status",
    }
    assert not Task.objects.exists()


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"name": 5}, "name"),
        ({"name": "x" * 201}, "name"),
        ({"name": "two\nlines"}, "name"),
        ({"name": "turned \u202eround"}, "name"),
        ({"description": None}, "description"),
        ({"target": []}, "target"),
        ({"target": {}}, "target"),
        ({"target": {"hosts": ["x\ny"]}}, "target.hosts[0]"),
        ({"target": {"hosts": ["x"]}}, "target.hosts"),
        ({"target": {"everything": True}}, "target.everything"),
        ({"priority": True}, "priority"),
        ({"priority": 5}, "priority"),
        ({"priority": [1]}, "priority"),
        ({"offline_policy": {}}, "offline_policy"),
        ({"delivery_seconds": 1.5}, "delivery_seconds"),
        ({"delivery_seconds": True}, "delivery_seconds"),
        ({"commands": []}, "commands"),
        ({"commands": "df"}, "commands"),
        ({"commands": [None]}, "commands[0]"),
        ({"commands": [{}]}, "commands[0].body"),
        ({"commands": [{"body": "x" * 65_537}]}, "commands[0].body"),
        ({"commands": [{"body": "\x00"}]}, "commands[0].body"),
        ({"commands": [{"body": "x", "kind": "binary"}]}, "commands[0].kind"),
        ({"commands": [{"body": "x", "on_failure": 1}]}, "commands[0].on_failure"),
        ({"commands": [{"body": "x", "timeout_seconds": 604_801}]}, "commands[0].timeout_seconds"),
        ({"commands": [{"body": "x", "parameters": {}}]}, "commands[0].parameters"),
        ({"commands": [{"body": "x", "environment": []}]}, "commands[0].environment"),
        ({"commands": [{"body": "x"}] * 51}, "commands"),
    ],
)
def test_each_field_refuses_what_it_cannot_be(
    api: Api, host: Host, change: dict[str, Any], field: str
) -> None:
    assert errors(api.post("tasks", body_for(host, **change))) == {field}
    assert not Task.objects.exists()


@pytest.mark.parametrize("missing", ["name", "target", "commands"])
def test_required_fields_are_required(api: Api, host: Host, missing: str) -> None:
    body = body_for(host)
    del body[missing]
    assert errors(api.post("tasks", body)) == {missing}


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"{", b'"x"', b'{"name": "a", "name": "b"}', b'{"name": "\\ud800"}']
)
def test_what_is_no_object_is_refused(api: Api, body: bytes) -> None:
    problem(api.post("tasks", body), 400)


def test_an_unknown_host_group_or_tag_is_named_and_nothing_is_created(api: Api) -> None:
    body = body_for(target={"hosts": [ANOTHER], "groups": ["nope"], "tags": ["gone"]})
    answer = problem(api.post("tasks", body), 400)
    assert answer["code"] == "unknown_target"
    assert ANOTHER in answer["errors"]["target.hosts"][0]
    assert "nope" in answer["errors"]["target.groups"][0]
    assert "gone" in answer["errors"]["target.tags"][0]
    assert not Task.objects.exists()


def test_a_target_without_a_host_is_an_error(api: Api) -> None:
    answer = problem(api.post("tasks", body_for(target={"all": True})), 400)
    assert answer["code"] == "empty_target"


def test_a_pinned_host_must_be_known_and_active(api: Api, host: Host) -> None:
    waiting = Host.objects.create(hostname="new", status=HostStatus.PENDING)
    body = body_for(
        host,
        commands=[
            {"body": "a"},
            {"body": "b", "host": ANOTHER},
            {"body": "c", "host": str(waiting.host_id)},
        ],
    )
    answer = problem(api.post("tasks", body), 400)
    assert set(answer["errors"]) == {"commands[1].host", "commands[2].host"}


def test_a_pinned_host_joins_the_targets(api: Api) -> None:
    one, two = make_hosts(2)
    body = body_for(one, commands=[{"body": "a"}, {"body": "b", "host": str(two.host_id)}])
    assert api.post("tasks", body).json()["target_hosts"] == 2


def test_a_target_that_no_step_is_for_is_refused(api: Api) -> None:
    one, two = make_hosts(2)
    body = body_for(one, two, commands=[{"body": "b", "host": str(two.host_id)}])
    assert errors(api.post("tasks", body)) == {"target"}


def test_an_operator_reaches_only_granted_hosts() -> None:
    operator = make_user(Role.OPERATOR)
    mine, other = make_hosts(2)
    group = grant(operator, [mine])
    api = Api(operator)
    assert errors(api.post("tasks", body_for(other))) == {"target.hosts"}
    pinned = body_for(mine, commands=[{"body": "a"}, {"body": "b", "host": str(other.host_id)}])
    assert errors(api.post("tasks", pinned)) == {"commands[1].host"}
    answer = api.post("tasks", body_for(target={"all": True}))
    assert answer.json()["target_hosts"] == 1
    assert Task.objects.get().allowed_groups == [group.pk]


@pytest.mark.parametrize("role", [Role.VIEWER, Role.APPROVER])
def test_who_only_looks_creates_nothing(host: Host, role: Role) -> None:
    api = Api(make_user(role))
    problem(api.post("tasks", body_for(host)), 403)
    problem(api.post("tasks/bulk", {"tasks": [body_for(host)]}), 403)


def test_nobody_creates_nothing(host: Host) -> None:
    problem(Api().post("tasks", body_for(host)), 401)


def test_the_same_idempotency_key_creates_once(api: Api, host: Host) -> None:
    headers = {"Idempotency-Key": "nightly-1"}
    first = api.post("tasks", body_for(host), **headers)
    again = api.post("tasks", body_for(host), **headers)
    assert first.status_code == again.status_code == 201
    assert first.json() == again.json()
    assert Task.objects.count() == 1
    other = api.post("tasks", body_for(host, name="another"), **headers)
    assert problem(other, 409)["code"] == "idempotency_key_reused"


def test_bulk_creates_all_in_order(api: Api, host: Host) -> None:
    bodies = [body_for(host, name=f"task {number}") for number in range(500)]
    answer = api.post("tasks/bulk", {"tasks": bodies})
    assert answer.status_code == 201, answer.content
    assert answer.json()["count"] == 500
    assert [row["name"] for row in answer.json()["results"]] == [b["name"] for b in bodies]
    stored = Task.objects.order_by("id").values_list("task_id", flat=True)
    assert [str(i) for i in stored] == [row["task_id"] for row in answer.json()["results"]]
    assert Command.objects.count() == 500


def test_bulk_creates_nothing_when_one_is_wrong(api: Api, host: Host) -> None:
    good = body_for(host)
    wrong = api.post("tasks/bulk", {"tasks": [good, {**good, "name": 1}]})
    assert errors(wrong) == {"tasks[1].name"}
    gone = api.post("tasks/bulk", {"tasks": [good, body_for(target={"tags": ["x"]})]})
    assert errors(gone) == {"tasks[1].target.tags"}
    pinned = {**good, "commands": [{"body": "x", "host": ANOTHER}]}
    assert errors(api.post("tasks/bulk", {"tasks": [good, pinned]})) == {
        "tasks[1].commands[0].host"
    }
    assert not Task.objects.exists()


@pytest.mark.parametrize("body", [{"tasks": []}, {"tasks": [{}] * 501}, {"tasks": {}}, {}])
def test_bulk_takes_1_to_500(api: Api, body: dict[str, Any]) -> None:
    assert errors(api.post("tasks/bulk", body)) == {"tasks"}


def test_environment_values_are_for_operators_only(api: Api, host: Host) -> None:
    body = body_for(host, commands=[{"body": "x", "environment": {"PASSWORD": "hunter2"}}])
    task_id = api.post("tasks", body).json()["task_id"]
    seen = api.get(f"tasks/{task_id}").json()["commands"][0]["environment"]
    assert seen == {"PASSWORD": "hunter2"}
    for role in (Role.VIEWER, Role.APPROVER):
        answer = Api(make_user(role)).get(f"tasks/{task_id}")
        assert answer.json()["commands"][0]["environment"] == {"PASSWORD": "***"}
    api.send("PATCH", f"tasks/{task_id}", {"name": "renamed"})
    assert "hunter2" not in str(list(AuditEvent.objects.values_list("before", "after")))
    assert "hunter2" not in api.get("tasks").content.decode()


def test_patch_changes_what_it_names(api: Api, host: Host) -> None:
    task_id = api.post("tasks", body_for(host, description="old")).json()["task_id"]
    before = api.get(f"tasks/{task_id}").json()
    answer = api.send("PATCH", f"tasks/{task_id}", {"name": "new name", "priority": 4})
    assert answer.status_code == 200, answer.content
    after = answer.json()
    assert (after["name"], after["priority"], after["description"]) == ("new name", "urgent", "old")
    assert after["commands"] == before["commands"]
    assert after["revision"] > before["revision"]
    event = AuditEvent.objects.get(action="task.update")
    assert event.before["name"] == "disk usage"
    assert event.after["name"] == "new name"


def test_patch_replaces_steps_as_a_whole(api: Api, host: Host) -> None:
    task_id = api.post("tasks", body_for(host, commands=[{"body": "a"}] * 3)).json()["task_id"]
    api.send("PATCH", f"tasks/{task_id}", {"commands": [{"body": "b"}]})
    (command,) = api.get(f"tasks/{task_id}").json()["commands"]
    assert (command["body"], command["position"]) == ("b", 1)


def test_put_replaces_all(api: Api, host: Host) -> None:
    task_id = api.post("tasks", body_for(host, description="old", priority=1)).json()["task_id"]
    answer = api.send("PUT", f"tasks/{task_id}", body_for(host, name="anew"))
    assert answer.status_code == 200, answer.content
    task = answer.json()
    assert (task["name"], task["description"], task["priority"]) == ("anew", "", "normal")
    assert errors(api.send("PUT", f"tasks/{task_id}", {"name": "x"})) == {"target", "commands"}


@pytest.mark.parametrize(
    "change", [{"status": "running"}, {"created_by": "me"}, {"fence": ANOTHER}, {}, []]
)
def test_what_only_the_server_sets_is_refused(api: Api, host: Host, change: Any) -> None:
    task_id = api.post("tasks", body_for(host)).json()["task_id"]
    problem(api.send("PATCH", f"tasks/{task_id}", change), 400)


def test_a_started_task_is_neither_changed_nor_deleted(api: Api, host: Host) -> None:
    task_id = api.post("tasks", body_for(host)).json()["task_id"]
    start(Task.objects.get())
    for answer in (
        api.send("PATCH", f"tasks/{task_id}", {"name": "x"}),
        api.send("PUT", f"tasks/{task_id}", body_for(host)),
        api.send("DELETE", f"tasks/{task_id}"),
    ):
        assert problem(answer, 409)["code"] == "illegal_transition"
    assert Task.objects.get().name == "disk usage"


def test_a_pending_task_is_deleted(api: Api, host: Host) -> None:
    task_id = api.post("tasks", body_for(host)).json()["task_id"]
    assert api.send("DELETE", f"tasks/{task_id}").status_code == 204
    assert not Task.objects.exists()
    assert not Command.objects.exists()
    assert AuditEvent.objects.filter(action="task.delete", object_id=task_id).exists()
    problem(api.send("DELETE", f"tasks/{task_id}"), 404)
    problem(api.get(f"tasks/{task_id}"), 404)


def test_an_operator_changes_only_own_tasks(api: Api) -> None:
    operator = make_user(Role.OPERATOR)
    hosts = make_hosts(1)
    grant(operator, hosts)
    theirs = api.post("tasks", body_for(*hosts)).json()["task_id"]
    own = Api(operator)
    mine = own.post("tasks", body_for(*hosts)).json()["task_id"]
    for act in (
        lambda task: own.send("PATCH", f"tasks/{task}", {"name": "x"}),
        lambda task: own.send("DELETE", f"tasks/{task}"),
        lambda task: own.post(f"tasks/{task}/start"),
        lambda task: own.post(f"tasks/{task}/stop"),
        lambda task: own.post(f"tasks/{task}/cancel"),
    ):
        assert problem(act(theirs), 403)["code"] == "not_your_task"
    assert own.send("PATCH", f"tasks/{mine}", {"name": "x"}).status_code == 200
    assert api.send("PATCH", f"tasks/{mine}", {"name": "y"}).status_code == 200


def test_what_an_administrator_changes_reaches_no_further_than_the_creator(api: Api) -> None:
    operator = make_user(Role.OPERATOR)
    mine, other = make_hosts(2)
    group = grant(operator, [mine])
    task_id = Api(operator).post("tasks", body_for(mine)).json()["task_id"]
    wider = {"target": {"hosts": [str(other.host_id)]}}
    assert errors(api.send("PATCH", f"tasks/{task_id}", wider)) == {"target.hosts"}
    assert Task.objects.get().allowed_groups == [group.pk]
