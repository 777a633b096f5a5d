"""No page scrolls sideways on a telephone, whatever long things stand on it, in either language.

``DM_SCREENSHOTS=<folder>`` keeps a picture of every page, to be looked at.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.db.models.functions import Now
from playwright.sync_api import Browser, Page, expect

from devops_manager.access.actors import SYSTEM
from devops_manager.access.models import Role, User
from hosts_app.models import Host, HostGroup, HostGroupMember, HostHeartbeat
from tasks_app.models import Task
from tasks_app.records import StreamOutput
from tasks_app.services import lifecycle
from tests.browser_world import open_chromium, signed_in
from tests.pages_world import running_task
from tests.queue_world import make_hosts, make_task

pytestmark = [
    pytest.mark.browser,
    pytest.mark.django_db(transaction=True),
    pytest.mark.timeout(240),
]
PASSWORD = "a quite long password"
WORD = "Donaudampfschifffahrtsgesellschaftskapitaensmuetzenknopf"
HAN = "每台主机的磁盘用量与日志清理情况汇总报告"
LONG_NAME = (WORD * 4)[:150] + HAN
HOSTNAME = "a-very-long-host-name-of-a-machine-in-a-far-away-rack.with.many.labels.example.internal"
CODE = b"x" * 3000 + b"\n" + b"| col " * 200 + b"\n" + HAN.encode() * 40 + b"\n"
WIDTHS = (390, 1280)
OVERFLOW = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
# What hangs over the edge, but for what scrolls in a box of its own.
CULPRITS = """() => [...document.querySelectorAll("body *")]
  .filter((one) => one.getBoundingClientRect().right > innerWidth + 1)
  .filter((one) => !one.closest(".table, pre"))
  .slice(0, 4).map((one) => `${one.tagName}.${one.className}#${one.id}`)"""


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with open_chromium() as browser:
        yield browser


@pytest.fixture
def page(chromium: Browser, live_server: Any) -> Iterator[Page]:
    """A signed-in administrator's page, whose name is long as well."""
    user = User(username=f"olga.{WORD}"[:60], role=Role.ADMIN)
    user.set_password(PASSWORD)
    user.save()
    refused = tuple(f"status of {status}" for status in (403, 404, 409))
    with signed_in(chromium, live_server.url, user.username, PASSWORD, tolerated=refused) as tab:
        yield tab


def long_hosts() -> list[Host]:
    """Make hosts with everything long that a host can have."""
    hosts = make_hosts(3)
    group = HostGroup.objects.create(name=WORD)
    for number, host in enumerate(hosts):
        host.hostname = f"{number}-{HOSTNAME}"
        host.tags = [f"tag-{WORD}"[:60], HAN]
        host.os = f"Debian GNU/Linux 12 {WORD}"[:100]
        host.facts = {WORD: WORD * 3, "kernel": "6.1.0-13-amd64"}
        host.save()
        HostGroupMember.objects.create(group=group, host=host)
        HostHeartbeat.objects.create(host=host, last_seen_at=Now(), cpu_percent=3)
    Host.objects.filter(pk=hosts[2].pk).update(quarantined_at=Now(), quarantine_reason=WORD * 2)
    Host.objects.create(hostname=f"new-{HOSTNAME}")
    return hosts


def long_tasks(hosts: list[Host]) -> tuple[Task, Task, Task]:
    """Make a running, an ended and a pending task with everything long that a task can have."""
    step = {
        "name": WORD[:60],
        "body": f"echo {WORD * 8}; " * 3,
        "parameters": [WORD * 5, HAN],
        "environment": {WORD.upper(): WORD * 3},
        "working_directory": f"/{WORD * 2}",
    }
    running, agents = running_task(hosts[:2], commands=[step, step])
    said = f"There is no user {WORD * 3} here."
    report = {"stdout": StreamOutput(CODE), "stderr": StreamOutput(CODE)}
    agents[0].report(agents[0].started[0], **report)
    agents[1].report(agents[1].started[0], "failed", error_code="run_as_failed", error_message=said)
    ended = make_task(hosts[:1])
    lifecycle.cancel_task(actor=SYSTEM, task_id=ended.task_id)
    pending = make_task(hosts[:2], commands=[step, step])
    Task.objects.update(name=LONG_NAME, description=f"{WORD * 6}\n{HAN * 5}")
    return running, ended, pending


