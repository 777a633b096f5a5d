"""A person, a browser, real servers, real agents: write a task, watch it, read what it printed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser_world import open_chromium, signed_in
from tests.e2e.conftest import Marked
from tests.e2e.stack import ADMIN, NODES, PASSWORD, Stack

pytestmark = [pytest.mark.browser, pytest.mark.e2e, pytest.mark.timeout(120)]


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with open_chromium() as browser:
        yield browser


@pytest.fixture
def page(chromium: Browser, stack: Stack) -> Iterator[Page]:
    with signed_in(chromium, stack.addresses.web_url, ADMIN, PASSWORD) as tab:
        yield tab


def start_task(page: Page, name: str, *bodies: str) -> None:
    """Write a task of these steps for all hosts, and start it."""
    page.goto("/tasks/new")
    page.get_by_label("Name", exact=True).fill(name)
    page.get_by_label("All active hosts").check()
    for at, body in enumerate(bodies):
        if at:
            page.get_by_role("button", name="Add a step").click()
        page.locator(f"#id_s{at}-body").fill(body)
    page.get_by_role("button", name="Create and start").click()
    page.get_by_role("button", name=f"Start the task on {len(NODES)} hosts").click()
    expect(page.get_by_role("heading", name=name)).to_be_visible()


def test_a_task_is_watched_from_its_start_to_its_end(page: Page, marks: Path) -> None:
    gate = marks / "gate"
    waiting = f"echo early; until test -e '{gate}'; do sleep 0.1; done; echo late"
    start_task(page, "Watched", waiting, 'case "$DM_HOSTNAME" in *3) exit 7;; esac; uname')
    hosts = page.locator("#task-hosts")
    expect(hosts.locator("[data-state=running]")).to_have_count(len(NODES))
    page.get_by_role("link", name=NODES[0]).click()
    output = page.locator("pre.output").first
    expect(output).to_have_text("early\n")
    gate.touch()
    expect(output).to_have_text("early\nlate\n")
    expect(page.locator("#live")).to_have_text("The task has ended.")
    page.get_by_role("link", name="Watched").click()
    expect(page.locator("#task-summary [data-state=partial]").first).to_be_visible()
    expect(hosts.get_by_text("exit 7")).to_have_count(1)
    page.get_by_role("link", name="Output, equal results together").click()
    page.get_by_role("link", name="Step 2").click()
    expect(page.get_by_role("heading", name="2 hosts")).to_be_visible()
    expect(page.get_by_role("heading", name="1 host", exact=False).last).to_be_visible()


def test_a_cancel_ends_what_runs(page: Page, marked: Marked) -> None:
    start_task(page, "Canceled", f"E2E_MARK='{marked.environment['E2E_MARK']}' sleep 600")
    hosts = page.locator("#task-hosts")
    expect(hosts.locator("[data-state=running]")).to_have_count(len(NODES))
    assert marked.pids()
    page.get_by_text("Cancel…").click()
    page.get_by_role("button", name="Cancel the task").click()
    expect(page.locator("#live")).to_have_text("The task has ended.")
    expect(hosts.locator("td > .state[data-state=canceled]")).to_have_count(len(NODES))
    assert not marked.pids()
