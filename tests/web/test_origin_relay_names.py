"""What an origin's page shows of relay names: its transport map, mynetworks, and mail past every name."""

from datetime import timedelta

import pytest
from django.db import connection
from django.test import Client as Browser
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from dns.models import RelayName, Zone
from relays.models import Accepted, Instance, InstanceState, Origin, ProviderDomain
from relays.services.origins import origin_add
from tests.factories import accepted_make, host_make, instance_make, provider_make
from tests.relay_names import CLIENT, NEW, OLD, mail_make, relay_name_make, state_make

pytestmark = pytest.mark.django_db


@pytest.fixture
def lists() -> Origin:
    return origin_add(name="lists", addresses=[CLIENT, "2001:db8::31"])


@pytest.fixture
def msn() -> RelayName:
    row = relay_name_make()
    for domain in ("hotmail.com", "live.com"):
        ProviderDomain.objects.create(domain=domain, provider=provider_make("msn"))
    return row


def _page(browser: Browser, origin: Origin) -> str:
    return " ".join(browser.get(f"/origins/{origin.pk}/").content.decode().split())


def _file(browser: Browser, origin: Origin) -> list[str]:
    answer = browser.get(f"/origins/{origin.pk}/transport.relay")
    assert answer["Content-Disposition"] == 'attachment; filename="transport.relay"'
    return answer.content.decode().splitlines()


def test_the_transport_map_is_ready_to_download(viewer: Browser, lists: Origin, msn: RelayName) -> None:
    rest = RelayName.objects.create(
        zone=msn.zone, name="therest.smtp.example.org", provider=provider_make("rest", catch_all=True)
    )
    comment, other, *lines = _file(viewer, lists)
    assert comment.startswith("# transport.relay of lists, as of ")
    assert other.startswith(f"# All other mail: relayhost = {rest.name} in main.cf")
    assert lines == [f"hotmail.com smtp:{msn.name}", f"live.com smtp:{msn.name}"]
    page = _page(viewer, lists)
    assert "2 lines of transport.relay" in page
    assert f"transport_maps = texthash:/etc/postfix/transport.relay relayhost = {rest.name} smtp_" in page
    assert f'<pre class="quote long mb-0">{CLIENT}, [2001:db8::31]</pre>' in page


def test_a_zone_of_other_origins_is_not_this_ones(viewer: Browser, lists: Origin, msn: RelayName) -> None:
    msn.zone.origins.add(origin_add(name="news", addresses=["198.51.100.9"]))
    assert len(_file(viewer, lists)) == 1
    assert "nothing can be told for its transport map" in _page(viewer, lists)
    msn.zone.origins.add(lists)
    assert len(_file(viewer, lists)) == 3


def test_a_name_of_an_origin_makes_no_line_of_its_map(viewer: Browser, msn: RelayName) -> None:
    origin = Origin.objects.create(name="lists\n* smtp:[192.0.2.66]")
    assert len(_file(viewer, origin)) == 3


def test_instances_that_took_its_mail_are_proven_and_others_are_not(
    viewer: Browser, lists: Origin, msn: RelayName
) -> None:
    mail_make({OLD: 60})
    instance_make(host_make("cleveland"), "msn-c", ip=NEW, outcomes_at=timezone.now())
    page = _page(viewer, lists)
    assert page.count("lets it relay") == 1 and page.count("not proven: nothing came") == 1
    assert "counted up to" in page
    assert "Past every relay name" not in page


def test_what_came_to_an_instance_whose_log_was_never_read_is_not_known(
    viewer: Browser, lists: Origin, msn: RelayName
) -> None:
    mail_make({OLD: 60})
    instance_make(host_make("cleveland"), "msn-c", ip=NEW)
    InstanceState.objects.filter(instance__name="msn-c").update(outcomes_at=None)
    page = _page(viewer, lists)
    assert "not known: its log is not read up to now" in page
    assert page.count('<td class="num">not known</td>') == 2
    assert "not proven" not in page


def test_mail_past_every_relay_name_is_told(viewer: Browser, lists: Origin, msn: RelayName) -> None:
    mail_make({OLD: 60})
    stray = instance_make(host_make("leslie"), "msn-x", ip="192.0.2.19")
    accepted_make(stray, CLIENT, 1200)
    accepted_make(instance_make(host_make("ohara"), "msn-y", ip="192.0.2.20"), "198.51.100.77", 5)
    page = _page(viewer, lists)
    assert "1,200 messages to" in page and "msn-x" in page
    assert "msn-y" not in page


def test_mail_that_an_earlier_state_led_there_is_no_bypass(
    viewer: Browser, lists: Origin, msn: RelayName
) -> None:
    mail_make({OLD: 60, NEW: 12})
    state_make(msn, {OLD: 5, NEW: 0}, at=timezone.now() - timedelta(minutes=30))
    assert "Past every relay name" not in _page(viewer, lists)
    state_make(msn, {OLD: 6, NEW: 0}, at=timezone.now() - timedelta(hours=5))
    msn.published.exclude(wanted={OLD: 6, NEW: 0}).delete()
    assert "12 messages to" in _page(viewer, lists)


def test_an_instance_that_refuses_an_origin_is_told_with_how_often(
    viewer: Browser, lists: Origin, msn: RelayName
) -> None:
    mail_make({OLD: 480, NEW: 0})
    accepted_make(Instance.objects.get(name="msn-b"), CLIENT, 0, denied=1204)
    page = _page(viewer, lists)
    assert "refused</span> 1,204 recipients in the last hour" in page
    assert "to be expected" not in page
    # A refusal before the last hour is mended, for all that is known.
    Accepted.objects.filter(denied__gt=0).update(ts=1795000200)
    assert "refused</span>" not in _page(viewer, lists)


def test_an_instance_to_which_none_of_its_mail_came_is_told(
    viewer: Browser, lists: Origin, msn: RelayName
) -> None:
    mail_make({OLD: 480, NEW: 0})
    page = _page(viewer, lists)
    assert "missing</span>" in page and "80 were to be expected" in page
    # Too few to tell, and a log that is behind.
    msn.published.update(effective_at=timezone.now())
    assert "missing</span>" not in _page(viewer, lists)
    msn.published.update(effective_at=timezone.now() - timedelta(hours=2))
    assert "missing</span>" in _page(viewer, lists)
    InstanceState.objects.filter(instance__name="msn-b").update(outcomes_at=None)
    assert "missing</span>" not in _page(viewer, lists)


def test_the_number_of_queries_does_not_grow_with_an_origins_names(
    viewer: Browser, lists: Origin, msn: RelayName
) -> None:
    mail_make({OLD: 60, NEW: 12})
    with CaptureQueriesContext(connection) as few:
        _page(viewer, lists)
    for number in range(5):
        slug = f"p{number}"
        other = RelayName.objects.create(
            zone=msn.zone, name=f"{slug}.{msn.name}", provider=provider_make(slug)
        )
        state_make(other, {OLD: 1, NEW: 1}, at=timezone.now() - timedelta(days=1))
    with CaptureQueriesContext(connection) as many:
        _page(viewer, lists)
    assert len(many) == len(few)


def test_without_zones_nothing_is_told(viewer: Browser, lists: Origin) -> None:
    assert not Zone.objects.exists()
    assert "nothing can be told for its transport map" in _page(viewer, lists)
