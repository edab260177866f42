"""A real Chromium on a real server: what a page says to its console and its policy is kept and judged."""

import os
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest
from django.contrib.auth import get_user_model
from django.test import override_settings
from playwright.sync_api import Browser, ConsoleMessage, Page, sync_playwright

CHROMIUM = "/usr/bin/chromium"
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
PASSWORD = "correct horse battery"
# plotly sets style="image-rendering: ..." on a heat map's image; site.css says the same, so the refusal
# costs nothing (static/vendor/README.md).
HARMLESS = "Applying inline style violates the following Content Security Policy directive 'style-src 'self''"


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    """Return the browser, one for all tests."""
    # Playwright's sync API runs an event loop in this thread, in which Django refuses its ORM.
    before = os.environ.get("DJANGO_ALLOW_ASYNC_UNSAFE")
    os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = "true"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()
    if before is None:
        del os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"]


@dataclass
class Visit:
    """A page of somebody logged in, and what went wrong on it."""

    page: Page
    base: str
    complaints: list[str] = field(default_factory=list)

    def open(self, path: str) -> Page:
        """Go to a path of the console."""
        self.page.goto(self.base + path)
        return self.page

    def hear(self, message: ConsoleMessage) -> None:
        """Keep what the browser complains about."""
        if message.type in {"error", "warning"}:
            self.complaints.append(message.text)

    @property
    def unexpected(self) -> list[str]:
        """Complaints but for plotly's harmless ones on a heat map."""
        return [text for text in self.complaints if not text.startswith(HARMLESS)]


@pytest.fixture
def visit(chromium: Browser, live_server: object, transactional_db: None) -> Iterator[Visit]:
    """Return a visit of anna, an administrator, in a desktop window."""
    with override_settings(PASSWORD_HASHERS=["django.contrib.auth.hashers.MD5PasswordHasher"]):
        get_user_model().objects.create_superuser("anna", password=PASSWORD)
        context = chromium.new_context(viewport={"width": 1400, "height": 900}, color_scheme="light")
        visit = Visit(context.new_page(), str(live_server))
        visit.page.set_default_timeout(15_000)
        visit.page.on("console", visit.hear)
        visit.page.on("pageerror", lambda error: visit.complaints.append(str(error)))
        page = visit.open("/login/")
        page.get_by_label("User name").fill("anna")
        page.get_by_label("Password").fill(PASSWORD)
        page.get_by_role("button", name="Log in").click()
        page.wait_for_url(visit.base + "/")
        yield visit
        context.close()
