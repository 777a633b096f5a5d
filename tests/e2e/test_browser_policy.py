"""The pages that we did not write, under our content policy: nothing in them is refused."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, expect

from devops_manager.access.models import Role, User
from tests.browser_world import open_chromium, signed_in
from tests.queue_world import make_hosts, started_task

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]
PASSWORD = "a quite long password"


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with open_chromium() as browser:
        yield browser


def test_documentation_and_admin_work_under_the_policy(chromium: Browser, live_server: Any) -> None:
    user = User(username="olga", role=Role.ADMIN, is_staff=True, is_superuser=True)
    user.set_password(PASSWORD)
    user.save()
    started_task(make_hosts(2))
    with signed_in(chromium, live_server.url, "olga", PASSWORD) as tab:
        tab.goto("/api/docs")
        expect(tab.get_by_text("/api/v1/tasks/bulk")).to_be_visible(timeout=30_000)
        tab.get_by_text("/api/v1/tasks/bulk").click()
        expect(tab.get_by_text("Idempotency-Key").first).to_be_visible()
        person = f"access/user/{user.pk}/change/"  # people are changed on their own pages
        for page in ("", "access/user/", person, "hosts_app/hostgroup/add/", "access/auditevent/"):
            tab.goto(f"/admin/{page}")
            expect(tab.locator("#content")).to_be_visible()
        tab.goto("/admin/hosts_app/host/?q=host")
        expect(tab.locator("#result_list")).to_be_visible()
