"""Figures of one answer agree with each other, and what ended says why in the reader's words."""

from __future__ import annotations

from typing import Any

import pytest

from devops_manager.access.actors import SYSTEM
from tasks_app.models import CommandHost, Task
from tasks_app.services import lifecycle
from tests.queue_world import FakeAgent, make_hosts, make_task, only, started_task
from tests.task_factories import Api, body_for, make_user

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def api() -> Api:
    return Api(make_user())


def canceled_by_step(answer: dict[str, Any]) -> list[int]:
    return [step["rows"]["canceled"] for step in answer["commands"]]


@pytest.mark.parametrize("act", ["stop", "cancel"])
def test_hosts_without_rows_are_counted_the_same_by_task_and_steps(api: Api, act: str) -> None:
    """Canceled before its rows were made: two hosts canceled, and no row of them, it said."""
    task = make_task(make_hosts(2), steps=3)
    api.post(f"tasks/{task.task_id}/start")
    answer = api.post(f"tasks/{task.task_id}/{act}").json()
    assert not CommandHost.objects.exists()
    assert (answer["canceled_hosts"], canceled_by_step(answer)) == (2, [2, 2, 2])
    progress = api.get(f"tasks/{task.task_id}/progress").json()
    assert (progress["canceled_hosts"], canceled_by_step(progress)) == (2, [2, 2, 2])
    steps = api.get(f"tasks/{task.task_id}/commands").json()
    assert [step["rows"]["canceled"] for step in steps] == [2, 2, 2]


def test_hosts_with_rows_are_counted_the_same_by_task_and_steps(api: Api) -> None:
    one, two = make_hosts(2)
    task = started_task([one, two], steps=2)
    agent = FakeAgent(one)
    agent.report(only(agent.poll()).fence)
    answer = api.post(f"tasks/{task.task_id}/cancel").json()
    assert (answer["canceled_hosts"], canceled_by_step(answer)) == (2, [1, 2])
    assert answer["finished_at"] >= answer["cancel_requested_at"]
    untouched = make_task([one])
    assert canceled_by_step(api.post(f"tasks/{untouched.task_id}/cancel").json()) == [0]


def live(api: Api, task: Task, host: Any, status: int = 200) -> dict[str, Any]:
    command = task.commands.first()
    assert command is not None
    query = {"command": str(command.command_id), "host": str(host.host_id)}
    answer = api.get(f"tasks/{task.task_id}/logs/live", **query)
    assert answer.status_code == status, answer.content
    found: dict[str, Any] = answer.json()
    return found


def test_live_output_right_after_the_start_is_empty_rather_than_missing(api: Api) -> None:
    host, other, outside = make_hosts(3)
    task = make_task([host, other])
    assert live(api, task, host)["status"] == "pending"
    lifecycle.start_task(actor=SYSTEM, task_id=task.task_id)
    assert not CommandHost.objects.exists()
    chunk = live(api, task, host)
    assert (chunk["data"], chunk["next_offset"], chunk["ended"]) == ("", 0, False)
    assert chunk["status"] == "pending"
    live(api, task, outside, status=404)
    lifecycle.cancel_task(actor=SYSTEM, task_id=task.task_id)
    chunk = live(api, task, host)
    assert (chunk["ended"], chunk["status"]) == (True, "canceled")
    running = started_task([host])
    agent = FakeAgent(host)
    agent.poll()
    agent.poll()
    assert live(api, running, host)["status"] == "running"


@pytest.mark.parametrize(
    ("language", "words"),
    [
        ("en", "It ran longer than its time limit and was ended."),
        ("zh-CN,zh;q=0.9", "超过"),
    ],
)
def test_why_a_row_ended_is_in_words_wherever_its_code_is(
    api: Api, language: str, words: str
) -> None:
    (host,) = make_hosts(1)
    task = started_task([host])
    agent = FakeAgent(host)
    fence = only(agent.poll()).fence
    agent.report(fence, "timeout", error_code="timeout", error_message="")
    headers = {"Accept-Language": language}

    def read(path: str) -> Any:
        return api.client.get(f"/api/v1/{path}", headers=headers).json()

    rows = [
        read(f"tasks/{task.task_id}/hosts")["results"][0]["rows"][0],
        read(f"tasks/{task.task_id}/logs")["results"][0]["row"],
        read(f"tasks/{task.task_id}/progress?cursor=0")["changed"][0],
        read(f"hosts/{host.host_id}/tasks")["results"][0],
    ]
    for row in rows:
        assert row["error_code"] == "timeout"
        assert words in row["reason"]
    # asked again, in the other language: no cache mixes them up
    other = api.client.get(f"/api/v1/hosts/{host.host_id}/tasks", headers={"Accept-Language": "en"})
    assert other.json()["results"][0]["reason"].startswith("It ran longer")


def test_what_was_not_delivered_says_so_and_what_went_well_says_nothing(api: Api) -> None:
    (host,) = make_hosts(1)
    task = started_task([host])
    agent = FakeAgent(host)
    agent.report(only(agent.poll()).fence)
    row = api.get(f"tasks/{task.task_id}/hosts").json()["results"][0]["rows"][0]
    assert (row["error_code"], row["reason"]) == ("", "")
    assert api.get(f"tasks/{task.task_id}").json()["reason"] == ""
    assert api.post("tasks", body_for(host)).status_code == 201
