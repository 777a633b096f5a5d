"""The form of a task in a real browser: a preview that is never stale, nothing lost by accident."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib.sessions.models import Session
from playwright.sync_api import Browser, Dialog, Page, Route, expect

from devops_manager.access.models import Role, User
from hosts_app.models import Host
from tasks_app.models import Task
from tests.browser_world import open_chromium, signed_in
from tests.pages_world import running_task
from tests.queue_world import make_hosts, make_task

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]
PASSWORD = "a quite long password"
# What the browser and htmx say of an answer that refuses, or of none.
REFUSED = tuple(f"status of {status}" for status in (401, 403, 409, 503))
REFUSED += ("net::ERR", "Response Status Error", "htmx:")


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
    with signed_in(chromium, live_server.url, "olga", PASSWORD, tolerated=REFUSED) as tab:
        yield tab


def pick(page: Page, name: str) -> None:
    page.get_by_label("Single hosts").fill(name)
    page.get_by_role("checkbox", name=re.compile(name)).check()


def test_the_preview_follows_the_target(page: Page) -> None:
    make_hosts(3)
    page.goto("/tasks/new")
    preview = page.locator("#preview")
    expect(preview).to_contain_text("No hosts are chosen yet.")
    pick(page, "host-1")
    expect(preview).to_contain_text("1 host")
    page.get_by_label("All active hosts").check()
    expect(preview).to_contain_text("3 hosts")
    page.get_by_text("Leave out some of them").click()
    page.get_by_label("Not these hosts").fill("host-2")
    page.locator("#exclude_hosts-choices").get_by_role("checkbox").first.check()
    expect(preview).to_contain_text("2 hosts")
    expect(preview).not_to_contain_text("host-2")
    page.get_by_label("Not with these tags").fill("nowhere")
    expect(preview).to_contain_text("no host has the tag: nowhere")


def test_a_late_answer_does_not_overwrite_a_newer_one(page: Page) -> None:
    make_hosts(3)
    page.goto("/tasks/new")
    preview = page.locator("#preview")
    expect(preview).to_contain_text("No hosts are chosen yet.")
    held: list[Route] = []
    arrived = threading.Event()

    def hold_first(route: Route) -> None:
        if held:
            route.continue_()
            return
        held.append(route)
        arrived.set()

    page.route("**/tasks/preview", hold_first)
    page.get_by_label("All active hosts").check()
    expect(preview).to_have_text("Looking up the hosts…")
    page.wait_for_timeout(600)
    assert arrived.is_set()
    page.get_by_label("All active hosts").uncheck()
    expect(preview).to_contain_text("No hosts are chosen yet.")
    held[0].continue_()
    page.wait_for_timeout(600)
    expect(preview).to_contain_text("No hosts are chosen yet.")


def test_an_old_answer_goes_when_the_target_changes_and_the_server_is_away(page: Page) -> None:
    make_hosts(3)
    page.goto("/tasks/new")
    page.get_by_label("All active hosts").check()
    expect(page.locator("#preview")).to_contain_text("3 hosts")
    page.route("**/tasks/preview", lambda route: route.abort())
    page.get_by_label("All active hosts").uncheck()
    expect(page.locator("#preview")).not_to_contain_text("3 hosts")
    expect(page.locator("#preview")).to_contain_text("cannot be looked up now")
    page.unroute("**/tasks/preview")
    expect(page.locator("#preview")).to_contain_text("No hosts are chosen yet.")


def leave(page: Page) -> list[str]:
    """Try to leave, stay when asked; return what was asked."""
    asked: list[str] = []

    def stay(dialog: Dialog) -> None:
        asked.append(dialog.type)
        dialog.dismiss()

    page.on("dialog", stay)
    page.get_by_role("link", name="Cancel", exact=True).click()
    page.wait_for_timeout(300)
    page.remove_listener("dialog", stay)
    return asked


def test_a_half_written_task_is_not_left_without_a_warning(page: Page) -> None:
    make_hosts(1)
    page.goto("/tasks/new")
    page.get_by_label("Name", exact=True).press_sequentially("half")
    assert leave(page) == ["beforeunload"]
    expect(page.get_by_label("Name", exact=True)).to_have_value("half")
    # Neither does the server's redrawing make it forget.
    page.get_by_role("button", name="Add a step").click()
    expect(page.get_by_role("group", name="Step 2")).to_be_visible()
    assert leave(page) == ["beforeunload"]
    # Nor a refusal.
    page.get_by_role("button", name="Create only").click()
    expect(page.get_by_role("alert").first).to_contain_text("The task was not saved.")
    assert leave(page) == ["beforeunload"]
    page.on("dialog", lambda dialog: dialog.accept())
    page.get_by_role("link", name="Cancel", exact=True).click()
    expect(page.get_by_role("heading", name="Tasks")).to_be_visible()


def test_an_untouched_form_is_left_freely(page: Page) -> None:
    page.goto("/tasks/new")
    expect(page.locator("#preview")).to_contain_text("No hosts are chosen yet.")
    assert leave(page) == []
    expect(page.get_by_role("heading", name="Tasks")).to_be_visible()


@pytest.mark.parametrize("button", ["Create only", "Add a step"])
def test_an_ended_session_loses_nothing(page: Page, button: str) -> None:
    make_hosts(1)
    page.goto("/tasks/new")
    page.get_by_label("Name", exact=True).fill("Long work")
    pick(page, "host-1")
    page.get_by_label("Command or script").fill("echo one\n\techo 'two' <b>")
    Session.objects.all().delete()
    page.get_by_role("button", name=button).click()
    expect(page.get_by_text("You are signed out. What you wrote is kept")).to_be_visible()
    page.get_by_label("Username").fill("olga")
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("main").get_by_role("button", name="Sign in").click()
    page.get_by_role("button", name="Go on with the form").click()
    expect(page.get_by_label("Name", exact=True)).to_have_value("Long work")
    expect(page.get_by_label("Command or script")).to_have_value("echo one\n\techo 'two' <b>")
    expect(page.get_by_role("checkbox", name=re.compile("host-1"))).to_be_checked()
    assert not Task.objects.exists()
    page.get_by_role("button", name="Create only").click()
    expect(page.get_by_role("heading", name="Long work")).to_be_visible()
    assert Task.objects.get().commands.get().body == "echo one\n\techo 'two' <b>"


def test_an_old_token_loses_nothing(page: Page) -> None:
    make_hosts(1)
    page.goto("/tasks/new")
    page.get_by_label("Name", exact=True).fill("Long work")
    page.locator("#task-form input[name=csrfmiddlewaretoken]").evaluate(
        "field => { field.value = 'x'.repeat(64); }"
    )
    page.get_by_role("button", name="Add a step").click()
    expect(page.get_by_text("The form was older than your session")).to_be_visible()
    page.get_by_role("button", name="Go on with the form").click()
    expect(page.get_by_label("Name", exact=True)).to_have_value("Long work")


def test_a_server_that_is_away_loses_nothing(page: Page) -> None:
    make_hosts(1)
    page.goto("/tasks/new")
    page.get_by_label("Name", exact=True).fill("Long work")
    page.route("**/tasks/new", lambda route: route.abort())
    page.get_by_role("button", name="Add a step").click()
    expect(page.get_by_text("The server did not take that.")).to_be_visible()
    expect(page.get_by_label("Name", exact=True)).to_have_value("Long work")


def test_questions_behave_like_dialogs(page: Page) -> None:
    task, _agents = running_task(make_hosts(1))
    page.goto(f"/tasks/{task.task_id}")
    stop, cancel = page.locator("#act-stop"), page.locator("#act-cancel")
    stop.locator("summary").focus()
    page.keyboard.press("Enter")
    expect(stop).to_have_attribute("open", "")
    page.keyboard.press("Tab")
    expect(page.get_by_role("button", name="Stop the task")).to_be_focused()
    page.keyboard.press("Escape")
    expect(stop).not_to_have_attribute("open", "")
    expect(stop.locator("summary")).to_be_focused()
    stop.locator("summary").click()
    cancel.locator("summary").click()
    expect(cancel).to_have_attribute("open", "")
    expect(stop).not_to_have_attribute("open", "")
    page.locator("h1").click()
    page.keyboard.press("Escape")
    expect(cancel).not_to_have_attribute("open", "")
    expect(cancel.locator("summary")).to_be_focused()


def test_a_start_that_means_something_else_by_then_is_refused(page: Page) -> None:
    hosts = make_hosts(2)
    Host.objects.update(tags=["web"])
    task = make_task(hosts)
    Task.objects.filter(pk=task.pk).update(target={"tags": ["web"]})
    page.goto(f"/tasks/{task.task_id}")
    page.get_by_role("link", name="Start…").click()
    Host.objects.create(hostname="late", status="active", tags=["web"])
    with page.expect_response("**/start") as answer:
        page.get_by_role("button", name="Start the task on 2 hosts").click()
    assert answer.value.status == 409
    expect(page.get_by_role("alert")).to_contain_text("It is 3 hosts now")
    page.get_by_role("button", name="Start the task on 3 hosts").click()
    expect(page.get_by_role("status").first).to_contain_text("The task was started.")
