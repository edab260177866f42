"""Charts under the strict content security policy: hover and heat map work."""

import pytest
from playwright.sync_api import expect

from tests.browser.visits import HARMLESS, Visit
from tests.factories import fleet_make, samples_make, snapshot_make

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]


def open_instance(visit: Visit) -> None:
    instance = fleet_make()["msn-a"]
    domains = [("hotmail.com", [0, 3, 12, 40, 80, 120, 60, 31, 0, 0]), ("<b>bold</b>.example", [5] + [0] * 9)]
    snapshot_make(instance, domains, [("host mx said: 421 4.7.0 slow", 346)])
    samples_make(instance)
    visit.open(f"/instances/{instance.pk}/")


def test_hover_shows_the_counts_of_a_time(visit: Visit) -> None:
    open_instance(visit)
    chart = visit.page.locator("#counts-chart")
    expect(chart.locator("svg .lines path.js-line").first).to_be_attached()
    chart.locator(".nsewdrag").first.hover()
    expect(chart.locator(".hoverlayer .legend")).to_contain_text("deferred")
    # plotly's own style sheet is what keeps the layer from swallowing the pointer: site.css cannot.
    assert chart.locator(".hoverlayer").evaluate("node => getComputedStyle(node).pointerEvents") == "none"
    assert visit.unexpected == []


def test_the_heat_map_is_drawn_sharp_labelled_and_hostile_domains_are_text(visit: Visit) -> None:
    open_instance(visit)
    chart = visit.page.locator("#ages-chart")
    image = chart.locator(".heatmaplayer image")
    expect(image).to_be_attached()
    assert image.evaluate("node => getComputedStyle(node).imageRendering") == "pixelated"
    expect(chart.locator(".ytick text").nth(1)).to_have_text("<b>bold</b>.example")
    expect(chart.locator(".heatmap-label").get_by_text("120", exact=True)).to_be_visible()
    box = chart.locator(".nsewdrag").first.bounding_box()
    assert box is not None
    visit.page.mouse.move(box["x"] + box["width"] * 0.55, box["y"] + 12)
    expect(chart.locator(".hoverlayer .hovertext")).to_contain_text("hotmail.com")
    expect(chart.locator(".hoverlayer .hovertext")).to_contain_text("160 min: 120 recipients")
    assert visit.unexpected == []
    assert sum(text.startswith(HARMLESS) for text in visit.complaints) <= 3


def test_a_range_is_chosen_and_a_theme_followed(visit: Visit) -> None:
    open_instance(visit)
    chart = visit.page.locator("#counts-chart")
    expect(chart.locator("svg .lines path.js-line").first).to_be_attached()
    ranges = visit.page.locator("#over-time .ranges")
    with visit.page.expect_response(lambda answer: "counts.json?range=7d" in answer.url):
        ranges.get_by_role("link", name="7 days").click()
    expect(ranges.get_by_role("link", name="7 days")).to_have_attribute("aria-current", "true")
    ranges.get_by_role("link", name="1 year").click()
    expect(chart.get_by_text("Nothing was recorded in this range.")).to_be_visible()
    ranges.get_by_role("link", name="24 hours").click()
    label = chart.locator(".ytick text").first
    light = label.evaluate("node => getComputedStyle(node).fill")
    visit.page.emulate_media(color_scheme="dark")
    visit.page.wait_for_timeout(500)
    assert label.evaluate("node => getComputedStyle(node).fill") != light


def test_a_chart_that_cannot_be_loaded_says_so(visit: Visit) -> None:
    visit.page.route("**/counts.json*", lambda route: route.fulfill(status=500))
    open_instance(visit)
    expect(visit.page.get_by_text("The chart could not be loaded")).to_be_visible()
