"""Renaming, retiring and replacing hosts over the API; hosts by name in targets."""

from __future__ import annotations

import uuid
from typing import Any

import pytest

from devops_manager.access.models import AuditEvent, Role
from hosts_app.models import Host, HostGroup, HostGroupGrant, HostGroupMember
from hosts_app.services import Heartbeat, Load, record_heartbeats
from tasks_app.models import CommandHost, Task
from tests.queue_world import FakeAgent, make_hosts, only, start
from tests.task_factories import Api, make_user

pytestmark = pytest.mark.django_db
NOBODY = uuid.UUID(int=1)


@pytest.fixture
def api() -> Api:
    return Api(make_user())


def problem(response: Any, status: int) -> dict[str, Any]:
    assert response.status_code == status, response.content
    return dict(response.json())


def listed(api: Api, **query: str) -> list[str]:
    return [host["hostname"] for host in api.get("hosts", **query).json()["results"]]


def actions(host: Host) -> list[str]:
    events = AuditEvent.objects.filter(object_id=str(host.host_id)).order_by("id")
    return list(events.values_list("action", flat=True))


def in_groups(host: Host, *names: str) -> None:
    for name in names:
        group, _made = HostGroup.objects.get_or_create(name=name)
        HostGroupMember.objects.create(host=host, group=group)


# ---- names


def test_a_person_fixes_the_name_that_is_shown(api: Api) -> None:
    (host,) = make_hosts(1)
    Host.objects.update(reported_hostname=host.hostname)
    path = f"hosts/{host.host_id}"
    changed = api.send("PATCH", path, {"display_name": "Shop 数据库"}).json()
    assert (changed["hostname"], changed["display_name"]) == ("Shop 数据库", "Shop 数据库")
    assert changed["reported_hostname"] == host.hostname
    assert listed(api, search="shop") == ["Shop 数据库"]
    back = api.send("PATCH", path, {"display_name": ""}).json()
    assert (back["hostname"], back["display_name"]) == (host.hostname, "")
    assert actions(host) == ["host.update"] * 2


@pytest.mark.parametrize("name", ["a\u200bb", "a\u202eb", "a\nb", "x" * 254, 7, None])
def test_a_name_that_shows_as_another_is_refused(api: Api, name: Any) -> None:
    (host,) = make_hosts(1)
    answer = api.send("PATCH", f"hosts/{host.host_id}", {"display_name": name})
    assert set(problem(answer, 400)["errors"]) == {"display_name"}


@pytest.mark.parametrize("tag", ["a\u200bb", "a\ufeffb", "a\u00adb"])
def test_a_tag_with_a_character_that_shows_nothing_is_refused(api: Api, tag: str) -> None:
    (host,) = make_hosts(1)
    answer = api.send("PATCH", f"hosts/{host.host_id}", {"tags": ["good", tag]})
    assert set(problem(answer, 400)["errors"]) == {"tags[1]"}


# ---- figures and drain


def test_a_draining_host_is_shown_and_found(api: Api) -> None:
    one, two, _never = make_hosts(3)
    load = Load(cpu_percent=3)
    record_heartbeats(
        [Heartbeat(host=one.pk, draining=True, load=load), Heartbeat(host=two.pk, draining=False)]
    )
    shown = api.get(f"hosts/{one.host_id}").json()
    assert (shown["draining"], shown["heartbeat"]["draining"]) == (True, True)
    assert shown["heartbeat"]["load_at"] is not None
    assert api.get(f"hosts/{two.host_id}").json()["heartbeat"]["load_at"] is None
    assert listed(api, draining="true") == [one.hostname]
    assert len(listed(api, draining="false")) == 2
    assert set(problem(api.get("hosts", draining="yes"), 400)["errors"]) == {"draining"}


# ---- retire


