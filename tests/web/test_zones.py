"""The page of zones, and its doctor: can each be read, updated and verified?"""

import json
from collections.abc import Iterator

import pytest
from django.test import Client
from django.utils import timezone

from dns.models import Zone
from dns.services import zones
from relays.models import AuditEvent, Operation, RelayNameLock
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


def _form(bind: Bind, **more: str) -> dict[str, str]:
    """Return a form as a browser sends it."""
    return {
        "name": ZONE,
        "method": "rfc2136",
        "servers": f"127.0.0.1:{bind.port}",
        "allowed_names": MSN,
        "tsig_name": KEY,
        "tsig_algorithm": "hmac-sha256",
        "secret": SECRET,
    } | more


def test_without_zones_the_page_leads_to_the_form(administrator: Client) -> None:
    page = administrator.get("/zones/").content.decode()
    assert 'href="/zones/add/"' in page and "manage.py dns zone" in page


def test_a_zone_is_added_and_examined_at_once_and_its_secret_never_comes_back(
    bind: Bind, administrator: Client
) -> None:
    page = administrator.post("/zones/add/", _form(bind)).content.decode()
    assert f"{ZONE} was saved." in page and page.count(">holds<") == 3
    zone = Zone.objects.get()
    event = AuditEvent.objects.get()
    assert (event.actor_name, event.action, event.object_name) == ("otto", "zone.changed", ZONE)
    assert json.loads(event.details)["after"]["allowed_names"] == [MSN]
    assert json.loads(event.details)["secret"] == "given"
    form = administrator.get(f"/zones/{zone.pk}/change/").content.decode()
    for told in (page, form, event.details):
        assert SECRET not in told and zone.sealed_secret not in told


def test_what_cannot_be_is_told_and_nothing_is_saved(bind: Bind, administrator: Client) -> None:
    for more, why in (
        ({"servers": "ns.example.org"}, "is not the address of a name server"),
        ({"allowed_names": "msn.example.net"}, "is not in the zone"),
        ({"secret": ""}, "A secret is needed"),
        ({"secret": "no base64!"}, "without a blank"),
        ({"secret": "!!!"}, "is base64"),
        ({"tsig_name": "a..b"}, "name is a domain name"),
        ({"method": "powerdns", "api_url": "http://a b"}, "The API&#x27;s address"),
        ({"method": "nsupdate"}, "Select a valid choice"),
        ({"tsig_algorithm": "hmac-md5"}, "Select a valid choice"),
    ):
        page = administrator.post("/zones/add/", _form(bind, **more)).content.decode()
        assert why in page and SECRET not in page, why
    assert not Zone.objects.exists()


def test_a_zone_that_is_there_is_changed_and_not_added_again(
    bind: Bind, zone: Zone, administrator: Client
) -> None:
    again = administrator.post("/zones/add/", _form(bind, allowed_names=ZONE)).content.decode()
    assert "is there already" in again
    form = _form(bind, allowed_names=f"{MSN}\nother.{ZONE}", secret="")
    page = administrator.post(f"/zones/{zone.pk}/change/", form).content.decode()
    assert page.count(">holds<") == 3
    changed = Zone.objects.get()
    assert changed.allowed_names == [MSN, f"other.{ZONE}"] and changed.sealed_secret == zone.sealed_secret
    assert changed.origins.count() == 0
    details = json.loads(AuditEvent.objects.order_by("-pk").first().details)  # type: ignore[union-attr]
    assert details["before"] == {"allowed_names": [MSN], "origins": ["lists"]}
    assert details["secret"] == "kept"


def test_a_secret_that_is_kept_is_sent_nowhere_else(bind: Bind, zone: Zone, administrator: Client) -> None:
    form = _form(bind, method="powerdns", api_url="http://192.0.2.99:8081", secret="")
    page = administrator.post(f"/zones/{zone.pk}/change/", form).content.decode()
    assert "Give the secret again" in page
    Zone.objects.update(method="powerdns", api_url="http://192.0.2.53:8081")
    page = administrator.post(f"/zones/{zone.pk}/change/", form).content.decode()
    assert "Give the secret again" in page
    assert Zone.objects.get().api_url == "http://192.0.2.53:8081"


def test_a_zone_is_removed_with_its_relay_names_but_not_while_one_is_changed(administrator: Client) -> None:
    row = relay_name_make()
    path = f"/zones/{row.zone.pk}/remove/"
    assert row.name in administrator.get(path).content.decode()
    operation = Operation.objects.create(
        kind="weights.apply", plan_hash="x", planned_at=timezone.now(), requested_by_name="otto"
    )
    lock = RelayNameLock.objects.create(relay_name=row.name, operation=operation)
    assert "wait for its end" in administrator.post(path, follow=True).content.decode()
    lock.delete()
    assert "was removed" in administrator.post(path, follow=True).content.decode()
    assert not Zone.objects.exists() and AuditEvent.objects.filter(action="zone.removed").count() == 1


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
