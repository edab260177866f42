"""The matrix as an operator uses it: what stays while it refreshes, the keyboard, the theme."""

import re

import pytest
from django.utils import timezone
from playwright.sync_api import Route, expect

from relays.models import Host, InstanceState
from tests.browser.visits import PASSWORD, Visit
from tests.factories import fleet_make, host_make, instance_make

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]


def poll_stores(**counts: int) -> None:
    """Do what a poll of msn-a does to the rows that the matrix reads."""
    now = timezone.now()
    InstanceState.objects.filter(instance__name="msn-a").update(sampled_at=now, asked_at=now, **counts)
    Host.objects.filter(name="rustin").update(last_attempt_at=now, last_success_at=now)


def test_new_figures_arrive_without_moving_focus_scroll_or_what_is_open(visit: Visit) -> None:
    fleet_make()
    page = visit.open("/")
    page.get_by_text("What the states mean").click()
    cell = page.locator("#row-msn").get_by_role("link", name=re.compile("^msn-a"))
    cell.focus()
    page.mouse.wheel(0, 200)
    page.wait_for_timeout(200)
    before = page.evaluate("window.scrollY")
    poll_stores(deferred=1375)
    expect(page.locator("#row-msn .def").first).to_have_text("1,375", timeout=15_000)
    expect(cell).to_be_focused()
    expect(page.locator("#rules dl")).to_be_visible()
    assert page.evaluate("window.scrollY") == before > 0
    assert visit.unexpected == []


def test_nothing_is_swapped_while_nothing_changed(visit: Visit) -> None:
    fleet_make()
    statuses: list[int] = []
    visit.page.on("response", lambda answer: statuses.append(answer.status) if "tag=" in answer.url else None)
    page = visit.open("/")
    with page.expect_response(lambda answer: "tag=" in answer.url, timeout=15_000):
        pass
    with page.expect_response(lambda answer: "tag=" in answer.url, timeout=15_000):
        pass
    # Of two polls 10 s apart at most one meets a new minute.
    assert 204 in statuses


def test_a_hidden_tab_does_not_poll_and_a_shown_one_does_at_once(visit: Visit) -> None:
    fleet_make()
    asked: list[str] = []
    visit.page.on("request", lambda request: asked.append(request.url) if "tag=" in request.url else None)
    page = visit.open("/")
    page.evaluate("Object.defineProperty(document, 'hidden', {configurable: true, get: () => true})")
    page.wait_for_timeout(11_000)
    assert asked == []
    page.evaluate(
        "Object.defineProperty(document, 'hidden', {get: () => false});"
        "document.dispatchEvent(new Event('visibilitychange'))"
    )
    page.wait_for_timeout(1_000)
    assert len(asked) == 1


def test_ages_tick(visit: Visit) -> None:
    fleet_make()
    page = visit.open("/")
    age = page.locator("#row-msn .cell time").first
    first = age.inner_text()
    expect(age).not_to_have_text(first, timeout=5_000)


def test_a_console_that_stopped_answering_says_so_and_recovers(visit: Visit) -> None:
    fleet_make()
    page = visit.open("/")

    def refuse(route: Route) -> None:
        route.abort()

    page.route("**/*tag=*", refuse)
    expect(page.get_by_text("The console does not answer")).to_be_visible(timeout=15_000)
    page.unroute("**/*tag=*", refuse)
    expect(page.get_by_text("The console does not answer")).to_be_hidden(timeout=15_000)


def test_a_session_that_ended_leads_to_the_log_in_page(visit: Visit) -> None:
    fleet_make()
    page = visit.open("/")
    page.context.clear_cookies()
    page.wait_for_url("**/login/?next=/", timeout=15_000)
    page.get_by_label("User name").fill("anna")
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Log in").click()
    expect(page.get_by_text("Abnormal now")).to_be_visible()


def test_the_abnormal_line_leads_to_where_it_is_dealt_with(visit: Visit) -> None:
    fleet_make()
    page = visit.open("/")
    page.get_by_role("link", name="Queue of yahoo-a").click()
    expect(page.get_by_role("heading", name="yahoo-a")).to_be_visible()


def test_a_folded_row_opens_and_stays_open_through_a_refresh(visit: Visit) -> None:
    fleet_make()
    host = host_make("many")
    for i in range(20):
        instance_make(host, f"gmail-x{i:02}", 1, 60)
    page = visit.open("/")
    page.get_by_role("link", name=re.compile("14 more ok")).click()
    expect(page.locator("#row-gmail .cell .def")).to_have_count(21)
    poll_stores(deferred=77)
    expect(page.locator("#row-msn .def").first).to_have_text("77", timeout=15_000)
    expect(page.locator("#row-gmail .cell .def")).to_have_count(21)


def test_the_keyboard_finds_goes_and_steps(visit: Visit) -> None:
    fleet_make()
    page = visit.open("/")
    page.keyboard.press("?")
    expect(page.get_by_role("dialog")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_be_hidden()
    page.keyboard.press("j")
    expect(page.locator("[data-row]").first).to_be_focused()
    page.keyboard.press("j")
    expect(page.locator("[data-row]").nth(1)).to_be_focused()
    page.keyboard.press("k")
    expect(page.locator("[data-row]").first).to_be_focused()
    page.keyboard.press("g")
    page.keyboard.press("h")
    page.wait_for_url("**/hosts/")
    page.keyboard.press("/")
    expect(page.get_by_role("searchbox")).to_be_focused()
    page.keyboard.type("198.51.100.22")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="gmail-a")).to_be_visible()


def test_the_theme_is_chosen_remembered_and_there_before_the_first_paint(visit: Visit) -> None:
    page = visit.open("/")
    html = page.locator("html")
    expect(html).to_have_attribute("data-bs-theme", "light")
    button = page.get_by_role("button", name=re.compile("Theme"))
    button.click()
    button.click()
    expect(html).to_have_attribute("data-bs-theme", "dark")
    page = visit.open("/hosts/")
    expect(html).to_have_attribute("data-bs-theme", "dark")
    expect(page.get_by_role("button", name="Theme: dark")).to_be_visible()
    assert page.evaluate("document.querySelector('script').src").endswith("theme.js")


def test_it_logs_out(visit: Visit) -> None:
    page = visit.open("/")
    page.locator(".menu summary").click()
    page.get_by_role("button", name="Log out").click()
    page.wait_for_url("**/login/")


@pytest.mark.parametrize("width", [390, 920, 1400])
def test_a_state_keeps_to_its_column(visit: Visit, width: int) -> None:
    instance_make(host_make(age_s=540), "therest-throttled", 412, 60, "throttled")
    visit.page.set_viewport_size({"width": width, "height": 900})
    page = visit.open("/")
    chips = page.locator(".state")
    assert page.locator(".abnormal .state", has_text="stale, was throttled").count() == 1
    assert chips.evaluate_all("all => all.filter(e => e.scrollWidth > e.clientWidth).length") == 0
    names = page.locator(".cell .inst")
    assert names.evaluate_all("all => all.filter(e => e.scrollWidth > e.clientWidth).length") == 0
