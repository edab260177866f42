"""What an origin needs: the lines of its transport map, and what the relays' mynetworks must hold for it."""

from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import ip_address


@dataclass(frozen=True, slots=True)
class Route:
    """A relay name and the recipient domains that go there; none of them: all that no other line takes."""

    relay_name: str
    domains: tuple[str, ...] = ()


def transport_lines(routes: Iterable[Route]) -> list[str]:
    """Return the lines of a Postfix transport map (transport(5)); relayhost() takes all other mail.

    Nexthops stand without brackets: Postfix asks for no MX record of a name in brackets, and draws none. A
    domain that two routes claim goes to the first.
    """
    nexthops: dict[str, str] = {}
    for route in routes:
        for domain in route.domains:
            nexthops.setdefault(domain, route.relay_name)
    return [f"{domain} smtp:{nexthops[domain]}" for domain in sorted(nexthops)]


def relayhost(routes: Iterable[Route]) -> str:
    """Return where all mail goes that no line takes, "" where no route is for it.

    Not a line `*` of the map: that takes an origin's own mail away from it too, which relayhost leaves alone
    (postconf(5)), and the console does not know which domains are its own.
    """
    return next((route.relay_name for route in routes if not route.domains), "")


def mynetworks(addresses: Iterable[str]) -> str:
    """Return addresses as mynetworks takes them: IPv6 ones in brackets (postconf(5))."""
    parsed = sorted({ip_address(address) for address in addresses}, key=lambda one: (one.version, int(one)))
    return ", ".join(f"[{one}]" if one.version == 6 else str(one) for one in parsed)
