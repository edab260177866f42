"""The page of zones, and its doctor: can each be read, updated and verified?"""

from collections.abc import Iterator

import pytest
from django.test import Client

from dns.models import Zone
from dns.services import zones
from relays.services.audit import SYSTEM
from relays.services.origins import origin_add
from tests.dns_servers import KEY, SECRET, ZONE, Bind
from tests.people import browser_of
from tests.relay_names import relay_name_make

pytestmark = pytest.mark.django_db

MSN = f"msn.{ZONE}"


@pytest.fixture(scope="module")
def bind() -> Iterator[Bind]:
    with Bind() as server:
        yield server


@pytest.fixture
def administrator(db: None) -> Client:
    return browser_of("otto", "administrator")


@pytest.fixture
def zone(bind: Bind) -> Zone:
    return zones.zone_save(
        name=ZONE,
        method="rfc2136",
        servers=[f"127.0.0.1:{bind.port}"],
        allowed_names=[MSN],
        tsig_name=KEY,
        secret=SECRET,
        origins=[origin_add(name="lists", addresses=["198.51.100.1"])],
        actor=SYSTEM,
    )


def _examined(client: Client, zone: Zone, **headers: str) -> str:
    return client.post(f"/zones/{zone.pk}/doctor/", headers=headers).content.decode()


def test_without_zones_the_page_says_how_to_add_one(administrator: Client) -> None:
    assert "manage.py dns zone" in administrator.get("/zones/").content.decode()


def test_zones_are_listed_with_how_they_are_written_and_never_a_secret(
    zone: Zone, administrator: Client
) -> None:
    page = administrator.get("/zones/").content.decode()
    assert "dynamic update (RFC 2136)" in page and f"with the key {KEY} (hmac-sha256)" in page
    assert "lists" in page and MSN in page
    assert SECRET not in page and zone.sealed_secret not in page
    assert "/zones/" in administrator.get("/relay-names/").content.decode()


def test_a_zone_of_relay_names_says_how_old_its_reading_is(administrator: Client) -> None:
    row = relay_name_make()
    row.drift = {"192.0.2.54": "serves nothing"}
    row.save()
    page = administrator.get("/zones/").content.decode()
    assert "1 not as published" in page and "<time" in page


def test_the_doctor_tells_that_all_holds(zone: Zone, administrator: Client) -> None:
    page = _examined(administrator, zone)
    assert page.count("does not hold") == 0 and page.count(">holds<") == 3
    assert "Doctor of" in page
    assert "<html" not in _examined(administrator, zone, **{"HX-Request": "true"})


def test_the_doctor_names_what_does_not(bind: Bind, zone: Zone, administrator: Client) -> None:
    Zone.objects.update(tsig_name="another-key", servers=[f"127.0.0.1:{bind.port}", "127.0.0.1:1"])
    page = _examined(administrator, zone)
    assert "knows no key another-key" in page and "127.0.0.1:1 takes no connection" in page
    assert "1 of 2 servers cannot be read" in page
    Zone.objects.update(sealed_secret="sealed elsewhere")
    assert "was not sealed with the key" in _examined(administrator, zone)
    Zone.objects.update(method="manual")
    assert "people write this zone" in _examined(administrator, zone)