def test_a_retired_host_keeps_its_history_and_is_in_no_list_or_target(api: Api) -> None:
    one, two = make_hosts(2, tags=["blue"])
    in_groups(one, "front")
    in_groups(two, "front")
    body = {"name": "n", "target": {"all": True}, "commands": [{"body": "true"}]}
    task_id = api.post("tasks", body).json()["task_id"]
    start(Task.objects.get(task_id=task_id))
    assert api.send("DELETE", f"hosts/{one.host_id}").status_code == 204
    assert listed(api) == [two.hostname]
    assert listed(api, status="retired") == [one.hostname]
    shown = api.get(f"hosts/{one.host_id}").json()
    assert (shown["status"], shown["retired_at"] is not None) == ("retired", True)
    assert api.get(f"hosts/{one.host_id}/tasks").json()["count"] == 1
    assert {h["hostname"] for h in api.get(f"tasks/{task_id}/hosts").json()["results"]} == {
        one.hostname,
        two.hostname,
    }
    for target in ({"all": True}, {"tags": ["blue"]}, {"groups": ["front"]}):
        preview = api.post("targets/preview", {"target": target}).json()
        assert [host["hostname"] for host in preview["results"]] == [two.hostname]
    named = problem(api.post("tasks", {**body, "target": {"hosts": [str(one.host_id)]}}), 400)
    assert set(named["errors"]) == {"target.hosts"}
    assert "retired" in named["errors"]["target.hosts"][0]
    assert api.get("host-groups").json()["results"][0]["host_count"] == 1
    assert api.get("host-tags").json()["results"] == [{"tag": "blue", "hosts": 1}]


def test_retiring_again_changes_nothing_and_nobody_else_may(api: Api) -> None:
    (host,) = make_hosts(1)
    for _ in range(2):
        assert api.send("DELETE", f"hosts/{host.host_id}").status_code == 204
    assert actions(host) == ["host.retire"]
    assert problem(api.send("DELETE", f"hosts/{NOBODY}"), 404)["code"] == "not_found"
    operator = Api(make_user(Role.OPERATOR, "operator"))
    assert operator.send("DELETE", f"hosts/{host.host_id}").status_code == 403
    assert operator.post(f"hosts/{host.host_id}/unretire").status_code == 403


@pytest.mark.parametrize("status", ["pending", "active", "disabled"])
def test_a_person_brings_a_retired_host_back_to_where_it_was(api: Api, status: str) -> None:
    (host,) = make_hosts(1)
    Host.objects.update(status=status)
    path = f"hosts/{host.host_id}"
    assert problem(api.post(f"{path}/unretire"), 409)["code"] == "illegal_transition"
    api.send("DELETE", path)
    for refused in ("enable", "disable"):
        assert problem(api.post(f"{path}/{refused}"), 409)["code"] == "illegal_transition"
    back = api.post(f"{path}/unretire").json()
    assert (back["status"], back["retired_at"]) == (status, None)
    assert listed(api) == [host.hostname]
    assert actions(host) == ["host.retire", "host.unretire"]


@pytest.mark.django_db(transaction=True)
def test_a_step_that_is_pinned_to_a_retired_host_does_not_start(api: Api) -> None:
    one, two = make_hosts(2)
    body = {
        "name": "n",
        "target": {"hosts": [str(one.host_id)]},
        "commands": [{"body": "a"}, {"body": "b", "host": str(two.host_id)}],
    }
    task_id = api.post("tasks", body).json()["task_id"]
    api.send("DELETE", f"hosts/{two.host_id}")
    answer = problem(api.post(f"tasks/{task_id}/start"), 400)
    assert two.hostname in str(answer["errors"])
    assert Task.objects.get(task_id=task_id).status == "pending"


# ---- the same machine again


