"""The passport of an address: first seen, names, shares, refusals, flushes, notes."""

from datetime import timedelta

import pytest
from django.test import Client
from django.utils import timezone

from dns.models import AddressNote, PublishedState
from relays.models import AuditEvent, Flush, Instance
from tests.factories import operation_make, replies_make, reply_cluster_make
from tests.people import browser_of
from tests.ramps import NEW, OLD, instances_make, ramp_row, relay_name_row

pytestmark = pytest.mark.django_db
PAGE = f"/addresses/{NEW}/"
EVIL = "<script>alert(1)</script>"


@pytest.fixture
def instance() -> Instance:
    _, new = instances_make()
    return new


def text(browser: Client) -> str:
    answer = browser.get(PAGE)
    assert answer.status_code == 200
    return answer.content.decode()


def test_an_address_without_a_past_says_so(instance: Instance, viewer: Client) -> None:
    page = text(viewer)
    for told in ("No relay name has it", "never brought up", "Nothing of it was published", "None yet"):
        assert told in page, told
    assert "msn-b on rustin" in page and "Write it down" not in page


def test_it_tells_names_ramps_shares_refusals_and_flushes(instance: Instance, viewer: Client) -> None:
    name = relay_name_row()
    ramp_row(name)
    now = timezone.now()
    PublishedState.objects.create(
        relay_name=name, at=now, effective_at=now, serial=2, records=[], parts={OLD: 3, NEW: 1}, wanted={}
    )
    yesterday = now - timedelta(days=1)
    replies_make(instance, reply_cluster_make("421 slow", reason="rate-limited"), at=yesterday, deferred=12)
    replies_make(instance, reply_cluster_make("554 no", reason="reputation-block"), at=yesterday, bounced=7)
    operation = operation_make(instance)
    Flush.objects.create(
        operation=operation, target=instance, source_name="msn-a", target_name="msn-b", began_at=now
    )
    page = text(viewer)
    for told in ("msn.smtp.example.org", "warming, day 3 of 14", "25.0 %", ">out<", "from msn-a to msn-b"):
        assert told in page, told
    assert f'{yesterday:%Y-%m-%d}</th><td class="num">12</td><td class="num">7</td>' in page


def test_operators_write_notes_and_viewers_read_them(instance: Instance, viewer: Client) -> None:
    otto = browser_of("otto", "operator")
    otto.post(f"{PAGE}note/", {"text": f"ticket 4711 {EVIL}"})
    page = text(viewer)
    assert "ticket 4711 &lt;script&gt;" in page and EVIL not in page
    assert AddressNote.objects.get().by == "otto"
    assert AuditEvent.objects.get(action="address.note").object_id == NEW
    page = otto.post(f"{PAGE}note/", {"text": "  "}, follow=True).content.decode()
    assert "Write what is to be noted" in page and AddressNote.objects.count() == 1
    assert viewer.post(f"{PAGE}note/", {"text": "no"}).status_code == 403


@pytest.mark.parametrize("address", ["192.0.2.99", "localhost", "..", "192.0.2.12%00"])
def test_what_the_fleet_never_had_is_not_found(address: str, instance: Instance, viewer: Client) -> None:
    assert viewer.get(f"/addresses/{address}/").status_code == 404


def test_the_instance_and_the_ramp_lead_to_it(instance: Instance, viewer: Client) -> None:
    ramp = ramp_row(relay_name_row())
    for path in (f"/instances/{instance.pk}/", f"/ramps/{ramp.pk}/"):
        assert f'href="{PAGE}"' in viewer.get(path).content.decode()
