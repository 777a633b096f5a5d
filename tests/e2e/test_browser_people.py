"""A real browser on the pages of people and groups: what an administrator does, at two widths."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from devops_manager.access.models import Role, User
from hosts_app.models import HostGroup, HostGroupGrant
from tests.browser_world import open_chromium, signed_in
from tests.queue_world import make_hosts
from tests.task_factories import grant, make_user

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]
PASSWORD = "a quite long password"
OVERFLOW = "document.documentElement.scrollWidth - document.documentElement.clientWidth"


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with open_chromium() as browser:
        yield browser


@pytest.fixture
def page(chromium: Browser, live_server: Any) -> Iterator[Page]:
    """A signed-in administrator's page; neither staff nor a superuser."""
    user = User(username="olga", role=Role.ADMIN)
    user.set_password(PASSWORD)
    user.save()
    with signed_in(chromium, live_server.url, "olga", PASSWORD) as tab:
        yield tab


def test_a_person_is_added_signs_in_and_must_choose_a_password(
    chromium: Browser, page: Page, live_server: Any
) -> None:
    HostGroup.objects.create(name="web")
    page.get_by_role("link", name="People").click()
    page.get_by_label("Username").fill("vera")
    page.locator("#id_role").last.select_option("operator")
    page.get_by_role("button", name="Add", exact=True).click()
    password = page.locator("#password").inner_text()
    page.get_by_role("link", name="vera").click()
    page.get_by_label("Group").select_option(label="web")
    page.get_by_role("button", name="Grant").click()
    expect(page.get_by_role("status")).to_contain_text("The group is granted.")
    assert HostGroupGrant.objects.get().user.username == "vera"

    context = chromium.new_context(base_url=live_server.url, locale="en-US")
    hers = context.new_page()
    hers.goto("/login")
    hers.get_by_label("Username").fill("vera")
    hers.get_by_label("Password").fill(password)
    hers.get_by_role("main").get_by_role("button", name="Sign in").click()
    expect(hers.get_by_text("Somebody else knows your password.")).to_be_visible()
    expect(hers.get_by_role("navigation", name="Main")).to_have_count(0)
    hers.get_by_label("Old password").fill(password)
    hers.get_by_label("New password", exact=True).fill("one of my own, long")
    hers.get_by_label("New password confirmation").fill("one of my own, long")
    hers.get_by_role("button", name="Change it").click()
    expect(hers.get_by_role("heading", name="Overview")).to_be_visible()
    expect(hers.get_by_role("link", name="People")).to_have_count(0)
    context.close()


def test_deactivating_asks_first(page: Page) -> None:
    vera = make_user(Role.OPERATOR, "vera")
    page.goto(f"/people/{vera.pk}")
    page.get_by_text("Deactivate…").click()
    expect(page.get_by_text("sign-in and API tokens are refused.")).to_be_visible()
    page.get_by_role("button", name="Deactivate the account").click()
    expect(page.get_by_role("status")).to_contain_text("The account is deactivated")
    vera.refresh_from_db()
    assert not vera.is_active


@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("language", ["en", "zh-hans"])
def test_the_pages_fit_the_screen(page: Page, width: int, language: str) -> None:
    hosts = make_hosts(3)
    vera = make_user(Role.OPERATOR, "vera.with-a-long.name@subsidiary.example")
    group = grant(vera, hosts, "web-servers-of-the-northern-region")
    User.objects.filter(username="olga").update(language=language)
    page.set_viewport_size({"width": width, "height": 900})
    group_page = f"/groups/{group.group_id}"
    for name, address in {
        "people": "/people",
        "person": f"/people/{vera.pk}",
        "groups": "/groups",
        "group": group_page,
        "password": "/password",
    }.items():
        page.goto(address)
        expect(page.locator("html")).to_have_attribute("lang", language)
        assert page.evaluate(OVERFLOW) <= 0, address
        _keep_picture(page, f"{name}-{width}-{language}")


def _keep_picture(page: Page, name: str) -> None:
    """Keep what was seen, where DM_PICTURES says so: for people to look at."""
    folder = os.environ.get("DM_PICTURES")
    if folder:
        page.screenshot(path=str(Path(folder) / f"{name}.png"), full_page=True)
