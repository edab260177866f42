"""The pages over outcomes in a real browser."""

import pytest
from django.utils import timezone
from playwright.sync_api import Page, expect

from relays.models import Instance, InstanceState
from tests.browser.visits import Visit
from tests.factories import fleet_make, outcomes_make, replies_make, reply_cluster_make

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]
EVIL = "<img src=x onerror=alert(1)> 421 slow"


def open_provider(visit: Visit) -> tuple[Page, Instance]:
    instance = fleet_make()["msn-a"]
    outcomes_make(instance, domain="hotmail.com", delays=[9] * 16, sent=620, deferred=60, bounced=7)
    replies_make(instance, reply_cluster_make(EVIL, sample=EVIL), deferred=60)
    return visit.open("/providers/msn/"), instance


def poll(page: Page) -> None:
    page.evaluate("window.htmx.trigger(document.querySelector('[data-poll]'), 'wake')")


def test_the_chart_shows_outcomes_shares_and_delays_when_pointed_at(visit: Visit) -> None:
    page, _ = open_provider(visit)
    chart = page.locator("#outcomes-chart")
    expect(chart.locator("svg .bars path").first).to_be_attached()
    box = chart.locator(".nsewdrag").first.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + box["width"] - 12, box["y"] + box["height"] / 2)
    expect(chart.locator(".hoverlayer .legend")).to_contain_text("620")
    assert visit.unexpected == []


def test_a_poll_brings_new_figures_and_leaves_chart_and_open_details(visit: Visit) -> None:
    page, instance = open_provider(visit)
    expect(page.locator("#outcomes-chart svg .bars path").first).to_be_attached()
    page.locator("#outcomes-table summary").click()
    page.evaluate("document.querySelector('#outcomes-chart svg').dataset.kept = 'yes'")
    outcomes_make(instance, sent=1)
    InstanceState.objects.filter(instance=instance).update(outcomes_at=timezone.now())
    poll(page)
    expect(page.locator("#outcomes .counts")).to_contain_text("621")
    expect(page.locator("#outcomes-table")).to_have_attribute("open", "")
    expect(page.locator("#outcomes-chart svg[data-kept]")).to_be_attached()
    assert visit.unexpected == []


def test_a_poll_takes_no_row_from_who_is_changing_its_provider(visit: Visit) -> None:
    page, instance = open_provider(visit)
    row = page.locator("#domains tbody tr").first
    row.get_by_role("link", name="Change the provider of hotmail.com").click()
    choice = row.get_by_label("Provider of hotmail.com", exact=True)
    choice.select_option("yahoo")
    InstanceState.objects.filter(instance=instance).update(outcomes_at=timezone.now())
    poll(page)
    page.wait_for_timeout(500)
    expect(choice).to_have_value("yahoo")
    row.get_by_role("button", name="Save").click()
    expect(row).to_contain_text("from now on")
    assert visit.unexpected == []


def test_a_hostile_reply_opens_as_text(visit: Visit) -> None:
    page, _ = open_provider(visit)
    reply = page.locator("#replies tbody tr").first
    reply.locator("summary").click()
    expect(reply.locator("details .reply")).to_have_text(EVIL)
    assert page.locator("#replies img").count() == 0


def test_a_range_is_a_link_that_keeps_its_place(visit: Visit) -> None:
    page, _ = open_provider(visit)
    page.locator("#outcomes .ranges").get_by_role("link", name="7 days").click()
    page.wait_for_url("**/providers/msn/?range=7d#outcomes")
    expect(page.locator("#outcomes .ranges [aria-current]")).to_have_text("7 days")


def test_a_table_is_downloaded_from_its_card(visit: Visit) -> None:
    page, _ = open_provider(visit)
    with page.expect_download() as download:
        page.locator("#replies").get_by_role("link", name="CSV").click()
    assert download.value.suggested_filename == "replies-msn-24h.csv"


def test_without_javascript_the_figures_are_in_the_table(visit: Visit) -> None:
    open_provider(visit)
    cookies = visit.page.context.cookies()
    browser = visit.page.context.browser
    assert browser is not None
    context = browser.new_context(java_script_enabled=False)
    context.add_cookies(cookies)  # type: ignore[arg-type]
    page = context.new_page()
    page.goto(f"{visit.base}/providers/msn/")
    expect(page.locator("#outcomes-chart")).to_contain_text("the table has the same figures")
    page.locator("#outcomes-table summary").click()
    expect(page.locator("#outcomes-table tbody tr").first).to_contain_text("620")
    context.close()
