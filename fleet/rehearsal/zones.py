"""What the name servers serve: the mail domains in a root zone of their own, and the zones of relay names."""

import base64
import secrets
from collections.abc import Iterator
from dataclasses import dataclass

from fleet.rehearsal import origins, spec

TTL = 60
Record = tuple[str, str, str]
Hosts = tuple[spec.HostSpec, ...]
_TIMERS = "1 3600 600 86400 60"


@dataclass(frozen=True)
class Access:
    """What a client needs for updates: the TSIG key, and PowerDNS's API key. Made anew at each up."""

    key_name: str
    algorithm: str
    secret: str
    api_key: str


def new_access() -> Access:
    secret = base64.b64encode(secrets.token_bytes(32)).decode()
    return Access("fleet-key", "hmac-sha256", secret, secrets.token_urlsafe(24))


def relay_records(zone: spec.Zone, hosts: Hosts) -> Iterator[Record]:
    """Yield name, type and content: for each relay name of the zone, its instances' addresses."""
    yield zone.name, "SOA", f"ns.{zone.name}. hostmaster.{spec.RELAY_DOMAIN}. {_TIMERS}"
    yield zone.name, "NS", f"ns.{zone.name}."
    yield f"ns.{zone.name}", "A", zone.address
    for host in hosts:
        for instance in host.instances:
            yield origins.relay_name(instance.provider, zone), "A", instance.address


def root_records(hosts: Hosts) -> Iterator[Record]:
    """Yield the root zone: the mail domains, the hosts, and the delegations of the relay zones."""
    yield "", "SOA", f"ns.root.test. hostmaster.{spec.RELAY_DOMAIN}. {_TIMERS}"
    yield "", "NS", "ns.root.test."
    yield "ns.root.test", "A", spec.RESOLVER
    for provider in spec.PROVIDERS:
        yield from _mail_records(provider)
    for zone in spec.ZONES:
        yield zone.name, "NS", f"ns.{zone.name}."
        yield f"ns.{zone.name}", "A", zone.address
    for host in (*hosts, *spec.ORIGINS):
        yield from _host_records(host)


def as_text(records: Iterator[Record]) -> str:
    """Return records in the format of a zone file."""
    return "".join(f"{name}. {TTL} IN {kind} {content}\n" for name, kind, content in records)


def _mail_records(provider: spec.ProviderSpec) -> Iterator[Record]:
    for domain in provider.domains:
        yield domain, "MX", f"10 {provider.mx_of(domain)}."
    for exchanger in sorted({provider.mx_of(domain) for domain in provider.domains}):
        yield exchanger, "A", provider.address


def _host_records(host: spec.HostSpec) -> Iterator[Record]:
    for instance in host.instances:
        name = instance.hostname(host.name)
        yield name, "A", instance.address
        yield f"{'.'.join(reversed(instance.address.split('.')))}.in-addr.arpa", "PTR", f"{name}."
