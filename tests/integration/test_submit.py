"""Creating and changing tasks as services: set-based, all or nothing, in order with a start."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from django.db import connection, transaction
from django.test import override_settings
from django.test.utils import CaptureQueriesContext

from devops_manager.access.models import AuditEvent, Role
from devops_manager.lib.errors import Conflict, Forbidden, InvalidInput
from hosts_app.models import HostGroupGrant
from tasks_app.models import Command, Task
from tasks_app.services import lifecycle, submit
from tasks_app.services.drafts import draft_as_json, parse_changes, parse_task, parse_tasks
from tests.queue_world import make_hosts
from tests.task_factories import actor_for, body_for, grant, make_user

pytestmark = pytest.mark.django_db


def bodies(count: int, *hosts: Any) -> dict[str, Any]:
    return {"tasks": [body_for(*hosts, name=f"task {number}") for number in range(count)]}


def statements(count: int, *hosts: Any) -> list[str]:
    actor = actor_for(make_user(name=f"creator of {count}"))
    drafts = parse_tasks(bodies(count, *hosts))
    with CaptureQueriesContext(
        connection,
    ) as captured:
        submit.create_tasks(actor=actor, drafts=drafts)
    return [query["sql"] for query in captured.captured_queries]


def test_500_tasks_take_as_many_statements_as_two() -> None:
    hosts = make_hosts(3)
    few, many = statements(2, *hosts), statements(500, *hosts)
    assert len(many) == len(few) <= 6
    assert sum("INSERT INTO tasks" in sql for sql in many) == 1


def test_a_batch_is_one_audit_event_that_names_all() -> None:
    actor = actor_for(make_user())
    created = submit.create_tasks(actor=actor, drafts=parse_tasks(bodies(3, *make_hosts(1))))
    event = AuditEvent.objects.get()
    assert (event.action, event.object_type) == ("task.create", "task_batch")
    assert event.after["task_ids"] == [str(task.task_id) for task in created]


def test_nothing_is_stored_without_its_audit_event() -> None:
    actor = actor_for(make_user())
    draft = parse_task(body_for(*make_hosts(1)))
    with transaction.atomic():
        submit.create_task(actor=actor, draft=draft)
        transaction.set_rollback(True)
    assert not Task.objects.exists()
    assert not AuditEvent.objects.exists()


def test_rows_say_exactly_what_the_model_says() -> None:
    """The statement fills in what Django's defaults would."""
    draft = parse_task(body_for(*make_hosts(1)))
    created = submit.create_task(actor=actor_for(make_user()), draft=draft)
    stored = Task.objects.get(task_id=created.task_id)
    plain = Task(name=stored.name, target=stored.target, created_by_id=stored.created_by_id)
    left_out = {"id", "task_id", "created_at"}
    for field in Task._meta.concrete_fields:
        if field.name not in left_out:
            assert getattr(stored, field.attname) == getattr(plain, field.attname), field.name
    command = stored.commands.get()
    usual = Command(task=stored, position=1, body="df -h")
    for field in Command._meta.concrete_fields:
        if field.name not in {"id", "command_id"}:
            assert getattr(command, field.attname) == getattr(usual, field.attname), field.name


def test_a_draft_comes_back_from_what_is_stored() -> None:
    (host,) = make_hosts(1)
    body = body_for(host, commands=[{"body": "x", "environment": {"A": "b"}, "parameters": ["c"]}])
    stored = {**body, "commands": [{**body["commands"][0], "host": str(host.host_id)}]}
    draft = parse_changes({"description": "more"}, current=stored)
    assert draft.description == "more"
    assert draft.commands[0].environment == {"A": "b"}
    assert draft.commands[0].host == host.host_id
    assert parse_task(draft_as_json(draft)) == draft


def test_a_task_of_more_generous_times_can_still_be_deleted() -> None:
    actor = actor_for(make_user())
    body = body_for(*make_hosts(1), commands=[{"body": "x"}] * 3)
    task_id = submit.create_task(actor=actor, draft=parse_task(body)).task_id
    with override_settings(DM_MAX_COMMANDS_PER_TASK=1):
        submit.delete_task(actor=actor, task_id=task_id)
    assert not Task.objects.exists()


def test_a_group_that_is_not_granted_is_forbidden() -> None:
    operator = make_user(Role.OPERATOR)
    hosts = make_hosts(2)
    grant(operator, hosts[:1], "web")
    grant(make_user(Role.OPERATOR, "another"), hosts[1:], "db")
    body = {"tasks": [body_for(target={"groups": ["web"]}), body_for(target={"groups": ["db"]})]}
    with pytest.raises(Forbidden) as caught:
        submit.create_tasks(actor=actor_for(operator), drafts=parse_tasks(body))
    assert set(caught.value.fields) == {"tasks[1].target.groups"}
    assert not Task.objects.exists()


def test_who_lost_a_group_cannot_give_its_hosts_other_steps() -> None:
    operator = make_user(Role.OPERATOR)
    hosts = make_hosts(1)
    grant(operator, hosts)
    actor = actor_for(operator)
    task_id = submit.create_task(actor=actor, draft=parse_task(body_for(*hosts))).task_id
    HostGroupGrant.objects.all().delete()
    with pytest.raises(InvalidInput):
        submit.update_task(
            actor=actor, task_id=task_id, value={"commands": [{"body": "rm"}]}, partial=True
        )
    assert Command.objects.get().body == "df -h"


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("_round", range(10))
def test_a_change_and_a_start_take_turns(_round: int) -> None:
    """Whichever comes first: what runs is either all of the old or all of the new."""
    actor = actor_for(make_user())
    old = parse_task(body_for(*make_hosts(1), commands=[{"body": "old"}] * 3))
    task_id = submit.create_task(actor=actor, draft=old).task_id
    barrier = threading.Barrier(2)
    refused: list[str] = []

    def change() -> None:
        value = {"commands": [{"body": "new"}] * 2}
        barrier.wait(10)
        try:
            submit.update_task(actor=actor, task_id=task_id, value=value, partial=True)
        except Conflict as error:
            refused.append(error.code)
        finally:
            connection.close()

    other = threading.Thread(target=change)
    other.start()
    barrier.wait(10)
    lifecycle.start_task(actor=actor, task_id=task_id)
    other.join(10)
    assert not other.is_alive()
    left = list(Command.objects.filter(task__task_id=task_id).values_list("body", flat=True))
    assert left == (["old"] * 3 if refused else ["new"] * 2)
    assert Task.objects.get(task_id=task_id).status == "running"
