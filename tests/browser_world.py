"""A real Chromium for tests, and tabs that complain aloud."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager

from playwright.sync_api import Browser, ConsoleMessage, Page, expect, sync_playwright

# A loaded machine is slow; nothing here waits for a time, only for what is to appear.
expect.set_options(timeout=20_000)
CHROMIUM = shutil.which("chromium") or "/usr/bin/chromium"


@contextmanager
def open_chromium() -> Iterator[Browser]:
    """Start the browser, headless; it ends with the block."""
    with sync_playwright() as playwright:
        # Playwright's synchronous API keeps an event loop in this thread; Django would refuse then.
        os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = "1"
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-background-networking"]
        )
        try:
            yield browser
        finally:
            browser.close()
            del os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"]


@contextmanager
def signed_in(
    browser: Browser, url: str, username: str, password: str, *, tolerated: tuple[str, ...] = ()
) -> Iterator[Page]:
    """Open a tab in which a person is signed in; the block fails if the console complained.

    A form that is refused (400) is no complaint, nor is what holds one of the ``tolerated`` texts.
    """
    context = browser.new_context(base_url=url, locale="en-US")
    context.set_default_timeout(15_000)
    tab = context.new_page()
    complaints: list[str] = []

    def listen(message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"} and not any(
            text in message.text for text in ("status of 400", *tolerated)
        ):
            complaints.append(message.text)

    tab.on("console", listen)
    tab.on("pageerror", lambda error: complaints.append(str(error)))
    tab.goto("/login")
    tab.get_by_label("Username").fill(username)
    tab.get_by_label("Password").fill(password)
    tab.get_by_role("main").get_by_role("button", name="Sign in").click()
    expect(tab.get_by_role("heading", name="Overview")).to_be_visible()
    yield tab
    context.close()
    assert not complaints, complaints
