"""Case others-environment: the values of a task's environment are for those who may run it."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client

from devops_manager.access.models import ApiToken, AuditEvent, Role, User
from hosts_app.models import HostGroupGrant
from tasks_app.models import Command
from tests.api.test_access import bearer
from tests.pages_world import BACKEND, html, task_form, visitor
from tests.queue_world import make_hosts
from tests.task_factories import Api, body_for, grant, make_user

pytestmark = pytest.mark.django_db
SECRET = "hunter2-of-the-database"
COMMANDS = [{"body": "true", "environment": {"PASSWORD": SECRET}}]


class World:
    """A task with a secret, of an operator with two groups."""

    def __init__(self) -> None:
        self.web, self.db = make_hosts(2)
        self.creator = make_user(Role.OPERATOR, "creator")
        self.groups = [grant(self.creator, [self.web], "a"), grant(self.creator, [self.db], "b")]
        made = Api(self.creator).post("tasks", body_for(self.web, commands=COMMANDS))
        self.task_id = made.json()["task_id"]

    def reader(self, role: Role, *groups: int) -> User:
        user = make_user(role, "reader")
        for at in groups:
            HostGroupGrant.objects.create(user=user, group=self.groups[at])
        return user

    def seen(self, user: User) -> dict[str, Any]:
        answer = Api(user).get(f"tasks/{self.task_id}")
        assert answer.status_code == 200
        return answer.json()["commands"][0]


@pytest.mark.parametrize(
    ("role", "groups", "shown"),
    [
        (Role.OPERATOR, (), False),
        (Role.OPERATOR, (0,), False),
        (Role.OPERATOR, (0, 1), True),
        (Role.VIEWER, (0, 1), False),
        (Role.APPROVER, (0, 1), False),
        (Role.ADMIN, (), True),
    ],
)
def test_who_sees_the_values(role: Role, groups: tuple[int, ...], shown: bool) -> None:
    world = World()
    user = world.reader(role, *groups)
    step = world.seen(user)
    assert step["environment"] == {"PASSWORD": SECRET if shown else "***"}
    assert step["environment_masked"] is not shown
    client = Client()
    client.force_login(user, backend=BACKEND)
    for page in ("", "/steps", "/output", "/trail"):
        assert SECRET not in html(client.get(f"/tasks/{world.task_id}{page}"))
    if role in {Role.OPERATOR, Role.ADMIN}:
        form = html(client.get(f"/tasks/new?copy={world.task_id}"))
        assert (SECRET in form) is shown
        assert ("PASSWORD=***" in form) is not shown


def test_the_creator_sees_them_and_a_viewers_token_of_an_administrator_does_not() -> None:
    world = World()
    assert world.seen(world.creator)["environment"] == {"PASSWORD": SECRET}
    script = Client(headers=bearer(make_user(Role.ADMIN), Role.VIEWER))
    step = script.get(f"/api/v1/tasks/{world.task_id}").json()["commands"][0]
    assert step["environment"] == {"PASSWORD": "***"}
    assert ApiToken.objects.count() == 1


def test_a_task_for_every_host_is_for_administrators() -> None:
    world = World()
    made = Api(make_user(Role.ADMIN)).post("tasks", body_for(world.web, commands=COMMANDS))
    world.task_id = made.json()["task_id"]
    assert world.seen(world.reader(Role.OPERATOR, 0, 1))["environment"] == {"PASSWORD": "***"}


def test_the_mask_is_never_stored_as_the_value() -> None:
    world = World()
    user = world.reader(Role.OPERATOR, 0)
    step = {key: world.seen(user)[key] for key in ("body", "environment")}
    answer = Api(user).post("tasks", body_for(world.web, commands=[step]))
    assert answer.status_code == 400
    assert list(answer.json()["errors"]) == ["commands[0].environment.PASSWORD"]
    path = f"tasks/{world.task_id}"
    for how, body in (("PATCH", {"commands": [step]}), ("PUT", body_for(commands=[step]))):
        changed = Api(world.creator).send(how, path, body)
        assert changed.status_code == 400, how
        assert "commands[0].environment.PASSWORD" in changed.json()["errors"]
    bulk = Api(user).post("tasks/bulk", {"tasks": [body_for(world.web, commands=[step])]})
    assert list(bulk.json()["errors"]) == ["tasks[0].commands[0].environment.PASSWORD"]
    assert Command.objects.get().environment == {"PASSWORD": SECRET}


def test_a_copied_form_is_not_saved_with_the_mask() -> None:
    world = World()
    client = visitor(Role.ADMIN)
    sent = task_form(world.web, **{"s0-environment": "PASSWORD=***"})
    refused = client.post("/tasks/new", sent)
    assert refused.status_code == 400
    assert "PASSWORD: *** stands for a value that is hidden" in html(refused)
    assert Command.objects.count() == 1


def test_nothing_of_it_is_in_the_trail_or_in_lists() -> None:
    world = World()
    api = Api(world.creator)
    api.send("PATCH", f"tasks/{world.task_id}", {"name": "other"})
    assert SECRET not in str(list(AuditEvent.objects.values()))
    for path in ("tasks", f"tasks/{world.task_id}/commands", f"tasks/{world.task_id}/progress"):
        assert SECRET not in api.get(path).content.decode()
