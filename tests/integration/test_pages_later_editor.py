"""Two people edit the same thing on pages: the later one is told, and loses nothing typed."""

from __future__ import annotations

import re
from typing import Any

import pytest
from django.test import Client

from hosts_app.models import Host
from tasks_app.models import Task
from tests.pages_world import html, task_form, visitor
from tests.queue_world import make_hosts, make_task

pytestmark = pytest.mark.django_db(transaction=True)
VERSION = re.compile(r'name="version" value="([^"]*)"')


def version_of(answer: Any) -> str:
    (version,) = VERSION.findall(html(answer))
    return str(version)


@pytest.fixture
def client() -> Client:
    return visitor()


def test_the_later_editor_of_a_task_is_told_and_may_then_decide(client: Client) -> None:
    (host,) = make_hosts(1)
    task = make_task([host])
    address = f"/tasks/{task.task_id}/edit"
    seen = version_of(client.get(address))
    first = client.post(address, task_form(host, name="first", version=seen))
    assert first.status_code == 302
    late = client.post(address, task_form(host, name="second", version=seen))
    assert late.status_code == 400
    assert "Somebody else has changed it" in html(late)
    assert 'value="second"' in html(late)
    assert Task.objects.get(pk=task.pk).name == "first"
    now = version_of(late)
    assert now != seen
    assert client.post(address, task_form(host, name="second", version=now)).status_code == 302
    assert Task.objects.get(pk=task.pk).name == "second"


def test_a_preview_or_a_mistake_in_between_changes_nothing_of_it(client: Client) -> None:
    (host,) = make_hosts(1)
    task = make_task([host])
    address = f"/tasks/{task.task_id}/edit"
    seen = version_of(client.get(address))
    client.post(address, task_form(host, name="first", version=seen))
    for form in (
        task_form(host, act="preview", version=seen),
        task_form(host, name="", version=seen),
    ):
        assert version_of(client.post(address, form)) == seen
    late = client.post(address, task_form(host, name="second", version=seen))
    assert late.status_code == 400


def test_a_new_task_has_no_version(client: Client) -> None:
    assert not VERSION.search(html(client.get("/tasks/new")))


def test_the_later_editor_of_a_host_is_told_and_may_then_decide(client: Client) -> None:
    (host,) = make_hosts(1)
    seen = version_of(client.get(f"/hosts/{host.host_id}"))
    address = f"/hosts/{host.host_id}/change"
    first = {"tags": "one", "max_concurrency": "3", "version": seen}
    assert client.post(address, first).status_code == 302
    late = client.post(address, {"tags": "two", "max_concurrency": "5", "version": seen})
    assert late.status_code == 400
    assert "Somebody else has changed it" in html(late)
    assert Host.objects.get(pk=host.pk).tags == ["one"]
    again = {"tags": "two", "max_concurrency": "5", "version": version_of(late)}
    assert client.post(address, again).status_code == 302
    assert Host.objects.get(pk=host.pk).tags == ["two"]


@pytest.mark.parametrize("page", ["/tasks?status=running&status=failed", "/hosts?tag=a&tag=b"])
def test_a_filter_given_twice_is_refused_on_pages(client: Client, page: str) -> None:
    answer = client.get(page)
    assert answer.status_code == 400
    assert "Given more than once" in html(answer)


@pytest.mark.parametrize("query", ["since=0001-01-01", "until=9999-12-31", "since=9999-12-31"])
def test_a_day_that_no_calendar_reaches_is_said_beside_its_field(
    client: Client, query: str
) -> None:
    answer = client.get(f"/tasks?{query}")
    assert answer.status_code == 400
    assert "errors" in html(answer)