def test_a_machine_that_was_enrolled_again_is_shown_as_such_and_replaces_its_record(
    api: Api,
) -> None:
    old, new, stranger, nameless = make_hosts(4)
    Host.objects.filter(pk__in=[old.pk, new.pk]).update(machine_id="m-1")
    Host.objects.filter(pk=old.pk).update(
        tags=["blue", "db"], max_concurrency=2, display_name="Shop", hostname="Shop"
    )
    Host.objects.filter(pk=new.pk).update(tags=["db", "new"], status="pending")
    in_groups(old, "front", "shop")
    in_groups(new, "fresh", "front")
    path = f"hosts/{new.host_id}"
    assert [other["host_id"] for other in api.get(path).json()["same_machine"]] == [
        str(old.host_id)
    ]
    assert api.get(f"hosts/{nameless.host_id}").json()["same_machine"] == []
    for wrong in (stranger, nameless):
        answer = api.post(f"{path}/replace", {"replaces": str(wrong.host_id)})
        assert problem(answer, 409)["code"] == "another_machine"
    answer = api.post(f"{path}/replace", {"replaces": str(new.host_id)})
    assert set(problem(answer, 400)["errors"]) == {"replaces"}
    assert problem(api.post(f"{path}/replace", {"replaces": str(NOBODY)}), 404)
    assert set(problem(api.post(f"{path}/replace", {}), 400)["errors"]) == {"replaces"}

    now = api.post(f"{path}/replace", {"replaces": str(old.host_id)}).json()
    assert (now["hostname"], now["display_name"], now["max_concurrency"]) == ("Shop", "Shop", 2)
    assert now["tags"] == ["db", "new", "blue"]
    assert sorted(now["groups"]) == ["fresh", "front", "shop"]
    assert (now["status"], now["same_machine"]) == ("pending", [])
    assert api.get(f"hosts/{old.host_id}").json()["status"] == "retired"
    assert actions(old) == ["host.retire"]
    assert actions(new) == ["host.replace"]
    event = AuditEvent.objects.get(action="host.replace")
    assert event.after["replaces"] == str(old.host_id)
    assert event.before["tags"] == ["db", "new"]


# ---- hosts by name


def names_body(*hosts: str, **more: Any) -> dict[str, Any]:
    return {"name": "n", "target": {"hosts": [*hosts], **more}, "commands": [{"body": "true"}]}


def test_a_target_names_hosts_and_keeps_their_ids(api: Api) -> None:
    one, two, three = make_hosts(3)
    body = names_body(one.hostname, str(two.host_id), one.hostname, str(one.host_id))
    answer = api.post("tasks", body)
    assert answer.status_code == 201, answer.content
    assert answer.json()["target_hosts"] == 2
    task = Task.objects.get(task_id=answer.json()["task_id"])
    assert set(task.target["hosts"]) == {str(one.host_id), str(two.host_id)}
    Host.objects.filter(pk=three.pk).update(hostname=one.hostname)  # a thief of the name
    start(task)
    assert set(CommandHost.objects.values_list("host_id", flat=True)) == {one.pk, two.pk}


def test_exclusions_and_changes_name_hosts_too(api: Api) -> None:
    one, two = make_hosts(2)
    body = names_body() | {"target": {"all": True, "exclude": {"hosts": [one.hostname]}}}
    task_id = api.post("tasks", body).json()["task_id"]
    assert Task.objects.get().target["exclude"] == {"hosts": [str(one.host_id)]}
    changed = api.send("PATCH", f"tasks/{task_id}", {"target": {"hosts": [two.hostname]}})
    assert changed.status_code == 200
    assert Task.objects.get().target == {"hosts": [str(two.host_id)]}
    preview = api.post("targets/preview", {"target": {"hosts": [two.hostname]}}).json()
    assert [host["host_id"] for host in preview["results"]] == [str(two.host_id)]


