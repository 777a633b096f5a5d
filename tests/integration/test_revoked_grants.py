"""Case revoked-grant: what was revoked stops what was prepared, at the start and in the queue."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import override_settings

from devops_manager.access.actors import SYSTEM
from devops_manager.access.models import AuditEvent, Role, User
from hosts_app.models import Host, HostGroup, HostGroupGrant, HostGroupMember
from tasks_app.models import CommandHost, Task
from tasks_app.services import fan_out, lifecycle
from tasks_app.services.admission import admit_tasks
from tests.pages_world import html, visitor
from tests.queue_world import make_hosts, make_task, started_task
from tests.task_factories import Api, body_for, grant, make_user

pytestmark = pytest.mark.django_db(transaction=True)  # what is refused is rolled back
ONE_AT_ONCE = override_settings(DM_MAX_CONCURRENT_TASKS=1)


class World:
    """An operator with two granted groups, a host in each, and one host in both."""

    def __init__(self) -> None:
        self.web, self.db, self.both = make_hosts(3)
        self.operator = make_user(Role.OPERATOR)
        self.front = grant(self.operator, [self.web, self.both], "front")
        self.back = grant(self.operator, [self.db, self.both], "back")
        self.api = Api(self.operator)

    def create(self, *hosts: Host, **fields: Any) -> Task:
        made = self.api.post("tasks", body_for(*hosts, **fields))
        assert made.status_code == 201, made.content
        return Task.objects.get(task_id=made.json()["task_id"])

    def revoke(self, *groups: HostGroup) -> None:
        HostGroupGrant.objects.filter(group__in=groups).delete()

    def start(self, task: Task, api: Api | None = None) -> Any:
        return (api or self.api).post(f"tasks/{task.task_id}/start")


def given(task: Task) -> set[str]:
    """Return the hosts that have something to do."""
    fan_out.fan_out_task(task.pk)
    rows = CommandHost.objects.filter(task=task)
    return set(rows.values_list("host__hostname", flat=True))


@pytest.mark.parametrize(
    "target", [{"groups": ["back"]}, {"tags": ["t"]}, {"all": True}, {}], ids=str
)
@pytest.mark.parametrize("starter", ["creator", "administrator"])
def test_nothing_runs_where_every_grant_is_gone(target: dict[str, Any], starter: str) -> None:
    world = World()
    Host.objects.filter(pk=world.db.pk).update(tags=["t"])
    world.revoke(world.front)
    hosts = {"hosts": [str(world.db.host_id)]}
    task = world.create(target=target or hosts)
    world.revoke(world.back)
    api = world.api if starter == "creator" else Api(make_user(Role.ADMIN))
    answer = world.start(task, api)
    assert (answer.status_code, answer.json()["code"]) == (409, "grants_revoked")
    assert str(world.db.host_id) in str(answer.json()["errors"]["target"])
    task.refresh_from_db()
    assert task.status == "pending"
    assert given(task) == set()


def test_hosts_that_fall_out_are_named_and_get_nothing() -> None:
    world = World()
    task = world.create(world.web, world.db, world.both)
    world.revoke(world.back)
    answer = world.start(task)
    assert answer.status_code == 200
    body = answer.json()
    assert body["left_out"] == [{"host_id": str(world.db.host_id), "hostname": "host-2"}]
    assert (body["left_out_hosts"], body["total_hosts"]) == (1, 2)
    assert given(task) == {"host-1", "host-3"}
    event = AuditEvent.objects.get(action="task.leave_out")
    assert event.actor == world.operator.username
    assert event.after["hosts"][0]["host_id"] == str(world.db.host_id)
    page = html(visitor(Role.VIEWER).get(f"/tasks/{task.task_id}"))
    assert "1 host was left out" in page
    assert "host-2" in page


def test_a_pinned_host_falls_out_with_its_step() -> None:
    world = World()
    commands = [{"body": "true"}, {"body": "id", "host": str(world.db.host_id)}]
    task = world.create(world.web, commands=commands)
    world.revoke(world.back)
    assert world.start(task).json()["left_out_hosts"] == 1
    assert given(task) == {"host-1"}


def test_other_groups_of_a_host_count_only_if_the_task_had_them() -> None:
    world = World()
    task = world.create(world.web)
    later = HostGroup.objects.create(name="later")
    HostGroupMember.objects.create(group=later, host=world.web)
    HostGroupGrant.objects.create(group=later, user=world.operator)
    world.revoke(world.front)
    assert world.start(task).json()["code"] == "grants_revoked"


def test_a_group_that_was_deleted_is_a_grant_that_is_gone() -> None:
    world = World()
    task = world.create(world.web)
    world.front.delete()
    answer = world.start(task)
    assert answer.status_code in {400, 409}
    assert given(task) == set()


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"is_active": False}, "creator_inactive"),
        ({"role": Role.VIEWER}, "creator_may_not_run"),
        ({"role": Role.APPROVER}, "creator_may_not_run"),
    ],
    ids=["inactive", "viewer", "approver"],
)
def test_who_may_run_nothing_any_more_has_nothing_run(change: dict[str, Any], code: str) -> None:
    world = World()
    task = world.create(world.web)
    User.objects.filter(pk=world.operator.pk).update(**change)
    admin = Api(make_user(Role.ADMIN))
    answer = world.start(task, admin)
    assert (answer.status_code, answer.json()["code"]) == (409, code)
    if code != "creator_inactive":
        assert world.start(task).status_code == 403


def test_an_administrator_who_became_an_operator_reaches_what_is_granted() -> None:
    world = World()
    chief = make_user(Role.ADMIN, "chief")
    api = Api(chief)
    made = api.post("tasks", body_for(world.web, world.db)).json()
    task = Task.objects.get(task_id=made["task_id"])
    User.objects.filter(pk=chief.pk).update(role=Role.OPERATOR)
    assert world.start(task, api).json()["code"] == "grants_revoked"
    HostGroupGrant.objects.create(user=chief, group=world.front)
    assert world.start(task, api).json()["left_out_hosts"] == 1
    assert given(task) == {"host-1"}


def test_an_operator_who_became_an_administrator_reaches_what_the_task_did() -> None:
    world = World()
    task = world.create(world.web)
    User.objects.filter(pk=world.operator.pk).update(role=Role.ADMIN)
    world.revoke(world.front)
    assert world.start(task).status_code == 200


@ONE_AT_ONCE
def test_in_the_queue_too() -> None:
    world = World()
    first = started_task([world.both])
    task, gone = world.create(world.web, world.db), world.create(world.db)
    assert world.start(task).json()["status"] == world.start(gone).json()["status"] == "queued"
    world.revoke(world.back)
    lifecycle.cancel_task(actor=SYSTEM, task_id=first.task_id)
    admit_tasks()
    task.refresh_from_db()
    assert (task.status, task.left_out["count"], given(task)) == ("running", 1, {"host-1"})
    assert AuditEvent.objects.get(action="task.leave_out").actor == "system"
    lifecycle.cancel_task(actor=SYSTEM, task_id=task.task_id)
    admit_tasks()
    gone.refresh_from_db()
    assert (gone.status, gone.error_code, given(gone)) == ("failed", "grants_revoked", set())
    assert "host-2" in gone.error_message
    assert AuditEvent.objects.get(action="task.fail").after["code"] == "grants_revoked"


@ONE_AT_ONCE
def test_a_task_that_has_to_wait_says_at_once_what_it_lost() -> None:
    world = World()
    started_task([world.both])
    task, gone = world.create(world.web, world.db), world.create(world.db)
    world.revoke(world.back)
    body = world.start(task).json()
    assert (body["status"], body["left_out_hosts"]) == ("queued", 1)
    assert world.start(gone).json()["code"] == "grants_revoked"
    gone.refresh_from_db()
    assert gone.status == "pending"


def test_a_task_of_the_system_has_no_creator_to_ask() -> None:
    (host,) = make_hosts(1)
    task = make_task([host])
    assert lifecycle.start_task(actor=SYSTEM, task_id=task.task_id).status == "running"
    gone = make_task([host], allowed_groups=[1])
    answer = Api(make_user()).post(f"tasks/{gone.task_id}/start")
    assert (answer.status_code, answer.json()["code"]) == (409, "creator_gone")
