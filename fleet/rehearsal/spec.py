"""What a rehearsal fleet consists of: hosts, instances, mail providers, origins and their addresses.

Addresses are from ranges that documentation and benchmarks own (RFC 5737, RFC 3849, RFC 2544), and each
fleet has its own network namespace: only the management range, one /24 a fleet, is seen by the machine.
"""

from dataclasses import dataclass
from typing import Any

HOST_NET = "198.51.100"
HOST_NET6 = "2001:db8:25:"
PROVIDER_NET = "203.0.113"
MANAGEMENT_NET = "198.18"
GATEWAY = f"{HOST_NET}.1"
RESOLVER = f"{PROVIDER_NET}.53"
RELAY_DOMAIN = "fleet.test"


@dataclass(frozen=True)
class InstanceSpec:
    """A Postfix instance: its name as the console shows it, whose mail it carries, its own address.

    address6: one of HOST_NET6 that it has as well, "" for an instance that speaks IPv4 alone.
    """

    name: str
    provider: str
    address: str
    address6: str = ""

    @property
    def plain(self) -> bool:
        """True for a plain /etc/postfix, which the console calls `default`."""
        return self.name == "default"

    @property
    def addresses(self) -> tuple[str, ...]:
        """Its addresses, of IPv4 first."""
        return (self.address, self.address6) if self.address6 else (self.address,)

    def hostname(self, host: str) -> str:
        """Return myhostname on the named host: different for each instance, or two of them would loop."""
        return f"{host}.{RELAY_DOMAIN}" if self.plain else f"{self.name}.{host}.{RELAY_DOMAIN}"


@dataclass(frozen=True)
class HostSpec:
    """A relay host or an origin. `octet` ends its addresses; `log_format` is `traditional` or `rfc3339`."""

    name: str
    octet: int
    log_format: str
    instances: tuple[InstanceSpec, ...]
    origin: bool = False

    @property
    def address(self) -> str:
        return f"{HOST_NET}.{self.octet}"


@dataclass(frozen=True)
class ProviderSpec:
    """A mail provider: where it listens, its domains, and the MX name of a domain (`{}`: dashes for dots)."""

    slug: str
    address: str
    mx: str
    domains: tuple[str, ...]
    share: int

    def mx_of(self, domain: str) -> str:
        return self.mx.format(domain.replace(".", "-"))


@dataclass(frozen=True)
class Zone:
    """A zone of relay names: the origin that uses it, and the server that is its primary."""

    origin: str
    name: str
    server: str
    octet: int

    @property
    def address(self) -> str:
        return f"{PROVIDER_NET}.{self.octet}"


def host_from_json(facts: dict[str, Any]) -> HostSpec:
    """Return the HostSpec that `dataclasses.asdict` made facts of."""
    instances = tuple(InstanceSpec(**instance) for instance in facts["instances"])
    return HostSpec(**{**facts, "instances": instances})


def _instances(octet: int, *names: str) -> tuple[InstanceSpec, ...]:
    return tuple(
        InstanceSpec(name, name.rsplit("-", 1)[0], f"{HOST_NET}.{octet + index}")
        for index, name in enumerate(names, start=1)
    )


# Both formats of time stamps are met on real hosts: rsyslog's old one, and Debian 12's default.
HOSTS = (
    HostSpec("rustin", 10, "traditional", _instances(10, "msn-a", "msn-b", "aol-a", "therest-a")),
    HostSpec("cleveland", 20, "rfc3339", _instances(20, "msn-c", "gmail-a", "yahoo-a", "therest-b")),
    HostSpec("leslie", 30, "rfc3339", (InstanceSpec("default", "gmail", f"{HOST_NET}.31"),)),
)

ORIGINS = tuple(
    HostSpec(name, octet, "rfc3339", (InstanceSpec("default", "", f"{HOST_NET}.{octet + 1}"),), origin=True)
    for name, octet in (("lists", 40), ("news", 50))
)

_SMALL = (
    "acorn-press.example",
    "allotment.example",
    "beekeepers.example",
    "brassband.example",
    "canalboats.example",
    "choir.example",
    "cityfarm.example",
    "cooperage.example",
    "cyclists.example",
    "darkroom.example",
    "ferrymen.example",
    "foodbank.example",
    "gleaners.example",
    "hedgerow.example",
    "lanterns.example",
    "letterpress.example",
    "millrace.example",
    "orchard.example",
    "potters.example",
    "ramblers.example",
    "repaircafe.example",
    "tidewater.example",
    "weavers.example",
    "woodlot.example",
)

PROVIDERS = (
    ProviderSpec(
        "msn",
        f"{PROVIDER_NET}.10",
        "{}.olc.protection.outlook.com",
        ("hotmail.com", "outlook.com", "live.com", "msn.com"),
        36,
    ),
    ProviderSpec(
        "gmail", f"{PROVIDER_NET}.20", "gmail-smtp-in.l.google.com", ("gmail.com", "googlemail.com"), 28
    ),
    ProviderSpec(
        "yahoo",
        f"{PROVIDER_NET}.30",
        "mta5.am0.yahoodns.net",
        ("yahoo.com", "ymail.com", "rocketmail.com"),
        12,
    ),
    ProviderSpec("aol", f"{PROVIDER_NET}.40", "mx-aol.mail.gm0.yahoodns.net", ("aol.com", "aim.com"), 6),
    ProviderSpec("therest", f"{PROVIDER_NET}.50", "mx.{}.example", _SMALL, 18),
    # Where the origins' own mail goes, bounces above all. It gets no share of the bulk mail.
    ProviderSpec("home", f"{PROVIDER_NET}.60", "mx.{}.test", ("lists.test", "news.test", RELAY_DOMAIN), 0),
)

# One primary of each kind, each serving the relay names of one origin.
ZONES = (
    Zone("lists", "smtp.lists.test", "bind", 53),
    Zone("news", "smtp.news.test", "powerdns", 54),
)


def provider_of(domain: str) -> ProviderSpec:
    """Return the provider that takes a domain's mail.

    Raises LookupError for a domain that no rehearsal provider serves.
    """
    for provider in PROVIDERS:
        if domain in provider.domains:
            return provider
    raise LookupError(f"no rehearsal provider takes mail for {domain}")
