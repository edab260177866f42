"""A ramp in a real browser, on a real name server: started, watched, held, resumed, cancelled."""

from collections.abc import Iterator
from datetime import timedelta

import pytest
from django.utils import timezone
from playwright.sync_api import Page, expect

from dns.models import Ramp, RelayName
from tests.browser.visits import Visit
from tests.dns_servers import Bind
from tests.factories import outcomes_make
from tests.ramps import (
    MSN,
    NEW,
    OLD,
    instances_make,
    live,
    noon,
    primary_of,
    ramp_row,
    relay_name_make,
    relay_name_row,
    work,
)

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]


@pytest.fixture(scope="module")
def bind() -> Iterator[Bind]:
    with Bind() as server:
        yield server


def steer(page: Page, button: str) -> None:
    page.get_by_label("Why", exact=True).fill("a test")
    page.locator("#steer").get_by_role("button", name=button, exact=True).click()


def parts(msn: RelayName) -> dict[str, int]:
    state = msn.published.first()
    assert state is not None
    return dict(state.parts)


def test_a_ramp_from_its_preset_to_the_old_weights(visit: Visit, bind: Bind) -> None:
    primary_of(bind)
    old, _ = instances_make()
    msn = relay_name_make(bind)
    outcomes_make(old, at=timezone.now() - timedelta(days=2), sent=9_000)
    page = visit.open("/ramps/")
    page.get_by_role("link", name="Start a ramp").click()
    page.get_by_label("Relay name", exact=True).select_option(label=MSN)
    page.get_by_label("Address", exact=True).fill(NEW)
    page.get_by_label("Schedule", exact=True).select_option("sixths")
    # As the Enter key does.
    page.get_by_label("Address", exact=True).press("Enter")
    expect(page.locator("#calendar")).to_contain_text("An instance sends from it")
    expect(page.locator(".calendar tbody tr")).to_have_count(151)
    page.get_by_label("Reason").fill("a new address")
    page.get_by_role("button", name="Start this ramp").click()
    expect(page.locator("h1")).to_contain_text(NEW)
    ramp = Ramp.objects.get()
    live(ramp, noon(ramp.start_date))
    assert parts(msn) == {NEW: 1, OLD: 5}
    page.reload()
    expect(page.locator(".page-head .state")).to_have_text("warming, day 1 of 151")
    expect(page.locator("#ramp-chart svg .bars path").first).to_be_attached()
    steer(page, "Hold today")
    expect(page.locator("[role=status]").first).to_contain_text("It is held for today.")
    steer(page, "Pause")
    expect(page.locator(".page-head .state")).to_have_text("paused, day 1 of 151")
    steer(page, "Resume")
    expect(page.locator(".page-head .state")).to_have_text("warming, day 1 of 151")
    page.get_by_label("and plan the weights from before").check()
    steer(page, "Cancel the ramp")
    page.wait_for_url("**/operations/*/")
    expect(page.locator("#operation")).to_contain_text(f"{OLD} 100.0 %")
    page.get_by_label("Reason").fill("a test")
    page.get_by_role("button", name="Change weights").click()
    expect(page.get_by_role("button", name="Change weights")).to_have_count(0)
    work()
    assert parts(msn) == {OLD: 1}
    assert visit.unexpected == []


def test_a_poll_brings_what_is_new_and_leaves_what_is_typed(visit: Visit) -> None:
    ramp = ramp_row(relay_name_row())
    page = visit.open(f"/ramps/{ramp.pk}/")
    expect(page.locator("#ramp-chart svg .bars path").first).to_be_attached()
    page.get_by_label("Why", exact=True).fill("because")
    page.locator("#days-table summary").click()
    page.evaluate("document.querySelector('#ramp-chart svg').dataset.kept = 'yes'")
    Ramp.objects.filter(pk=ramp.pk).update(trouble="the server refuses", version=7)
    page.evaluate("window.htmx.trigger(document.querySelector('[data-poll]'), 'wake')")
    expect(page.locator("#ramp")).to_contain_text("the server refuses")
    expect(page.get_by_label("Why", exact=True)).to_have_value("because")
    expect(page.locator("#days-table")).to_have_attribute("open", "")
    expect(page.locator("#ramp-chart svg[data-kept]")).to_be_attached()
    assert visit.unexpected == []


def test_the_keys_lead_to_the_ramps_and_into_one(visit: Visit) -> None:
    ramp = ramp_row(relay_name_row())
    page = visit.open("/")
    page.keyboard.press("g")
    page.keyboard.press("r")
    page.wait_for_url("**/ramps/")
    page.keyboard.press("j")
    page.keyboard.press("Enter")
    page.wait_for_url(f"**/ramps/{ramp.pk}/")
