"""Pages that follow: what the script is answered, how often it asks, when it stops."""

from __future__ import annotations

import re
from typing import Any

import pytest
from django.contrib.messages import get_messages
from django.db.models.functions import Now
from django.test import Client

from devops_manager.access.actors import SYSTEM
from devops_manager.access.models import Role
from tasks_app.models import Task
from tasks_app.services import lifecycle
from tests.pages_world import html, running_task, task_form, visitor
from tests.queue_world import make_hosts, make_task, only

pytestmark = pytest.mark.django_db


def told(text: str, name: str) -> str:
    """Return what a page's line tells the script."""
    found = re.search(rf'data-{name}="([^"]*)"', text)
    assert found is not None, name
    return found[1]


def follow(client: Client, address: str, text: str) -> str:
    """Ask as the script of an open page does."""
    seen = f"{told(text, 'cursor')}/{told(text, 'revision')}"
    response = client.get(address, headers={"X-Live": seen})
    assert response.status_code == 200, address
    return html(response)


def regions(text: str) -> set[str]:
    """Return the ids of the parts that an answer brings."""
    return {
        name
        for tag in re.findall(r"<[a-z]+ [^>]*data-live[^>]*>", text)
        for name in re.findall(r'id="([^"]+)"', tag)
    }


def test_a_running_task_is_followed_to_its_end() -> None:
    task, agents = running_task(make_hosts(2))
    client, address = visitor(), f"/tasks/{task.task_id}"
    first = html(client.get(address))
    agents[0].report(agents[0].started[0])
    second = follow(client, address, first)
    assert "1 of 2 hosts have ended" in second
    assert "Completed successfully" in second
    assert told(second, "every") == "1500"
    agents[1].report(agents[1].started[0])
    last = follow(client, address, second)
    assert "2 of 2 hosts have ended" in last
    assert told(last, "every") == "0"


def test_rows_that_did_not_move_are_not_read_again() -> None:
    task, _agents = running_task(make_hosts(2))
    client, address = visitor(), f"/tasks/{task.task_id}"
    first = html(client.get(address))
    assert "task-hosts" in regions(first)
    still = first.replace(told(first, "cursor"), str(10**17))
    again = follow(client, address, still)
    assert "task-hosts" not in regions(again)
    assert "task-summary" in regions(again)
    output = html(client.get(f"{address}/output"))
    still = output.replace(told(output, "cursor"), str(10**17))
    assert "task-output" not in regions(follow(client, f"{address}/output", still))


def test_a_list_without_rows_follows_the_state_of_its_task() -> None:
    task = make_task(make_hosts(1))
    client, address = visitor(), f"/tasks/{task.task_id}"
    first = html(client.get(address))
    assert told(first, "every") == "5000"
    lifecycle.cancel_task(actor=SYSTEM, task_id=task.task_id)
    still = first.replace(told(first, "cursor"), str(10**17))
    assert "The task ended before any host was given a step." in follow(client, address, still)


@pytest.mark.parametrize("seen", ["", "/", "x/y", "-1/0", "9" * 40, "1.2/3"])
def test_a_header_that_says_nothing_is_a_first_question(seen: str) -> None:
    task, _agents = running_task(make_hosts(1))
    response = visitor().get(f"/tasks/{task.task_id}", headers={"X-Live": seen})
    assert response.status_code == 200
    assert "task-hosts" in regions(html(response))


def test_every_page_that_can_change_follows() -> None:
    (host,) = make_hosts(1)
    task, agents = running_task([host], steps=2)
    client = visitor()
    base = f"/tasks/{task.task_id}"
    pages = {
        "/": {"figures", "running", "latest", "waiting"},
        "/tasks": {"tasks"},
        "/hosts": {"hosts", "waiting"},
        "/tokens": {"token-list"},
        "/enrolment": {"token-list"},
        f"/hosts/{host.host_id}": {"host-state", "host-given", "host-trail", "host-acts"},
        base: {"task-summary", "task-acts", "task-hosts"},
        f"{base}/output": {"task-summary", "task-acts", "task-output"},
        f"{base}/steps": {"task-summary", "task-acts", "task-steps"},
        f"{base}/trail": {"task-summary", "task-acts", "task-trail"},
        f"{base}/hosts/{host.host_id}": {"host-steps"},
    }
    before = {address: html(client.get(address)) for address in pages}
    agents[0].report(agents[0].started[0])
    second = only(agents[0].poll())
    agents[0].report(second.fence)
    for address, wanted in pages.items():
        assert int(told(before[address], "every")) > 0, address
        assert "js/follow.js" in before[address], address
        answer = follow(client, address, before[address])
        assert wanted <= regions(answer), address
        assert "<nav aria-label" not in answer, address
        assert told(answer, "time") >= told(before[address], "time"), address
    assert told(follow(client, base, before[base]), "every") == "0"


def test_an_unknown_outcome_may_still_change() -> None:
    task, _agents = running_task(make_hosts(1))
    lost = {"status": "failed", "lost_hosts": 1, "finished_at": Now()}
    Task.objects.filter(pk=task.pk).update(**lost)
    assert told(html(visitor().get(f"/tasks/{task.task_id}")), "every") == "30000"


def test_an_answer_to_the_script_takes_no_message_from_the_person() -> None:
    client = visitor()
    response: Any = client.post("/tasks/new", task_form(*make_hosts(1)))
    follow_answer = client.get("/", headers={"X-Live": "/"})
    assert "The task was created." not in html(follow_answer)
    assert not list(get_messages(follow_answer.wsgi_request))[1:]
    assert "The task was created." in html(client.get(response.url))


def test_following_needs_a_session_and_the_role() -> None:
    task, _agents = running_task(make_hosts(1))
    stranger = Client().get(f"/tasks/{task.task_id}", headers={"X-Live": "/"})
    assert stranger.status_code == 302
    assert visitor(Role.VIEWER).get("/enrolment", headers={"X-Live": "/"}).status_code == 403


def test_why_a_command_ended_stands_on_the_hosts_page() -> None:
    (host,) = make_hosts(1)
    _task, agents = running_task([host])
    agents[0].report(
        agents[0].started[0], "failed", error_code="run_as_failed", error_message="No user <x>."
    )
    client = visitor()
    assert "No user &lt;x&gt;." in html(client.get(f"/hosts/{host.host_id}"))
    client.cookies["django_language"] = "zh-hans"
    assert "无法以步骤指定的用户身份执行。" in html(client.get(f"/hosts/{host.host_id}"))
