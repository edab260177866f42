"""What should hold before an address is brought up, asked of a real resolver where the outer DNS tells it."""

from collections.abc import Iterator
from typing import Any

import pytest
from pytest_django import Settings

from dns.models import RelayName, Weight
from dns.services.ramp_checklist import Item, checklist
from relays.models import Instance, InstanceState, Provider
from tests.dns_servers import Bind
from tests.ramps import NEW, OLD, instances_make, ramp_row, relay_name_row

pytestmark = pytest.mark.django_db
_HEAD = "@ 86400 IN SOA ns hostmaster 1 3600 600 86400 60\n@ 86400 IN NS ns\nns 86400 IN A 127.0.0.1\n"


class OuterDns(Bind):
    """A name server that has the hosts' names and their addresses' names."""

    def make_files(self) -> None:
        """Add two zones: one address has a name that leads back, the other one that does not."""
        super().make_files()
        zones = {
            "rustin.example": f"{_HEAD}msn-b 86400 IN A {NEW}\nmsn-a 60 IN A {OLD}\n",
            "2.0.192.in-addr.arpa": (
                f"{_HEAD}12 86400 IN PTR msn-b.rustin.example.\n11 86400 IN PTR ns.rustin.example.\n"
            ),
            "lists.example": f'{_HEAD}@ 60 IN TXT "v=spf1 " "ip4:{NEW} -all"\n',
            "news.example": f'{_HEAD}@ 60 IN TXT "v=spf1 include:lists.example ~all"\n',
            "macro.example": f'{_HEAD}@ 60 IN TXT "v=spf1 exists:%{{i}}.x.example -all"\n',
            "dnsbl.example": f"{_HEAD}11.2.0.192 60 IN A 127.0.0.2\n12.2.0.192 60 IN A 127.255.255.254\n",
            "clean.example": _HEAD,
        }
        config = self.folder / "named.conf"
        for zone, text in zones.items():
            (self.folder / zone).write_text(text)
            config.write_text(f'{config.read_text()}zone "{zone}" {{ type primary; file "{zone}"; }};\n')


@pytest.fixture(scope="module")
def outer() -> Iterator[OuterDns]:
    with OuterDns() as server:
        yield server


@pytest.fixture
def msn(settings: Settings, outer: OuterDns) -> RelayName:
    settings.RESOLVER = f"127.0.0.1:{outer.port}"
    instances_make()
    return relay_name_row()


def item(found: list[Item], title: str) -> tuple[bool | None, str]:
    return next((one.met, one.text) for one in found if one.title.startswith(title))


def test_names_that_lead_back_are_met(msn: RelayName) -> None:
    found = checklist(msn, NEW)
    assert item(found, "PTR") == (True, "msn-b.rustin.example")
    assert item(found, "HELO") == (True, "msn-b.rustin.example")
    assert item(found, "One ramp")[0] and item(found, "An instance")[0] and item(found, "Warm")[0]
    assert item(found, "Carries") == (True, "The name is for msn, the instance for msn.")
    assert item(found, "Postfix runs")[0] and item(found, "Every name server")[0]


def test_names_that_lead_elsewhere_are_not_met_and_a_short_ttl_is_told(msn: RelayName) -> None:
    found = checklist(msn, OLD)
    assert item(found, "PTR") == (False, f"ns.rustin.example does not have {OLD}.")
    met, text = item(found, "HELO")
    assert met and "86400 is good for a host" in text
    assert item(found, "Warm") == (False, "0 of 1 that always stay published")


def test_an_address_without_a_name_is_told(msn: RelayName) -> None:
    Instance.objects.filter(name="msn-b").update(helo_name="msn-z.rustin.example")
    assert item(checklist(msn, "192.0.2.13"), "PTR") == (False, "192.0.2.13 has no PTR record.")
    assert item(checklist(msn, "192.0.2.13"), "An instance")[0] is False
    assert item(checklist(msn, NEW), "HELO") == (False, "msn-z.rustin.example has no address.")


@pytest.mark.parametrize("resolver", ["127.0.0.1:1", "no-address"])
def test_what_no_resolver_tells_is_not_known(resolver: str, msn: RelayName, settings: Settings) -> None:
    settings.RESOLVER = resolver
    found = checklist(msn, NEW)
    assert item(found, "PTR")[0] is None and item(found, "HELO")[0] is None


def test_what_is_not_so_is_told(msn: RelayName) -> None:
    ramp = ramp_row(msn)
    Weight.objects.filter(address=OLD).update(is_warm=False)
    InstanceState.objects.update(state="stopped")
    Instance.objects.update(provider=Provider.objects.create(slug="aol", name="Aol"), helo_name="")
    RelayName.objects.update(drift={"192.0.2.53": "serves others"})
    msn.refresh_from_db()
    found = checklist(msn, NEW)
    expected: dict[str, Any] = {
        "One ramp": (False, f"Ramp {ramp.pk} brings it up already."),
        "Postfix runs": (False, "Its state is stopped."),
        "Carries": (False, "The name is for msn, the instance for aol."),
        "Every name server": (False, "192.0.2.53"),
        "HELO": (None, "The inventory does not tell its HELO name."),
    }
    assert {title: item(found, title) for title in expected} == expected


def test_what_is_not_known_here_is_not_guessed(msn: RelayName) -> None:
    RelayName.objects.update(served_at=None, provider=None)
    InstanceState.objects.all().delete()
    msn.refresh_from_db()
    found = checklist(msn, NEW)
    assert {one.title for one in found if one.met is None} >= {"Postfix runs", "Carries this provider's mail"}
    assert item(found, "Every name server") == (None, "They were not asked yet.")
    assert [one.word for one in found if "SPF" in one.title] == ["not known"]


def test_spf_records_are_asked_for_the_address(msn: RelayName, settings: Settings) -> None:
    assert item(checklist(msn, NEW), "SPF") == (
        None, f"name the sender domains in FLEET_SENDER_DOMAINS, or dig TXT of each: ip4:{NEW}"
    )  # fmt: skip
    settings.SENDER_DOMAINS = ["lists.example", "news.example"]
    assert item(checklist(msn, NEW), "SPF") == (True, "lists.example: pass, news.example: pass")
    assert item(checklist(msn, OLD), "SPF") == (False, "lists.example: fail, news.example: softfail")
    settings.SENDER_DOMAINS = ["lists.example", "macro.example"]
    assert item(checklist(msn, NEW), "SPF") == (None, "lists.example: pass, macro.example: not known")
    settings.RESOLVER = "127.0.0.1:1"
    assert item(checklist(msn, NEW), "SPF")[0] is None


def test_block_lists_are_asked_for_the_address(msn: RelayName, settings: Settings) -> None:
    assert item(checklist(msn, NEW), "On no block list")[0] is None
    settings.BLOCK_LISTS = ["clean.example", "dnsbl.example"]
    assert item(checklist(msn, OLD), "On no block list") == (False, "On dnsbl.example.")
    # 127.255.255.254: the resolver is one that the list doesn't answer.
    assert item(checklist(msn, NEW), "On no block list") == (None, "No answer of use from dnsbl.example.")
    assert item(checklist(msn, "192.0.2.13"), "On no block list")[0] is True
