"""A real browser on the real pages: what a person does from the sign-in to the result.

The hosts' part is played by agents that speak through the services, in step with the page.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from devops_manager.access.models import Role, User
from hosts_app.models import Host
from tasks_app.models import Task
from tasks_app.services import fan_out
from tests.browser_world import open_chromium, signed_in
from tests.queue_world import FakeAgent, make_hosts

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]
PASSWORD = "a quite long password"


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with open_chromium() as browser:
        yield browser


@pytest.fixture
def page(chromium: Browser, live_server: Any) -> Iterator[Page]:
    """A signed-in administrator's page."""
    user = User(username="olga", role=Role.ADMIN)
    user.set_password(PASSWORD)
    user.save()
    with signed_in(chromium, live_server.url, "olga", PASSWORD) as tab:
        yield tab


def write_task(page: Page) -> None:
    """Fill the form of a task of two steps for one host."""
    page.goto("/tasks/new")
    page.get_by_label("Name", exact=True).fill("Disk report")
    page.get_by_label("Single hosts").press_sequentially("host-1")
    page.get_by_role("checkbox", name=re.compile("host-1")).check()
    page.get_by_label("Command or script").fill("df -h")
    page.get_by_role("button", name="Add a step").click()
    expect(page.get_by_role("group", name="Step 2")).to_be_visible()
    page.locator("#id_s1-body").fill("uname -a")


def test_a_task_from_the_form_to_its_result(page: Page) -> None:
    (host,) = make_hosts(1)
    write_task(page)
    page.locator("#id_s0-timeout_seconds").fill("soon")
    page.get_by_role("button", name="Create and start").click()
    expect(page.get_by_role("alert")).to_contain_text("The task was not saved.")
    expect(page.locator("#id_s0-timeout_seconds-errors")).to_be_visible()
    expect(page.locator("#id_s0-timeout_seconds")).to_have_value("soon")
    expect(page.locator("#id_s1-body")).to_have_value("uname -a")
    page.locator("#id_s0-timeout_seconds").fill("60")
    page.get_by_role("button", name="Show which hosts these are").click()
    expect(page.locator("#preview")).to_contain_text("1 host")
    page.get_by_role("button", name="Create and start").click()
    page.get_by_role("button", name="Start the task on 1 host").click()
    expect(page.get_by_role("heading", name="Disk report")).to_be_visible()

    task = Task.objects.get()
    fan_out.fan_out_task(task.pk)
    agent = FakeAgent(host)
    hosts = page.locator("#task-hosts")
    for step in ("1", "2"):
        agent.poll()
        expect(hosts).to_contain_text("Delivered")
        agent.poll()
        expect(hosts).to_contain_text("Running on the host")
        agent.report(agent.started[-1])
        expect(hosts.locator("[data-state=completed]").first).to_be_visible()
        assert step
    expect(page.locator("#live")).to_have_text("The task has ended.")
    expect(page.locator("#task-summary")).to_contain_text("1 of 1 hosts have ended")
    page.get_by_role("link", name="host-1").click()
    expect(page.locator("pre.output").first).to_have_text("out\n")


def test_a_cancel_is_asked_twice_and_told_honestly(page: Page) -> None:
    (host,) = make_hosts(1)
    write_task(page)
    page.get_by_role("button", name="Create only").click()
    page.get_by_text("Start…").click()
    page.get_by_role("button", name="Start the task").click()
    expect(page.get_by_role("status").first).to_contain_text("The task was started.")
    task = Task.objects.get()
    fan_out.fan_out_task(task.pk)
    agent = FakeAgent(host)
    agent.poll()
    agent.poll()
    page.get_by_text("Cancel…").click()
    expect(page.get_by_text("What a command has done already is not undone.")).to_be_visible()
    page.get_by_role("button", name="Cancel the task").click()
    summary = page.locator("#task-summary")
    expect(summary).to_contain_text("1 command has not confirmed")
    agent.report(agent.started[0], "canceled")
    expect(page.locator("#live")).to_have_text("The task has ended.")
    expect(summary.locator("[data-state=canceled]").first).to_be_visible()
    expect(page.get_by_text("Cancel…")).to_have_count(0)


def test_an_open_question_stays_open_while_the_page_follows(page: Page) -> None:
    (host,) = make_hosts(1)
    write_task(page)
    page.get_by_role("button", name="Create and start").click()
    page.get_by_role("button", name="Start the task on 1 host").click()
    expect(page.locator("#task-summary")).to_be_visible()
    task = Task.objects.get()
    fan_out.fan_out_task(task.pk)
    expect(page.locator("#task-hosts")).to_contain_text("Waiting to run")
    page.get_by_text("Cancel…").click()
    agent = FakeAgent(host)
    agent.poll()
    agent.poll()
    expect(page.locator("#task-hosts")).to_contain_text("Running on the host")
    expect(page.get_by_role("button", name="Cancel the task")).to_be_visible()


def test_a_host_is_approved(page: Page) -> None:
    Host.objects.create(hostname="newcomer")
    page.goto("/hosts?status=pending")
    page.get_by_role("checkbox", name="newcomer").check()
    page.get_by_role("button", name="Approve the ticked").click()
    expect(page.get_by_role("status").first).to_contain_text("1 host may work now.")
    assert Host.objects.get().status == "active"


def test_the_language_is_switched_on_every_page(page: Page) -> None:
    page.goto("/tasks/new")
    page.get_by_role("button", name="简体中文").click()
    expect(page.get_by_role("heading", name="新建任务")).to_be_visible()
    page.get_by_role("link", name="主机", exact=True).click()
    expect(page.locator("html")).to_have_attribute("lang", "zh-hans")
    page.get_by_role("button", name="English").click()
    expect(page.get_by_role("heading", name="Hosts")).to_be_visible()


def test_the_form_works_without_scripts(chromium: Browser, page: Page, live_server: Any) -> None:
    make_hosts(1)
    cookies = page.context.cookies()
    context = chromium.new_context(base_url=live_server.url, java_script_enabled=False)
    context.add_cookies([{**cookie, "url": None} for cookie in cookies])  # type: ignore[typeddict-item]
    tab = context.new_page()
    tab.goto("/tasks/new")
    tab.get_by_label("Name", exact=True).fill("Plain")
    tab.get_by_label("Single hosts").fill("host")
    tab.get_by_label("Single hosts").press("Enter")
    tab.get_by_role("checkbox", name=re.compile("host-1")).check()
    tab.get_by_role("button", name="Add a step").click()
    tab.locator("#id_s0-body").fill("true")
    tab.locator("#id_s1-body").fill("true")
    tab.get_by_role("button", name="Create only").click()
    expect(tab.get_by_role("heading", name="Plain")).to_be_visible()
    context.close()
    assert Task.objects.get().commands.count() == 2
