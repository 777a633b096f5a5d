"""A start says first on how many hosts and what, and means that and nothing else."""

from __future__ import annotations

import re
from typing import Any

import pytest
from django.test import Client, override_settings

from devops_manager.access.actors import SYSTEM
from devops_manager.access.models import Role
from hosts_app.models import Host
from tasks_app.models import Task
from tasks_app.services import lifecycle
from tests.pages_world import html, plan_in, task_form, visitor
from tests.queue_world import make_hosts, make_task, started_task

pytestmark = pytest.mark.django_db


def tagged_task(count: int) -> tuple[Task, list[Host]]:
    """Make a task for hosts by tag: which those are may change."""
    hosts = make_hosts(count)
    Host.objects.update(tags=["web"])
    task = make_task(hosts)
    Task.objects.filter(pk=task.pk).update(target={"tags": ["web"]})
    return task, hosts


def status_of(task: Task) -> str:
    task.refresh_from_db()
    return str(task.status)


def test_a_start_counts_and_names_first_and_starts_nothing_by_that() -> None:
    task, _hosts = tagged_task(12)
    client = visitor()
    assert f'href="/tasks/{task.task_id}/start"' in html(client.get(f"/tasks/{task.task_id}"))
    text = html(client.get(f"/tasks/{task.task_id}/start"))
    assert "Start the task on 12 hosts" in text
    assert "12 are offline now" in text
    assert "host-1" in text
    assert "and 4 more" in text
    assert "on 12 hosts" in text
    assert status_of(task) == "pending"
    response = client.post(f"/tasks/{task.task_id}/start", {"plan": plan_in(text)})
    assert response.status_code == 302
    assert status_of(task) == "running"


def test_a_pinned_step_is_named() -> None:
    one, two = make_hosts(2)
    client = visitor()
    client.post("/tasks/new", task_form(one, steps=2, **{"s1-host": str(two.host_id)}))
    task = Task.objects.get()
    text = html(client.get(f"/tasks/{task.task_id}/start"))
    assert "2 hosts" in text
    assert "on 1 host" in text
    assert f"only on {two.hostname}" in text
    assert "1 is there only for a step that names it" in text


@pytest.mark.parametrize("change", ["more hosts", "fewer hosts", "other text", "other target"])
def test_a_plan_that_changed_is_refused_and_shown_anew(change: str) -> None:
    task, hosts = tagged_task(3)
    client = visitor()
    address = f"/tasks/{task.task_id}/start"
    agreed = plan_in(html(client.get(address)))
    if change == "more hosts":
        Host.objects.create(hostname="late", status="active", tags=["web"])
    elif change == "fewer hosts":
        Host.objects.filter(pk=hosts[0].pk).update(status="disabled")
    elif change == "other text":
        task.commands.update(body="rm -r /srv/data")
    else:
        Task.objects.filter(pk=task.pk).update(target={"hosts": [str(hosts[1].host_id)]})
    response = client.post(address, {"plan": agreed})
    assert response.status_code == 409
    text = html(response)
    assert "Nothing was started" in text
    assert status_of(task) == "pending"
    assert plan_in(text) != agreed
    assert client.post(address, {"plan": plan_in(text)}).status_code == 302
    assert status_of(task) == "running"


@pytest.mark.parametrize("plan", [{}, {"plan": ""}, {"plan": "0" * 64}, {"plan": "ü"}])
def test_nothing_starts_unseen(plan: dict[str, str]) -> None:
    task, _hosts = tagged_task(1)
    assert visitor().post(f"/tasks/{task.task_id}/start", plan).status_code == 409
    assert status_of(task) == "pending"


def test_a_host_that_went_offline_does_not_change_the_plan() -> None:
    task, hosts = tagged_task(2)
    client = visitor()
    agreed = plan_in(html(client.get(f"/tasks/{task.task_id}/start")))
    Host.objects.filter(pk=hosts[0].pk).update(max_concurrency=9)
    assert client.post(f"/tasks/{task.task_id}/start", {"plan": agreed}).status_code == 302


