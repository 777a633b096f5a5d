"""The pages of tasks: lists, the form, the buttons, what is shown of a run."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from devops_manager.access.models import AuditEvent, Role, User
from hosts_app.models import Host, HostGroup
from tasks_app.models import Task
from tests.pages_world import begin, html, running_task, task_form, visitor
from tests.queue_world import make_hosts, make_task
from tests.task_factories import grant

pytestmark = pytest.mark.django_db


def send(client: Client, form: dict[str, Any], address: str = "/tasks/new") -> Any:
    return client.post(address, form)


def test_an_empty_list_says_how_to_begin() -> None:
    text = html(visitor().get("/tasks"))
    assert "Make the first task" in text
    assert "Your role may look at tasks" in html(visitor(Role.VIEWER).get("/tasks"))


def test_the_list_is_filtered_and_paged() -> None:
    hosts = make_hosts(1)
    for number in range(60):
        task = make_task(hosts)
        Task.objects.filter(pk=task.pk).update(name=f"job {number}")
    client = visitor()
    first = html(client.get("/tasks"))
    assert "job 59" in first
    assert "job 3<" not in first
    assert "Page 1 of 2" in first
    assert "job 3<" in html(client.get("/tasks?page=2"))
    assert "No task fits these filters." in html(client.get("/tasks?status=failed"))
    assert "job 41" in html(client.get("/tasks?name=JOB+41"))
    assert "job 42" not in html(client.get("/tasks?name=JOB+41"))
    assert "No task fits" in html(client.get("/tasks?creator=nobody"))
    assert "No task fits" in html(client.get("/tasks?until=2001-01-01"))
    wrong = client.get("/tasks?status=odd&since=yesterday")
    assert wrong.status_code == 400
    assert html(wrong).count('class="errors"') == 2
    assert client.get("/tasks?page=9").status_code == 404


def test_a_task_of_two_steps_is_created() -> None:
    hosts = make_hosts(2)
    client = visitor(name="olga")
    form = task_form(
        *hosts,
        steps=2,
        **{
            "s1-kind": "script",
            "s1-body": "import sys\r\nprint(sys.argv)\r\n",
            "s1-interpreter": "/usr/bin/env python3",
            "s1-parameters": 'one\r\n"two\\nlines"\r\n',
            "s1-environment": "LANG=C\r\nGREETING=a b",
        },
    )
    response = send(client, form)
    task = Task.objects.get()
    assert response.url == f"/tasks/{task.task_id}"
    assert task.created_by is not None
    assert task.created_by.username == "olga"
    assert task.status == "pending"
    second = task.commands.get(position=2)
    assert second.body == "import sys\nprint(sys.argv)\n"
    assert second.parameters == ["one", "two\nlines"]
    assert second.environment == {"LANG": "C", "GREETING": "a b"}
    assert AuditEvent.objects.get(action="task.create").actor == "olga"


def test_a_form_sent_twice_makes_one_task() -> None:
    client = visitor()
    form = task_form(*make_hosts(1), form=str(uuid.uuid4()))
    first = send(client, form)
    again = client.post("/tasks/new", form, follow=True)
    assert again.redirect_chain[0][0] == first.url
    assert "This form was sent before" in html(again)
    assert Task.objects.count() == 1
    send(client, form | {"name": "something else"})
    assert Task.objects.count() == 2


def test_mistakes_are_named_beside_their_fields_and_nothing_typed_is_lost() -> None:
    client = visitor()
    form = task_form(
        steps=2,
        **{
            "name": "",
            "description": "a long story",
            "delivery_seconds": "soon",
            "s0-body": "  ",
            "s0-name": "first",
            "s1-environment": "no equals sign",
            "s1-timeout_seconds": "-4",
            "s1-parameters": "kept",
        },
    )
    response = send(client, form)
    assert response.status_code == 400
    text = html(response)
    assert "not NAME=value" in text
    for name in ("id_name", "id_delivery_seconds", "id_s0-body", "id_s1-timeout_seconds"):
        assert f'id="{name}-errors"' in text, name
    for typed in ("a long story", "soon", "first", "kept", "-4"):
        assert typed in text
    assert "Choose hosts, groups or tags, or all active hosts." in text
    assert not Task.objects.exists()


def test_an_unknown_tag_is_named() -> None:
    text = html(send(visitor(), task_form(tags="nowhere")))
    assert "no host has the tag: nowhere" in text


def test_steps_are_added_moved_and_removed_without_losing_text() -> None:
    client = visitor()
    form = task_form(*make_hosts(1), steps=2)
    text = html(send(client, form | {"act": "add"}))
    assert 'name="steps" value="3"' in text
    assert 'name="s2-body"' in text
    text = html(send(client, form | {"act": "down-0"}))
    assert text.index("echo 2") < text.index("echo 1")
    text = html(send(client, form | {"act": "remove-0"}))
    assert "echo 1" not in text
    assert "echo 2" in text
    text = html(send(client, form | {"act": "up-7"}))
    assert text.index("echo 1") < text.index("echo 2")
    assert not Task.objects.exists()


def test_the_preview_shows_the_hosts_and_starts_nothing() -> None:
    hosts = make_hosts(3)
    text = html(send(visitor(), task_form(*hosts[:2], act="preview")))
    assert "2 hosts" in text
    assert "2 are offline now" in text
    text = html(send(visitor(name="other"), task_form(act="preview")))
    assert "Name hosts, groups or tags, or set all." in text
    assert not Task.objects.exists()


def test_the_preview_says_which_hosts_run_which_steps() -> None:
    one, two, three = make_hosts(3)
    form = task_form(one, two, steps=2, act="preview")
    form |= {"s1-body": "echo 2", "s1-host": str(three.host_id)}
    text = html(send(visitor(), form))
    assert "3 hosts" in text
    assert "Step 1: 2 hosts" in text
    assert "Step 2: 1 host" in text
    pinned = text.split("Run only the steps that are for them:", 1)[1].split("</p>", 1)[0]
    assert three.hostname in pinned
    assert two.hostname not in pinned


def test_hosts_are_found_by_search_and_by_pasted_names() -> None:
    hosts = make_hosts(3)
    client = visitor()
    form = task_form(hosts[0], hosts_q="host-")
    text = html(client.post("/tasks/pick/hosts", form))
    assert text.count("checked") == 1
    assert str(hosts[2].host_id) in text
    assert client.post("/tasks/pick/nothing", form).status_code == 404
    Host.objects.create(hostname="host-2", status="active")
    pasted = task_form(act="stay", hosts_names="host-3\r\nhost-9\nhost-2")
    text = html(send(client, pasted))
    assert f'value="{hosts[2].host_id}" checked' in text
    assert "no active host has the name: host-9" in text
    assert "several hosts have the name; tick the right one: host-2" in text
    assert "host-9\nhost-2</textarea>" in text


def test_an_operator_picks_from_the_groups_granted_only() -> None:
    hosts = make_hosts(2)
    client = visitor(Role.OPERATOR, name="olga")
    HostGroup.objects.create(name="secret")
    grant(User.objects.get(username="olga"), hosts[:1])
    text = html(client.get("/tasks/new"))
    assert ">web<" in text
    assert ">secret<" not in text
    found = html(client.post("/tasks/pick/hosts", task_form(hosts_q="host")))
    assert "host-1" in found
    assert "host-2" not in found
    refused = send(client, task_form(hosts[1]))
    assert refused.status_code == 400
    assert "unknown host" in html(refused)


def test_a_pending_task_is_changed_and_deleted() -> None:
    hosts = make_hosts(2)
    client = visitor()
    send(client, task_form(hosts[0], steps=2))
    task = Task.objects.get()
    address = f"/tasks/{task.task_id}"
    text = html(client.get(f"{address}/edit"))
    assert "echo 2" in text
    assert f'value="{hosts[0].host_id}" checked' in text
    send(client, task_form(hosts[1], name="new name"), f"{address}/edit")
    task.refresh_from_db()
    assert task.name == "new name"
    assert task.target == {"hosts": [str(hosts[1].host_id)]}
    assert task.commands.count() == 1
    text = html(client.post(f"{address}/delete", follow=True))
    assert "The task was deleted." in text
    assert not Task.objects.exists()


def test_a_copy_begins_with_what_the_other_was() -> None:
    hosts = make_hosts(1)
    step = {"body": "true", "environment": {"TOKEN": "secret"}, "parameters": ["a", " b"]}
    task = make_task(hosts, commands=[step])
    text = html(visitor().get(f"/tasks/new?copy={task.task_id}"))
    assert "TOKEN=secret" in text
    assert "&quot; b&quot;" in text
    other = html(visitor(Role.OPERATOR).get(f"/tasks/new?copy={task.task_id}"))
    assert "TOKEN=" in other
    assert "secret" not in other
    assert visitor(name="x").get("/tasks/new?copy=nonsense").status_code == 404


def test_start_stop_and_cancel_from_the_page() -> None:
    hosts = make_hosts(2)
    task = make_task(hosts, steps=2)
    client = visitor()
    address = f"/tasks/{task.task_id}"
    assert "The task was started." in html(begin(client, task))
    assert "The task has started" in html(client.get(f"{address}/edit", follow=True))
    late = client.post(f"{address}/edit", task_form(hosts[0], name="too late"), follow=True)
    assert "The task has started" in html(late)
    twice = html(client.post(f"{address}/start", follow=True))
    assert "The task has been started already." in twice
    client.post(f"{address}/cancel")
    late = html(client.post(f"{address}/start", follow=True))
    assert "The task has been started already." in late


def test_a_cancel_is_honest_about_what_is_not_confirmed() -> None:
    task, agents = running_task(make_hosts(3))
    client = visitor()
    text = html(client.post(f"/tasks/{task.task_id}/cancel", follow=True))
    assert "3 commands have not confirmed" in text
    agents[0].report(agents[0].started[0], "canceled")
    text = html(client.get(f"/tasks/{task.task_id}"))
    assert "2 commands have not confirmed" in text
    assert "/cancel" not in text


def test_a_stop_lets_what_runs_end() -> None:
    task, _agents = running_task(make_hosts(1), steps=2)
    client = visitor()
    text = html(client.post(f"/tasks/{task.task_id}/stop", follow=True))
    assert "1 command still runs" in text


def test_the_trail_names_who_did_what() -> None:
    client = visitor(name="olga")
    send(client, task_form(*make_hosts(1)))
    task = Task.objects.get()
    begin(client, task)
    text = html(client.get(f"/tasks/{task.task_id}/trail"))
    assert 'title="task.create">Created the task<' in text
    assert 'title="task.start">Started the task<' in text
    assert "Not started → Running" in text
    assert "olga" in text
    client.post("/language", {"language": "zh-hans", "next": "/tasks"})
    text = html(client.get(f"/tasks/{task.task_id}/trail"))
    assert 'title="task.start">启动了任务<' in text


def test_pages_take_as_many_statements_for_many_hosts_as_for_few() -> None:
    client = visitor()
    counts = []
    for number in (2, 40):
        hosts = [
            Host.objects.create(hostname=f"h-{number}-{no}", status="active")
            for no in range(number)
        ]
        task, agents = running_task(hosts, steps=2)
        for agent in agents:
            agent.report(agent.started[0])
        pages = ("/", "/tasks", f"/tasks/{task.task_id}", f"/tasks/{task.task_id}/output")
        for page in pages:
            with CaptureQueriesContext(connection) as queries:
                assert client.get(page).status_code == 200
            counts.append(len(queries))
    assert counts[:4] == counts[4:]
    assert max(counts) <= 30


def test_the_overview_counts_and_lists() -> None:
    hosts = make_hosts(2)
    Host.objects.create(hostname="newcomer")
    task, _agents = running_task(hosts)
    text = html(visitor().get("/"))
    assert "newcomer" in text
    assert f"/tasks/{task.task_id}" in text
    assert "hosts wait for approval" in text
