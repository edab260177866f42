"""Where this host's instances may send on what a flush moves: /etc/relay-fleet/peers.json, root's alone.

The console names a target by its address; one that root has not listed here is refused, whoever holds the
key.
"""

from __future__ import annotations

import ipaddress
import json
import os
from typing import Any, NamedTuple

from relays.agent.manifest import write_file
from relays.agent.protocol import BadRequest, Refused
from relays.agent.trusted import refuse_untrusted
from relays.domain.text import printable

PATH = "/etc/relay-fleet/peers.json"
MOST = 1_000
_MAX_BYTES = 256 * 1024
_MAX_NAME = 63


class Peer(NamedTuple):
    """A target. name: for people; address: IPv4 or IPv6; port: where its smtpd(8) listens."""

    name: str
    address: str
    port: int

    def __str__(self) -> str:
        return f"{self.name} [{self.address}]:{self.port}"


def load() -> list[Peer]:
    """Return the peers of this host, none where there is no file. Raises Refused for one that is unsound."""
    if not os.path.lexists(PATH):
        return []
    try:
        refuse_untrusted(PATH)
        with open(PATH, "rb") as file:
            fields = json.loads(file.read(_MAX_BYTES))
        return [_parse(row) for row in fields["peers"]][:MOST]
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise Refused(f"{PATH} cannot be read: {printable(str(error), 200)}") from None


def find(value: Any) -> Peer:
    """Return the peer of a request, {"address", "port"}. Raises BadRequest, and Refused: not listed."""
    if not isinstance(value, dict) or set(value) != {"address", "port"}:
        raise BadRequest("to must be an object of address and port")
    try:
        wanted = _parse({"name": "to", **value})
    except (ValueError, TypeError) as error:
        raise BadRequest(f"to: {error}") from None
    for peer in load():
        if (peer.address, peer.port) == (wanted.address, wanted.port):
            return peer
    # In brackets: of an IPv6 address without, the port would be the last part.
    place = f"[{wanted.address}]:{wanted.port}"
    raise Refused(
        f"{place} is no peer of this host: root adds it there with `relayctl.pyz peers add {place}`"
    )


def save(peers: list[Peer]) -> None:
    """Write the list, in order, for all to read. Raises OSError."""
    os.makedirs(os.path.dirname(PATH), mode=0o755, exist_ok=True)
    content = {"peers": [peer._asdict() for peer in sorted(set(peers))]}
    write_file(PATH, json.dumps(content, indent=1).encode() + b"\n", 0o644)


def parse(text: str) -> Peer:
    """Return the peer that a command line names, [NAME=]ADDRESS[:PORT]; IPv6 in brackets. Raises Refused."""
    name, _, place = text.rpartition("=")
    address, port = place, "25"
    if place.startswith("["):
        address, _, rest = place[1:].partition("]")
        port = rest.removeprefix(":") or "25"
    elif place.count(":") == 1:
        address, _, port = place.partition(":")
    try:
        return _parse({"name": name or address, "address": address, "port": int(port)})
    except (ValueError, TypeError):
        raise Refused(f"{text!r} is no address with a port: 198.51.100.12:25, [2001:db8::12]:25") from None


def _parse(row: Any) -> Peer:
    name, address, port = row["name"], row["address"], row["port"]
    if not isinstance(name, str) or not isinstance(address, str) or type(port) is not int:
        raise ValueError("a peer has a name, an address and a port")
    if not 1 <= port <= 65_535:
        raise ValueError(f"port {port} is none")
    return Peer(printable(name, _MAX_NAME), str(ipaddress.ip_address(address)), port)
