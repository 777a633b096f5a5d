"""Open pages stay true, and what a person is doing on them survives each update."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib.sessions.models import Session
from django.db.models.functions import Now
from playwright.sync_api import Browser, Page, Route, expect

from devops_manager.access.models import Role, User
from hosts_app.models import Host, HostHeartbeat
from tasks_app.models import Task
from tasks_app.records import StreamOutput
from tests.browser_world import open_chromium, signed_in
from tests.pages_world import running_task
from tests.queue_world import FakeAgent, make_hosts, make_task, only, start

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]
PASSWORD = "a quite long password"
# What the browser itself says of a server that is away, or of a page that is gone.
AWAY = ("net::ERR", "status of 404", "status of 503")


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
    with signed_in(chromium, live_server.url, "olga", PASSWORD, tolerated=AWAY) as tab:
        yield tab


def faster(page: Page) -> None:
    """Let the page ask at once instead of within its five seconds."""
    page.evaluate("window.dispatchEvent(new Event('online'))")


def run_two_steps() -> tuple[Task, FakeAgent, Host]:
    """Start a task of two steps on one host, which runs the first."""
    (host,) = make_hosts(1)
    task, (agent,) = running_task([host], steps=2)
    return task, agent, host


def test_output_steps_and_trail_follow(page: Page) -> None:
    task, agent, _host = run_two_steps()
    base = f"/tasks/{task.task_id}"
    page.goto(f"{base}/output")
    expect(page.get_by_text("No host has ended this step yet.")).to_be_visible()
    agent.report(agent.started[0], stdout=StreamOutput(b"from step one\n"))
    expect(page.locator("pre.output")).to_have_text("from step one\n")
    page.goto(f"{base}/steps")
    second = only(agent.poll())
    agent.report(second.fence)
    expect(page.locator("#task-steps").get_by_text("Ended")).to_be_visible()
    expect(page.locator("#live")).to_have_text("The task has ended.")


def test_the_trail_and_the_buttons_follow_what_another_does(page: Page) -> None:
    task, _agent, _host = run_two_steps()
    page.goto(f"/tasks/{task.task_id}/trail")
    expect(page.get_by_text("Stop…")).to_be_visible()
    other = page.context.new_page()
    other.goto(f"/tasks/{task.task_id}")
    other.get_by_text("Stop…").click()
    other.get_by_role("button", name="Stop the task").click()
    expect(page.locator("#task-trail")).to_contain_text("Stopped the task")
    expect(page.get_by_text("Stop…")).to_have_count(0)
    other.close()


def test_overview_and_lists_follow(page: Page) -> None:
    (host,) = make_hosts(1)
    page.goto("/")
    overview = page.locator("#running")
    expect(overview).to_contain_text("No task")
    task = start(make_task([host]))
    faster(page)
    expect(overview).to_contain_text(task.name)
    page.goto("/tasks")
    row = page.locator(f"#task-{task.task_id}")
    expect(row.locator("[data-state=running]")).to_be_visible()
    agent = FakeAgent(host)
    agent.poll()
    agent.poll()
    agent.report(agent.started[0])
    faster(page)
    expect(row.locator("[data-state=completed]").first).to_be_visible()
    page.goto("/hosts")
    expect(page.locator(f"#host-{host.host_id}")).to_contain_text("never heard")
    HostHeartbeat.objects.create(host=host, last_seen_at=Now())
    faster(page)
    expect(page.locator(f"#host-{host.host_id}")).to_contain_text("Online")
    page.goto(f"/hosts/{host.host_id}")
    Host.objects.filter(pk=host.pk).update(status="disabled")
    faster(page)
    expect(page.locator("#host-state [data-state=disabled]")).to_be_visible()
    expect(page.get_by_role("button", name="Enable")).to_be_visible()


def test_ticks_focus_and_a_half_typed_filter_survive(page: Page) -> None:
    for name in ("a-new", "b-new"):
        Host.objects.create(hostname=name)
    page.goto("/hosts?status=pending")
    page.get_by_role("checkbox", name="b-new").check()
    page.get_by_label("Name contains, or IP address").press_sequentially("half a na")
    Host.objects.create(hostname="aa-newest")
    faster(page)
    expect(page.get_by_role("checkbox", name="aa-newest")).to_be_visible()
    expect(page.get_by_role("checkbox", name="b-new")).to_be_checked()
    expect(page.get_by_role("checkbox", name="a-new", exact=True)).not_to_be_checked()
    field = page.get_by_label("Name contains, or IP address")
    expect(field).to_have_value("half a na")
    expect(field).to_be_focused()
    page.get_by_role("checkbox", name="b-new").focus()
    Host.objects.filter(hostname="aa-newest").update(status="active")
    faster(page)
    expect(page.get_by_role("checkbox", name="aa-newest")).to_have_count(0)
    expect(page.get_by_role("checkbox", name="b-new")).to_be_focused()
    page.get_by_role("button", name="Approve the ticked").click()
    expect(page.get_by_role("status").first).to_contain_text("1 host may work now.")
    assert Host.objects.get(hostname="b-new").status == "active"
    assert Host.objects.get(hostname="a-new").status == "pending"


def test_selected_text_scroll_positions_and_open_questions_survive(page: Page) -> None:
    hosts = make_hosts(2)
    task, agents = running_task(hosts)
    lines = b"".join(b"line %d\n" % number for number in range(400))
    agents[0].report(agents[0].started[0], stdout=StreamOutput(lines))
    page.goto(f"/tasks/{task.task_id}/output")
    page.get_by_text("Cancel…").click()
    box = page.locator("pre.output")
    box.evaluate(
        "box => { box.scrollTop = 700;"
        " getSelection().setBaseAndExtent(box.firstChild, 5, box.firstChild, 40); }"
    )
    selected = page.evaluate("String(getSelection())")
    assert len(selected) > 10
    agents[1].report(agents[1].started[0], "failed", stdout=StreamOutput(b"other\n"))
    expect(page.locator("pre.output")).to_have_count(2)
    mine = page.locator("pre.output").filter(has_text="line 7\n")
    assert mine.evaluate("box => box.scrollTop") == 700
    assert page.evaluate("String(getSelection())") == selected


def test_an_open_question_survives(page: Page) -> None:
    hosts = make_hosts(2)
    task, agents = running_task(hosts)
    page.goto(f"/tasks/{task.task_id}")
    page.get_by_text("Cancel…").click()
    page.get_by_role("button", name="Cancel the task").focus()
    agents[0].report(agents[0].started[0])
    expect(page.locator("#task-summary")).to_contain_text("1 of 2 hosts have ended")
    expect(page.get_by_role("button", name="Cancel the task")).to_be_focused()


def test_a_server_that_was_away_is_said_and_the_page_resumes(page: Page) -> None:
    task, agent, _host = run_two_steps()
    page.goto(f"/tasks/{task.task_id}")
    expect(page.locator("#as-of")).to_contain_text("As of")

    def refuse(route: Route) -> None:
        route.fulfill(status=503, body="away")

    page.route("**/tasks/*", refuse)
    expect(page.locator("#live")).to_contain_text("Not updated since 20")
    expect(page.locator("#follow")).to_have_attribute("data-state", "lost")
    page.unroute("**/tasks/*", refuse)
    agent.report(agent.started[0])
    expect(page.locator("#live")).to_have_text("This page follows the task.")
    expect(page.locator("#task-hosts [data-state=completed]")).to_be_visible()


def test_a_session_that_ended_is_said_and_a_new_one_resumes(page: Page) -> None:
    task, agent, _host = run_two_steps()
    page.goto(f"/tasks/{task.task_id}")
    Session.objects.all().delete()
    expect(page.locator("#live")).to_contain_text("You are signed out. Not updated since")
    other = page.context.new_page()
    other.goto("/login")
    other.get_by_label("Username").fill("olga")
    other.get_by_label("Password").fill(PASSWORD)
    other.get_by_role("main").get_by_role("button", name="Sign in").click()
    expect(other.get_by_role("heading", name="Overview")).to_be_visible()
    other.close()
    agent.report(agent.started[0])
    faster(page)
    expect(page.locator("#task-hosts [data-state=completed]")).to_be_visible()
    # The forms that were on the page carry the new session's token.
    page.get_by_text("Cancel…").click()
    page.get_by_role("button", name="Cancel the task").click()
    expect(page.get_by_role("status").first).to_contain_text("Cancel requested")


def test_a_page_that_is_gone_says_so(page: Page) -> None:
    task = make_task(make_hosts(1))
    page.goto(f"/tasks/{task.task_id}")
    Task.objects.all().delete()
    faster(page)
    expect(page.locator("#live")).to_contain_text("This page is no longer there")


def test_a_hidden_tab_asks_nothing_and_a_shown_one_at_once(page: Page) -> None:
    task, agent, _host = run_two_steps()
    page.goto(f"/tasks/{task.task_id}")
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    hide = "Object.defineProperty(document, 'hidden', {configurable: true, get: () => %s});"
    page.evaluate(hide % "true")
    page.wait_for_timeout(4000)
    assert len(asked) <= 1  # the one that was under way
    agent.report(agent.started[0])
    page.evaluate(hide % "false" + "document.dispatchEvent(new Event('visibilitychange'))")
    expect(page.locator("#task-hosts [data-state=completed]")).to_be_visible()


def test_an_ended_task_is_not_asked_about(page: Page) -> None:
    (host,) = make_hosts(1)
    task, (agent,) = running_task([host])
    agent.report(agent.started[0])
    page.goto(f"/tasks/{task.task_id}")
    expect(page.locator("#live")).to_have_text("The task has ended.")
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    faster(page)
    page.wait_for_timeout(2500)
    assert asked == []


def test_a_reject_names_what_is_ticked_and_follows_it(page: Page) -> None:
    for name in ("a-new", "b-new", "c-new"):
        Host.objects.create(hostname=name)
    page.goto("/hosts?status=pending")
    page.get_by_role("checkbox", name="a-new").check()
    page.get_by_role("checkbox", name="b-new").check()
    page.get_by_text("Reject the ticked…").click()
    named = page.locator("[data-ticked]")
    expect(named).to_have_text("a-new, b-new (2)")
    Host.objects.filter(hostname="a-new").update(status="active")
    faster(page)
    expect(named).to_have_text("b-new (1)")
    page.get_by_role("checkbox", name="c-new").check()
    expect(named).to_have_text("b-new, c-new (2)")
    page.get_by_role("button", name="Reject them").click()
    expect(page.get_by_role("status").first).to_contain_text("2 hosts were rejected.")
    assert Host.objects.get(hostname="a-new").status == "active"