def test_a_name_that_several_hosts_have_names_them(api: Api) -> None:
    one, two, three = make_hosts(3)
    Host.objects.filter(pk__in=[one.pk, two.pk]).update(hostname="web-1")
    for body in (names_body("web-1"), names_body(three.hostname, exclude={"hosts": ["web-1"]})):
        answer = problem(api.post("tasks", body), 400)
        assert answer["code"] == "ambiguous_target"
        ((field, sentences),) = answer["errors"].items()
        assert field.endswith("hosts")
        assert str(one.host_id) in sentences[0]
        assert str(two.host_id) in sentences[0]
    Host.objects.filter(pk=two.pk).update(status="retired")
    assert api.post("tasks", names_body("web-1")).status_code == 201


def test_names_of_hosts_out_of_reach_are_unknown() -> None:
    operator = make_user(Role.OPERATOR)
    mine, other, twin = make_hosts(3)
    Host.objects.filter(pk=twin.pk).update(hostname=mine.hostname)
    in_groups(mine, "mine")
    HostGroupGrant.objects.create(user=operator, group=HostGroup.objects.get(name="mine"))
    api = Api(operator)
    assert api.post("tasks", names_body(mine.hostname)).status_code == 201
    answer = problem(api.post("tasks", names_body(other.hostname)), 400)
    assert (answer["code"], set(answer["errors"])) == ("unknown_target", {"target.hosts"})
    assert problem(api.post("tasks", names_body("HOST-1")), 400)["code"] == "unknown_target"


# ---- pinned and excluded


def test_a_host_in_exclude_runs_only_what_is_pinned_to_it(api: Api) -> None:
    one, two = make_hosts(2)
    body = {
        "name": "n",
        "target": {"hosts": [str(two.host_id)], "exclude": {"hosts": [str(one.host_id)]}},
        "commands": [{"body": "echo one"}, {"body": "echo two", "host": str(one.host_id)}],
    }
    preview = api.post(
        "targets/preview", {"target": body["target"], "commands": body["commands"]}
    ).json()
    assert preview["count"] == 2
    assert preview["steps"] == [
        {"position": 1, "host": None, "hosts": 1},
        {"position": 2, "host": str(one.host_id), "hosts": 1},
    ]
    assert preview["pinned_only"] == [{"host_id": str(one.host_id), "hostname": one.hostname}]
    created = api.post("tasks", body).json()
    assert created["target_hosts"] == 2
    task = start(Task.objects.get(task_id=created["task_id"]))
    rows = CommandHost.objects.order_by("position").values_list("host_id", "position", "status")
    assert list(rows) == [(two.pk, 1, "pending"), (one.pk, 2, "pending")]
    for host in (one, two):
        agent = FakeAgent(host)
        agent.report(only(agent.poll()).fence)
    assert api.get(f"tasks/{task.task_id}").json()["status"] == "completed"


def test_a_preview_without_steps_and_with_wrong_ones(api: Api) -> None:
    one, two = make_hosts(2)
    target = {"hosts": [str(one.host_id)]}
    plain = api.post("targets/preview", {"target": target}).json()
    assert (plain["count"], plain["pinned_only"]) == (1, [])
    assert plain["steps"] == [{"position": 1, "host": None, "hosts": 1}]
    both = {"target": target, "commands": [{"body": "a"}, {"host": str(one.host_id)}]}
    assert api.post("targets/preview", both).json()["pinned_only"] == []
    for host, field in ((7, "commands[0].host"), ("x", "commands[0].host")):
        wrong = {"target": target, "commands": [{"host": host}]}
        assert set(problem(api.post("targets/preview", wrong), 400)["errors"]) == {field}
    Host.objects.filter(pk=two.pk).update(status="retired")
    gone = {"target": target, "commands": [{}, {"host": str(two.host_id)}]}
    assert set(problem(api.post("targets/preview", gone), 400)["errors"]) == {"commands[1].host"}


def test_a_host_that_was_never_heard_does_not_drain(api: Api) -> None:
    (host,) = make_hosts(1)
    assert api.get("hosts").json()["results"][0]["draining"] is False
    assert api.get(f"hosts/{host.host_id}").json()["draining"] is False