def test_what_cannot_start_says_why() -> None:
    task, hosts = tagged_task(1)
    Host.objects.update(status="disabled")
    text = html(visitor().get(f"/tasks/{task.task_id}/start"))
    assert "It cannot be started as it is." in text
    assert "Start the task on" not in text
    assert hosts


@override_settings(DM_MAX_CONCURRENT_TASKS=1)
def test_a_task_that_will_wait_says_so() -> None:
    task, hosts = tagged_task(1)
    started_task(hosts)
    text = html(visitor().get(f"/tasks/{task.task_id}/start"))
    assert "this task waits for a free slot" in text


def test_a_started_task_is_not_started_again() -> None:
    task, _hosts = tagged_task(1)
    lifecycle.start_task(actor=SYSTEM, task_id=task.task_id)
    response = visitor().get(f"/tasks/{task.task_id}/start", follow=True)
    assert "The task has been started already." in html(response)


def test_another_operators_task_is_not_theirs_to_start() -> None:
    task, _hosts = tagged_task(1)
    client = visitor(Role.OPERATOR, name="pat")
    assert client.get(f"/tasks/{task.task_id}/start").status_code == 403
    assert client.post(f"/tasks/{task.task_id}/start", {"plan": "x"}).status_code == 403


def test_create_and_start_leads_to_the_question() -> None:
    client = visitor()
    response: Any = client.post("/tasks/new", task_form(*make_hosts(2), act="save-start"))
    task = Task.objects.get()
    assert task.status == "pending"
    assert response.url == f"/tasks/{task.task_id}/start"
    text = html(client.get(response.url))
    assert "The task was created." in text
    client.post(response.url, {"plan": plan_in(text)})
    assert status_of(task) == "running"


@pytest.fixture
def staff() -> Client:
    """An administrator in Django's admin."""
    return visitor(staff=True, name="root")


def act(client: Client, tasks: list[Task], **fields: Any) -> Any:
    ticked = {"action": "start_tasks", "_selected_action": [task.pk for task in tasks]}
    return client.post("/admin/tasks_app/task/", ticked | fields, follow=True)


def test_the_admin_counts_and_names_before_it_starts(staff: Client) -> None:
    first, hosts = tagged_task(3)
    second = make_task(hosts[:1])
    third = started_task(hosts[:1])
    text = html(act(staff, [first, second, third]))
    assert "Start 2 tasks (4 hosts)" in text
    assert "It has been started already." in text
    assert [status_of(first), status_of(second)] == ["pending", "pending"]
    plans = dict(re.findall(r'name="(plan-[0-9a-f-]+)" value="([0-9a-f]{64})"', text))
    assert len(plans) == 2
    Host.objects.create(hostname="late", status="active", tags=["web"])
    text = html(act(staff, [first, second], confirmed="yes", **plans))
    assert "Started 1 task." in text
    assert "Nothing was started: the task or its hosts are not what was shown." in text
    assert [status_of(first), status_of(second)] == ["pending", "running"]


def test_the_admin_starts_nothing_unseen(staff: Client) -> None:
    task, _hosts = tagged_task(1)
    act(staff, [task], confirmed="yes")
    assert status_of(task) == "pending"


def test_the_preview_follows_the_form_and_counts_pins() -> None:
    one, two, three = make_hosts(3)
    client = visitor()
    text = html(client.post("/tasks/preview", task_form(one, two)))
    assert "2 hosts" in text
    assert "as of" in text
    pinned = task_form(one, steps=2, **{"s1-host": str(three.host_id)})
    text = html(client.post("/tasks/preview", pinned))
    assert "2 hosts" in text
    named = text.partition("Run only the steps that are for them:")[2]
    assert re.findall('class="chip">(.*?)<', named) == [three.hostname]
    assert "No hosts are chosen yet." in html(client.post("/tasks/preview", task_form()))
    assert "no host has the tag: nope" in html(
        client.post("/tasks/preview", task_form(tags="nope"))
    )
    assert not Task.objects.exists()
    assert visitor(Role.VIEWER, name="v").post("/tasks/preview", {}).status_code == 403
