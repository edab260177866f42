"""A relay name in the browser: an address taken out and put back, weights moved by slider and keyboard."""

from collections.abc import Iterator
from datetime import timedelta

import pytest
from django.utils import timezone
from playwright.sync_api import Page, expect

from dns.domain.records import RecordSet, difference
from dns.lookup import Server
from dns.models import PublishedState, RelayName
from dns.publishing.rfc2136 import Key, Rfc2136
from dns.services import zones
from relays.models import Accepted, Operation
from relays.services import operations
from relays.services.audit import SYSTEM
from tests.browser.visits import Visit
from tests.dns_servers import ALGORITHM, KEY, SECRET, ZONE, Bind
from tests.factories import host_make, instance_make
from tests.relay_names import NEW, OLD, mail_make, relay_name_make

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]

NAME = f"msn.{ZONE}"


@pytest.fixture
def msn() -> Iterator[RelayName]:
    """Return a relay name on a real BIND, whose two addresses get the same."""
    with Bind() as bind:
        at = Server("127.0.0.1", bind.port)
        wanted = [RecordSet.of(NAME, "A", 600, [OLD, NEW])]
        Rfc2136(at, ZONE, Key(KEY, ALGORITHM, SECRET)).write(difference([], wanted))
        zone = zones.zone_save(
            name=ZONE,
            method="rfc2136",
            servers=[str(at)],
            allowed_names=[NAME],
            tsig_name=KEY,
            secret=SECRET,
            actor=SYSTEM,
        )
        yield zones.relay_name_import(zone=zone, name=NAME, rendering="mx", actor=SYSTEM)


def mail(share_old: float, messages: int = 400) -> None:
    """Let what is published be in force for an hour, and origins send by it."""
    Accepted.objects.all().delete()
    PublishedState.objects.update(effective_at=timezone.now() - timedelta(hours=1))
    mail_make({OLD: round(messages * share_old), NEW: round(messages * (1 - share_old))})


def confirm(page: Page, reason: str) -> None:
    """Confirm the plan that is shown, and do what a worker would."""
    expect(page.get_by_label("Reason")).to_be_focused()
    page.keyboard.type(reason)
    page.keyboard.press("Enter")
    expect(page.get_by_label("Reason")).to_have_count(0)
    for operation in Operation.objects.filter(state="queued"):
        operations.run(operation_id=operation.pk)
    expect(page.get_by_text("effective everywhere from")).to_be_visible()


def shown(page: Page, address: str) -> list[str]:
    """Return what the row of an address says: wanted, published, and the beginning of observed."""
    cells = page.locator("#weights tbody tr").filter(has_text=address).locator("td").all_inner_texts()
    return [cells[1], cells[2], cells[3].partition(" (")[0]]


def test_an_address_is_taken_out_its_share_moves_and_it_is_put_back(visit: Visit, msn: RelayName) -> None:
    mail(0.5)
    path = f"/relay-names/{msn.pk}/"
    page = visit.open(path)
    assert shown(page, OLD) == ["50.0 %", "50.0 %", "50.0 %"]

    page.get_by_role("button", name=f"Take out {OLD}").click()
    expect(page.get_by_text(f"{NAME} gives {NEW} 100.0 %.")).to_be_visible()
    confirm(page, "msn blocks it")
    mail(0)
    page = visit.open(path)
    assert shown(page, OLD) == ["0.0 %", "0.0 %", "0.0 %"]
    assert shown(page, NEW) == ["100.0 %", "100.0 %", "100.0 %"]

    page.get_by_role("button", name=f"Put back {OLD}").click()
    confirm(page, "msn takes it again")
    mail(0.5)
    page = visit.open(path)
    assert shown(page, OLD) == ["50.0 %", "50.0 %", "50.0 %"]
    expect(page.locator("#shares-chart .js-line").first).to_be_attached()
    expect(page.locator("#shares-chart .annotation").first).to_be_attached()
    assert visit.unexpected == []


def test_from_its_cell_an_address_is_taken_out_and_put_back_in_one_click_each(
    visit: Visit, msn: RelayName
) -> None:
    host = host_make()
    instance_make(host, "msn-a", 412, 2280, "blocked", ip=OLD, hour_blocked=96)
    instance_make(host, "msn-b", ip=NEW)
    page = visit.open("/")
    strip = page.locator("#abnormal")
    expect(strip.get_by_role("button", name=f"Take out of DNS {OLD} of msn-a")).to_be_visible()
    cell = page.locator(".cells > li").filter(has_text="msn-a")
    cell.get_by_role("button", name="Take out of DNS").click()
    expect(page.get_by_text(f"{NAME} gives {NEW} 100.0 %.")).to_be_visible()
    reason = page.get_by_label("Reason")
    prefilled = "blocked at msn: 96 recipients refused so in the last hour, 412 messages deferred at "
    assert reason.input_value().startswith(prefilled)
    confirm(page, "")

    page = visit.open("/")
    expect(page.locator(".cells")).to_contain_text(f"the only address of {NAME}: it stays")
    strip.get_by_role("button", name=f"Put back into DNS {OLD} of msn-a").click()
    expect(page.get_by_label("Reason")).to_have_value("")
    confirm(page, "msn takes it again")
    assert RelayName.objects.get().weights.filter(is_on=True).count() == 2
    assert visit.unexpected == []


def test_weights_are_set_by_slider_and_keyboard_with_a_preview(visit: Visit, msn: RelayName) -> None:
    page = visit.open(f"/relay-names/{msn.pk}/")
    preview = page.locator("#preview")
    slider = page.get_by_label(f"Slider for the weight of {OLD}")
    slider.focus()
    for _ in range(4):
        page.keyboard.press("ArrowRight")
    number = page.get_by_label(f"Weight of {OLD}", exact=True)
    expect(number).to_have_value("5")
    expect(preview).to_contain_text(f"{OLD} 83.3 %, {NEW} 16.7 %")
    expect(preview).to_contain_text(f"+ {NAME}. 600 IN MX 10 w5-192-0-2-11.{NAME}.")
    number.fill("0")
    page.get_by_label(f"Weight of {NEW}", exact=True).fill("0")
    expect(preview).to_contain_text("No address would be left")
    number.fill("2")
    expect(slider).to_have_value("2")
    page.get_by_label(f"Weight of {NEW}", exact=True).fill("1")
    expect(preview).to_contain_text(f"{OLD} 66.7 %, {NEW} 33.3 %")
    page.keyboard.press("Enter")
    page.wait_for_url("**/operations/*/")
    confirm(page, "a new address")
    # What is typed while a preview is on its way replaces it.
    aborted = {"htmx:afterRequest, [object HTMLDivElement]", "htmx:sendAbort, [object HTMLDivElement]"}
    assert set(visit.unexpected) <= aborted


def test_a_weight_of_thousands_stays_one(visit: Visit) -> None:
    row = relay_name_make({OLD: 9975, NEW: 25})
    page = visit.open(f"/relay-names/{row.pk}/")
    expect(page.get_by_label(f"Weight of {OLD}", exact=True)).to_have_value("9975")
    expect(page.get_by_label(f"Slider for the weight of {OLD}")).to_have_value("9975")
