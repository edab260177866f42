"""The story of docs/flush.md in a real browser on the rehearsal fleet, from the home page to the receipt.

FLEET_SCREENSHOTS=FOLDER keeps what is seen on the way.
"""

import os
import re
from pathlib import Path

import pytest
from django.utils import timezone
from playwright.sync_api import Page, expect

from fleet.models import Heartbeat
from fleet.rehearsal import Fleet
from relays.models import Operation
from relays.services import operations
from relays.services.collect import poll_host
from tests.browser.visits import Visit

from .conftest import Wait
from .test_flush import accepted, console, defer, instance, throttle  # noqa: F401 - a fixture among them

pytestmark = [pytest.mark.lab, pytest.mark.browser, pytest.mark.django_db(transaction=True)]


def shoot(page: Page, name: str) -> None:
    folder = os.environ.get("FLEET_SCREENSHOTS")
    if folder:
        # The test itself is the worker; its pages need not say that there is none.
        for process in ("worker", "scheduler"):
            Heartbeat.objects.update_or_create(process=process, defaults={"at": timezone.now()})
        page.reload()
        page.screenshot(path=Path(folder) / f"flush-{name}.png", full_page=True)


def test_from_a_throttled_instance_to_the_receipt(console: Fleet, visit: Visit, until: Wait) -> None:  # noqa: F811
    throttle(console, "msn-a")
    sent = defer(console, until, {"hotmail.com": 40, "outlook.com": 20, "live.com": 10})
    poll_host(host_id=instance("msn-a").host_id, force=True)

    page = visit.open("/")
    shoot(page, "1-home")
    page.get_by_role("link", name="msn-a").first.click()
    page.wait_for_url("**/instances/*/")
    page.get_by_role("link", name="Move deferred mail").click()
    expect(page.get_by_label(re.compile("hotmail.com"))).to_be_checked()
    shoot(page, "2-choose")
    page.get_by_label(re.compile("live.com")).uncheck()
    page.get_by_label(re.compile("msn-b")).check()
    page.get_by_role("button", name="Make the plan").click()

    expect(
        page.get_by_text("60 messages for hotmail.com, outlook.com go from msn-a to msn-b")
    ).to_be_visible()
    shoot(page, "3-plan")
    page.get_by_label("Reason").fill("its address is rate limited, ticket 5121")
    page.keyboard.press("Enter")
    expect(page.get_by_label("Reason")).to_have_count(0)

    operation = Operation.objects.latest("pk")
    while operations.run(operation_id=operation.pk) == "running":
        Operation.objects.filter(pk=operation.pk).update(due_at=None, lease_until=None)
    page.reload()
    expect(page.get_by_text("It adds up: every recipient is in one known place.")).to_be_visible()
    expect(page.get_by_text("60 of 60 recipients have left msn-a")).to_be_visible()
    shoot(page, "4-receipt")
    page.get_by_role("link", name="Recipient by recipient").click()
    expect(page.get_by_role("row")).to_have_count(61)
    moved = sent["hotmail.com"] + sent["outlook.com"]
    until(lambda: set(accepted(console, moved).values()) == {1}, "each to arrive")
    assert not accepted(console, sent["live.com"])
    assert not visit.unexpected
