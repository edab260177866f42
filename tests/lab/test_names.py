"""The fleet's name servers: what they serve, and that they take signed updates."""

from typing import Any

import pytest

import dns.message
import dns.query
import dns.rcode
import dns.tsigkeyring
import dns.update
from fleet.rehearsal import Fleet, network, spec

pytestmark = pytest.mark.lab


def _server(fleet: Fleet, zone: spec.Zone) -> str:
    return network.management_address(fleet.slot, zone.octet)


def _ask(fleet: Fleet, name: str, kind: str, zone: spec.Zone = spec.ZONES[0]) -> set[str]:
    reply = dns.query.udp(dns.message.make_query(name, kind), _server(fleet, zone), timeout=5)
    return {str(record) for answer in reply.answer for record in answer}


@pytest.mark.parametrize("domain", ["hotmail.com", "gmail.com", "choir.example", "lists.test"])
def test_mail_domains_lead_to_their_provider(fleet: Fleet, domain: str) -> None:
    [exchanger] = _ask(fleet, domain, "MX")
    assert _ask(fleet, exchanger.split()[1], "A") == {spec.provider_of(domain).address}


def test_no_other_name_exists(fleet: Fleet) -> None:
    query = dns.message.make_query("example.org", "MX")
    reply = dns.query.udp(query, _server(fleet, spec.ZONES[0]), timeout=5)
    assert reply.rcode() == dns.rcode.NXDOMAIN


@pytest.mark.parametrize("zone", spec.ZONES, ids=lambda zone: zone.server)
def test_relay_names_are_served_by_their_primary_and_found_by_the_resolver(
    fleet: Fleet, zone: spec.Zone
) -> None:
    msn = {"198.51.100.11", "198.51.100.12", "198.51.100.21"}
    assert _ask(fleet, f"msn.{zone.name}", "A", zone) == msn
    assert _ask(fleet, f"msn.{zone.name}", "A") == msn


@pytest.mark.parametrize("zone", spec.ZONES, ids=lambda zone: zone.server)
def test_a_primary_takes_a_signed_update_and_refuses_another(fleet: Fleet, zone: spec.Zone) -> None:
    assert fleet.access is not None
    keyring = dns.tsigkeyring.from_text(
        {fleet.access.key_name: (fleet.access.algorithm, fleet.access.secret)}
    )
    update: Any = dns.update.UpdateMessage(zone.name, keyring=keyring)
    update.replace("trial", 60, "A", "198.51.100.12")
    assert dns.query.tcp(update, _server(fleet, zone), timeout=5).rcode() == dns.rcode.NOERROR
    assert _ask(fleet, f"trial.{zone.name}", "A", zone) == {"198.51.100.12"}
    unsigned: Any = dns.update.UpdateMessage(zone.name)
    unsigned.replace("trial", 60, "A", "198.51.100.99")
    assert dns.query.tcp(unsigned, _server(fleet, zone), timeout=5).rcode() == dns.rcode.REFUSED
    assert _ask(fleet, f"trial.{zone.name}", "A", zone) == {"198.51.100.12"}
