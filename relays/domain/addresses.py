"""IP addresses as the console holds them, and where it may connect to."""

import re
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address

_HOST_NAME = re.compile(r"\A(?!-)[A-Za-z0-9-]{1,63}(?<!-)(\.(?!-)[A-Za-z0-9-]{1,63}(?<!-))*\.?\Z")
# The resolver would take it for an IPv4 address written in another way.
_ENDS_IN_A_NUMBER = re.compile(r"(?:\A|\.)(?:\d+|0[xX][0-9A-Fa-f]*)\.?\Z")
# What a cloud tells a machine of itself, its credentials among it, where that is not link-local.
_METADATA = frozenset(
    map(
        ip_address,
        (
            "100.100.100.200",  # Alibaba
            "168.63.129.16",  # Azure
            "192.0.0.192",  # Oracle
            "fd00:ec2::254",  # Amazon
            "fd20:ce::254",  # Google
        ),
    )
)
# RFC 6052: the last 32 bits are the IPv4 address that a translator goes on to.
_NAT64 = IPv6Network("64:ff9b::/96")


class BadAddress(ValueError):
    """Text that is no address of one machine; the message says what is wrong with it."""


def normalise_address(text: str) -> str:
    """Return an IP address as Postfix logs a client's: IPv6 compressed and lower-case (RFC 5952).

    An IPv4 address in IPv6 clothes (::ffff:192.0.2.1) is that IPv4 address; square brackets and `IPv6:`
    around an address are taken off. Raises BadAddress.
    """
    bare = text.strip().removeprefix("[").removesuffix("]").removeprefix("IPv6:")
    try:
        address = ip_address(bare)
    except ValueError as error:
        hint = " Give each address of a network by itself." if "/" in bare else ""
        raise BadAddress(f"{text.strip()!r} is not an IP address.{hint}") from error
    if not isinstance(address, IPv6Address):
        return str(address)
    if address.scope_id:
        raise BadAddress(f"{text.strip()!r} is an address on one link only: give it without the %.")
    return str(address.ipv4_mapped or address)


def check_host(text: str) -> None:
    """Raise BadAddress unless this is a host name, or an address that some machine of ours can have."""
    if (address := _parsed(text)) is not None:
        _check_machine(text, address)
    elif len(text) > 253 or not _HOST_NAME.match(text) or _ENDS_IN_A_NUMBER.search(text):
        raise BadAddress("Give a host name or an IP address, without a port.")


def check_lead(host: str, address: str) -> None:
    """Raise BadAddress unless a host (a name or an address) may be dialled at the address that it led to.

    Private addresses may: relay hosts and name servers have them. This machine itself only where it was
    named: another name that leads here is somebody's who means our own services.
    """
    led = ip_address(address)
    told = host if _parsed(host) == led else f"{host} leads to {address}, which"
    _check_machine(told, led)
    if _inner(led).is_loopback and not is_this_machine(host):
        raise BadAddress(f"{told} is this machine itself: where that is meant, give the address.")


def is_this_machine(host: str) -> bool:
    """Return whether a host is this machine by its address or by name (RFC 6761)."""
    address = _parsed(host)
    if address is not None:
        return _inner(address).is_loopback
    return host.lower().rstrip(".").rpartition(".")[2] == "localhost"


def _check_machine(told: str, address: IPv4Address | IPv6Address) -> None:
    inner = _inner(address)
    is_nobodys = inner.is_link_local or inner.is_multicast or inner.is_unspecified or inner.is_reserved
    # IPv6's loopback address lies in a reserved network.
    if inner in _METADATA or (is_nobodys and not inner.is_loopback):
        raise BadAddress(f"{told} is no address that a machine of ours can have.")


def _inner(address: IPv4Address | IPv6Address) -> IPv4Address | IPv6Address:
    """Return the IPv4 address that an IPv6 address stands for, if it does."""
    if isinstance(address, IPv4Address):
        return address
    if address in _NAT64:
        return IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour or address


def _parsed(text: str) -> IPv4Address | IPv6Address | None:
    try:
        return ip_address(text)
    except ValueError:
        return None