def long_tokens(page: Page) -> None:
    """Make tokens with long names."""
    for address in ("/tokens", "/enrolment"):
        page.goto(address)
        page.get_by_label("Name", exact=True).fill(WORD[:64])
        page.get_by_role("button", name="Make the token").click()
        expect(page.locator("#secret")).to_be_visible()


def look(page: Page, language: str, name: str) -> list[str]:
    """Return what scrolls sideways on the page that is open, at each width; take its picture."""
    wrong = []
    for width in WIDTHS:
        page.set_viewport_size({"width": width, "height": 844})
        excess = page.evaluate(OVERFLOW)
        if excess > 0:
            wrong.append(f"{name} {language} {width}: {excess} px: {page.evaluate(CULPRITS)}")
        if folder := os.environ.get("DM_SCREENSHOTS"):
            path = Path(folder) / f"{name}-{language}-{width}.png"
            page.screenshot(path=path, full_page=True)
    return wrong


@pytest.mark.parametrize("language", ["en", "zh-hans"])
def test_no_page_scrolls_sideways(page: Page, live_server: Any, language: str) -> None:
    hosts = long_hosts()
    running, ended, pending = long_tasks(hosts)
    long_tokens(page)
    page.context.add_cookies(
        [{"name": "django_language", "value": language, "url": live_server.url}]
    )
    base = f"/tasks/{running.task_id}"
    pages = {
        "overview": "/", "tasks": "/tasks", "tasks-none": "/tasks?status=queued",
        "tasks-wrong": "/tasks?status=odd", "new": f"/tasks/new?copy={pending.task_id}",
        "edit": f"/tasks/{pending.task_id}/edit", "start": f"/tasks/{pending.task_id}/start",
        "pending": f"/tasks/{pending.task_id}", "ended": f"/tasks/{ended.task_id}",
        "running": base, "output": f"{base}/output", "steps": f"{base}/steps",
        "trail": f"{base}/trail", "task-host": f"{base}/hosts/{hosts[0].host_id}",
        "task-host-failed": f"{base}/hosts/{hosts[1].host_id}",
        "hosts": "/hosts", "host": f"/hosts/{hosts[0].host_id}",
        "host-quarantined": f"/hosts/{hosts[2].host_id}", "hosts-pending": "/hosts?status=pending",
        "enrolment": "/enrolment", "tokens": "/tokens", "password": "/password",
        "missing": "/tasks/00000000-0000-4000-8000-000000000000", "nowhere": f"/{WORD * 4}",
        "login": "/login",
    }  # fmt: skip
    wrong: list[str] = []
    for name, address in pages.items():
        page.set_viewport_size({"width": WIDTHS[0], "height": 844})
        page.goto(address)
        expect(page.locator("html")).to_have_attribute("lang", language)
        wrong += look(page, language, name)
        page.set_viewport_size({"width": WIDTHS[0], "height": 844})
        for number in range(page.locator("main details").count()):
            page.locator("main details > summary").nth(number).click()
            wrong += look(page, language, f"{name}-open-{number}")
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("address", ["/tokens", "/enrolment"])
def test_a_secret_fits(page: Page, address: str) -> None:
    page.set_viewport_size({"width": 390, "height": 844})
    page.goto(address)
    page.get_by_label("Name", exact=True).fill(WORD[:64])
    page.get_by_role("button", name="Make the token").click()
    expect(page.locator("#secret")).to_be_visible()
    assert look(page, "en", f"secret-{address.strip('/')}") == []


def test_what_fits_is_found_too_wide_when_it_is(page: Page) -> None:
    page.goto("/tasks")
    page.evaluate("document.querySelector('main').style.width = '2000px'")
    assert look(page, "en", "broken")
