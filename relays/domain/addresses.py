"""IP addresses as the console holds them."""

from ipaddress import IPv6Address, ip_address


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
