"""A queue worked with the keyboard alone: found, narrowed, put on hold, to be deleted, and undone."""

import pytest
from playwright.sync_api import Page, expect

from relays.models import Operation, PendingDeletion
from relays.services import operations
from tests.browser.visits import Visit
from tests.factories import host_make, instance_make, queue_read_make, queued_message
from tests.messages import FarSide

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]


def press_until_focused(page: Page, name: str) -> None:
    """Press Tab until the button or link of this name has the focus."""
    for _ in range(80):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.textContent.trim()") == name:
            return
    raise AssertionError(f"Tab never reaches {name}")


def confirm(page: Page, reason: str) -> None:
    """Confirm the plan that is shown: the reason has the focus."""
    expect(page.get_by_label("Reason")).to_be_focused()
    page.keyboard.type(reason)
    page.keyboard.press("Enter")
    expect(page.get_by_label("Reason")).to_have_count(0)


def work() -> None:
    """Do what a worker would: run what is queued."""
    for operation in Operation.objects.filter(state="queued"):
        operations.run(operation_id=operation.pk)


def test_the_whole_story_by_keyboard(visit: Visit, monkeypatch: pytest.MonkeyPatch) -> None:
    far = FarSide(14).reached_by(monkeypatch)
    instance = instance_make(host_make("rustin"), "msn-a", 14)
    for domain in ("", "live.com"):
        queue_read_make(instance, domains=[("live.com", 14)], replies=[("said: full", 14)], domain=domain)
    queue_read_make(instance, messages=[queued_message()], domain="live.com")
    page = visit.open("/")

    page.keyboard.press("g")
    page.keyboard.press("q")
    page.wait_for_url("**/queues/")
    page.keyboard.press("j")
    expect(page.locator(":focus")).to_have_text("live.com")
    page.keyboard.press("j")
    expect(page.locator(":focus")).to_have_text("msn-a")
    page.keyboard.press("Enter")
    page.wait_for_url(f"**/queues/?instance={instance.pk}")
    page.keyboard.press("j")
    page.keyboard.press("Enter")
    page.wait_for_url("**domain=live.com**")

    press_until_focused(page, "Hold…")
    page.keyboard.press("Enter")
    confirm(page, "their mailboxes are full")
    work()
    expect(page.get_by_text("14 messages put on hold.")).to_be_visible()

    page.go_back()
    page.go_back()
    press_until_focused(page, "Delete…")
    page.keyboard.press("Enter")
    confirm(page, "nobody reads them")
    work()
    expect(page.get_by_text("They are deleted at")).to_be_visible()
    visit.open(f"/queues/?instance={instance.pk}")
    press_until_focused(page, "Undo")
    page.keyboard.press("Enter")
    page.wait_for_url("**/operations/*/")
    assert PendingDeletion.objects.get().undone_by == "anna"
    assert far.counts() == {"hold": 14}
    assert visit.unexpected == []
